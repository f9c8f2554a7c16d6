#include <lair/dspy_tools.hpp>
#include <set>

#include "base/nearest.hpp"
#include "dspy/errors.hpp"

namespace lair::dspy {

void to_json(Json& json, const Tool& tool) {
  json = {{"name", tool.name}};
  if (!tool.description.empty()) json["description"] = tool.description;
  if (!tool.import.empty()) {
    json["import"] = tool.import;
    return;
  }
  Json arguments = Json::object();
  for (const ToolArgument& each : tool.arguments) {
    Json& type = arguments[each.name] = each.type.is_null() ? Json::object() : each.type;
    if (!each.description.empty()) type["description"] = each.description;
    if (each.fallback) type["default"] = *each.fallback;
  }
  json["args"] = std::move(arguments);
  json["keywords"] = true;  // a Json object has no order of its own
}

void to_json(Json& json, const Score& score) {
  json = {{"score", score.score}};
  if (!score.feedback.empty()) json["feedback"] = score.feedback;
}

namespace detail {

std::vector<ToolArgument> typed(const std::string& tool, std::vector<ToolArgument> arguments,
                                const std::vector<Json>& types) {
  const auto refuse = [&](const std::string& why) {
    throw CallError(invalid("the tool '" + tool + "' " + why));
  };
  if (tool.empty()) throw CallError(invalid("a tool has a name"));
  if (tool == "finish") refuse("needs another name: that is how an agent ends");
  if (arguments.size() != types.size()) {
    refuse("names " + std::to_string(arguments.size()) + " arguments, and its function takes " +
           std::to_string(types.size()));
  }
  std::set<std::string> names;
  for (std::size_t i = 0; i < arguments.size(); ++i) {
    ToolArgument& each = arguments[i];
    if (each.name.empty()) refuse("has an argument without a name");
    if (!names.insert(each.name).second) refuse("has two arguments named '" + each.name + "'");
    if (each.type.is_null()) each.type = types[i];
    if (!each.type.is_object()) refuse("has an argument '" + each.name + "' whose type is no JSON schema");
  }
  return arguments;
}

Result<Json> by_position(const std::vector<ToolArgument>& declared, Json given) {
  if (given.is_array()) return given;  // from Python of one's own
  Json positions = Json::array();
  for (const ToolArgument& each : declared) {
    if (const auto found = given.find(each.name); found != given.end()) {
      positions.push_back(std::move(*found));
      given.erase(found);
    } else if (each.fallback) {
      positions.push_back(*each.fallback);
    } else {
      return invalid("the argument '" + each.name + "' is missing");
    }
  }
  if (given.empty()) return positions;
  std::vector<std::string_view> known;
  for (const ToolArgument& each : declared) known.push_back(each.name);
  const std::string name = given.begin().key();
  return invalid("there is no argument '" + name + "'" + base::did_you_mean(name, known));
}

}  // namespace detail
}  // namespace lair::dspy
