// StackFile: the file in a worker's memory to which it appends its stacks when it is signalled, opened through /proc; and
// how one knows that it has finished. Nothing is shared in advance: a worker that is never asked costs no descriptor.
//
// A signal is blocked in the thread whose handler runs, and /proc shows it. So the stacks are whole when something has
// been written and no thread blocks the signal, but for those that did before.
//
// Thread-safety: one thread at a time.
#pragma once

#include <cstddef>
#include <string>
#include <vector>

#include "os/fd.hpp"

namespace lair::os {

class StackFile {
 public:
  // Also the name by which it is known to be one: what else a process has under that number is left alone.
  static constexpr const char* kName = "lair-stacks";

  StackFile() = default;
  // What process `pid` has as descriptor `fd`. None where that is no such file, or cannot be opened: `why` says so.
  static StackFile open(int pid, int fd, std::string& why);

  explicit operator bool() const { return static_cast<bool>(fd_); }
  std::size_t size() const;  // 0 where unknown
  // At most so many bytes of it, and those that can be read.
  std::string text(std::size_t most) const;
  void empty();

 private:
  explicit StackFile(Fd fd) : fd_(std::move(fd)) {}
  Fd fd_;
};

// The threads of a process that block a signal; in order. None where the process is gone.
std::vector<int> threads_blocking(int pid, int signal_number);

// Whether a process stands still: by SIGSTOP, or under a debugger.
bool is_stopped(int pid);
// Whether a signal that was sent to the process has been taken by none of its threads yet.
bool is_pending(int pid, int signal_number);

}  // namespace lair::os
