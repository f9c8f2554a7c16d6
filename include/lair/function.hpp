// Function: a command as a C++ function, with the types of its parameters and of its result.
//
//   auto add = pool.fn<int(int, int)>("add");
//   int five = add(2, 3);                                                       // throws CallError
//   lair::Result<int> sum = add.try_call(2, 3);
//   auto quick = pool.fn<double(std::string_view)>("score", {.timeout = 50ms, .idempotent = true});
//   std::vector<int> sums = add.map(std::vector<std::tuple<int, int>>{{1, 2}, {3, 4}});
//   int six = co_await add.co_call(2, 4);                                       // with lair/async.hpp; future_call likewise
//
// Parameters are given by position, and are as C++ has it: an argument is converted to its parameter's type. What the types may
// be: lair/typed.hpp. The endpoint (a Pool, a Session, a Lease …) must outlive this and stay where it is.
//
// Thread-safety: as the endpoint's.
#pragma once

#include <lair/endpoint.hpp>
#include <ranges>
#include <string>
#include <utility>
#include <vector>

namespace lair {

template <class R, class... Args>
class Function<R(Args...)> {
 public:
  Function(Endpoint& endpoint, std::string command, CallOptions options = {})
      : endpoint_(&endpoint), command_(std::move(command)), options_(std::move(options)) {}

  const std::string& command() const { return command_; }
  const CallOptions& options() const { return options_; }
  // The same command with other options.
  Function with(CallOptions options) const { return {*endpoint_, command_, std::move(options)}; }

  R operator()(const Args&... args) const { return endpoint_->call<R>(options_, command_, args...); }
  Result<R> try_call(const Args&... args) const {
    return endpoint_->try_call<R>(options_, command_, args...);
  }
  // Arguments are encoded before these return.
  CoCall<R> co_call(const Args&... args) const {
    return endpoint_->template co_call<R>(options_, command_, args...);
  }
  CoTryCall<R> co_try_call(const Args&... args) const {
    return endpoint_->template co_try_call<R>(options_, command_, args...);
  }
  auto future_call(const Args&... args) const {
    return endpoint_->template future_call<R>(options_, command_, args...);
  }

  // For every item (lair/map.hpp); a std::tuple is several arguments. `options.call` is this function's.
  template <std::ranges::input_range Items>
  std::vector<R> map(Items&& items, MapOptions options = {}) const {
    return try_map(std::forward<Items>(items), std::move(options)).value();
  }
  template <std::ranges::input_range Items>
  Result<std::vector<R>> try_map(Items&& items, MapOptions options = {}) const {
    options.call = options_;
    return endpoint_->try_map<R>(options, command_, std::forward<Items>(items));
  }
  template <std::ranges::input_range Items>
  std::vector<Result<R>> map_all(Items&& items, MapOptions options = {}) const {
    options.call = options_;
    return endpoint_->map_all<R>(options, command_, std::forward<Items>(items));
  }

 private:
  Endpoint* endpoint_;
  std::string command_;
  CallOptions options_;
};

template <class Signature>
Function<Signature> Endpoint::fn(std::string command, CallOptions options) {
  return {*this, std::move(command), std::move(options)};
}

}  // namespace lair
