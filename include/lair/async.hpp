// Calls that do not block their thread, as coroutines and futures, on every Endpoint: a Pool, a Lease, a FakeEndpoint.
//
//   int n  = co_await pool.co_call<int>("count_words", text);                          // throws CallError
//   auto r = co_await pool.co_try_call<int>({.timeout = 50ms}, "count_words", text);   // Result<int>
//   while (auto row = co_await stream.co_next()) use(*row);                            // Stream<T>::co_try_next: Result
//   std::future<int> f = pool.future_call<int>("count_words", text);                   // get() throws CallError
//
// They work in any coroutine type that awaits foreign awaitables; in one of Boost.Asio's, use lair/asio.hpp. Nothing happens
// before the `co_await`; it resumes on the call's `executor`, or else on a thread of the endpoint's, which it must not
// hold up. Arguments are encoded, and options copied, when co_call and its kin are called: they need not live longer. The
// endpoint, or the stream, must live until the `co_await` has suspended the coroutine.
//
// A coroutine that is destroyed while it waits cancels its call. Destroy it where it is resumed (on that executor), or
// otherwise so that the two cannot meet. An executor that drops its work leaves the coroutine suspended, to be destroyed.
//
// A future is fulfilled by the endpoint's thread, whatever `executor` says: it can be waited for anywhere.
//
// docs/async.md has the whole picture. Thread-safety: values; each is awaited once.
#pragma once

#include <coroutine>
#include <exception>
#include <future>
#include <lair/endpoint.hpp>
#include <lair/stop_link.hpp>
#include <lair/stream.hpp>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

namespace lair {

namespace detail {

// A suspended coroutine and the operation that it waits for, between the two; freed by the last of them.
template <class Outcome>
class Suspension;

// What the awaitables below have in common, for a call and for an item of a stream.
class CallAwaiter {
 public:
  CallAwaiter(Endpoint& endpoint, CallOptions options, std::string_view command, Json arguments);
  CallAwaiter(CallAwaiter&&) noexcept;
  CallAwaiter& operator=(CallAwaiter&&) = delete;
  ~CallAwaiter();  // cancels the call, if it has begun and not ended

  bool await_ready() const noexcept { return false; }
  void await_suspend(std::coroutine_handle<> waiting);

 protected:
  Result<Json> outcome();
  const std::string& command() const noexcept { return command_; }

 private:
  Endpoint* endpoint_;
  CallOptions options_;
  std::string command_;
  Json arguments_;
  std::shared_ptr<Suspension<Result<Json>>> suspension_;  // from the suspension on
};

class NextAwaiter {
 public:
  NextAwaiter(StreamSource& source, std::stop_source stop);
  NextAwaiter(NextAwaiter&&) noexcept;
  NextAwaiter& operator=(NextAwaiter&&) = delete;
  ~NextAwaiter();  // cancels the stream, if it waits for an item

  bool await_ready() const noexcept { return false; }
  void await_suspend(std::coroutine_handle<> waiting);

 protected:
  StreamSource::Item outcome();

 private:
  StreamSource* source_;
  std::stop_source stop_;
  std::shared_ptr<Suspension<StreamSource::Item>> suspension_;
};

template <class R>
struct FutureOf {
  using Type = std::future<R>;
};

// Fulfils a promise with what `get` makes of a reply: exactly once, also where a `from_json` of the user's throws.
template <class R, class Get>
void fulfil(std::promise<R>& promise, Get get) {
  try {
    if constexpr (std::is_void_v<R>) {
      get();
      promise.set_value();
    } else {
      promise.set_value(get());
    }
  } catch (...) {
    promise.set_exception(std::current_exception());
  }
}

}  // namespace detail

template <class R>
class [[nodiscard]] CoTryCall : public detail::CallAwaiter {
 public:
  using CallAwaiter::CallAwaiter;
  Result<R> await_resume() { return detail::result_as<R>(command(), outcome()); }
};

template <class R>
class [[nodiscard]] CoCall : public detail::CallAwaiter {
 public:
  using CallAwaiter::CallAwaiter;
  R await_resume() { return detail::result_as<R>(command(), outcome()).value(); }
};

template <class T>
class [[nodiscard]] CoTryNext : public detail::NextAwaiter {
 public:
  CoTryNext(Stream<T>& stream)
      : NextAwaiter(stream.source(), stream.stop_source()), command_(stream.command()) {}
  Result<std::optional<T>> await_resume() { return detail::item_as<T>(command_, outcome()); }

 private:
  std::string command_;
};

template <class T>
class [[nodiscard]] CoNext : public CoTryNext<T> {
 public:
  using CoTryNext<T>::CoTryNext;
  std::optional<T> await_resume() { return CoTryNext<T>::await_resume().value(); }
};

template <class R, class... Args>
CoTryCall<R> Endpoint::co_try_call(const CallOptions& options, std::string_view command, Args&&... args) {
  return {*this, detail::options_for<R>(options), command, detail::arguments(std::forward<Args>(args)...)};
}

template <class R, class... Args>
CoCall<R> Endpoint::co_call(const CallOptions& options, std::string_view command, Args&&... args) {
  return {*this, detail::options_for<R>(options), command, detail::arguments(std::forward<Args>(args)...)};
}

template <class R, class... Args>
detail::Future<R> Endpoint::future_call(const CallOptions& options, std::string_view command,
                                        Args&&... args) {
  std::promise<R> promise;
  auto future = promise.get_future();
  CallOptions anywhere = detail::options_for<R>(options);
  anywhere.executor = {};
  start(anywhere, command, detail::arguments(std::forward<Args>(args)...),
        [promise = std::move(promise), name = std::string(command),
         kept = anywhere.taken_arrays](Result<Json> reply) mutable {
          detail::fulfil(promise, [&] { return detail::result_as<R>(name, std::move(reply)).value(); });
        });
  return future;
}

template <class T>
CoTryNext<T> Stream<T>::co_try_next() {
  return {*this};
}

template <class T>
CoNext<T> Stream<T>::co_next() {
  return {*this};
}

}  // namespace lair
