// What a DSPy program is given and what it gives: read and checked here, before any worker is asked.
//
//   lair::dspy::Signature qa = "question, context: list[str] -> answer: str, score: float";
//
//   const auto graded = lair::dspy::Signature()
//       .model("Source", {{"type", "object"}, {"properties", {{"page", {{"type", "integer"}}}}}})
//       .input("question", "str", "what is asked")
//       .output("sources", "list[Source]")
//       .output("score", {{"type", "number"}, {"maximum", 1}}, "how sure you are")
//       .instructions("Answer briefly.");
//
// Types are texts as in Python ("list[str]", "Literal['yes', 'no'] | None") or JSON schemas; docs/dspy.md lists them. Names may
// be any text; two that would become one in Python are refused.
//
// What can't be understood throws CallError, kInvalidArgument, which says where and what; `parse` gives it as a Result. Nothing
// here blocks.
//
// Thread-safety: values; no shared state.
#pragma once

#include <concepts>
#include <lair/json.hpp>
#include <lair/result.hpp>
#include <string>
#include <string_view>
#include <vector>

namespace lair::dspy {

class Signature {
 public:
  // No fields yet; a program needs at least one output.
  Signature();
  // "inputs -> outputs", each a list of `name` or `name: type`.
  template <std::convertible_to<std::string_view> Text>
  Signature(const Text& text) : Signature(parse(std::string_view(text)).value()) {}

  static Result<Signature> parse(std::string_view text);
  // A text, or the structure of docs/dspy.md: {"inputs": [...], "outputs": [...], "instructions": ..., "models": {...}}.
  static Result<Signature> parse_json(const Json& given);

  // --- Each gives a longer one ----------------------------------------------------------------------------------------------
  // `type` absent (null): any value for an input, a text for an output.
  [[nodiscard]] Signature input(std::string name, Json type = {}, std::string description = {}) const;
  // An input that may be missing, and is `fallback` then.
  [[nodiscard]] Signature input_or(std::string name, Json fallback, Json type = {},
                                   std::string description = {}) const;
  [[nodiscard]] Signature output(std::string name, Json type = {}, std::string description = {}) const;
  // A type of one's own, for the fields that are added afterwards. Its schema may name others as "#/$defs/NAME".
  [[nodiscard]] Signature model(std::string name, Json schema) const;
  // What the language model is told to do, in place of DSPy's "Given the fields …, produce the fields …".
  [[nodiscard]] Signature instructions(std::string text) const;

  // --- What it is -----------------------------------------------------------------------------------------------------------
  std::vector<std::string> inputs() const;
  std::vector<std::string> outputs() const;
  // As a text: "question -> answer: str".
  std::string text() const;
  // As a structure, which `parse_json` and the commands read.
  const Json& json() const noexcept { return json_; }

 private:
  Signature with(const char* side, Json field) const;

  Json json_;
};

}  // namespace lair::dspy
