// Where arrays are, in messages; and that nothing that a worker may say of them is believed unseen.
#include "wire/arrays.hpp"

#include <gtest/gtest.h>

#include "wire/json_codec.hpp"
#include "wire/message.hpp"
#include "wire/msgpack.hpp"

namespace lair::test {
namespace {

using namespace wire;

Json decoded(const std::string& bytes, bool packed) {
  std::string problem;
  return (packed ? decode_msgpack(bytes, problem) : decode_json(bytes, problem)).value();
}
Json written(const ArraysOfCall& arrays, bool packed) {
  return decoded(encode_arrays(arrays, packed), packed);
}

ListedArrays two_arrays(bool packed) {
  ListedArrays arrays;
  arrays.add(packed, {"a", 2}, {3, 64, 128},
             {.first = 8, .dtype = DType::kFloat64, .shape = {2, 3}, .strides = {24, 8}}, true);
  arrays.add(packed, 0, {3, 0, 64}, {.dtype = DType::kInt16, .shape = {2, 3}, .strides = {2, -4}}, false);
  return arrays;
}

TEST(WireArrays, SayTheSameInBothCodecs) {
  const Json expected = Json::parse(R"({
    "in": [[["a", 2], 3, 64, 128, 8, "<f8", [2, 3], null, true], [[0], 3, 0, 64, 0, "<i2", [2, 3], [2, -4], false]],
    "out": [1, 4096, 640], "dropped": [2]})");
  for (const bool packed : {false, true}) {
    const ListedArrays two = two_arrays(packed);
    EXPECT_EQ(two.count(), 2u);
    EXPECT_EQ(
        written({.arguments = two, .wanted = true, .grant = BlockAt{1, 4096, 640}, .dropped = {2}}, packed),
        expected);
  }
  const ListedArrays none;
  EXPECT_EQ(written({.arguments = none, .wanted = true}, true), Json::parse(R"({"in": [], "out": null})"));
  EXPECT_EQ(written({.arguments = none}, false), Json::parse(R"({"in": []})"));
}

TEST(WireArrays, ListedInOneCodecAreToldInTheOther) {
  for (const bool packed : {false, true}) {
    std::string own, other;
    two_arrays(packed).append_to(own, packed);
    two_arrays(packed).append_to(other, !packed);
    EXPECT_EQ(decoded(own, packed), decoded(other, !packed));
  }
}

TEST(WireArrays, AreToldTheirStridesWhereTheseAreNotTheUsualOnes) {
  const auto told = [](Shape shape, Strides strides) {
    ListedArrays listed;
    listed.add(false, 0, {1, 0, 64},
               {.dtype = DType::kInt32, .shape = std::move(shape), .strides = std::move(strides)}, false);
    std::string text;
    listed.append_to(text, false);
    return Json::parse(text)[0][7];
  };
  EXPECT_EQ(told({2, 3}, {12, 4}), nullptr);
  EXPECT_EQ(told({}, {}), nullptr);
  EXPECT_EQ(told({2, 0, 3}, {12, 12, 4}), nullptr);
  EXPECT_EQ(told({2, 3}, {4, 8}), Json({4, 8}));
  EXPECT_EQ(told({1, 3}, {0, 4}), Json({0, 4}));  // which lead nowhere
}

TEST(WireArrays, GoWithACallsMeta) {
  const ListedArrays none;
  const std::string arrays = encode_arrays({.arguments = none, .wanted = true}, false);
  const CallFrame frame = encode_call({.id = 1, .generation = 2, .command = "f", .arrays = arrays}, "[null]");
  const std::string text = frame.head.substr(kHeaderBytes) + std::string(frame.arguments) + frame.tail;
  EXPECT_EQ(Json::parse(text)[5], Json::parse(R"({"arrays": {"in": [], "out": null}})"));
  const std::string packed = encode_arrays({.arguments = none, .wanted = true}, true);
  const CallFrame other =
      encode_call({.id = 1, .generation = 2, .command = "f", .arrays = packed, .packed = true}, "\x91\xc0");
  std::string problem;
  const std::string bytes = other.head.substr(kHeaderBytes) + std::string(other.arguments) + other.tail;
  EXPECT_EQ(decode_msgpack(bytes, problem).value(), Json::parse(text));
}

TEST(WireArrays, OfAResultAreRead) {
  const auto results = decode_array_results(Json::parse(
      R"([[["a", 0], 1, 64, 8, "<f4", [2, 2], [8, -4]], [[], 1, 0, 0, "|b1", [], null], [[], 1, 0, 0, "|u1", [0], null]])"));
  ASSERT_TRUE(results);
  EXPECT_EQ(results->at(0).path, (std::vector<Json>{"a", 0}));
  EXPECT_EQ(results->at(0).strides, (Strides{8, -4}));
  EXPECT_EQ(results->at(0).first, 8u);
  EXPECT_EQ(results->at(1).shape, Shape());
  EXPECT_EQ(results->at(2).strides, Strides{1});
}

TEST(WireArrays, ThatAreNoneAreRefused) {
  for (const char* bad : {
           "null",
           "{}",
           "[1]",
           "[[]]",
           R"([[[], 1, 0, 0, "<f4", [2]]])",
           R"([[0, 1, 0, 0, "<f4", [2], null]])",                        // path
           R"([[[], -1, 0, 0, "<f4", [2], null]])",                      // segment
           R"([[[], 4294967296, 0, 0, "<f4", [2], null]])",              // beyond 32 bits
           R"([[[], 1, 0.5, 0, "<f4", [2], null]])",                     // block
           R"([[[], 1, 0, -8, "<f4", [2], null]])",                      // first
           R"([[[], 1, 0, 0, "<f16", [2], null]])",                      // type
           R"([[[], 1, 0, 0, "|O", [2], null]])",                        //
           R"([[[], 1, 0, 0, 4, [2], null]])",                           //
           R"([[[], 1, 0, 0, "<f4", [-2], null]])",                      // shape
           R"([[[], 1, 0, 0, "<f4", [4611686018427387904, 4], null]])",  // more than can be counted
           R"([[[], 1, 0, 0, "<f4", 2, null]])",                         //
           R"([[[], 1, 0, 0, "<f4", [2], [4, 4]]])",                     // strides
           R"([[[], 1, 0, 0, "<f4", [2], [18446744073709551615]]])",
           R"([[[], 1, 0, 0, "<f4", [2], ["4"]]])",
       }) {
    EXPECT_FALSE(decode_array_results(Json::parse(bad))) << bad;
  }
  EXPECT_FALSE(decode_array_results(
      Json::array({Json::array({Json::array(), 1, 0, 0, "<f4", Json(std::vector<int>(65, 1)), nullptr})})));
  for (const char* bad : {"null", "[1]", "[[1]]", "[[-1, 0]]", R"([["1", 0]])"}) {
    EXPECT_FALSE(decode_released(Json::parse(bad))) << bad;
  }
}

TEST(WireArrays, ThatReachBeyondTheirMemoryDoNotFit) {
  const auto memory = detail::ArrayMemory::own(64);
  const auto fits = [&](std::size_t first, Shape shape, Strides strides) {
    return detail::fits({.memory = memory,
                         .first = first,
                         .dtype = DType::kFloat64,
                         .shape = std::move(shape),
                         .strides = std::move(strides)});
  };
  EXPECT_TRUE(fits(0, {8}, {8}));
  EXPECT_FALSE(fits(8, {8}, {8}));
  EXPECT_TRUE(fits(56, {8}, {-8}));
  EXPECT_FALSE(fits(48, {8}, {-8}));
  EXPECT_TRUE(fits(0, {1000}, {0}));
  EXPECT_FALSE(fits(4, {1}, {8}));   // not where a double may be
  EXPECT_FALSE(fits(0, {2}, {12}));  // nor the next one
  EXPECT_FALSE(fits(0, {2}, {PTRDIFF_MAX - 7}));
  EXPECT_FALSE(fits(0, {SIZE_MAX / 16}, {PTRDIFF_MIN}));
  EXPECT_FALSE(fits(SIZE_MAX - 7, {1}, {8}));
  EXPECT_TRUE(fits(64, {0}, {8}));
  EXPECT_FALSE(fits(72, {0}, {8}));
  EXPECT_FALSE(fits(0, {2, 2}, {8}));
}

TEST(WireArrays, PlacesAreFoundOrNot) {
  Json value = Json::parse(R"({"a": [0, {"b": null}]})");
  const auto find = [&](const char* path) {
    return place_in(value, Json::parse(path).get<std::vector<Json>>());
  };
  ASSERT_NE(find(R"(["a", 1, "b"])"), nullptr);
  EXPECT_TRUE(find(R"(["a", 1, "b"])")->is_null());
  EXPECT_EQ(find("[]"), &value);
  for (const char* bad :
       {R"(["b"])", "[0]", R"(["a", 2])", R"(["a", "0"])", R"(["a", 0, 0])", R"(["a", -1])"}) {
    EXPECT_EQ(find(bad), nullptr) << bad;
  }
}

TEST(WireArrays, OfRepliesAreTakenOnlyWhereWanted) {
  const CallHeader header{.id = 1, .generation = 2, .takes_arrays = true};
  const std::string_view good = R"([2,1,2,null,[[[],1,0,0,"<f4",[2],null]]])";
  EXPECT_EQ(std::get<Value>(decode_reply(header, good)).arrays.size(), 1u);
  EXPECT_TRUE(std::get<Value>(decode_reply({.id = 1, .generation = 2}, good)).arrays.empty());
  EXPECT_TRUE(std::holds_alternative<Malformed>(decode_reply(header, "[2,1,2,null,[[1]]]")));
  const Reply released = decode_reply(header, "[14,1,2,[[3,64]]]");
  EXPECT_FALSE(is_final(released));
  EXPECT_EQ(std::get<Released>(released).blocks, (std::vector<BlockAt>{{3, 64, 0}}));
  EXPECT_TRUE(std::holds_alternative<Malformed>(decode_reply(header, "[14,1,2]")));
}

}  // namespace
}  // namespace lair::test
