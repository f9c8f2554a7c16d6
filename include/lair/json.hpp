// The JSON value that crosses the API, and the marker for keyword arguments.
//
// `Json` is nlohmann::json, the type C++ users already have: build it with initialiser lists, read it
// with `get<T>()`, and give your own structs `to_json` / `from_json` to pass and receive them directly.
//
// Thread-safety: values; no shared state.
#pragma once

#include <initializer_list>
#include <nlohmann/json.hpp>
#include <string>
#include <utility>

namespace lair {

using Json = nlohmann::json;

// Keyword arguments of one call: `pool.call("analyse", lair::kwargs{{"text", text}, {"top", 5}})`.
// Without it, a single Json object is one positional argument.
struct kwargs {
  kwargs(std::initializer_list<std::pair<std::string, Json>> pairs) {
    for (const auto& [name, value] : pairs) object[name] = value;
  }
  // `members` must be a JSON object; anything else is refused by the call with kInvalidArgument.
  explicit kwargs(Json members) : object(std::move(members)) {}

  Json object = Json::object();
};

}  // namespace lair
