// EventFd: wakes a poller from another thread.
//
// Thread-safety: any thread.
#pragma once

#include "os/fd.hpp"

namespace lair::os {

class EventFd {
 public:
  EventFd();  // throws CallError (kUnavailable) where the system has no descriptor left for it
  int fd() const { return fd_.get(); }
  void notify() noexcept;  // makes it readable; never blocks
  void drain() noexcept;   // makes it unreadable

 private:
  Fd fd_;
};

}  // namespace lair::os
