// LAIR_FIELDS: a struct of yours as an argument and as a result, a JSON object (in Python: a dict) with a member for each field.
//
//   struct Row { std::string name; std::optional<int> age; std::vector<double> scores; };
//   LAIR_FIELDS(Row, name, age, scores)                        // in Row's namespace, behind it; the fields are public
//
//   std::vector<Row> rows = pool.call<std::vector<Row>>("load", Row{"a", 3, {0.5}});
//
// It is written and read without a Json in between, and it is nlohmann's to_json and from_json as well: for host functions,
// streams, maps. A result needs a member for each field, but for those that are a std::optional, which stay as the struct makes
// them; members that the struct has not are passed over. At most 64 fields, and the struct has a default constructor.
//
// Thread-safety: none is needed.
#pragma once

#include <lair/json.hpp>
#include <tuple>
#include <type_traits>

namespace lair::detail {

template <class Struct, class Value>
struct Field {
  const char* name;
  Value Struct::*place;
};
template <class Struct, class Value>
Field(const char*, Value Struct::*) -> Field<Struct, Value>;

template <class T>
concept HasFields = requires {
  lair_fields(static_cast<const T*>(nullptr));
};

// lair/typed_dom.hpp has them.
template <class JsonType, class T>
void fields_to_json(JsonType& json, const T& value);
template <class JsonType, class T>
void fields_from_json(const JsonType& json, T& value);

}  // namespace lair::detail

// A class that derives from it is another type.
#define LAIR_FIELDS(Type, ...)                                                  \
  template <class LairType>                                                     \
  requires std::is_same_v<LairType, Type>                                       \
  constexpr auto lair_fields(const LairType*) {                                 \
    return std::tuple{LAIR_DETAIL_EXPAND(LAIR_DETAIL_EACH(Type, __VA_ARGS__))}; \
  }                                                                             \
  template <class LairJson>                                                     \
  void to_json(LairJson& json, const Type& value) {                             \
    ::lair::detail::fields_to_json(json, value);                                \
  }                                                                             \
  template <class LairJson>                                                     \
  void from_json(const LairJson& json, Type& value) {                           \
    ::lair::detail::fields_from_json(json, value);                              \
  }

// Once for each field; each scan of LAIR_DETAIL_EXPAND unfolds some more of them.
#define LAIR_DETAIL_NOTHING
#define LAIR_DETAIL_LATER() LAIR_DETAIL_EACH_ONE
#define LAIR_DETAIL_EACH(Type, ...) __VA_OPT__(LAIR_DETAIL_EACH_ONE(Type, __VA_ARGS__))
#define LAIR_DETAIL_EACH_ONE(Type, field, ...) \
  ::lair::detail::Field{                       \
      #field, &Type::field} __VA_OPT__(, LAIR_DETAIL_LATER LAIR_DETAIL_NOTHING()(Type, __VA_ARGS__))
#define LAIR_DETAIL_EXPAND(...) \
  LAIR_DETAIL_AGAIN(LAIR_DETAIL_AGAIN(LAIR_DETAIL_AGAIN(LAIR_DETAIL_AGAIN(__VA_ARGS__))))
#define LAIR_DETAIL_AGAIN(...) \
  LAIR_DETAIL_MORE(LAIR_DETAIL_MORE(LAIR_DETAIL_MORE(LAIR_DETAIL_MORE(__VA_ARGS__))))
#define LAIR_DETAIL_MORE(...) \
  LAIR_DETAIL_ONCE(LAIR_DETAIL_ONCE(LAIR_DETAIL_ONCE(LAIR_DETAIL_ONCE(__VA_ARGS__))))
#define LAIR_DETAIL_ONCE(...) __VA_ARGS__
