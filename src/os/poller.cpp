#include "os/poller.hpp"

#include <sys/epoll.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <limits>

#include "base/assert.hpp"
#include "os/failpoint.hpp"
#include "os/refused.hpp"

namespace lair::os {

using failpoint::Point;

Poller::Poller() : epoll_(failpoint::refuses(Point::kEpollCreate) ? -1 : ::epoll_create1(EPOLL_CLOEXEC)) {
  if (!epoll_) throw_refused("epoll_create1");
}

static epoll_event event_of(std::uint32_t what, std::uint64_t tag) {
  epoll_event event{};
  event.events = what;
  event.data.u64 = tag;
  return event;
}

static bool add_for(int epoll, int fd, epoll_event event) {
  if (fd < 0) return true;
  const int result =
      failpoint::refuses(Point::kEpollAdd) ? -1 : ::epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event);
  LAIR_ASSERT(result == 0 || errno == ENOMEM || errno == ENOSPC, "epoll_ctl: adding a wrong descriptor");
  return result == 0;
}

bool Poller::add(int fd, std::uint64_t tag) { return add_for(epoll_.get(), fd, event_of(EPOLLIN, tag)); }

bool Poller::add_writable(int fd, std::uint64_t tag) {
  return add_for(epoll_.get(), fd, event_of(EPOLLOUT, tag));
}

static void change(int epoll, int fd, epoll_event event) {
  const int result = ::epoll_ctl(epoll, EPOLL_CTL_MOD, fd, &event);
  LAIR_ASSERT(result == 0, "epoll_ctl: changing what is not watched");
}

void Poller::also_writable(int fd, std::uint64_t tag, bool counts) {
  change(epoll_.get(), fd, event_of(counts ? EPOLLIN | EPOLLOUT : EPOLLIN, tag));
}

void Poller::mute(int fd, std::uint64_t tag, bool muted) {
  change(epoll_.get(), fd, event_of(muted ? 0u : std::uint32_t{EPOLLIN}, tag));
}

void Poller::remove(int fd) {
  if (fd < 0) return;
  const int result = ::epoll_ctl(epoll_.get(), EPOLL_CTL_DEL, fd, nullptr);
  LAIR_ASSERT(result == 0 || errno == ENOENT, "epoll_ctl: removing a descriptor that is closed");
}

void Poller::wait(Deadline deadline, std::vector<Event>& events) {
  std::array<epoll_event, 64> ready;
  int timeout_ms = -1;
  if (!deadline.is_never()) {
    // Rounded up: waking before a timer is due would mean spinning until it is.
    const auto ms = std::chrono::ceil<std::chrono::milliseconds>(deadline.remaining()).count();
    timeout_ms = static_cast<int>(std::min<std::int64_t>(ms, std::numeric_limits<int>::max()));
  }
  events.clear();
  const int n = failpoint::refuses(Point::kEpollWait)
                    ? -1
                    : ::epoll_wait(epoll_.get(), ready.data(), static_cast<int>(ready.size()), timeout_ms);
  LAIR_ASSERT(n >= 0 || errno == EINTR);
  for (int i = 0; i < n; ++i) events.push_back({.tag = ready[static_cast<std::size_t>(i)].data.u64});
}

}  // namespace lair::os
