// Reading what a worker or a helper program says, with a deadline.
//
// Thread-safety: any thread.
#pragma once

#include <unistd.h>

#include <lair/deadline.hpp>
#include <string>

#include "os/wait.hpp"

namespace lair::test {

inline constexpr Duration kPatience = std::chrono::seconds(20);

// What is readable until the peer closes or `patience` has passed.
inline std::string read_all(int fd, Duration patience = kPatience) {
  const Deadline deadline = Deadline::after(patience);
  std::string text;
  char buffer[4096];
  while (!os::wait_for_io({.in_fd = fd}, deadline).timed_out) {
    const ssize_t n = ::read(fd, buffer, sizeof buffer);
    if (n == 0) break;
    if (n > 0) text.append(buffer, static_cast<std::size_t>(n));
  }
  return text;
}

// One line, without its newline; what there is of it at the end of the stream or of `patience`.
inline std::string read_line(int fd, Duration patience = kPatience) {
  const Deadline deadline = Deadline::after(patience);
  std::string line;
  char byte = 0;
  while (!os::wait_for_io({.in_fd = fd}, deadline).timed_out) {
    const ssize_t n = ::read(fd, &byte, 1);
    if (n == 0 || (n > 0 && byte == '\n')) break;
    if (n > 0) line += byte;
  }
  return line;
}

}  // namespace lair::test
