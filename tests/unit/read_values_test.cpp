// Results of a batch that are read straight from their message: no other, and no others, than by way of Json.
#include <gtest/gtest.h>

#include <optional>
#include <random>
#include <string>
#include <vector>

#include "wire/json_codec.hpp"
#include "wire/message.hpp"
#include "wire/msgpack.hpp"

namespace lair {
namespace {

class Integers final : public detail::ValuesSink {
 public:
  bool read_from(detail::ValueReader& in) override {
    int value = 0;
    if (!detail::read(in, value)) return false;
    values.push_back(value);
    return true;
  }
  std::vector<int> values;
};

class ReadValues : public testing::TestWithParam<bool> {
 protected:
  static constexpr wire::CallHeader kHeader{.id = 5, .generation = 9, .command = "f", .batch = true};

  static std::string encoded(const Json& message) {
    return GetParam() ? wire::encode_msgpack(message, "message").value()
                      : wire::encode_json(message, "message").value();
  }
  static std::optional<bool> read(std::string_view payload, std::vector<int>& values, std::size_t most = 100,
                                  const wire::CallHeader& header = kHeader) {
    Integers sink;
    const auto last = wire::read_values(header, payload, most, sink);
    values = sink.values;
    return last;
  }
};
INSTANTIATE_TEST_SUITE_P(Codecs, ReadValues, testing::Bool(),
                         [](const auto& packed) { return packed.param ? "MessagePack" : "Json"; });

TEST_P(ReadValues, TellsTheLastFrameFromOthers) {
  std::vector<int> values;
  const Json none = Json::array();
  EXPECT_EQ(read(encoded({2, 5, 9, {1, -2, 300}, none}), values), true);
  EXPECT_EQ(values, (std::vector{1, -2, 300}));
  EXPECT_EQ(read(encoded({6, 5, 9, {70000}, none}), values), false);
  EXPECT_EQ(values, std::vector{70000});
  EXPECT_EQ(read(encoded(Json::array({2, 5, 9, none})), values), true) << "the errors may be missing";
  EXPECT_TRUE(values.empty());
}

TEST_P(ReadValues, LeavesAllElseToOthers) {
  std::vector<int> values;
  const Json none = Json::array();
  const Json error = Json::array({Json::array({0, {{"type", "ValueError"}}})});
  for (const Json& other :
       {Json({2, 5, 9, {nullptr}, error}), Json({2, 5, 9, {1, "two"}, none}), Json({2, 5, 9, {1, 2.5}, none}),
        Json({2, 6, 9, {1}, none}), Json({2, 5, 8, {1}, none}), Json({3, 5, 9, {1}, none}),
        Json({2, 5, 9, {1}, none, 0}), Json({2, 5, 9, 1, none}), Json({2, 5, 9, {1}, 0}), Json({2, 5, 9}),
        Json({10, 5, 9, 1}), Json(7)}) {
    EXPECT_EQ(read(encoded(other), values), std::nullopt) << other;
  }
  const std::string two = encoded({2, 5, 9, {1, 2}, none});
  EXPECT_EQ(read(two, values, 1), std::nullopt) << "more than there may be";
  EXPECT_EQ(read(two + ' ' + two, values), std::nullopt);
  wire::CallHeader call = kHeader;
  call.batch = false;
  EXPECT_EQ(read(two, values, 100, call), std::nullopt);
}

// Bytes that were changed at random: what is taken here is what is taken there.
TEST_P(ReadValues, TakesNothingThatIsNotTakenByWayOfJson) {
  std::mt19937 random(7);
  const auto up_to = [&](std::size_t most) {
    return std::uniform_int_distribution<std::size_t>(0, most)(random);
  };
  int taken = 0;
  for (int round = 0; round < 20'000; ++round) {
    Json numbers = Json::array();
    for (std::size_t i = up_to(5); i > 0; --i) numbers.push_back(static_cast<int>(up_to(100'000)) - 50'000);
    std::string payload = encoded({round % 2 == 0 ? 2 : 6, 5, 9, numbers, Json::array()});
    for (std::size_t changes = up_to(2); changes > 0; --changes) {
      payload[up_to(payload.size() - 1)] = static_cast<char>(up_to(255));
    }
    std::vector<int> values;
    const auto last = read(payload, values);
    if (!last) continue;
    ++taken;
    const wire::Reply reply = wire::decode_reply(kHeader, payload);
    const auto* answers = std::get_if<wire::Answers>(&reply);
    ASSERT_NE(answers, nullptr) << payload;
    ASSERT_TRUE(answers->errors.empty()) << payload;
    ASSERT_EQ(answers->last, *last) << payload;
    ASSERT_EQ(Json(answers->values), Json(values)) << payload;
  }
  EXPECT_GT(taken, 5000);
}

}  // namespace
}  // namespace lair
