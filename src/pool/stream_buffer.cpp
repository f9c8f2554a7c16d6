#include "pool/stream_buffer.hpp"

#include <algorithm>
#include <utility>

#include "os/wait.hpp"
#include "pool/reactor.hpp"

namespace lair::pool {

// Whoever waits. A bell is rung by a system call: not under the mutex.
void StreamBuffer::wake(const std::shared_ptr<os::EventFd>& bell) {
  bell ? bell->notify() : arrived_.notify_one();
}

StreamBuffer::UserWork StreamBuffer::push(wire::Items items) {
  std::shared_ptr<os::EventFd> bell;
  {
    const std::lock_guard lock(mutex_);
    for (Json& item : items.items) items_.push_back({.item = std::move(item)});
    items_.back().bytes = items.bytes;
    bell = bell_;
  }
  wake(bell);
  return answer();
}

StreamBuffer::UserWork StreamBuffer::end(Result<Json> outcome) {
  std::shared_ptr<os::EventFd> bell;
  {
    const std::lock_guard lock(mutex_);
    // Who cancels wants no more of it.
    if (!outcome && outcome.error().kind == ErrorKind::kCancelled) items_.clear();
    outcome_ = std::move(outcome);
    bell = bell_;
  }
  wake(bell);
  return answer();
}

StreamSource::Item StreamBuffer::take(Credit& more) {
  if (items_.empty()) {
    if (!*outcome_) return outcome_->error();
    return std::optional<Json>();
  }
  Waiting first = std::move(items_.front());
  items_.pop_front();
  owed_.items += 1;
  owed_.bytes += first.bytes;
  // Half of the window at a time, so that a message serves for many items. With less than that owed the worker has more than half of
  // it, once all it has sent is taken: it never stands still for want of what is kept back here.
  const bool worth_it = 2 * owed_.items >= window_.items || 2 * owed_.bytes >= window_.bytes;
  if (worth_it && !outcome_) more = std::exchange(owed_, Credit{});
  return std::optional<Json>(std::move(first.item));
}

void StreamBuffer::give(Credit more) const {
  if (more.items > 0 || more.bytes > 0) give_(more);
}

StreamSource::Item StreamBuffer::next() {
  Credit more;
  std::unique_lock lock(mutex_);
  arrived_.wait(lock, [this] { return something(); });
  StreamSource::Item item = take(more);
  lock.unlock();
  give(more);
  return item;
}

std::optional<StreamSource::Item> StreamBuffer::next_now() {
  Credit more;
  std::unique_lock lock(mutex_);
  if (!something()) return std::nullopt;
  StreamSource::Item item = take(more);
  lock.unlock();
  give(more);
  return item;
}

void StreamBuffer::wait_at(int fd, const std::shared_ptr<os::EventFd>& bell, os::Spin& spin) {
  {
    const std::lock_guard lock(mutex_);
    if (something()) return;
    bell_ = bell;
  }
  if (os::wait_for_io({.in_fd = fd, .stop_fd = bell->fd()}, Deadline::never(), spin).stopped) bell->drain();
  const std::lock_guard lock(mutex_);
  bell_.reset();
}

void StreamBuffer::start_next(Next done, Mailbox& mailbox) {
  auto self = shared_from_this();  // `done` may end the stream before this returns
  {
    const std::lock_guard lock(mutex_);
    asked_ = std::move(done);
    if (!something()) return;
  }
  if (mailbox.post([self](Reactor& reactor) { reactor.run_user_code(self->answer()); })) return;
  // The pool has gone; what it has left is still there.
  if (UserWork work = self->answer()) work();
}

// On the reactor's thread.
StreamBuffer::UserWork StreamBuffer::answer() {
  struct Work {
    Next done;
    std::optional<StreamSource::Item> item;
  };
  auto work = std::make_shared<Work>();
  Credit more;
  {
    const std::lock_guard lock(mutex_);
    if (!asked_ || !something()) return {};
    work->done = std::move(asked_);
    work->item = take(more);
  }
  give(more);
  const auto tell = [work = std::move(work)] { work->done(*std::move(work->item)); };
  if (!executor_) return tell;
  return [tell, executor = executor_] { executor(tell); };
}

}  // namespace lair::pool
