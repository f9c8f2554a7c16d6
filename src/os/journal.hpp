// Journal: the file in a worker's memory to which it notes what it has done of a batch and not told yet, opened through /proc.
// It can be read when the worker is dead, and then is as the worker left it.
//
// Thread-safety: one thread at a time.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "os/fd.hpp"

namespace lair::os {

class Journal {
 public:
  // Also the name by which it is known to be one: what else a process has under that number is left alone.
  static constexpr const char* kName = "lair-journal";

  // What process `pid` has as descriptor `fd`; none where that is no such file, or cannot be opened.
  static Journal open(int pid, int fd);
  explicit operator bool() const { return static_cast<bool>(fd_); }

  struct State {
    std::uint64_t batch = 0;  // its id
    std::uint64_t told = 0;   // items whose results were sent before these
    std::uint64_t begun = 0;  // items
    std::string frames = {};  // one for each item that was done after them
  };
  // Nothing where it cannot be read, or its worker is just writing to it.
  std::optional<State> read() const;

 private:
  Fd fd_;
};

}  // namespace lair::os
