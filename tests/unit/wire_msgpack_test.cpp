// MessagePack: the bytes of tests/vectors/msgpack.json, which the Python side has, too; what JSON can't say is refused.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <fstream>
#include <limits>
#include <random>
#include <string>

#include "support/paths.hpp"
#include "wire/message.hpp"
#include "wire/msgpack.hpp"

namespace lair::wire {
namespace {

using testing::HasSubstr;

const Json& packed_vectors() {
  static const Json all = [] {
    std::ifstream file(test::in_source("tests/vectors/msgpack.json"));
    return Json::parse(file);
  }();
  return all;
}

std::string vector_bytes(const Json& vector) {
  const auto hex = vector.at("msgpack").get<std::string>();
  std::string bytes;
  for (std::size_t i = 0; i < hex.size(); i += 2)
    bytes += static_cast<char>(std::stoi(hex.substr(i, 2), nullptr, 16));
  return bytes;
}

std::optional<Json> unpacked(std::string_view bytes) {
  std::string problem;
  auto value = decode_msgpack(bytes, problem);
  EXPECT_EQ(value.has_value(), problem.empty()) << problem;
  return value;
}

// Also the same kind of number, and the same zero.
void expect_same(const Json& one, const Json& other) {
  EXPECT_EQ(one, other);
  EXPECT_EQ(one.dump(), other.dump());
  EXPECT_EQ(one.type(), other.type());
}

std::string packing_refusal(const Json& value) {
  const auto encoded = encode_msgpack(value, "argument");
  if (encoded) return "encoded";
  EXPECT_EQ(encoded.error().kind, ErrorKind::kInvalidArgument);
  EXPECT_EQ(encoded.error().delivery, Delivery::kNotSent);
  return encoded.error().message;
}

TEST(Msgpack, ValuesAreTheBytesOfTheVectors) {
  ASSERT_FALSE(packed_vectors().at("values").empty());
  for (const Json& vector : packed_vectors().at("values")) {
    SCOPED_TRACE(vector.at("name"));
    const Json value = Json::parse(vector.at("json").get<std::string>());
    const auto encoded = encode_msgpack(value, "value");
    ASSERT_TRUE(encoded);
    if (!value.is_object() ||
        value.size() < 11) {  // members are in the order of their names: "10" before "2"
      EXPECT_EQ(*encoded, vector_bytes(vector));
    }
    const auto back = unpacked(vector_bytes(vector));
    ASSERT_TRUE(back);
    expect_same(*back, value);
  }
}

TEST(Msgpack, LongerFormsAreRead) {
  for (const Json& vector : packed_vectors().at("longer")) {
    SCOPED_TRACE(vector.at("name"));
    const auto value = unpacked(vector_bytes(vector));
    ASSERT_TRUE(value);
    expect_same(*value, Json::parse(vector.at("json").get<std::string>()));
  }
}

TEST(Msgpack, WhatIsNotJsonIsNotRead) {
  for (const Json& vector : packed_vectors().at("refused"))
    EXPECT_FALSE(unpacked(vector_bytes(vector))) << vector.at("name");
}

TEST(Msgpack, NestingEndsAt1000Levels) {
  for (const std::string opening : {"\x91", "\x81\xa1k"}) {
    std::string levels;
    for (int i = 0; i < 999; ++i) levels += opening;
    const auto value = unpacked(levels + '\x90');
    ASSERT_TRUE(value);
    EXPECT_THAT(packing_refusal(*value), HasSubstr("nested more than 999 levels deep"))
        << "it goes into a message";
    EXPECT_TRUE(encode_msgpack(value->front(), "value"));
    EXPECT_FALSE(unpacked(levels + opening + '\x90'));
    EXPECT_THAT(packing_refusal(Json::array({Json::array({*value})})), HasSubstr("nested more than"));
  }
  EXPECT_FALSE(unpacked(std::string(10'000'000, '\x91')));
}

TEST(Msgpack, WhatJsonCannotSayIsRefusedInTheSameWords) {
  EXPECT_EQ(packing_refusal({{"rows", {1, std::nan("")}}}), "argument.rows[1] is NaN, which JSON cannot say");
  EXPECT_THAT(packing_refusal({-std::numeric_limits<double>::infinity()}),
              HasSubstr("argument[0] is Infinity"));
  EXPECT_THAT(packing_refusal({{"raw", Json::binary({1, 2})}}), HasSubstr("argument.raw is binary"));
  for (const char* bad : {"\xff", "\xc3", "\xed\xa0\x80", "\xc0\x80", "\xf4\x90\x80\x80", "abcdefgh\x80"}) {
    EXPECT_THAT(packing_refusal({{"text", bad}}), HasSubstr("argument.text is not valid UTF-8"));
    EXPECT_THAT(packing_refusal({{bad, 1}}), HasSubstr("is not valid UTF-8"));
  }
}

TEST(Msgpack, WhateverIsReadIsWrittenAgain) {
  std::mt19937 random(7);
  const std::string kinds = "\x91\x92\x81\xa1\xa2\xd9\xdc\xdd\xde\xc0\xcb\xcc\xd0";
  int read = 0;
  for (int i = 0; i < 50'000; ++i) {
    std::string bytes(random() % 30, '\0');
    for (char& byte : bytes)
      byte = random() % 2 != 0 ? kinds[random() % kinds.size()] : static_cast<char>(random());
    const auto value = unpacked(bytes);
    if (!value) continue;
    ++read;
    const auto again = encode_msgpack(*value, "value");
    ASSERT_TRUE(again);
    EXPECT_EQ(*unpacked(*again), *value);
  }
  EXPECT_GT(read, 100);
}

TEST(Msgpack, ACallIsTheArrayThatJsonWouldBe) {
  CallHeader header{.id = 300,
                    .generation = 9,
                    .command = "count",
                    .remaining = std::chrono::milliseconds(7),
                    .traceparent = "00-ab",
                    .chain = R"([[1,"p"]])",
                    .stream = CallHeader::Credit{3, 70},
                    .session = CallHeader::Session{"user", 2, "strict", std::uint64_t{1} << 40}};
  const auto payload = [](const CallFrame& frame) {
    const std::string whole = frame.head + std::string(frame.arguments) + frame.tail;
    EXPECT_EQ(whole.size() - kHeaderBytes, frame.payload_size());
    return whole.substr(kHeaderBytes);
  };
  const Json text = Json::parse(payload(encode_call(header, R"({"x":[1]})")));
  header.packed = true;
  const std::string arguments = *encode_msgpack({{"x", {1}}}, "arguments");
  const std::string packed = payload(encode_call(header, arguments));
  EXPECT_TRUE(is_msgpack(packed));
  EXPECT_EQ(unpacked(packed), text);
}

TEST(Msgpack, RepliesAreReadAsEither) {
  const CallHeader header{.id = 5, .generation = 9};
  const auto value_of = [&](const std::string& payload) {
    const Reply reply = decode_reply(header, payload);
    const auto* value = std::get_if<Value>(&reply);
    return value != nullptr ? value->value : Json("(none)");
  };
  EXPECT_EQ(value_of("[2,5,9,[1]]"), Json({1}));
  EXPECT_EQ(value_of("\x94\x02\x05\x09\x91\x01"), Json({1}));
  const Reply bad = decode_reply(header, "\x94\x02\x05\x09\xc4");
  EXPECT_THAT(std::get<Malformed>(bad).problem, HasSubstr("neither JSON nor MessagePack (it has binary"));
  const CallHeader one{.protocol = Protocol::kOne, .id = 5};
  EXPECT_TRUE(std::holds_alternative<Malformed>(decode_reply(one, "\x81\xa1x\x01"))) << "protocol 1 is JSON";
}

}  // namespace
}  // namespace lair::wire
