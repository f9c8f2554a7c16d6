#include <array>
#include <lair/dspy_signature.hpp>
#include <utility>

#include "base/json_text.hpp"
#include "base/nearest.hpp"
#include "dspy/errors.hpp"
#include "dspy/names.hpp"
#include "dspy/types.hpp"

namespace lair::dspy {

namespace {

using namespace std::string_view_literals;

constexpr std::array kKeys = {"name"sv,   "description"sv, "instructions"sv,
                              "inputs"sv, "outputs"sv,     "models"sv};
constexpr std::array kFieldKeys = {"name"sv, "type"sv, "description"sv, "desc"sv, "default"sv, "schema"sv};

Json empty(const char* name) {
  return {{"name", name}, {"inputs", Json::array()}, {"outputs", Json::array()}, {"models", Json::object()}};
}

std::vector<std::string> names_of(const Json& fields) {
  std::vector<std::string> found;
  for (const Json& field : fields) found.push_back(field["name"]);
  return found;
}

// Names and types of the whole.
Result<void> check(const Json& signature) {
  const Json& models = signature["models"];
  if (auto good = check_models(models); !good) return good;
  std::vector<std::string> names = names_of(signature["inputs"]);
  for (std::string& name : names_of(signature["outputs"])) names.push_back(std::move(name));
  if (auto good = identifiers_of(names); !good) return good.error();
  for (const auto& [side, what] : {std::pair("inputs", "input '"), {"outputs", "output '"}}) {
    for (const Json& field : signature[side]) {
      if (!field.contains("type")) continue;
      const Json& type = field["type"];
      const auto good = type.is_string() ? check_type(type.get_ref<const std::string&>(), models)
                                         : check_schema(type, field["name"].get<std::string>(), Json());
      if (!good) return invalid(what + field["name"].get<std::string>() + "': " + good.error().message);
    }
  }
  return {};
}

// "a, b: int," up to the end of the part. Positions in errors are those of the whole text.
Result<Json> fields_of(std::string_view part, std::size_t begin) {
  Reader reader(part, begin);
  Json found = Json::array();
  while (!reader.at_end()) {
    auto name = reader.identifier();
    if (!name) return std::move(name).error();
    Json field = {{"name", *name}};
    if (reader.take(':')) {
      const auto type = reader.type();
      if (!type) return type.error();
      field["type"] = to_text(*type);
    }
    found.push_back(std::move(field));
    if (reader.at_end()) break;
    if (!reader.take(',')) return reader.expected(found.back().contains("type") ? "','" : "',' or ':'");
  }
  return found;
}

Result<Json> structure_of(std::string_view text) {
  std::size_t count = 0;
  for (std::size_t at = text.find("->"); at != text.npos; at = text.find("->", at + 2)) ++count;
  if (count != 1) {
    return invalid("has " + std::to_string(count) + " '->'; a signature is 'inputs -> outputs'");
  }
  const std::size_t arrow = text.find("->");
  Json found = empty("StringSignature");
  auto inputs = fields_of(text.substr(0, arrow), 0);
  if (!inputs) return inputs;
  auto outputs = fields_of(text, arrow + 2);
  if (!outputs) return outputs;
  found["inputs"] = *std::move(inputs);
  found["outputs"] = *std::move(outputs);
  if (found["outputs"].empty()) return invalid("needs at least one output behind the '->'");
  return found;
}

Error unknown(std::string_view what, const std::string& key, std::span<const std::string_view> known) {
  return invalid(std::string(what) + " has no '" + key + "'" + base::did_you_mean(key, known));
}

Result<Json> field_of(const Json& given, const std::string& path) {
  if (given.is_string()) return Json{{"name", given}};
  if (!given.is_object()) {
    return invalid(path + " is a field {name, type, description}, not " + base::shown(given));
  }
  for (const auto& [key, value] : given.items()) {
    if (std::ranges::find(kFieldKeys, key) == kFieldKeys.end()) {
      return unknown(path + ": a field", key, kFieldKeys);
    }
  }
  const Json name = given.value("name", Json());
  if (!name.is_string()) return invalid(path + " has no name");
  Json found = {{"name", name}};
  const Json type = given.contains("schema") ? given["schema"] : given.value("type", Json());
  if (!type.is_null()) {
    if (!type.is_string() && !type.is_object()) {
      return invalid(path + ".type is the name of a type or a JSON schema, not " + base::shown(type));
    }
    found["type"] = type;
  }
  for (const char* key : {"desc", "description"}) {
    if (given.contains(key) && given[key].is_string() && given[key] != "") found["description"] = given[key];
  }
  if (given.contains("default")) found["default"] = given["default"];
  return found;
}

Result<Json> structure_of(const Json& given) {
  for (const auto& [key, value] : given.items()) {
    if (std::ranges::find(kKeys, key) == kKeys.end()) return unknown("a signature", key, kKeys);
  }
  Json found = empty("Signature");
  const auto text = [&](const char* key) {
    return given.contains(key) && given[key].is_string() && given[key] != "";
  };
  if (text("name")) found["name"] = given["name"];
  if (text("description")) found["instructions"] = given["description"];
  if (text("instructions")) found["instructions"] = given["instructions"];
  if (given.contains("models") && !given["models"].is_null()) found["models"] = given["models"];
  for (const char* side : {"inputs", "outputs"}) {
    const Json fields = given.contains(side) && !given[side].is_null() ? given[side] : Json::array();
    if (!fields.is_array())
      return invalid(std::string(side) + " is a list of fields, not " + base::shown(fields));
    for (std::size_t i = 0; i < fields.size(); ++i) {
      auto field = field_of(fields[i], side + ("[" + std::to_string(i) + "]"));
      if (!field) return field;
      found[side].push_back(*std::move(field));
    }
  }
  if (found["outputs"].empty()) return invalid("a signature needs at least one output");
  return found;
}

}  // namespace

Signature::Signature() : json_(empty("Signature")) {}

Result<Signature> Signature::parse(std::string_view text) {
  Signature found;
  auto structure = structure_of(text);
  auto good = structure ? check(*structure) : Result<void>(structure.error());
  if (!good) return invalid("the signature '" + std::string(text) + "': " + good.error().message);
  found.json_ = *std::move(structure);
  return found;
}

Result<Signature> Signature::parse_json(const Json& given) {
  if (given.is_string()) return parse(given.get_ref<const std::string&>());
  if (!given.is_object()) {
    return invalid(
        "a signature is a text like 'question -> answer: str' or an object with inputs and outputs, not " +
        base::shown(given));
  }
  Signature found;
  auto structure = structure_of(given);
  if (!structure) return invalid("the signature: " + structure.error().message);
  if (auto good = check(*structure); !good) return invalid("the signature: " + good.error().message);
  found.json_ = *std::move(structure);
  return found;
}

Signature Signature::with(const char* side, Json field) const {
  Signature longer = *this;
  longer.json_[side].push_back(field_of(field, side).value());
  if (auto good = check(longer.json_); !good) {
    throw CallError(invalid("the signature '" + longer.text() + "': " + good.error().message));
  }
  return longer;
}

static Json field(std::string name, Json type, std::string description) {
  return {{"name", std::move(name)}, {"type", std::move(type)}, {"description", std::move(description)}};
}

Signature Signature::input(std::string name, Json type, std::string description) const {
  return with("inputs", field(std::move(name), std::move(type), std::move(description)));
}

Signature Signature::input_or(std::string name, Json fallback, Json type, std::string description) const {
  Json added = field(std::move(name), std::move(type), std::move(description));
  added["default"] = std::move(fallback);
  return with("inputs", std::move(added));
}

Signature Signature::output(std::string name, Json type, std::string description) const {
  return with("outputs", field(std::move(name), std::move(type), std::move(description)));
}

Signature Signature::model(std::string name, Json schema) const {
  Signature longer = *this;
  longer.json_["models"][std::move(name)] = std::move(schema);
  check(longer.json_).value();
  return longer;
}

Signature Signature::instructions(std::string text) const {
  Signature longer = *this;
  longer.json_["instructions"] = std::move(text);
  return longer;
}

std::vector<std::string> Signature::inputs() const { return names_of(json_["inputs"]); }
std::vector<std::string> Signature::outputs() const { return names_of(json_["outputs"]); }

std::string Signature::text() const {
  std::string out;
  for (const char* side : {"inputs", "outputs"}) {
    const Json& fields = json_[side];
    for (std::size_t i = 0; i < fields.size(); ++i) {
      out += (i > 0 ? ", " : "") + fields[i]["name"].get<std::string>();
      if (!fields[i].contains("type")) continue;
      const Json& type = fields[i]["type"];
      out += ": " + (type.is_string() ? type.get<std::string>() : type.value("title", "object"));
    }
    if (side[0] == 'i') out += out.empty() ? "-> " : " -> ";
  }
  return out;
}

}  // namespace lair::dspy
