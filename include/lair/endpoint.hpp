// Endpoint: whatever commands can be called on: a Pool, a Lease, a fake in a test.
//
//   int n  = endpoint.call<int>("count_words", text);                            // throws CallError
//   auto r = endpoint.try_call<int>({.timeout = 50ms}, "count_words", text);     // Result<int>
//   Json j = endpoint.call("analyse", lair::kwargs{{"text", text}, {"top", 5}}); // keywords
//
// Arguments are anything nlohmann::json can take; one `kwargs` stands alone; a bare Json object is one
// positional argument. A result of the wrong type is kInvalidArgument with delivery kExecuted.
//
// Every call blocks the calling thread until its one outcome, at the latest until its deadline.
//
// Thread-safety: as the implementation says; Pool allows any number of threads.
#pragma once

#include <concepts>
#include <lair/options.hpp>
#include <lair/result.hpp>
#include <string_view>
#include <type_traits>
#include <utility>

namespace lair {

namespace detail {
Error wrong_result_type(std::string_view command, const char* what, const Json& value);

template <class... Args>
Json arguments(Args&&... args) {
  if constexpr (sizeof...(Args) == 1 && (std::is_same_v<std::decay_t<Args>, kwargs> && ...)) {
    return (std::forward<Args>(args).object, ...);
  } else {
    static_assert((!std::is_same_v<std::decay_t<Args>, kwargs> && ...),
                  "kwargs stands alone: give every argument by keyword, or every one by position");
    Json positional = Json::array();
    (positional.push_back(Json(std::forward<Args>(args))), ...);
    return positional;
  }
}
}  // namespace detail

class Endpoint {
 public:
  virtual ~Endpoint() = default;

  // The one primitive. `arguments`: a JSON object (keywords) or array (positions).
  virtual Result<Json> invoke(const CallOptions& options, std::string_view command, Json arguments) = 0;

  template <class R = Json, class... Args>
  Result<R> try_call(const CallOptions& options, std::string_view command, Args&&... args) {
    Result<Json> reply = invoke(options, command, detail::arguments(std::forward<Args>(args)...));
    if constexpr (std::is_same_v<R, Json>) {
      return reply;
    } else {
      if (!reply) return std::move(reply).error();
      if constexpr (std::is_void_v<R>) {
        return {};
      } else {
        try {
          return reply->template get<R>();
        } catch (const Json::exception& mismatch) {
          return detail::wrong_result_type(command, mismatch.what(), *reply);
        }
      }
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

 protected:
  Endpoint() = default;
  Endpoint(const Endpoint&) = default;
  Endpoint& operator=(const Endpoint&) = default;
};

}  // namespace lair
