#include <algorithm>
#include <array>
#include <set>
#include <string>
#include <vector>

#include "base/json_text.hpp"
#include "base/nearest.hpp"
#include "dspy/errors.hpp"
#include "dspy/names.hpp"
#include "dspy/types.hpp"

namespace lair::dspy {

namespace {

using namespace std::string_view_literals;

constexpr std::array kWords = {"type"sv,
                               "enum"sv,
                               "const"sv,
                               "anyOf"sv,
                               "oneOf"sv,
                               "allOf"sv,
                               "$ref"sv,
                               "$defs"sv,
                               "definitions"sv,
                               "properties"sv,
                               "required"sv,
                               "items"sv,
                               "additionalProperties"sv,
                               "minimum"sv,
                               "maximum"sv,
                               "exclusiveMinimum"sv,
                               "exclusiveMaximum"sv,
                               "multipleOf"sv,
                               "minLength"sv,
                               "maxLength"sv,
                               "minItems"sv,
                               "maxItems"sv,
                               "pattern"sv,
                               "title"sv,
                               "description"sv,
                               "default"sv,
                               "examples"sv,
                               "format"sv,
                               "$schema"sv,
                               "$id"sv,
                               "$comment"sv,
                               "deprecated"sv,
                               "readOnly"sv,
                               "writeOnly"sv,
                               "uniqueItems"sv,
                               "nullable"sv};
constexpr std::array kTypes = {"string"sv, "integer"sv, "number"sv, "boolean"sv,
                               "null"sv,   "array"sv,   "object"sv};

class SchemaReader {
 public:
  SchemaReader(const Json& root, const Json& others) {
    know(others);
    if (root.is_object()) {
      know(root.value("definitions", Json()));
      know(root.value("$defs", Json()));
    }
  }

  Result<void> read(const Json& schema, const std::string& path) {
    if (schema == true || schema == Json::object()) return {};
    if (!schema.is_object()) return invalid(path + ": not a JSON schema, but " + base::shown(schema));
    for (const auto& [word, value] : schema.items()) {
      if (std::ranges::find(kWords, word) == kWords.end()) {
        return invalid(path + ": the JSON schema has '" + word + "'" + base::did_you_mean(word, kWords));
      }
    }
    return of(schema, path);
  }

 private:
  void know(const Json& schemas) {
    if (schemas.is_object()) known_.update(schemas);
  }

  Result<void> of(const Json& schema, const std::string& path) {
    if (schema.contains("$ref")) return referred(schema["$ref"], path);
    if (schema.contains("enum") || schema.contains("const")) return values(schema, path);
    for (const char* word : {"anyOf", "oneOf", "allOf"}) {
      if (schema.contains(word)) return several(schema[word], word, path);
    }
    Json kind = schema.value("type", schema.contains("properties") ? Json("object") : Json());
    if (!kind.is_array()) kind = Json::array({kind});
    if (kind.empty()) return invalid(path + ": type is an empty list");
    for (const Json& each : kind) {
      if (auto good = of_type(each, schema, path); !good) return good;
    }
    return {};
  }

  Result<void> of_type(const Json& kind, const Json& schema, const std::string& path) {
    if (kind.is_null()) return {};
    const std::string name = kind.is_string() ? kind.get<std::string>() : base::shown(kind);
    if (!kind.is_string() || std::ranges::find(kTypes, name) == kTypes.end()) {
      return invalid(path + ": there is no type '" + name + "'" + base::did_you_mean(name, kTypes));
    }
    if (name == "array" && schema.contains("items")) return read(schema["items"], path + ".items");
    if (name == "object") return object(schema, path);
    return {};
  }

  static Result<void> values(const Json& schema, const std::string& path) {
    const Json found = schema.contains("enum") ? schema["enum"] : Json::array({schema["const"]});
    const bool good =
        found.is_array() && !found.empty() && std::ranges::all_of(found, [](const Json& value) {
          return value.is_null() || value.is_string() || value.is_number_integer() || value.is_boolean();
        });
    if (good) return {};
    return invalid(path + ": enum holds texts, integers, true, false and null, and at least one");
  }

  Result<void> several(const Json& schemas, const std::string& word, const std::string& path) {
    if (!schemas.is_array() || schemas.empty() || (word == "allOf" && schemas.size() > 1)) {
      return invalid(path + ": " + word + " of " + std::to_string(schemas.size()) +
                     " schemas is not supported");
    }
    for (std::size_t i = 0; i < schemas.size(); ++i) {
      if (auto good = read(schemas[i], path + "." + word + "[" + std::to_string(i) + "]"); !good) return good;
    }
    return {};
  }

  Result<void> referred(const Json& reference, const std::string& path) {
    const std::string text = reference.is_string() ? reference.get<std::string>() : base::shown(reference);
    const std::string name = text.substr(text.rfind('/') + 1);
    if (read_.contains(name)) return {};
    if (!(text.starts_with("#/$defs/") || text.starts_with("#/definitions/")) || !known_.contains(name)) {
      std::vector<std::string_view> names;
      for (const auto& each : known_.items()) names.push_back(each.key());
      return invalid(path + ": $ref '" + text + "' leads nowhere" + base::did_you_mean(name, names));
    }
    if (!reading_.insert(name).second) {
      return invalid(path + ": " + name + " contains itself, which is not supported");
    }
    auto good = read(known_[name], name);
    if (good) read_.insert(name);
    return good;
  }

  Result<void> object(const Json& schema, const std::string& path) {
    const Json properties = schema.value("properties", Json());
    if (properties.is_null() || (properties.is_object() && properties.empty())) {
      const Json more = schema.value("additionalProperties", Json(true));
      return more.is_boolean() ? Result<void>() : read(more, path + ".additionalProperties");
    }
    if (!properties.is_object()) return invalid(path + ": properties is an object of JSON schemas");
    std::vector<std::string> names;
    for (const auto& property : properties.items()) names.push_back(property.key());
    const Json required = schema.value("required", Json::array());
    for (const Json& each : required) {
      if (each.is_string() && properties.contains(each.get<std::string>())) continue;
      const std::vector<std::string_view> known(names.begin(), names.end());
      const std::string name = each.is_string() ? each.get<std::string>() : base::shown(each);
      return invalid(path + ": '" + name + "' is required and no property" + base::did_you_mean(name, known));
    }
    if (auto good = identifiers_of(names); !good) return invalid(path + ": " + good.error().message);
    for (const auto& [name, property] : properties.items()) {
      if (auto good = read(property, path + "." + name); !good) return good;
    }
    return {};
  }

  Json known_ = Json::object();
  std::set<std::string> read_;     // that others refer to
  std::set<std::string> reading_;  // and that are being read
};

}  // namespace

Result<void> check_schema(const Json& schema, std::string_view name, const Json& others) {
  return SchemaReader(schema, others).read(schema, std::string(name));
}

}  // namespace lair::dspy
