// Result<T>: a value or an Error. The names are std::expected's; the type is Lair's own, because g++ 12
// has std::expected only in C++23 and a library whose ABI depends on the caller's language level breaks
// (docs/adr/0002-own-result.md).
//
//   lair::Result<int> n = pool.try_call<int>("count_words", text);
//   if (!n) return log(n.error().message);
//   use(*n);
//
// Asking the wrong side is a programmer error: `error()` of a value and `*` of an error abort; `value()`
// of an error throws CallError.
//
// Thread-safety: as its T.
#pragma once

#include <lair/error.hpp>
#include <type_traits>
#include <utility>
#include <variant>

namespace lair {

namespace detail {
[[noreturn]] void result_misused(const char* what) noexcept;
}

template <class T>
class [[nodiscard]] Result {
  static_assert(!std::is_same_v<std::remove_cv_t<T>, Error>, "Result<Error> would be ambiguous");

 public:
  using value_type = T;

  Result(T value) : state_(std::in_place_index<0>, std::move(value)) {}      // NOLINT: implicit by design
  Result(Error error) : state_(std::in_place_index<1>, std::move(error)) {}  // NOLINT: implicit by design

  bool has_value() const noexcept { return state_.index() == 0; }
  explicit operator bool() const noexcept { return has_value(); }

  T& value() & { return throw_if_error(), std::get<0>(state_); }
  const T& value() const& { return throw_if_error(), std::get<0>(state_); }
  T&& value() && { return throw_if_error(), std::get<0>(std::move(state_)); }

  T& operator*() & noexcept { return checked(), *std::get_if<0>(&state_); }
  const T& operator*() const& noexcept { return checked(), *std::get_if<0>(&state_); }
  T&& operator*() && noexcept { return checked(), std::move(*std::get_if<0>(&state_)); }
  T* operator->() noexcept { return checked(), std::get_if<0>(&state_); }
  const T* operator->() const noexcept { return checked(), std::get_if<0>(&state_); }

  template <class U>
  T value_or(U&& fallback) const& {
    return has_value() ? std::get<0>(state_) : static_cast<T>(std::forward<U>(fallback));
  }

  const Error& error() const& noexcept { return checked_error(), *std::get_if<1>(&state_); }
  Error&& error() && noexcept { return checked_error(), std::move(*std::get_if<1>(&state_)); }

 private:
  void throw_if_error() const {
    if (!has_value()) throw CallError(*std::get_if<1>(&state_));
  }
  void checked() const noexcept {
    if (!has_value()) detail::result_misused("the value of a Result that holds an error");
  }
  void checked_error() const noexcept {
    if (has_value()) detail::result_misused("the error of a Result that holds a value");
  }

  std::variant<T, Error> state_;
};

template <>
class [[nodiscard]] Result<void> {
 public:
  using value_type = void;

  Result() = default;
  Result(Error error) : state_(std::move(error)) {}  // NOLINT: implicit by design

  bool has_value() const noexcept { return state_.index() == 0; }
  explicit operator bool() const noexcept { return has_value(); }
  void value() const {
    if (!has_value()) throw CallError(*std::get_if<1>(&state_));
  }
  const Error& error() const& noexcept {
    if (has_value()) detail::result_misused("the error of a Result that holds a value");
    return *std::get_if<1>(&state_);
  }
  Error&& error() && noexcept {
    if (has_value()) detail::result_misused("the error of a Result that holds a value");
    return std::move(*std::get_if<1>(&state_));
  }

 private:
  std::variant<std::monostate, Error> state_;
};

}  // namespace lair
