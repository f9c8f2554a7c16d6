#include "dspy/names.hpp"

#include <algorithm>
#include <array>

#include "dspy/errors.hpp"

namespace lair::dspy {

namespace {

using namespace std::string_view_literals;

constexpr std::array kKeywords = {
    "False"sv, "None"sv,     "True"sv,  "and"sv,    "as"sv,   "assert"sv, "async"sv,  "await"sv,    "break"sv,
    "class"sv, "continue"sv, "def"sv,   "del"sv,    "elif"sv, "else"sv,   "except"sv, "finally"sv,  "for"sv,
    "from"sv,  "global"sv,   "if"sv,    "import"sv, "in"sv,   "is"sv,     "lambda"sv, "nonlocal"sv, "not"sv,
    "or"sv,    "pass"sv,     "raise"sv, "return"sv, "try"sv,  "while"sv,  "with"sv,   "yield"sv};

// Arguments of dspy.Predict, and what dspy.Signature has already: DSPy 3.4, with pydantic 2.
constexpr std::array kTaken = {"signature"sv,
                               "demos"sv,
                               "config"sv,
                               "lm"sv,
                               "new_signature"sv,
                               "prediction"sv,
                               "max_iters"sv,
                               "interpreter"sv,
                               "self"sv,
                               "append"sv,
                               "append_instructions"sv,
                               "construct"sv,
                               "copy"sv,
                               "delete"sv,
                               "dict"sv,
                               "dump_state"sv,
                               "equals"sv,
                               "fields"sv,
                               "from_orm"sv,
                               "input_fields"sv,
                               "insert"sv,
                               "instructions"sv,
                               "json"sv,
                               "load_state"sv,
                               "model_computed_fields"sv,
                               "model_config"sv,
                               "model_construct"sv,
                               "model_copy"sv,
                               "model_dump"sv,
                               "model_dump_json"sv,
                               "model_extra"sv,
                               "model_fields"sv,
                               "model_fields_set"sv,
                               "model_json_schema"sv,
                               "model_parametrized_name"sv,
                               "model_post_init"sv,
                               "model_rebuild"sv,
                               "model_validate"sv,
                               "model_validate_json"sv,
                               "model_validate_strings"sv,
                               "mro"sv,
                               "output_fields"sv,
                               "parse_file"sv,
                               "parse_obj"sv,
                               "parse_raw"sv,
                               "prepend"sv,
                               "register"sv,
                               "schema"sv,
                               "schema_json"sv,
                               "update_forward_refs"sv,
                               "validate"sv,
                               "with_instructions"sv,
                               "with_updated_fields"sv};

bool is_word(char c) {
  return is_digit(c) || c == '_' || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') ||
         static_cast<unsigned char>(c) >= 0x80;
}

}  // namespace

bool is_identifier(std::string_view name) {
  return !name.empty() && !is_digit(name.front()) && std::ranges::all_of(name, is_word);
}

bool is_keyword(std::string_view name) { return std::ranges::find(kKeywords, name) != kKeywords.end(); }

std::string sanitised(std::string_view name, std::size_t position) {
  std::string field(name);
  std::ranges::replace_if(
      field, [](char c) { return !is_word(c); }, '_');
  if (!is_identifier(field) || field.front() == '_') return "field_" + std::to_string(position);
  if (is_keyword(field) || std::ranges::find(kTaken, field) != kTaken.end()) field += '_';
  return field;
}

Result<std::vector<std::pair<std::string, std::string>>> identifiers_of(
    const std::vector<std::string>& names) {
  std::vector<std::pair<std::string, std::string>> found;
  for (const std::string& name : names) {
    const std::size_t position = found.size() + 1;
    if (name.find_first_not_of(" \t\n\r\f\v") == name.npos) {
      return invalid("field " + std::to_string(position) + " has no name");
    }
    std::string field = sanitised(name, position);
    for (const auto& [other, others_field] : found) {
      if (other == name) return invalid("two fields are named '" + name + "'");
      if (others_field == field) {
        return invalid("the fields '" + other + "' and '" + name + "' both become '" + field +
                       "' in Python: rename one");
      }
    }
    found.emplace_back(name, std::move(field));
  }
  return found;
}

}  // namespace lair::dspy
