// Functions of this program that workers call, in the middle of a call: docs/callbacks.md.
//
//   pool.expose("lookup", [&](const std::string& word, int limit) { return index.find(word, limit); });
//
//   def f(text): return lair_worker.host.lookup(text, 5)          # in Python
//
// Parameters and the result are anything that nlohmann::json converts. A function that takes one `Json` is given the arguments
// as they came: an array (positions) or an object (keywords). What it throws reaches Python as `lair_worker.HostError`.
//
// It runs on the thread that made the call. For a call that does not block: on the call's `executor`, or a thread of the
// pool's own for such functions, one at a time. Calls that it makes itself end by the deadline of the call that it serves.
//
// Thread-safety: the functions are called from any of these threads, at the same time.
#pragma once

#include <functional>
#include <lair/error.hpp>
#include <lair/json.hpp>
#include <lair/result.hpp>
#include <lair/typed_dom.hpp>
#include <string>
#include <tuple>
#include <type_traits>
#include <utility>

namespace lair {

// The untyped form: arguments in, as an array or an object; a value or an error out.
using HostFunction = std::function<Result<Json>(Json arguments)>;

namespace detail {

template <class Function>
struct Signature : Signature<decltype(&Function::operator())> {};
template <class R, class... Args>
struct Signature<R (*)(Args...)> {
  using Result = R;
  using Arguments = std::tuple<std::decay_t<Args>...>;
};
template <class R, class... Args>
struct Signature<R (*)(Args...) noexcept> : Signature<R (*)(Args...)> {};
template <class R, class C, class... Args>
struct Signature<R (C::*)(Args...)> : Signature<R (*)(Args...)> {};
template <class R, class C, class... Args>
struct Signature<R (C::*)(Args...) const> : Signature<R (*)(Args...)> {};
template <class R, class C, class... Args>
struct Signature<R (C::*)(Args...) noexcept> : Signature<R (*)(Args...)> {};
template <class R, class C, class... Args>
struct Signature<R (C::*)(Args...) const noexcept> : Signature<R (*)(Args...)> {};

// What speaks against these arguments for a function of `count` parameters; nothing, if they may do.
Result<void> check_host_arguments(const Json& arguments, std::size_t count);
Error wrong_host_argument(std::size_t place, const char* what, const Json& value);
Error host_function_threw(const std::exception& thrown);
Error host_function_threw_something();

template <class T>
T host_argument(const Json& arguments, std::size_t place) {
  try {
    return from_dom<T>(arguments[place]);
  } catch (const Json::exception& mismatch) {
    throw CallError(wrong_host_argument(place, mismatch.what(), arguments[place]));
  }
}

template <class Function>
Result<Json> call_host_function(Function& function, Json arguments) {
  using Arguments = typename Signature<Function>::Arguments;
  using R = typename Signature<Function>::Result;
  const auto called = [&](auto&&... values) -> Result<Json> {
    if constexpr (std::is_void_v<R>) {
      function(std::forward<decltype(values)>(values)...);
      return Json();
    } else if constexpr (std::is_same_v<std::decay_t<R>, Result<Json>>) {
      return function(std::forward<decltype(values)>(values)...);
    } else {
      return to_dom(function(std::forward<decltype(values)>(values)...));
    }
  };
  if constexpr (std::is_same_v<Arguments, std::tuple<Json>>) {
    return called(std::move(arguments));
  } else {
    constexpr std::size_t kCount = std::tuple_size_v<Arguments>;
    if (auto fits = check_host_arguments(arguments, kCount); !fits) return std::move(fits).error();
    return [&]<std::size_t... I>(std::index_sequence<I...>) {
      return called(host_argument<std::tuple_element_t<I, Arguments>>(arguments, I)...);
    }
    (std::make_index_sequence<kCount>{});
  }
}

// Nothing that the function throws passes.
template <class Function>
HostFunction host_function(Function function) {
  return [function = std::move(function)](Json arguments) mutable -> Result<Json> {
    try {
      return call_host_function(function, std::move(arguments));
    } catch (const CallError& failed) {
      return failed.error();
    } catch (const std::exception& thrown) {
      return host_function_threw(thrown);
    } catch (...) {
      return host_function_threw_something();
    }
  };
}

}  // namespace detail
}  // namespace lair
