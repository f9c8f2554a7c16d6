// Request: what is to be asked of a DSPy worker, in whichever form its asker wants the answer.
//
//   qa.request({{"question", "..."}}).get();                 // blocks; throws CallError
//   qa.request({{"question", "..."}}).try_get();             // blocks; Result<Prediction>
//   auto asked = qa.request<Answer>(inputs);
//   Answer answer = co_await asked.co_get();                 // co_try_get: Result<Answer>
//   std::future<Answer> later = asked.future();
//   asked.start([](lair::Result<Answer> answer) { ... });
//
// The forms are those of every Endpoint (lair/endpoint.hpp, lair/async.hpp), and so is what holds for them: deadlines, executors,
// cancellation, who must live how long. Each use of a request is a call of its own; nothing is sent before.
//
// Thread-safety: a value; any thread may use a copy.
#pragma once

#include <functional>
#include <future>
#include <lair/async.hpp>
#include <lair/endpoint.hpp>
#include <memory>
#include <string>
#include <utility>

namespace lair::dspy {

template <class R>
class CoRequest;
template <class R>
class CoTryRequest;

template <class R>
class [[nodiscard]] Request {
 public:
  using Decode = std::function<Result<R>(Json)>;

  // For Client and Program.
  Request(std::shared_ptr<Endpoint> endpoint, CallOptions options, std::string command, Json arguments,
          Decode decode)
      : state_(std::make_shared<State>(State{std::move(endpoint), std::move(options), std::move(command),
                                             std::move(arguments), std::move(decode)})) {}

  // Block, at the latest until the deadline.
  Result<R> try_get() const {
    return state_->decode(state_->endpoint->invoke(state_->options, state_->command, state_->arguments));
  }
  R get() const { return try_get().value(); }

  // Return at once.
  void start(OnceFunction<void(Result<R>)> done) const { start_with(state_->options, std::move(done)); }
  std::future<R> future() const {
    std::promise<R> promise;
    auto future = promise.get_future();
    CallOptions anywhere = state_->options;
    anywhere.executor = {};
    start_with(anywhere, [promise = std::move(promise)](Result<R> answer) mutable {
      lair::detail::fulfil(promise, [&]() -> R { return std::move(answer).value(); });
    });
    return future;
  }
  CoRequest<R> co_get() const { return CoRequest<R>(state_); }
  CoTryRequest<R> co_try_get() const { return CoTryRequest<R>(state_); }

 private:
  friend class CoRequest<R>;
  friend class CoTryRequest<R>;
  struct State {
    std::shared_ptr<Endpoint> endpoint;
    CallOptions options;
    std::string command;
    Json arguments;
    Decode function;

    Result<R> decode(Result<Json> reply) const {
      if (!reply) return std::move(reply).error();
      return function(*std::move(reply));
    }
  };

  void start_with(const CallOptions& options, OnceFunction<void(Result<R>)> done) const {
    state_->endpoint->start(options, state_->command, state_->arguments,
                            [state = state_, done = std::move(done)](Result<Json> reply) mutable {
                              done(state->decode(std::move(reply)));
                            });
  }

  std::shared_ptr<const State> state_;
};

template <class R>
class [[nodiscard]] CoTryRequest : public lair::detail::CallAwaiter {
 public:
  Result<R> await_resume() { return state_->decode(outcome()); }

 private:
  friend class Request<R>;
  friend class CoRequest<R>;
  using State = typename Request<R>::State;
  explicit CoTryRequest(std::shared_ptr<const State> state)
      : CallAwaiter(*state->endpoint, state->options, state->command, state->arguments),
        state_(std::move(state)) {}

  std::shared_ptr<const State> state_;
};

template <class R>
class [[nodiscard]] CoRequest : public CoTryRequest<R> {
 public:
  R await_resume() { return CoTryRequest<R>::await_resume().value(); }

 private:
  friend class Request<R>;
  using CoTryRequest<R>::CoTryRequest;
};

}  // namespace lair::dspy
