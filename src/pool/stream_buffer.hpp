// StreamBuffer: the items of a stream between the reactor, which receives them, and their consumer. It holds as many as the
// worker was given credit for; what the consumer takes is credited anew.
//
// Thread-safety: `push` and `end` are the reactor's, the rest the consumer's.
#pragma once

#include <condition_variable>
#include <deque>
#include <functional>
#include <lair/stream.hpp>
#include <memory>
#include <mutex>
#include <optional>

#include "os/event_fd.hpp"
#include "os/spin.hpp"
#include "pool/mailbox.hpp"
#include "wire/message.hpp"

namespace lair::pool {

// A stream that could not begin.
class NoStream final : public StreamSource {
 public:
  explicit NoStream(Error why) : why_(std::move(why)) {}
  Item next() override { return why_; }
  void start_next(OnceFunction<void(Item)> done) override { done(why_); }

 private:
  const Error why_;
};

class StreamBuffer : public std::enable_shared_from_this<StreamBuffer> {
 public:
  using Credit = wire::CallHeader::Credit;
  using Next = OnceFunction<void(StreamSource::Item)>;

  // `give`: has the worker be given credit; called by any thread. `executor`: where `start_next` is answered; empty: where
  // the item comes from.
  StreamBuffer(Credit window, Executor executor, std::function<void(Credit)> give)
      : window_(window), executor_(std::move(executor)), give_(std::move(give)) {}

  // Both return what the consumer's callback is to be told with, if it waits: user code, to be run by the reactor.
  using UserWork = OnceFunction<void()>;
  [[nodiscard]] UserWork push(wire::Items items);
  [[nodiscard]] UserWork end(Result<Json> outcome);

  // Blocks.
  StreamSource::Item next();
  // Nothing: it would have to be waited for.
  std::optional<StreamSource::Item> next_now();
  // Blocks until there is something, or `fd` is readable. `bell` ends the wait, and may do so again later, for nothing.
  void wait_at(int fd, const std::shared_ptr<os::EventFd>& bell, os::Spin& spin);
  bool empty() {
    const std::lock_guard lock(mutex_);
    return !something();
  }
  // `done` is never called from within.
  void start_next(Next done, Mailbox& mailbox);

 private:
  struct Waiting {
    Json item;
    std::size_t bytes = 0;  // of its chunk, if it is its last
  };
  bool something() const { return !items_.empty() || outcome_; }
  StreamSource::Item take(Credit& more);  // under the mutex, where there is something
  void give(Credit more) const;
  void wake(const std::shared_ptr<os::EventFd>& bell);
  UserWork answer();

  const Credit window_;
  const Executor executor_;
  const std::function<void(Credit)> give_;
  std::mutex mutex_;
  std::condition_variable arrived_;
  std::shared_ptr<os::EventFd> bell_;  // of a consumer that waits for a descriptor as well
  std::deque<Waiting> items_;
  std::optional<Result<Json>> outcome_;
  Credit owed_;  // taken, and not credited yet
  Next asked_;
};

}  // namespace lair::pool
