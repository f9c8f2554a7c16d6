// JSON, strictly: what it cannot say is refused by name; what it says comes back unchanged.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <lair/array.hpp>

#include <cmath>
#include <cstdint>
#include <limits>
#include <string>

#include "wire/json_codec.hpp"

namespace lair::wire {
namespace {

using testing::EndsWith;
using testing::HasSubstr;
using testing::StartsWith;

std::string refusal(const Json& value) {
  const auto encoded = encode_json(value, "argument");
  if (encoded) return "encoded: " + *encoded;
  EXPECT_EQ(encoded.error().kind, ErrorKind::kInvalidArgument);
  EXPECT_EQ(encoded.error().delivery, Delivery::kNotSent);
  return encoded.error().message;
}

Json decoded(std::string_view text) {
  std::string problem;
  const auto value = decode_json(text, problem);
  EXPECT_TRUE(value) << problem;
  return value.value_or(Json("(nothing)"));
}

std::string problem_of(std::string_view text) {
  std::string problem;
  EXPECT_FALSE(decode_json(text, problem)) << text;
  return problem;
}

TEST(EncodeJson, NamesThePlaceOfANaN) {
  EXPECT_THAT(refusal({{"rows", {1, {{"x", std::nan("")}}}}}), StartsWith("argument.rows[1].x is NaN"));
  EXPECT_THAT(refusal(std::nan("")), StartsWith("argument is NaN"));
}

TEST(EncodeJson, NamesThePlaceOfAnInfinity) {
  const double infinity = std::numeric_limits<double>::infinity();
  EXPECT_THAT(refusal({1.0, 2.0, infinity}), StartsWith("argument[2] is Infinity"));
  EXPECT_THAT(refusal({{"low", -infinity}}), StartsWith("argument.low is Infinity"));
}

TEST(EncodeJson, NamesThePlaceOfBinary) {
  EXPECT_THAT(refusal({{"image", Json::binary({1, 2, 3})}}), StartsWith("argument.image is binary"));
  EXPECT_THAT(refusal({{"image", Array<int>()}}), StartsWith("argument.image is a lair::Array, which goes"));
}

TEST(EncodeJson, NamesThePlaceOfTextThatIsNotUtf8) {
  EXPECT_THAT(refusal({{"a", {"fine", "\xff\xfe"}}}), StartsWith("argument.a[1] is not valid UTF-8"));
  EXPECT_THAT(refusal({{"a", {{"\xff", 1}}}}), StartsWith("argument.a's key is not valid UTF-8"));
  EXPECT_THAT(refusal("\xed\xa0\x80"), HasSubstr("is not valid UTF-8")) << "a lone surrogate";
  EXPECT_THAT(refusal("\xc0\x80"), HasSubstr("is not valid UTF-8")) << "an overlong NUL";
}

TEST(EncodeJson, RefusesADiscardedValue) {
  const Json bad = Json::parse("{", nullptr, false);
  EXPECT_THAT(refusal({{"x", bad}}), HasSubstr("argument.x is a discarded value"));
}

TEST(EncodeJson, WhatItWritesReadsBackTheSame) {
  const Json values = {nullptr,
                       true,
                       -1,
                       1.5,
                       0.1,
                       -0.0,
                       std::numeric_limits<double>::max(),
                       std::numeric_limits<double>::denorm_min(),
                       std::numeric_limits<std::int64_t>::min(),
                       std::numeric_limits<std::uint64_t>::max(),
                       "",
                       "\"\\/\b\f\n\r\t\x01\x1f\x7f",
                       "žluťoučký 🐎",
                       std::string("a\0b", 3),
                       Json::array(),
                       Json::object(),
                       {{"", {{"nested", {1, 2, 3}}}}}};
  const auto text = encode_json(values, "argument");
  ASSERT_TRUE(text);
  EXPECT_EQ(decoded(*text), values);
  EXPECT_EQ(decoded(*text)[9].get<std::uint64_t>(), std::numeric_limits<std::uint64_t>::max());
}

TEST(DecodeJson, IntegersOf64BitsTravelExactly) {
  EXPECT_EQ(decoded("18446744073709551615").get<std::uint64_t>(), 18446744073709551615ull);
  EXPECT_EQ(decoded("-9223372036854775808").get<std::int64_t>(), std::numeric_limits<std::int64_t>::min());
  EXPECT_EQ(decoded("9007199254740993").get<std::int64_t>(), 9007199254740993) << "no double can say it";
}

TEST(DecodeJson, SurrogatePairsBecomeOneCharacterAndLoneOnesAreRefused) {
  EXPECT_EQ(decoded(R"("\ud83d\ude00")"), "😀");
  problem_of(R"("\ud83d")");
  problem_of(R"("\ude00x")");
}

TEST(DecodeJson, RefusesWhatIsNotJson) {
  for (const char* text : {"", " ", "{", "[1,]", "NaN", "Infinity", "-Infinity", "'x'", "{a:1}", "1 2",
                           "\xff", "\"\xff\"", "01", "+1", "nul", "\"\n\"", "1e999"}) {
    EXPECT_NE(problem_of(text), "") << text;
  }
}

TEST(DecodeJson, TakesDeepNestingWithoutTheStack) {
  const std::size_t depth = 200'000;
  std::string problem;
  const std::string deep = std::string(depth, '[') + std::string(depth, ']');
  (void)decode_json(deep, problem);  // a value or a refusal, but no crash
  (void)decode_json(std::string(depth, '['), problem);
  EXPECT_NE(problem, "");
}

// A value that a worker returned may be passed on as an argument.
TEST(EncodeJson, DeepNestingIsEncodedOrRefusedWithoutTheStack) {
  const std::size_t depth = 200'000;
  std::string problem;
  const auto value = decode_json(std::string(depth, '[') + std::string(depth, ']'), problem);
  if (!value) return;  // refused on the way in: just as good
  (void)encode_json(*value, "argument");
}

TEST(DecodeJson, SaysWhatIsWrongInAFewWords) {
  const std::string problem = problem_of("\"" + std::string(1u << 20, 'A'));
  EXPECT_LT(problem.size(), 1000u) << "a megabyte of babble is no message";
}

TEST(DecodeJson, SaysWhatIsWrongInPrintableWords) {
  const std::string problem = problem_of("\"abc\xff\xfe\"");
  for (const char c : problem) EXPECT_LT(static_cast<unsigned char>(c), 0x80u) << problem;
}

TEST(Printable, ShowsBytesAsTheyCanBeShown) {
  EXPECT_EQ(printable("plain text"), "plain text");
  EXPECT_EQ(printable("a\nb"), "a\\nb");
  EXPECT_EQ(printable(std::string_view("\0\x1f\x7f\xff", 4)), "\\x00\\x1f\\x7f\\xff");
  EXPECT_EQ(printable(""), "");
}

TEST(Printable, ShortensAndSaysHowMuchThereWas) {
  const std::string shown = printable(std::string(500, 'a'), 10);
  EXPECT_THAT(shown, StartsWith(std::string(10, 'a')));
  EXPECT_THAT(shown, EndsWith("(500 bytes)"));
  EXPECT_EQ(printable(std::string(10, 'a'), 10), std::string(10, 'a'));
}

}  // namespace
}  // namespace lair::wire
