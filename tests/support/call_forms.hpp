// The forms in which an Endpoint is called, each behind one face, so that one suite can hold all of them to the same words.
//
//   auto reply = Coroutine::begin(pool, {.timeout = 1s}, "add", 1, 2);   // under way
//   reply.get();                                                          // Result<Json>
//
// Thread-safety: any thread.
#pragma once

#include <exception>
#include <future>
#include <lair/async.hpp>
#include <lair/endpoint.hpp>
#include <memory>
#include <string_view>
#include <utility>

#include "support/coroutine.hpp"

namespace lair::test {

using Reply = std::future<Result<Json>>;

struct Blocking {
  template <class... Args>
  static Reply begin(Endpoint& endpoint, const CallOptions& options, std::string_view command, Args... args) {
    return std::async(std::launch::async, [&endpoint, options, command = std::string(command), args...] {
      return endpoint.try_call(options, command, args...);
    });
  }
};

struct Callback {
  template <class... Args>
  static Reply begin(Endpoint& endpoint, const CallOptions& options, std::string_view command, Args... args) {
    auto promise = std::make_shared<std::promise<Result<Json>>>();
    auto reply = promise->get_future();
    endpoint.start(options, command, detail::arguments(std::move(args)...),
                   [promise](Result<Json> outcome) { promise->set_value(std::move(outcome)); });
    return reply;
  }
};

struct Coroutine {
  template <class... Args>
  static Reply begin(Endpoint& endpoint, const CallOptions& options, std::string_view command, Args... args) {
    auto promise = std::make_shared<std::promise<Result<Json>>>();
    auto reply = promise->get_future();
    await(endpoint.co_try_call(options, command, std::move(args)...), std::move(promise));
    return reply;
  }

 private:
  static Detached await(CoTryCall<Json> call, std::shared_ptr<std::promise<Result<Json>>> promise) {
    promise->set_value(co_await std::move(call));
  }
};

// The error of a call whose outcome is an exception.
inline Result<Json> unexcepted(std::future<Json>& value) {
  try {
    return value.get();
  } catch (const CallError& error) {
    return error.error();
  }
}

struct Future {
  template <class... Args>
  static Reply begin(Endpoint& endpoint, const CallOptions& options, std::string_view command, Args... args) {
    return std::async(std::launch::deferred,
                      [value = endpoint.future_call(options, command, std::move(args)...)]() mutable {
                        return unexcepted(value);
                      });
  }
};

}  // namespace lair::test
