#include "os/wait.hpp"

#include <poll.h>

#include <array>
#include <cerrno>
#include <ctime>
#include <optional>

#include "os/failpoint.hpp"

namespace lair::os {

namespace {

timespec to_timespec(Duration duration) {
  const auto seconds = std::chrono::duration_cast<std::chrono::seconds>(duration);
  return {.tv_sec = static_cast<time_t>(seconds.count()),
          .tv_nsec = static_cast<long>((duration - seconds).count())};
}

}  // namespace

Ready wait_for_io(const Interest& interest, Deadline deadline) {
  // POLLHUP and POLLERR are always reported; reading then says what it was.
  std::array<pollfd, 4> polls = {{
      {.fd = interest.in_fd, .events = POLLIN, .revents = 0},
      {.fd = interest.out_fd, .events = POLLOUT, .revents = 0},
      {.fd = interest.exit_fd, .events = POLLIN, .revents = 0},
      {.fd = interest.stop_fd, .events = POLLIN, .revents = 0},
  }};
  for (;;) {
    std::optional<timespec> timeout;
    if (!deadline.is_never()) timeout = to_timespec(deadline.remaining());
    const int n = failpoint::refuses(failpoint::Point::kWait)
                      ? -1
                      : ::ppoll(polls.data(), polls.size(), timeout ? &*timeout : nullptr, nullptr);
    if (n > 0) break;
    if (deadline.passed()) return {.timed_out = true};
    if (n < 0 && errno != EINTR) {
      const timespec moment{.tv_sec = 0, .tv_nsec = 1'000'000};
      ::nanosleep(&moment, nullptr);
    }
  }
  return {.timed_out = false,
          .readable = polls[0].revents != 0,
          .writable = polls[1].revents != 0,
          .exited = polls[2].revents != 0,
          .stopped = polls[3].revents != 0};
}

Ready wait_for_io(const Interest& interest, Deadline deadline, Spin& spin) {
  Ready ready;
  const auto look = [&] {
    ready = wait_for_io(interest, Deadline::at(TimePoint::min()));
    return !ready.timed_out;
  };
  spin.wait(look, [&] { ready = wait_for_io(interest, deadline); });
  return ready;
}

}  // namespace lair::os
