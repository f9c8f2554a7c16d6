#include "os/fd.hpp"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>

#include "os/failpoint.hpp"

namespace lair::os {

void Fd::reset(int fd) noexcept {
  const int old = std::exchange(fd_, fd);
  if (old < 0 || old == fd) return;
  const int saved = errno;
  // Linux frees the number even where close fails with EINTR or EIO; a second try could close a stranger's.
  ::close(old);
  errno = saved;
}

// From 3 up: a descriptor that lands on 0–2, in a host that has closed those, is one printf from corruption.
Fd duplicate(int fd) noexcept {
  return Fd(failpoint::refuses(failpoint::Point::kDuplicate) ? -1 : ::fcntl(fd, F_DUPFD_CLOEXEC, 3));
}

}  // namespace lair::os
