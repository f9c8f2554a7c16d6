// Making the two ends of a worker's channel and logs.
//
// Thread-safety: any thread.
#pragma once

#include "os/fd.hpp"

namespace lair::os {

// A connected pair of byte-stream sockets, CLOEXEC. Both ends block: theirs as programs expect of their stdin, ours
// unless a call asks otherwise (MSG_DONTWAIT). None (errno set) where the system refuses.
struct StreamPair {
  Fd ours;
  Fd theirs;
};
StreamPair make_stream_pair() noexcept;

// A pipe, CLOEXEC, blocking at both ends. None (errno set) where the system refuses.
struct Pipe {
  Fd read_end;
  Fd write_end;
};
Pipe make_pipe() noexcept;

// The two ends of a pipe are separate open files: making one non-blocking leaves the other as it is.
void set_nonblocking(int fd) noexcept;

}  // namespace lair::os
