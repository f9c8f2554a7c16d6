#include "dspy/types.hpp"

#include <array>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "base/nearest.hpp"
#include "dspy/errors.hpp"
#include "dspy/names.hpp"

namespace lair::dspy {

namespace {

using namespace std::string_view_literals;

// What brackets may follow a name.
enum class Form : std::uint8_t { kPlain, kOne, kTwo, kSome, kAny, kOptional, kUnion, kLiteral };

constexpr std::array<std::pair<std::string_view, Form>, 30> kNames = {{
    {"str", Form::kPlain},          {"int", Form::kPlain},
    {"float", Form::kPlain},        {"bool", Form::kPlain},
    {"list", Form::kOne},           {"dict", Form::kTwo},
    {"tuple", Form::kSome},         {"set", Form::kOne},
    {"Any", Form::kPlain},          {"Optional", Form::kOptional},
    {"Union", Form::kUnion},        {"Literal", Form::kLiteral},
    {"List", Form::kOne},           {"Dict", Form::kTwo},
    {"Tuple", Form::kSome},         {"Set", Form::kOne},
    {"NoneType", Form::kPlain},     {"string", Form::kPlain},
    {"text", Form::kPlain},         {"integer", Form::kPlain},
    {"number", Form::kPlain},       {"boolean", Form::kPlain},
    {"array", Form::kOne},          {"object", Form::kTwo},
    {"any", Form::kPlain},          {"dspy.Image", Form::kPlain},
    {"dspy.Audio", Form::kPlain},   {"dspy.File", Form::kPlain},
    {"dspy.History", Form::kPlain}, {"dspy.Code", Form::kPlain},
}};

std::optional<Form> form_of_name(std::string_view name) {
  for (const auto& [known, form] : kNames) {
    if (known == name) return form;
  }
  return std::nullopt;
}

std::string did_you_mean(std::string_view name, const Json& models) {
  std::vector<std::string_view> known;
  for (const auto& [each, form] : kNames) known.push_back(each);
  if (models.is_object()) {
    for (const auto& model : models.items()) known.push_back(model.key());
  }
  return base::did_you_mean(name, known);
}

Error no_type(const TypeNode& type) { return invalid("'" + to_text(type) + "' is not a type"); }

bool bare(Form form) { return form < Form::kOptional; }

// What stands before brackets, or alone. A name may be given as a text.
Result<Form> form_of(const TypeNode& type, const Json& models) {
  if (type.kind == TypeNode::Kind::kText) {
    Reader reader(type.text);
    auto inner = reader.type();
    if (!inner || !reader.at_end()) return no_type(type);
    return form_of(*inner, models);
  }
  if (type.kind != TypeNode::Kind::kName) {
    if (auto good = check_type(type, models); !good) return std::move(good).error();
    return Form::kPlain;
  }
  if (models.is_object() && models.contains(type.text)) return Form::kPlain;
  std::string_view name = type.text;
  if (name.starts_with("typing.")) name.remove_prefix("typing."sv.size());
  if (const auto form = form_of_name(name); form && (name == type.text || !name.starts_with("dspy."))) {
    return *form;
  }
  return invalid("there is no type '" + type.text + "'" + did_you_mean(type.text, models));
}

Result<void> check_literal(const TypeNode& type) {
  if (type.parts.size() == 1) return invalid("Literal needs at least one value");
  for (std::size_t i = 1; i < type.parts.size(); ++i) {
    const TypeNode& part = type.parts[i];
    const bool value = part.kind == TypeNode::Kind::kText || part.kind == TypeNode::Kind::kConstant ||
                       (part.kind == TypeNode::Kind::kNumber && part.text.find('.') == part.text.npos);
    if (value) continue;
    const bool name = part.kind == TypeNode::Kind::kName || part.kind == TypeNode::Kind::kBrackets;
    return invalid(to_text(type) + ": " + to_text(part) +
                   (name ? " is no literal; quote texts"
                         : ": only texts, integers, True, False and None can be literals"));
  }
  return {};
}

Result<void> check_brackets(const TypeNode& type, const Json& models) {
  const auto form = form_of(type.parts[0], models);
  if (!form) return form.error();
  if (*form == Form::kLiteral) return check_literal(type);
  const std::string base = to_text(type.parts[0]);
  std::size_t count = type.parts.size() - 1;
  const bool ellipsis = *form == Form::kSome && count == 2 && type.parts[2].kind == TypeNode::Kind::kEllipsis;
  if (ellipsis) count = 1;
  for (std::size_t i = 1; i <= count; ++i) {
    if (auto good = check_type(type.parts[i], models); !good) return good;
  }
  std::size_t wanted = count;
  switch (*form) {
    case Form::kPlain:
      return invalid(to_text(type) + ": " + base + " takes no types in brackets");
    case Form::kOne:
    case Form::kOptional:
      wanted = 1;
      break;
    case Form::kTwo:
      wanted = 2;
      break;
    case Form::kUnion:
      if (count == 0) return invalid("Union needs at least one type");
      break;
    default:
      break;
  }
  if (count == wanted) return {};
  return invalid(to_text(type) + ": " + base + " takes " + std::to_string(wanted) + " in brackets, not " +
                 std::to_string(count));
}

}  // namespace

Result<void> check_type(const TypeNode& type, const Json& models) {
  switch (type.kind) {
    case TypeNode::Kind::kName: {
      const auto form = form_of(type, models);
      if (!form) return form.error();
      if (bare(*form)) return {};
      return invalid("'" + type.text + "' needs brackets: " + type.text + "[...]");
    }
    case TypeNode::Kind::kText: {
      if (auto good = check_type(type.text, models); !good) return good;
      return {};
    }
    case TypeNode::Kind::kConstant:
      if (type.text == "None") return {};
      return no_type(type);
    case TypeNode::Kind::kEither:
      if (auto good = check_type(type.parts[0], models); !good) return good;
      return check_type(type.parts[1], models);
    case TypeNode::Kind::kBrackets:
      return check_brackets(type, models);
    default:
      return no_type(type);
  }
}

Result<void> check_type(std::string_view text, const Json& models) {
  Reader reader(text);
  const auto type = reader.type();
  if (!type) return invalid("'" + std::string(text) + "' is not a type: " + type.error().message);
  if (!reader.at_end()) {
    return invalid("'" + std::string(text) + "' is not a type: " + reader.expected("the end").message);
  }
  return check_type(*type, models);
}

Result<void> check_models(const Json& models) {
  if (!models.is_object()) return invalid("models is an object of JSON schemas by name");
  for (const auto& [name, schema] : models.items()) {
    if (!is_identifier(name) || form_of_name(name))
      return invalid("models." + name + ": not a name for a type");
    if (auto good = check_schema(schema, name, models); !good) return good;
  }
  return {};
}

}  // namespace lair::dspy
