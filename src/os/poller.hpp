// Poller: waits for many descriptors at once (epoll, level-triggered).
//
// Thread-safety: one thread at a time.
#pragma once

#include <cstdint>
#include <lair/deadline.hpp>
#include <vector>

#include "os/fd.hpp"

namespace lair::os {

class Poller {
 public:
  struct Event {
    std::uint64_t tag = 0;
  };

  Poller();  // throws CallError (kUnavailable) where the system has no descriptor left for it
  // Readable (or closed, or broken: reading will tell). A descriptor that is -1 is ignored. False, with errno set, where
  // the system has no room to watch another one.
  [[nodiscard]] bool add(int fd, std::uint64_t tag);
  // The same for room to write.
  [[nodiscard]] bool add_writable(int fd, std::uint64_t tag);
  // Of one that is watched for reading: whether room to write counts, too.
  void also_writable(int fd, std::uint64_t tag, bool counts);
  // Likewise: whether it is only told of when its other end is gone.
  void mute(int fd, std::uint64_t tag, bool muted);
  // Must come before the descriptor is closed. One that was not added is ignored.
  void remove(int fd);
  // Blocks until something is readable or the deadline; `events` is replaced. Interruptions end the wait early.
  void wait(Deadline deadline, std::vector<Event>& events);
  // Itself pollable: readable when any of its descriptors is.
  int fd() const { return epoll_.get(); }

 private:
  Fd epoll_;
};

}  // namespace lair::os
