// Types that are known when the program is compiled, to Json and back: for what does not go straight into a message
// (lair/typed.hpp), and to say what is wrong with a value and where.
//
// Thread-safety: pure functions.
#pragma once

#include <cstddef>
#include <cstdint>
#include <lair/json.hpp>
#include <lair/typed.hpp>
#include <limits>
#include <optional>
#include <string>
#include <string_view>
#include <tuple>
#include <type_traits>
#include <utility>

namespace lair::detail {

// The same as a Json.
template <class T>
Json to_dom(T&& given) {
  using Type = std::remove_cvref_t<T>;
  if constexpr (MaybeOf<Type>::value) {
    return given ? to_dom(*std::forward<T>(given)) : Json();
  } else if constexpr (std::is_same_v<Type, std::byte>) {
    return static_cast<std::uint64_t>(given);
  } else if constexpr (ListOf<Type>::value) {
    Json array = Json::array();
    for (const auto& one : given) array.push_back(to_dom(static_cast<const typename Type::value_type&>(one)));
    return array;
  } else if constexpr (RowOf<Type>::value) {
    Json array = Json::array();
    std::apply([&](const auto&... one) { (array.push_back(to_dom(one)), ...); }, given);
    return array;
  } else if constexpr (DictOf<Type>::value) {
    Json object = Json::object();
    for (const auto& [name, one] : given) object[name] = to_dom(one);
    return object;
  } else if constexpr (HasFields<Type>) {
    Json object = Json::object();
    std::apply([&](const auto&... field) { ((object[field.name] = to_dom(given.*field.place)), ...); },
               lair_fields(&given));
    return object;
  } else {
    return Json(std::forward<T>(given));
  }
}

// What a Json is not. Its text says where in the value.
class Mismatch final : public Json::exception {
 public:
  explicit Mismatch(const std::string& what) : exception(901, ""), what_(what), text_(what) {}
  const char* what() const noexcept override { return text_.c_str(); }
  // It was in this part of what is being read.
  void within(const std::string& part);

 private:
  std::string what_;
  std::string place_;
  std::string text_;
};
[[noreturn]] void mismatch(const char* wanted, const Json& got);
[[noreturn]] void does_not_fit(const Json& got, std::string_view least, std::string_view most);
[[noreturn]] void wrong_length(std::size_t wanted, std::size_t got);
[[noreturn]] void field_missing(const char* name);
// With what a user's own from_json says, as a Mismatch.
[[noreturn]] void pass_on(const Json::exception& error, const std::string& part);
std::string part_of(std::size_t index);        // "[3]"
std::string part_of(std::string_view member);  // ".name"

template <class T>
T from_dom(const Json& value);

template <class T, class Part>
T part_from_dom(const Json& value, const Part& part) {
  try {
    return from_dom<T>(value);
  } catch (Mismatch& inner) {
    inner.within(part_of(part));
    throw;
  } catch (const Json::exception& error) {
    pass_on(error, part_of(part));
  }
}

template <class T>
T fields_from_dom(const Json& value) {
  static_assert(std::is_default_constructible_v<T>, "LAIR_FIELDS: the struct needs a default constructor");
  if (!value.is_object()) mismatch("an object", value);
  T result{};
  const auto one = [&](const auto& field) {
    using Value = std::remove_cvref_t<decltype(result.*field.place)>;
    const auto found = value.find(field.name);
    if (found != value.end()) {
      result.*field.place = part_from_dom<Value>(*found, std::string_view(field.name));
    } else if (!MaybeOf<Value>::value) {
      field_missing(field.name);
    }
  };
  std::apply([&](const auto&... field) { (one(field), ...); }, lair_fields(static_cast<const T*>(nullptr)));
  return result;
}

// The value as a T. Throws Json::exception: Mismatch, or what a from_json of the user's throws.
template <class T>
T from_dom(const Json& value) {
  if constexpr (std::is_same_v<T, Json>) {
    return value;
  } else if constexpr (std::is_same_v<T, bool>) {
    if (!value.is_boolean()) mismatch("a boolean", value);
    return value.get<bool>();
  } else if constexpr (kIsInteger<T>) {
    if (!value.is_number_integer()) mismatch("an integer", value);
    ValueReader::Integer number;
    if (value.is_number_unsigned() || value.get<std::int64_t>() >= 0) {
      number.amount = value.get<std::uint64_t>();
    } else {
      number = {.negative = true, .amount = 0 - static_cast<std::uint64_t>(value.get<std::int64_t>())};
    }
    T result{};
    if (!fits(number, result)) {
      if constexpr (std::is_same_v<T, std::byte>) {
        does_not_fit(value, "0", "255");
      } else {
        does_not_fit(value, std::to_string(std::numeric_limits<T>::min()),
                     std::to_string(std::numeric_limits<T>::max()));
      }
    }
    return result;
  } else if constexpr (kIsFloat<T>) {
    if (!value.is_number()) mismatch("a number", value);
    const auto wide = value.get<double>();
    if (wide < std::numeric_limits<T>::lowest() || wide > std::numeric_limits<T>::max())
      does_not_fit(value, "-3.4e38", "3.4e38");
    return static_cast<T>(wide);
  } else if constexpr (std::is_same_v<T, std::string>) {
    if (!value.is_string()) mismatch("a string", value);
    return value.get_ref<const std::string&>();
  } else if constexpr (MaybeOf<T>::value) {
    if (value.is_null()) return std::nullopt;
    return T(from_dom<typename T::value_type>(value));
  } else if constexpr (ListOf<T>::value) {
    if (!value.is_array()) mismatch("an array", value);
    T result;
    result.reserve(value.size());
    for (std::size_t i = 0; i < value.size(); ++i)
      result.push_back(part_from_dom<typename T::value_type>(value[i], i));
    return result;
  } else if constexpr (RowOf<T>::value) {
    if (!value.is_array()) mismatch("an array", value);
    constexpr std::size_t kSize = std::tuple_size_v<T>;
    if (value.size() != kSize) wrong_length(kSize, value.size());
    return [&]<std::size_t... I>(std::index_sequence<I...>) {
      return T{part_from_dom<std::tuple_element_t<I, T>>(value[I], I)...};
    }
    (std::make_index_sequence<kSize>{});
  } else if constexpr (DictOf<T>::value) {
    if (!value.is_object()) mismatch("an object", value);
    T result;
    for (auto member = value.begin(); member != value.end(); ++member) {
      result.emplace(member.key(), part_from_dom<typename T::mapped_type>(*member, member.key()));
    }
    return result;
  } else if constexpr (HasFields<T>) {
    return fields_from_dom<T>(value);
  } else {
    return value.get<T>();
  }
}

// What LAIR_FIELDS is made of.
template <class JsonType, class T>
void fields_to_json(JsonType& json, const T& value) {
  json = to_dom(value);
}
template <class JsonType, class T>
void fields_from_json(const JsonType& json, T& value) {
  value = fields_from_dom<T>(json);
}

}  // namespace lair::detail
