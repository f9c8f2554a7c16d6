// C++ functions in DSPy programs: the tools of an agent, metrics and rewards. They are functions of the host
// (lair/expose.hpp), so they belong to a pool, by name, and are called from any thread and several at once.
//
//   const auto lookup = lair::dspy::tool(
//       pool, "lookup", "Looks people up.", {"name", {"limit", "how many at most", 3}},
//       [&](const std::string& name, int limit) { return people.find(name, limit); });
//   auto agent = dspy.react("question -> answer", {lookup});
//
//   const auto right = lair::dspy::judge(
//       pool, "right", [](const Example& wanted, const Answer& got) { return wanted.answer == got.answer; });
//   qa.evaluate(pool, examples, {.metric = right});
//
// Thread-safety: values.
#pragma once

#include <concepts>
#include <lair/expose.hpp>
#include <lair/json.hpp>
#include <lair/result.hpp>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <tuple>
#include <type_traits>
#include <utility>
#include <vector>

namespace lair::dspy {

// An argument of a tool: what the language model is told of it. A name will do.
struct ToolArgument {
  template <std::convertible_to<std::string> Text>
  ToolArgument(Text&& given) : name(std::forward<Text>(given)) {}
  ToolArgument(std::string given, std::string told, std::optional<Json> otherwise = {}, Json schema = {})
      : name(std::move(given)),
        description(std::move(told)),
        fallback(std::move(otherwise)),
        type(std::move(schema)) {}

  std::string name;
  std::string description = {};
  std::optional<Json> fallback = {};  // its value where the model leaves it out; absent: it must not
  Json type = {};                     // a JSON schema; null: of the C++ parameter's type
};

// A function that an agent may call. Made by `tool`, or by hand for one that is exposed already, or Python's.
struct Tool {
  std::string name;
  std::string description = {};
  std::vector<ToolArgument> arguments = {};
  std::string import = {};  // "package.module:function", in place of one of the host
};
void to_json(Json& json, const Tool& tool);

// What a metric or a reward may give in place of a number: some optimizers learn from the feedback.
struct Score {
  double score = 0;
  std::string feedback = {};
};
void to_json(Json& json, const Score& score);

namespace detail {

template <class T>
struct IsList : std::false_type {};
template <class T>
struct IsList<std::vector<T>> : std::true_type {};
template <class T>
struct IsMap : std::false_type {};
template <class T>
struct IsMap<std::map<std::string, T>> : std::true_type {};

// The JSON schema of a parameter's type; of one's own types, any value.
template <class T>
Json schema_of() {
  if constexpr (std::is_same_v<T, std::string> || std::is_same_v<T, std::string_view>) {
    return {{"type", "string"}};
  } else if constexpr (std::is_same_v<T, bool>) {
    return {{"type", "boolean"}};
  } else if constexpr (std::is_integral_v<T>) {
    return {{"type", "integer"}};
  } else if constexpr (std::is_floating_point_v<T>) {
    return {{"type", "number"}};
  } else if constexpr (IsList<T>::value) {
    return {{"type", "array"}, {"items", schema_of<typename T::value_type>()}};
  } else if constexpr (IsMap<T>::value) {
    return {{"type", "object"}, {"additionalProperties", schema_of<typename T::mapped_type>()}};
  } else {
    return Json::object();
  }
}

// Sets the types that are not given. Throws CallError, kInvalidArgument, where there are not as many as parameters, or a
// name is empty or there twice.
std::vector<ToolArgument> typed(const std::string& tool, std::vector<ToolArgument> arguments,
                                const std::vector<Json>& types);

// The arguments by position, of those by name that an agent gives. kInvalidArgument names what is missing or unknown.
Result<Json> by_position(const std::vector<ToolArgument>& declared, Json given);

template <class Arguments>
struct Types;
template <class... Args>
struct Types<std::tuple<Args...>> {
  static std::vector<Json> schemas() { return {schema_of<Args>()...}; }
};

}  // namespace detail

// Exposes a function on a pool (or on what else has `expose_json`) under `name`, with its parameters in the order of `arguments`.
// What it throws is told to the agent, which may then try something else. It replaces an earlier one of that name.
// Throws CallError: kInvalidArgument.
template <class Host, class Function>
Tool tool(Host& host, std::string name, std::string description, std::vector<ToolArgument> arguments,
          Function function) {
  using Parameters = typename lair::detail::Signature<Function>::Arguments;
  auto typed = detail::typed(name, std::move(arguments), detail::Types<Parameters>::schemas());
  // A single parameter of type Json would be given all arguments; here it is one of them.
  auto call = [function = std::move(function)](Json positions) mutable -> Result<Json> {
    return [&]<std::size_t... I>(std::index_sequence<I...>)->Result<Json> {
      using R = typename lair::detail::Signature<Function>::Result;
      if constexpr (std::is_void_v<R>) {
        function(lair::detail::host_argument<std::tuple_element_t<I, Parameters>>(positions, I)...);
        return Json("done");
      } else if constexpr (std::is_same_v<std::decay_t<R>, Result<Json>>) {
        return function(lair::detail::host_argument<std::tuple_element_t<I, Parameters>>(positions, I)...);
      } else {
        return Json(
            function(lair::detail::host_argument<std::tuple_element_t<I, Parameters>>(positions, I)...));
      }
    }
    (std::make_index_sequence<std::tuple_size_v<Parameters>>{});
  };
  host.expose_json(
      name, lair::detail::host_function([typed, call = std::move(call)](Json given) mutable -> Result<Json> {
        auto positions = detail::by_position(typed, std::move(given));
        return positions ? call(*std::move(positions)) : std::move(positions);
      }));
  return {.name = std::move(name), .description = std::move(description), .arguments = std::move(typed)};
}

// Exposes a metric, `function(example, outputs)`, or a reward, `function(inputs, outputs)`, whose parameters are Json or structs
// with a `from_json`. It gives a number, a bool or a Score. What is returned stands for it: "host:NAME".
template <class Host, class Function>
std::string judge(Host& host, const std::string& name, Function function) {
  host.expose_json(name, lair::detail::host_function(std::move(function)));
  return "host:" + name;
}

}  // namespace lair::dspy
