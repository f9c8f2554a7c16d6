// Signatures as C++ reads them. tests/dspy/signatures.json holds this and the workers' reader to the same rules.
#include <lair/dspy_signature.hpp>

#include <gtest/gtest.h>

#include <fstream>
#include <string>
#include <vector>

#include "dspy/names.hpp"
#include "support/paths.hpp"

namespace lair::dspy {
namespace {

Json told(const Json& fields) {
  Json found = Json::array();
  for (const Json& field : fields) {
    const bool typed = field.contains("type") && field["type"].is_string();
    found.push_back(typed ? Json::array({field["name"], field["type"]}) : field["name"]);
  }
  return found;
}

TEST(DspySignature, IsReadAsTheWorkersReadIt) {
  std::ifstream file(test::in_source("tests/dspy/signatures.json"));
  const Json cases = Json::parse(file);
  ASSERT_GT(cases.size(), 60u);
  for (const Json& each : cases) {
    SCOPED_TRACE(each["signature"].dump());
    const auto found = Signature::parse_json(each["signature"]);
    if (each.contains("error")) {
      ASSERT_FALSE(found);
      EXPECT_EQ(found.error().kind, ErrorKind::kInvalidArgument);
      EXPECT_NE(found.error().message.find(each["error"].get<std::string>()), std::string::npos)
          << found.error().message;
      continue;
    }
    ASSERT_TRUE(found) << found.error().message;
    EXPECT_EQ(told(found->json()["inputs"]), each["inputs"]);
    EXPECT_EQ(told(found->json()["outputs"]), each["outputs"]);
    std::vector<std::string> names = found->inputs();
    for (const std::string& name : found->outputs()) names.push_back(name);
    Json renamed = Json::object();
    for (std::size_t i = 0; i < names.size(); ++i) {
      if (const std::string field = sanitised(names[i], i + 1); field != names[i]) renamed[names[i]] = field;
    }
    EXPECT_EQ(renamed, each["mapping"]);
  }
}

TEST(DspySignature, ErrorsSayWhere) {
  const auto message = [](std::string_view text) { return Signature::parse(text).error().message; };
  EXPECT_EQ(message("question: list[int -> answer"),
            "the signature 'question: list[int -> answer': at the end, where ',' or ']' is expected");
  EXPECT_EQ(message("a -> b; c"),
            "the signature 'a -> b; c': at character 7 (';'), where ',' or ':' is expected");
  EXPECT_EQ(message("a -> b: flaot"),
            "the signature 'a -> b: flaot': output 'b': there is no type 'flaot' (did you mean 'float'?)");
}

TEST(DspySignature, ABadTextThrowsWhereItIsWritten) {
  EXPECT_THROW(Signature("question"), CallError);
  const Signature good = "question -> answer";
  EXPECT_EQ(good.text(), "question -> answer");
}

TEST(DspySignature, IsBuiltFieldByField) {
  const Signature built =
      Signature()
          .model("Source", {{"type", "object"}, {"properties", {{"page", {{"type", "integer"}}}}}})
          .input("question", "str", "what is asked")
          .input_or("style", "brief")
          .output("sources", "list[Source]")
          .output("score", {{"type", "number"}, {"maximum", 1}}, "how sure you are")
          .instructions("Answer briefly.");
  EXPECT_EQ(built.text(), "question: str, style -> sources: list[Source], score: object");
  EXPECT_EQ(built.inputs(), (std::vector<std::string>{"question", "style"}));
  EXPECT_EQ(built.outputs(), (std::vector<std::string>{"sources", "score"}));
  EXPECT_EQ(built.json()["instructions"], "Answer briefly.");
  EXPECT_EQ(built.json()["inputs"][0],
            (Json{{"name", "question"}, {"type", "str"}, {"description", "what is asked"}}));
  EXPECT_EQ(built.json()["inputs"][1], (Json{{"name", "style"}, {"default", "brief"}}));
  EXPECT_TRUE(Signature::parse_json(built.json()));
}

TEST(DspySignature, IsCheckedAsItIsBuilt) {
  const Signature base = Signature().input("a b");
  EXPECT_THROW(static_cast<void>(base.output("a_b")), CallError);                // both a_b in Python
  EXPECT_THROW(static_cast<void>(base.output("c", "list[Source]")), CallError);  // no such model, yet
  EXPECT_THROW(static_cast<void>(base.output("c", 5)), CallError);
  EXPECT_THROW(static_cast<void>(base.model("A", {{"type", "strin"}})), CallError);
  EXPECT_THROW(static_cast<void>(base.input("")), CallError);
}

TEST(DspySignature, DeepBracketsAreRefused) {
  std::string deep = "a -> b: ";
  for (int i = 0; i < 100'000; ++i) deep += "list[";
  EXPECT_FALSE(Signature::parse(deep));
  EXPECT_FALSE(Signature::parse("a -> b: " + std::string(100'000, '(')));
}

}  // namespace
}  // namespace lair::dspy
