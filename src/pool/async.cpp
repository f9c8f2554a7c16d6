// How calls come to the reactor and their outcomes back: completions, streams, and threads that wait.
#include <condition_variable>
#include <deque>
#include <mutex>
#include <system_error>
#include <utility>

#include "base/assert.hpp"
#include "pool/reactor.hpp"
#include "pool/scratch.hpp"
#include "pool/stream_handle.hpp"

namespace lair::pool {

namespace {

// What a thread does while it waits for its call: the work that the call has for it.
class Loop {
 public:
  // False: the thread has gone on.
  bool post(std::function<void()> work) {
    {
      const std::lock_guard lock(mutex_);
      if (closed_) return false;
      work_.push_back(std::move(work));
    }
    changed_.notify_one();
    return true;
  }
  void end(Result<Json> result) {
    {
      const std::lock_guard lock(mutex_);
      result_ = std::move(result);
    }
    changed_.notify_one();
  }
  Result<Json> run() {
    std::unique_lock lock(mutex_);
    for (;;) {
      changed_.wait(lock, [this] { return result_ || !work_.empty(); });
      if (result_) {
        closed_ = true;
        return *std::move(result_);
      }
      const std::function<void()> next = std::move(work_.front());
      work_.pop_front();
      lock.unlock();
      next();
      lock.lock();
    }
  }

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<std::function<void()>> work_;
  std::optional<Result<Json>> result_;
  bool closed_ = false;
};

Error pool_has_gone(std::string_view command) {
  return {.kind = ErrorKind::kUnavailable,
          .delivery = Delivery::kNotSent,
          .message = quoted(command) + ": its pool has shut down"};
}

}  // namespace

Error on_own_thread(std::string_view command) {
  return {
      .kind = ErrorKind::kInvalidArgument,
      .delivery = Delivery::kNotSent,
      .message = quoted(command) +
                 ": a call that blocks, made on the pool's own thread, would hold up all that it waits for. "
                 "Give the call whose completion this is an executor."};
}

// On the thread of its caller, whose call this may be within.
void Reactor::set_out(AsyncCall& call, const CallOptions& options, std::string_view command,
                      const Json& arguments, const Bound& bound) {
  call.command = command;
  call.executor = options.executor;
  call.refusal = shell_.set_out(call.course, options, call.command, arguments, bound);
}

void Reactor::start(const CallOptions& options, std::string_view command, const Json& arguments,
                    Completion done, Bound bound) {
  auto call = std::make_unique<AsyncCall>();
  set_out(*call, options, command, arguments, bound);
  if (bound.held != nullptr) bind(*call, options.stop, std::move(bound.held));
  const auto told = std::make_shared<Completion>(std::move(done));
  if (options.executor) {
    call->done = [executor = options.executor, done = told](Result<Json> result) {
      executor([done, result = std::make_shared<Result<Json>>(std::move(result))] {
        (*done)(std::move(*result));
      });
    };
  } else {
    call->done = [done = told](Result<Json> result) { (*done)(std::move(result)); };
  }
  call->course.blocks = false;
  if (!bring(*this, std::move(call))) (*told)(pool_has_gone(command));
}

// Where the reactor waits for channels, it would have to be woken: the calling thread sends the request itself. Not that of a
// session, whose last call may have to finish with the store first; and where a worker has several calls, the reactor sends
// those together that come together.
bool Reactor::bring(Reactor& reactor, std::unique_ptr<AsyncCall> call) {
  // A copy: the completion may have ended the pool before this returns.
  const std::shared_ptr<Mailbox> mailbox = reactor.mailbox_;
  if (call->course.session == nullptr && reactor.shell_.options().concurrency == 1) {
    if (auto turn = mailbox->take_turn()) {
      reactor.begin(std::move(call));
      const bool wanted = reactor.is_wanted();
      turn->unlock();
      if (wanted) mailbox->wake();
      return true;
    }
  }
  return mailbox->post([call = std::move(call)](Reactor& own) mutable { own.begin(std::move(call)); });
}

void Reactor::finish_begun() {
  while (!ended_at_once_.empty()) {
    for (auto& [key, result] : std::exchange(ended_at_once_, {})) {
      AsyncCall* call = find(key);
      LAIR_ASSERT(call != nullptr);
      tell(*call, std::move(result));
      forget(*call);
    }
  }
}

// Ends also when `stop` is requested. Returns what ends it in any case.
std::stop_source Reactor::bind(AsyncCall& call, const std::stop_token& stop,
                               std::shared_ptr<HeldWorker> held) {
  std::stop_source own;
  const auto chain = [&](const std::stop_token& token) {
    if (!token.stop_possible()) return;
    call.chained.push_back(std::make_unique<AsyncCall::OnStop>(
        token, [source = own]() mutable { (void)source.request_stop(); }));
  };
  chain(stop);
  if (held != nullptr) chain(held->stop());
  call.course.wanted.stop = own.get_token();
  call.held = std::move(held);
  return own;
}

Result<Json> Reactor::call(const CallOptions& options, std::string_view command, const Json& arguments,
                           const Bound& bound) {
  const auto loop = std::make_shared<Loop>();
  auto call = std::make_unique<AsyncCall>();
  set_out(*call, options, command, arguments, bound);
  call->executor = [loop](std::function<void()> work) { (void)loop->post(std::move(work)); };
  call->done = [loop](Result<Json> result) { loop->end(std::move(result)); };
  const bool taken =
      mailbox_->post([call = std::move(call)](Reactor& reactor) mutable { reactor.begin(std::move(call)); });
  if (!taken) return pool_has_gone(command);
  return loop->run();
}

std::unique_ptr<StreamSource> Reactor::open(const CallOptions& options, std::string_view command,
                                            const Json& arguments, Bound bound) {
  const wire::CallHeader::Credit window{.items = std::max<std::size_t>(1, options.stream_items),
                                        .bytes = std::max<std::size_t>(1, options.stream_bytes)};
  auto call = std::make_unique<AsyncCall>();
  set_out(*call, options, command, arguments, bound);
  call->course.stream = window;
  call->course.retries = {};  // what has been consumed cannot be taken back
  const std::stop_source stop = bind(*call, options.stop, std::move(bound.held));
  // A copy: the outcome may have ended the pool before this returns.
  const std::shared_ptr<Mailbox> mailbox = mailbox_;
  const auto key = call->key_told = std::make_shared<std::uint64_t>(0);
  const auto buffer =
      std::make_shared<StreamBuffer>(window, options.executor, [mailbox, key](wire::CallHeader::Credit more) {
        mailbox->post([key, more](Reactor& reactor) { reactor.credit(*key, more); });
      });
  call->stream = buffer;
  call->done = [this, buffer](Result<Json> result) { run_user_code(buffer->end(std::move(result))); };
  call->course.blocks = false;
  if (!bring(*this, std::move(call))) (void)buffer->end(pool_has_gone(command));
  return std::make_unique<StreamHandle>(*this, mailbox, key, buffer, stop);
}

// --- The shell's -------------------------------------------------------------------------------------

Result<Reactor*> Shell::reactor() {
  if (Reactor* running = has_reactor_.load(std::memory_order_acquire)) return running;
  const std::lock_guard lock(reactor_mutex_);
  if (reactor_ == nullptr) {
    try {
      reactor_ = std::make_unique<Reactor>(*this);
    } catch (const CallError& refused) {
      return refused.error();
    } catch (const std::system_error& refused) {
      return Error{.kind = ErrorKind::kUnavailable,
                   .delivery = Delivery::kNotSent,
                   .message = std::string("the system refused a thread for calls that do not block: ") +
                              refused.what()};
    }
    has_reactor_.store(reactor_.get(), std::memory_order_release);
  }
  return reactor_.get();
}

bool Shell::on_reactor() const {
  const Reactor* running = has_reactor_.load(std::memory_order_acquire);
  return running != nullptr && running->is_this_thread();
}

void Shell::tell_reactor_of_exit() {
  if (Reactor* running = has_reactor_.load(std::memory_order_acquire)) running->worker_ended();
}

Result<Json> Shell::call(const CallOptions& options, std::string_view command, const Json& arguments,
                         const Bound& bound) {
  if (on_reactor()) return on_own_thread(command);
  if (options_.concurrency == 1) {
    Course course;
    if (auto refusal = set_out(course, options, command, arguments, bound)) return *std::move(refusal);
    return call_directly(course, options.stop);
  }
  const Result<Reactor*> driver = reactor();
  if (!driver) return driver.error();
  return (*driver)->call(options, command, arguments, bound);
}

std::optional<Error> Shell::call(const CallOptions& options, std::string_view command,
                                 const detail::TypedArguments& arguments, detail::ResultSink& result,
                                 const Bound& bound) {
  if (on_reactor()) return on_own_thread(command);
  if (options_.concurrency > 1) {
    Result<Json> value = call(options, command, arguments.json(), bound);
    if (!value) return std::move(value).error();
    result.keep(*std::move(value));
    return std::nullopt;
  }
  Course course;
  const Scratch scratch(course.call);
  course.result = &result;
  if (auto refusal = set_out(course, options, command, arguments, bound)) return refusal;
  Result<Json> value = call_directly(course, options.stop);
  if (!value) return std::move(value).error();
  if (!course.is_read) result.keep(*std::move(value));
  return std::nullopt;
}

// Without a reactor there is no thread that could say so later.
void Shell::start(const CallOptions& options, std::string_view command, const Json& arguments,
                  Completion done, Bound bound) {
  const Result<Reactor*> driver = reactor();
  if (!driver) return done(driver.error());
  (*driver)->start(options, command, arguments, std::move(done), std::move(bound));
}

std::unique_ptr<StreamSource> Shell::open(const CallOptions& options, std::string_view command,
                                          const Json& arguments, Bound bound) {
  const Result<Reactor*> driver = reactor();
  if (!driver) return std::make_unique<NoStream>(driver.error());
  return (*driver)->open(options, command, arguments, std::move(bound));
}

}  // namespace lair::pool
