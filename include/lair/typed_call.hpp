// A typed call: its arguments, where its caller has them, and the place for its result.
//
// Thread-safety: none; one call at a time.
#pragma once

#include <array>
#include <cstddef>
#include <lair/array.hpp>
#include <lair/error.hpp>
#include <lair/json.hpp>
#include <lair/result.hpp>
#include <lair/typed.hpp>
#include <lair/typed_dom.hpp>
#include <optional>
#include <span>
#include <string_view>
#include <tuple>
#include <type_traits>
#include <utility>

namespace lair::detail {

// A call's arguments, where its caller has them.
class TypedArguments {
 public:
  // They are given by name, or as a Json: that.
  virtual const Json* dom() const { return nullptr; }
  // Else: writes them, as an array. Where that fails, `json` is what speaks for itself.
  virtual void write_to(ValueWriter& out) const = 0;
  // Those in whose places it has written null.
  virtual std::span<const ArrayArgument> arrays() const { return {}; }
  virtual Json json() const = 0;

 protected:
  ~TypedArguments() = default;
};

template <class T>
void write_argument(ValueWriter& out, const T& value) {
  if constexpr (kIsArrayArgument<T>) {
    out.null();  // it goes beside the values
  } else {
    write(out, value);
  }
}

// None of them holds arrays, but some may be arrays themselves.
template <class... Args>
class ArgumentsOf final : public TypedArguments {
 public:
  explicit ArgumentsOf(const Args&... args) : args_(args...) {
    [[maybe_unused]] std::size_t index = 0;
    [[maybe_unused]] std::size_t count = 0;
    [[maybe_unused]] const auto look = [&](const auto& one) {
      if constexpr (kIsArrayArgument<std::remove_cvref_t<decltype(one)>>)
        arrays_[count++] = argument_of(index, one);
      ++index;
    };
    (look(args), ...);
  }
  void write_to(ValueWriter& out) const override {
    out.begin_array(sizeof...(Args));
    std::apply([&](const auto&... one) { ((out.element(), write_argument(out, one)), ...); }, args_);
    out.end_array();
  }
  std::span<const ArrayArgument> arrays() const override { return arrays_; }
  Json json() const override {
    Json array = Json::array();
    std::apply([&](const auto&... one) { (array.push_back(to_dom(one)), ...); }, args_);
    return array;
  }

 private:
  std::tuple<const Args&...> args_;
  std::array<ArrayArgument, (std::size_t{kIsArrayArgument<Args>} + ... + 0)> arrays_;
};

class JsonArguments final : public TypedArguments {
 public:
  explicit JsonArguments(const Json& value) : value_(value) {}
  const Json* dom() const override { return &value_; }
  void write_to(ValueWriter& out) const override { out.json(value_); }
  Json json() const override { return value_; }

 private:
  const Json& value_;
};

// Those that hold arrays, which are taken out of them.
class ArrayArguments final : public TypedArguments {
 public:
  explicit ArrayArguments(Json value) : value_(std::move(value)) {}
  const Json* dom() const override { return &value_; }
  void write_to(ValueWriter& out) const override { out.json(value_); }
  Json json() const override { return value_; }

 private:
  const Json value_;
};

// One `kwargs` alone gives arguments by name.
template <class... Args>
constexpr bool are_named() {
  constexpr bool kAny = (std::is_same_v<std::remove_cvref_t<Args>, kwargs> || ...);
  static_assert(!kAny || sizeof...(Args) == 1,
                "kwargs stands alone: give every argument by keyword, or every one by position");
  return kAny;
}
template <class... Args>
Json positions(Args&&... args) {
  Json array = Json::array();
  (array.push_back(to_dom(std::forward<Args>(args))), ...);
  return array;
}
template <class... Args>
auto view_of(const Args&... args) {
  if constexpr (are_named<Args...>()) {
    return JsonArguments((args.object, ...));
  } else if constexpr (((holds_arrays<Args> && !kIsArrayArgument<Args>) || ...)) {
    return ArrayArguments(positions(args...));
  } else {
    return ArgumentsOf<Args...>(args...);
  }
}
template <class... Args>
Json arguments(Args&&... args) {
  if constexpr (are_named<Args...>()) {
    return (std::forward<Args>(args).object, ...);
  } else {
    return positions(std::forward<Args>(args)...);
  }
}

Error wrong_result_type(std::string_view command, const char* what, const Json& value);

// Where a call's value goes.
class ResultSink {
 public:
  // Straight from the message. False: it is no such value; nothing has been kept.
  virtual bool read_from(ValueReader& in) = 0;
  virtual void keep(Json value) = 0;
  // Of a result that is an array itself: its type. Such a one comes beside the values, and is kept by itself.
  virtual std::optional<DType> array_type() const { return std::nullopt; }
  virtual void keep_array(ArrayData) {}

 protected:
  ~ResultSink() = default;
};

// Where values go that come one after another.
class ValuesSink {
 public:
  // The next one, straight from the message. False: it is no such value.
  virtual bool read_from(ValueReader& in) = 0;

 protected:
  ~ValuesSink() = default;
};

template <class R>
Result<R> result_as(std::string_view command, Result<Json> reply) {
  if constexpr (std::is_same_v<R, Json>) {
    return reply;
  } else {
    if (!reply) return std::move(reply).error();
    if constexpr (std::is_void_v<R>) {
      return {};
    } else {
      try {
        return from_dom<R>(*reply);
      } catch (const Json::exception& mismatch) {
        return wrong_result_type(command, mismatch.what(), *reply);
      }
    }
  }
}

template <class R>
class ResultOf final : public ResultSink {
 public:
  bool read_from(ValueReader& in) override {
    if constexpr (std::is_void_v<R>) {
      return in.skip();
    } else if constexpr (holds_arrays<R>) {
      return false;  // they come beside the values, which have null in their places
    } else if constexpr (Readable<R>::value) {
      // A from_json of the user's is not called here: it might throw, and a worker is held.
      return read(in, read_);
    } else {
      return in.json(kept_) && (is_kept_ = true);
    }
  }
  void keep(Json value) override {
    kept_ = std::move(value);
    is_kept_ = true;
  }
  std::optional<DType> array_type() const override {
    if constexpr (kIsArray<R>) return R::kDType;
    return std::nullopt;
  }
  void keep_array([[maybe_unused]] ArrayData array) override {
    if constexpr (kIsArray<R>) read_ = std::move(array);
  }
  Result<R> take(std::string_view command) {
    if (is_kept_) return result_as<R>(command, std::move(kept_));
    if constexpr (std::is_void_v<R>) {
      return {};
    } else if constexpr (Readable<R>::value) {
      return std::move(read_);
    } else if constexpr (kIsArray<R>) {
      return R(std::move(read_));
    } else {
      return result_as<R>(command, std::move(kept_));
    }
  }

 private:
  struct Nothing {};
  using Direct = std::conditional_t<std::is_void_v<R>, std::bool_constant<false>, Readable<R>>;
  using Beside = std::conditional_t<kIsArray<R>, ArrayData, Nothing>;
  std::conditional_t<Direct::value, R, Beside> read_{};
  Json kept_;
  bool is_kept_ = false;
};

}  // namespace lair::detail
