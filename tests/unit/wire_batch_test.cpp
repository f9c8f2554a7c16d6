// BATCH and what answers it.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>

#include "wire/frame.hpp"
#include "wire/json_codec.hpp"
#include "wire/message.hpp"
#include "wire/msgpack.hpp"

namespace lair::wire {
namespace {

using testing::HasSubstr;

constexpr CallHeader kBatch{.id = 5, .generation = 9, .command = "count", .batch = true};

std::string payload_bytes(const CallFrame& frame) {
  return (frame.head + std::string(frame.arguments) + frame.tail).substr(kHeaderBytes);
}

Answers answers(std::string_view payload) {
  const Reply reply = decode_reply(kBatch, payload);
  const auto* found = std::get_if<Answers>(&reply);
  EXPECT_NE(found, nullptr) << payload;
  return found != nullptr ? *found : Answers{};
}

TEST(Batch, IsACallWithAnArrayOfArguments) {
  EXPECT_EQ(Json::parse(payload_bytes(encode_call(kBatch, R"([[1],{"a":2}])"))),
            Json::parse(R"([13, 5, 9, "count", [[1], {"a": 2}], {}])"));
  CallHeader packed = kBatch;
  packed.packed = true;
  std::string problem;
  EXPECT_EQ(decode_msgpack(payload_bytes(encode_call(packed, *encode_msgpack({{1}, {2}}, "items"))), problem),
            Json::parse(R"([13, 5, 9, "count", [[1], [2]], {}])"));
}

TEST(Batch, IsAnsweredByChunksAndAResult) {
  Answers some = answers(R"([6, 5, 9, [1, "two"], []])");
  EXPECT_EQ(some.values, (std::vector<Json>{1, "two"}));
  EXPECT_TRUE(some.errors.empty());
  EXPECT_FALSE(some.last);
  EXPECT_FALSE(is_final(Reply(some)));
  some = answers(R"([2, 5, 9, []])");
  EXPECT_TRUE(some.values.empty());
  EXPECT_TRUE(some.last);
  EXPECT_TRUE(is_final(Reply(some)));
}

TEST(Batch, TellsWhichItemsHaveFailed) {
  const Answers some = answers(
      R"([2, 5, 9, [null, 1, null], [[0, {"type": "E", "message": "m", "traceback": "t", "kind": "remote"}],
          [2, {"kind": "invalid_argument"}]]])");
  ASSERT_EQ(some.errors.size(), 2u);
  EXPECT_EQ(some.errors[0].first, 0u);
  EXPECT_EQ(some.errors[0].second.message, "m");
  EXPECT_EQ(some.errors[1].first, 2u);
  EXPECT_EQ(some.errors[1].second.kind, Raised::Kind::kInvalidArgument);
}

TEST(Batch, AnswersThatAreNoneAreNamed) {
  for (const char* payload : {"[2,5,9]", "[6,5,9,7]", "[2,5,9,[1],7]", "[2,5,9,[1],[7]]",
                              "[2,5,9,[1],[[1,{}]]]", "[2,5,9,[1],[[0,7]]]", "[2,5,9,[1,2],[[1,{}],[0,{}]]]",
                              "[2,5,9,[1,2],[[0,{}],[0,{}]]]", "[2,5,9,[1],[[-1,{}]]]"}) {
    const Reply reply = decode_reply(kBatch, payload);
    const auto* bad = std::get_if<Malformed>(&reply);
    ASSERT_NE(bad, nullptr) << payload;
    EXPECT_THAT(bad->problem, HasSubstr("an answer to a BATCH"));
  }
}

TEST(Batch, ACancelledOneSaysHowManyItemsWereBegun) {
  const Reply reply = decode_reply(kBatch, "[10,5,9,3]");
  ASSERT_TRUE(std::holds_alternative<Cancelled>(reply));
  EXPECT_EQ(std::get<Cancelled>(reply).begun, 3u);
}

TEST(Batch, ArgumentsAreCountedAsOneLevelDeeper) {
  Json deep = Json::array();
  for (std::size_t i = 2; i < kMostNesting; ++i) deep = Json::array({std::move(deep)});
  std::string out;
  EXPECT_TRUE(append_packed_value(out, deep, 1));
  EXPECT_FALSE(append_packed_value(out, deep, 2));
}

}  // namespace
}  // namespace lair::wire
