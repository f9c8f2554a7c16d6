// Endpoint: whatever commands can be called on: a Pool, a Lease, a fake in a test.
//
//   int n  = endpoint.call<int>("count_words", text);                            // throws CallError
//   auto r = endpoint.try_call<int>({.timeout = 50ms}, "count_words", text);     // Result<int>
//   Json j = endpoint.call("analyse", lair::kwargs{{"text", text}, {"top", 5}}); // keywords
//   auto add = endpoint.fn<int(int, int)>("add");   add(2, 3);                   // lair/function.hpp
//
// Arguments are numbers, text, containers, structs with LAIR_FIELDS (lair/typed.hpp), and anything that nlohmann::json can take.
// Each is one positional argument, a bare Json object, too; one `kwargs` stands alone. A result of the wrong type is
// kInvalidArgument with delivery kExecuted, and its message says where in the value.
//
// `call` and `try_call` block the calling thread until the call's one outcome, at the latest until its deadline. Those that
// do not block: `start`, below; coroutines and futures in lair/async.hpp; Boost.Asio in lair/asio.hpp.
//
// Thread-safety: as the implementation says; Pool allows any number of threads.
#pragma once

#include <concepts>
#include <lair/array.hpp>
#include <lair/map.hpp>
#include <lair/once_function.hpp>
#include <lair/options.hpp>
#include <lair/result.hpp>
#include <lair/stop_link.hpp>
#include <lair/stream.hpp>
#include <lair/typed_call.hpp>
#include <memory>
#include <optional>
#include <ranges>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>

namespace lair {

// What is to be done with a call's outcome. It must not throw.
using Completion = OnceFunction<void(Result<Json>)>;

// What co_call and its kin give: lair/async.hpp, which whoever calls them includes.
template <class R>
class CoCall;
template <class R>
class CoTryCall;

template <class Signature>
class Function;  // R(Args...)

namespace detail {
template <class R>
struct FutureOf;
template <class R>
using Future = typename FutureOf<R>::Type;  // std::future<R>
}  // namespace detail

class Endpoint {
 public:
  virtual ~Endpoint() = default;

  // --- The primitives. `arguments`: a JSON object (keywords) or array (positions) -------------------------------------------
  virtual Result<Json> invoke(const CallOptions& options, std::string_view command, Json arguments) = 0;
  // Returns at once. `done` is called exactly once, never from within `start`: on the call's `executor`, or else on a thread
  // of the endpoint's, which it must not hold up. It ends early when `options.stop` is requested (kCancelled). `done` may be
  // called, and may destroy the endpoint, before `start` has returned.
  virtual void start(const CallOptions& options, std::string_view command, Json arguments,
                     Completion done) = 0;
  // A command that yields, as a stream. Returns at once; what speaks against it is the first `next`'s error.
  virtual std::unique_ptr<StreamSource> open(const CallOptions& options, std::string_view command,
                                             Json arguments) = 0;

  // What `call` and `try_call` are made of: arguments are written where they are needed, and a result is read where it lies.
  // Nothing, once `result` has the value. Here, by way of `invoke`.
  virtual std::optional<Error> invoke_typed(const CallOptions& options, std::string_view command,
                                            const detail::TypedArguments& arguments,
                                            detail::ResultSink& result);

  template <class R = Json, class... Args>
  Result<R> try_call(const CallOptions& options, std::string_view command, Args&&... args) {
    if constexpr (holds_arrays<R>) {
      // These keep the arrays until they are in their R.
      const CallOptions keeping = detail::options_for<R>(options);
      return typed_call<R>(keeping, command, args...);
    } else {
      return typed_call<R>(options, command, args...);
    }
  }
  // The command's type is deduced, which `{}` does not allow: so that is CallOptions, with all its defaults.
  template <class R = Json, std::convertible_to<std::string_view> Command, class... Args>
  Result<R> try_call(const Command& command, Args&&... args) {
    return try_call<R>(CallOptions{}, command, std::forward<Args>(args)...);
  }

  template <class R = Json, class... Args>
  R call(const CallOptions& options, std::string_view command, Args&&... args) {
    return try_call<R>(options, command, std::forward<Args>(args)...).value();
  }
  template <class R = Json, std::convertible_to<std::string_view> Command, class... Args>
  R call(const Command& command, Args&&... args) {
    return try_call<R>(CallOptions{}, command, std::forward<Args>(args)...).value();
  }

  // A command as a function: lair/function.hpp.
  template <class Signature>
  Function<Signature> fn(std::string command, CallOptions options = {});

  // --- Awaited, or as a std::future: lair/async.hpp -------------------------------------------------------------------------
  template <class R = Json, class... Args>
  CoTryCall<R> co_try_call(const CallOptions& options, std::string_view command, Args&&... args);
  template <class R = Json, std::convertible_to<std::string_view> Command, class... Args>
  CoTryCall<R> co_try_call(const Command& command, Args&&... args) {
    return co_try_call<R>(CallOptions{}, command, std::forward<Args>(args)...);
  }

  template <class R = Json, class... Args>
  CoCall<R> co_call(const CallOptions& options, std::string_view command, Args&&... args);
  template <class R = Json, std::convertible_to<std::string_view> Command, class... Args>
  CoCall<R> co_call(const Command& command, Args&&... args) {
    return co_call<R>(CallOptions{}, command, std::forward<Args>(args)...);
  }

  template <class R = Json, class... Args>
  detail::Future<R> future_call(const CallOptions& options, std::string_view command, Args&&... args);
  template <class R = Json, std::convertible_to<std::string_view> Command, class... Args>
  detail::Future<R> future_call(const Command& command, Args&&... args) {
    return future_call<R>(CallOptions{}, command, std::forward<Args>(args)...);
  }

  // --- Item by item ---------------------------------------------------------------------------------------------------------
  template <class T = Json, class... Args>
  Stream<T> stream(const CallOptions& options, std::string_view command, Args&&... args) {
    auto link = std::make_unique<detail::StopLink>(options.stop);
    CallOptions linked = options;
    linked.stop = link->token();
    return {std::string(command), std::move(link),
            open(linked, command, detail::arguments(std::forward<Args>(args)...))};
  }
  template <class T = Json, std::convertible_to<std::string_view> Command, class... Args>
  Stream<T> stream(const Command& command, Args&&... args) {
    return stream<T>(CallOptions{}, command, std::forward<Args>(args)...);
  }

  // --- For every item of a range, many at a time: lair/map.hpp --------------------------------------------------------------
  template <class R = Json, std::ranges::input_range Items>
  std::vector<Result<R>> map_all(const MapOptions& options, std::string_view command, Items&& items) {
    detail::MapOf<R, std::ranges::iterator_t<Items>, std::ranges::sentinel_t<Items>> job(
        command, true, std::ranges::begin(items), std::ranges::end(items));
    run_map(detail::options_for_map<R>(options), command, job);
    return job.each();
  }
  template <class R = Json, std::ranges::input_range Items>
  Result<std::vector<R>> try_map(const MapOptions& options, std::string_view command, Items&& items) {
    detail::MapOf<R, std::ranges::iterator_t<Items>, std::ranges::sentinel_t<Items>> job(
        command, false, std::ranges::begin(items), std::ranges::end(items));
    run_map(detail::options_for_map<R>(options), command, job);
    return job.first_error_or_values();
  }
  template <class R = Json, std::ranges::input_range Items>
  std::vector<R> map(const MapOptions& options, std::string_view command, Items&& items) {
    return try_map<R>(options, command, std::forward<Items>(items)).value();
  }
  template <class R = Json, std::convertible_to<std::string_view> Command, std::ranges::input_range Items>
  std::vector<Result<R>> map_all(const Command& command, Items&& items) {
    return map_all<R>(MapOptions{}, command, std::forward<Items>(items));
  }
  template <class R = Json, std::convertible_to<std::string_view> Command, std::ranges::input_range Items>
  Result<std::vector<R>> try_map(const Command& command, Items&& items) {
    return try_map<R>(MapOptions{}, command, std::forward<Items>(items));
  }
  template <class R = Json, std::convertible_to<std::string_view> Command, std::ranges::input_range Items>
  std::vector<R> map(const Command& command, Items&& items) {
    return map<R>(MapOptions{}, command, std::forward<Items>(items));
  }
  // What these are made of. Here, one call after another.
  virtual void run_map(const MapOptions& options, std::string_view command, detail::MapJob& job);

 protected:
  Endpoint() = default;
  Endpoint(const Endpoint&) = default;
  Endpoint& operator=(const Endpoint&) = default;

 private:
  template <class R, class... Args>
  Result<R> typed_call(const CallOptions& options, std::string_view command, const Args&... args) {
    detail::ResultOf<R> result;
    if (auto failed = invoke_typed(options, command, detail::view_of(args...), result))
      return *std::move(failed);
    return result.take(command);
  }
};

}  // namespace lair

#include <lair/function.hpp>
