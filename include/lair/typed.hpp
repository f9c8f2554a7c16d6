// The codec of types that are known when the program is compiled: arguments go straight into the message, results come
// straight out of it, as JSON or MessagePack, whichever the worker reads.
//
// Known are: bool, the integers, float and double, std::byte, text (std::string, std::string_view, literals), std::optional,
// std::vector, std::array, std::span (arguments), std::map and std::unordered_map from std::string, std::tuple, std::pair,
// Json, structs with LAIR_FIELDS (lair/fields.hpp), and whatever is made of these. Everything else goes by way of nlohmann's
// conversions, as an element of one of these, too.
//
// Results are strict, on both ways: an integer that does not fit its type, a float where an integer is wanted, an array of
// another length than the tuple's are errors, never rounded or cut off. A float takes integers. Bytes are arrays of integers
// from 0 to 255, for JSON has no bytes.
//
// Thread-safety: pure functions.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <lair/fields.hpp>
#include <lair/json.hpp>
#include <lair/value_reader.hpp>
#include <lair/value_writer.hpp>
#include <limits>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <tuple>
#include <type_traits>
#include <unordered_map>
#include <utility>
#include <vector>

namespace lair::detail {

// --- What a type is -----------------------------------------------------------------------------------

template <class T>
inline constexpr bool kIsText = std::is_same_v<T, std::string> || std::is_same_v<T, std::string_view> ||
                                std::is_same_v<T, const char*> || std::is_same_v<T, char*>;
template <class T>
inline constexpr bool kIsInteger =
    (std::is_integral_v<T> && !std::is_same_v<T, bool>) || std::is_same_v<T, std::byte>;
template <class T>
inline constexpr bool kIsFloat = std::is_same_v<T, float> || std::is_same_v<T, double>;

template <class T>
struct ListOf : std::false_type {};  // an array of any length
template <class T, class A>
struct ListOf<std::vector<T, A>> : std::true_type {};
template <class T, std::size_t N>
struct ListOf<std::span<T, N>> : std::true_type {};
template <class T>
struct RowOf : std::false_type {};  // an array of one length
template <class... T>
struct RowOf<std::tuple<T...>> : std::true_type {};
template <class A, class B>
struct RowOf<std::pair<A, B>> : std::true_type {};
template <class T, std::size_t N>
struct RowOf<std::array<T, N>> : std::true_type {};
template <class T>
struct DictOf : std::false_type {};
template <class T, class... More>
struct DictOf<std::map<std::string, T, More...>> : std::true_type {};
template <class T, class... More>
struct DictOf<std::unordered_map<std::string, T, More...>> : std::true_type {};
template <class T>
struct MaybeOf : std::false_type {};
template <class T>
struct MaybeOf<std::optional<T>> : std::true_type {};

// Read without a Json in between, and so is all that it is made of.
template <class T>
struct Readable : std::bool_constant<std::is_same_v<T, bool> || kIsInteger<T> || kIsFloat<T> ||
                                     std::is_same_v<T, std::string> || std::is_same_v<T, Json>> {};
template <class T, class A>
struct Readable<std::vector<T, A>> : Readable<T> {};
template <class T>
struct Readable<std::optional<T>> : Readable<T> {};
template <class T, std::size_t N>
struct Readable<std::array<T, N>> : Readable<T> {};
template <class... T>
struct Readable<std::tuple<T...>> : std::bool_constant<(Readable<T>::value && ...)> {};
template <class A, class B>
struct Readable<std::pair<A, B>> : std::bool_constant<Readable<A>::value && Readable<B>::value> {};
template <class T, class... More>
struct Readable<std::map<std::string, T, More...>> : Readable<T> {};
template <class T, class... More>
struct Readable<std::unordered_map<std::string, T, More...>> : Readable<T> {};
template <class... F>
constexpr bool fields_readable(const std::tuple<F...>*);
template <HasFields T>
struct Readable<T>
    : std::bool_constant<fields_readable(
          static_cast<const decltype(lair_fields(static_cast<const T*>(nullptr)))*>(nullptr))> {};

template <class Struct, class Value>
constexpr bool field_readable(const Field<Struct, Value>*) {
  return Readable<Value>::value;
}
template <class... F>
constexpr bool fields_readable(const std::tuple<F...>*) {
  static_assert(sizeof...(F) <= 64, "LAIR_FIELDS: at most 64 fields");
  return (field_readable(static_cast<const F*>(nullptr)) && ...);
}

// --- Out ----------------------------------------------------------------------------------------------

template <class T>
void write(ValueWriter& out, const T& value) {
  if (!out.ok()) return;
  if constexpr (std::is_same_v<T, Json>) {
    out.json(value);
  } else if constexpr (std::is_same_v<T, std::nullptr_t>) {
    out.null();
  } else if constexpr (std::is_same_v<T, bool>) {
    out.boolean(value);
  } else if constexpr (kIsInteger<T>) {
    if constexpr (std::is_signed_v<T>) {
      out.integer(static_cast<std::int64_t>(value));
    } else {
      out.integer(static_cast<std::uint64_t>(value));
    }
  } else if constexpr (kIsFloat<T>) {
    out.number(value);
  } else if constexpr (kIsText<std::decay_t<T>>) {
    out.text(std::string_view(value));
  } else if constexpr (MaybeOf<T>::value) {
    value ? write(out, *value) : out.null();
  } else if constexpr (ListOf<T>::value) {
    out.begin_array(value.size());
    for (const auto& one : value) {
      out.element();
      write<typename T::value_type>(out, one);
    }
    out.end_array();
  } else if constexpr (RowOf<T>::value) {
    out.begin_array(std::tuple_size_v<T>);
    std::apply([&](const auto&... one) { ((out.element(), write(out, one)), ...); }, value);
    out.end_array();
  } else if constexpr (DictOf<T>::value) {
    out.begin_object(value.size());
    for (const auto& [name, one] : value) {
      out.key(name);
      write(out, one);
    }
    out.end_object();
  } else if constexpr (HasFields<T>) {
    std::apply(
        [&](const auto&... field) {
          out.begin_object(sizeof...(field));
          ((out.key(field.name), write(out, value.*field.place)), ...);
          out.end_object();
        },
        lair_fields(&value));
  } else {
    out.json(Json(value));
  }
}

// --- In -----------------------------------------------------------------------------------------------

template <class T>
bool fits(const ValueReader::Integer& from, T& value) {
  if constexpr (std::is_same_v<T, std::byte>) {
    value = static_cast<std::byte>(from.amount);
    return !from.negative && from.amount <= 0xff;
  } else {
    using Limits = std::numeric_limits<T>;
    if (!from.negative) {
      value = static_cast<T>(from.amount);
      return from.amount <= static_cast<std::uint64_t>(Limits::max());
    }
    const auto least = 0 - static_cast<std::uint64_t>(static_cast<std::int64_t>(Limits::min()));
    value = static_cast<T>(static_cast<std::int64_t>(0 - from.amount));
    return from.amount <= (std::is_signed_v<T> ? least : 0);
  }
}

// False: the value is another one than T's, or none.
template <class T>
bool read(ValueReader& in, T& value) {
  using Next = ValueReader::Next;
  ValueReader::Place place;
  if constexpr (std::is_same_v<T, Json>) {
    return in.json(value);
  } else if constexpr (std::is_same_v<T, bool>) {
    return in.boolean(value);
  } else if constexpr (kIsInteger<T>) {
    ValueReader::Integer number;
    return in.integer(number) && fits(number, value);
  } else if constexpr (std::is_same_v<T, double>) {
    return in.number(value);
  } else if constexpr (std::is_same_v<T, float>) {
    double wide = 0;
    if (!in.number(wide)) return false;
    if (wide < std::numeric_limits<float>::lowest() || wide > std::numeric_limits<float>::max()) return false;
    value = static_cast<float>(wide);
    return true;
  } else if constexpr (std::is_same_v<T, std::string>) {
    return in.text(value);
  } else if constexpr (MaybeOf<T>::value) {
    value.reset();
    return in.null() || read(in, value.emplace());
  } else if constexpr (ListOf<T>::value) {
    if (!in.begin_array(place)) return false;
    value.clear();
    // A length alone costs little memory.
    if (in.packed()) value.reserve(place.most < 65536 ? place.most : 65536);
    for (;;) {
      const Next what = in.element(place);
      if (what != Next::kOne) return what == Next::kEnd;
      if constexpr (std::is_same_v<typename T::value_type, bool>) {
        bool one = false;
        if (!read(in, one)) return false;
        value.push_back(one);
      } else if (!read(in, value.emplace_back())) {
        return false;
      }
    }
  } else if constexpr (RowOf<T>::value) {
    if (!in.begin_array(place)) return false;
    const auto one = [&](auto& part) { return in.element(place) == Next::kOne && read(in, part); };
    return std::apply([&](auto&... part) { return (one(part) && ...); }, value) &&
           in.element(place) == Next::kEnd;
  } else if constexpr (DictOf<T>::value) {
    if (!in.begin_object(place)) return false;
    value.clear();
    std::string_view name;
    for (;;) {
      const Next what = in.member(place, name);
      if (what != Next::kOne) return what == Next::kEnd;
      std::string key(name);
      typename T::mapped_type& of = value[std::move(key)];
      of = {};
      if (!read(in, of)) return false;
    }
  } else {
    static_assert(HasFields<T>);
    if (!in.begin_object(place)) return false;
    constexpr auto fields = lair_fields(static_cast<const T*>(nullptr));
    std::uint64_t seen = 0;
    std::string_view name;
    for (;;) {
      const Next what = in.member(place, name);
      if (what == Next::kBad) return false;
      if (what == Next::kEnd) break;
      bool good = true;
      bool known = false;
      std::size_t index = 0;
      const auto look = [&](const auto& field) {
        const std::size_t at = index++;
        if (known || name != field.name) return;
        known = true;
        seen |= std::uint64_t{1} << at;
        good = read(in, value.*field.place);
      };
      std::apply([&](const auto&... field) { (look(field), ...); }, fields);
      if (!(known ? good : in.skip())) return false;
    }
    std::size_t index = 0;
    const auto there = [&](const auto& field) {
      const bool was_seen = (seen >> index++ & 1) != 0;
      return was_seen || MaybeOf<std::remove_cvref_t<decltype(value.*field.place)>>::value;
    };
    return std::apply([&](const auto&... field) { return (there(field) && ...); }, fields);
  }
}

}  // namespace lair::detail
