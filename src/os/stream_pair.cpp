#include "os/stream_pair.hpp"

#include <fcntl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "os/failpoint.hpp"

namespace lair::os {

using failpoint::Point;

StreamPair make_stream_pair() noexcept {
  int ends[2] = {-1, -1};
  if (failpoint::refuses(Point::kStreamPair) ||
      ::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) != 0)
    return {};
  return {.ours = Fd(ends[0]), .theirs = Fd(ends[1])};
}

Pipe make_pipe() noexcept {
  int ends[2] = {-1, -1};
  if (failpoint::refuses(Point::kPipe) || ::pipe2(ends, O_CLOEXEC) != 0) return {};
  return {.read_end = Fd(ends[0]), .write_end = Fd(ends[1])};
}

void set_nonblocking(int fd) noexcept {
  const int flags = ::fcntl(fd, F_GETFL);
  if (flags >= 0) ::fcntl(fd, F_SETFL, flags | O_NONBLOCK);
}

}  // namespace lair::os
