#include "os/event_fd.hpp"

#include <sys/eventfd.h>
#include <unistd.h>

#include <cerrno>
#include <cstdint>

#include "os/failpoint.hpp"
#include "os/refused.hpp"

namespace lair::os {

using failpoint::Point;

EventFd::EventFd()
    : fd_(failpoint::refuses(Point::kEventfd) ? -1 : ::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)) {
  if (!fd_) throw_refused("eventfd");
}

void EventFd::notify() noexcept {
  const std::uint64_t one = 1;
  ssize_t written = 0;
  do {
    written = failpoint::refuses(Point::kEventfdWrite) ? -1 : ::write(fd_.get(), &one, sizeof one);
  } while (written < 0 && errno == EINTR);  // EAGAIN: the counter is full, so it is readable already
}

void EventFd::drain() noexcept {
  std::uint64_t count = 0;
  [[maybe_unused]] const auto taken =
      failpoint::refuses(Point::kEventfdRead) ? -1 : ::read(fd_.get(), &count, sizeof count);
}

}  // namespace lair::os
