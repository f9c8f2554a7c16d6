// Finding the keeper's children without a list of them: workers' orphans, which the kernel hands to the keeper as their
// subreaper.
#pragma once

#include <sys/types.h>

#include <cstddef>

#include "os/fd.hpp"

namespace lair::keeper {

class ChildList {
 public:
  // Opens the kernel's own list, where it keeps one (CONFIG_PROC_CHILDREN): later there may be no descriptor left to do
  // it with.
  ChildList();
  // Puts up to `most` pids of this process's children (living, or dead and unreaped) into `pids`. A child that starts or
  // ends meanwhile may be missed or be gone: its end brings a SIGCHLD, and with it the next look. False: the system
  // refused, and there may be more. Allocates nothing.
  bool look(pid_t* pids, std::size_t most, std::size_t& count);

 private:
  os::Fd file_;
};

}  // namespace lair::keeper
