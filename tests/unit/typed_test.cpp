// Types that are known when the program is compiled: what goes straight into and out of a message is the same as what goes by
// way of Json, in both codecs, and so are the errors.
#include <lair/endpoint.hpp>

#include <gtest/gtest.h>

#include <array>
#include <cmath>
#include <cstdint>
#include <functional>
#include <limits>
#include <map>
#include <optional>
#include <random>
#include <span>
#include <string>
#include <tuple>
#include <unordered_map>
#include <vector>

#include "base/json_text.hpp"
#include "wire/json_codec.hpp"
#include "wire/message.hpp"
#include "wire/msgpack.hpp"

namespace typed_test {

struct Point {
  double x = 0;
  int y = 0;
  friend bool operator==(const Point&, const Point&) = default;
};
LAIR_FIELDS(Point, x, y)

struct Row {
  std::string name;
  std::optional<std::uint8_t> age = 7;
  std::vector<Point> points;
  std::map<std::string, bool> known;
  friend bool operator==(const Row&, const Row&) = default;
};
LAIR_FIELDS(Row, name, age, points, known)

// By nlohmann's way alone.
struct Old {
  int value = 0;
  friend bool operator==(const Old&, const Old&) = default;
};
NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE(Old, value)

struct Derived : Point {};

}  // namespace typed_test

namespace lair {
namespace {

using typed_test::Old;
using typed_test::Point;
using typed_test::Row;

static_assert(detail::Readable<std::vector<Row>>::value);
static_assert(!detail::Readable<std::vector<Old>>::value);
static_assert(!detail::HasFields<typed_test::Derived>, "fields are not inherited");
static_assert(!detail::Readable<std::string_view>::value);

class Typed : public testing::TestWithParam<bool> {
 protected:
  static bool packed() { return GetParam(); }

  template <class... Args>
  static std::optional<std::string> written(const Args&... args) {
    std::string bytes;
    detail::ValueWriter out(bytes, packed());
    detail::view_of(args...).write_to(out);
    if (!out.ok()) return std::nullopt;
    return bytes;
  }
  static Json parsed(const std::string& bytes) {
    std::string problem;
    auto value = packed() ? wire::decode_msgpack(bytes, problem) : wire::decode_json(bytes, problem);
    EXPECT_TRUE(value) << problem;
    return value.value_or(Json("no value"));
  }
  // What its worker is sent is what it would be sent by way of Json.
  template <class... Args>
  static void expect_same_arguments(const Args&... args) {
    const Json dom = detail::arguments(args...);
    const auto bytes = written(args...);
    ASSERT_TRUE(bytes) << dom;
    const Json back = parsed(*bytes);
    EXPECT_EQ(back, dom);
    EXPECT_EQ(back.dump(), dom.dump()) << "a float stays a float";
  }
  static std::string encoded(const Json& value) {
    return packed() ? wire::encode_msgpack(value, "value").value()
                    : wire::encode_json(value, "value").value();
  }
  // A RESULT with this value, as it comes from a worker.
  static std::string reply(const std::string& value) {
    return (packed() ? std::string("\x94\x02\x05\x09") : std::string("[2,5,9,")) + value +
           (packed() ? "" : "]");
  }
  static constexpr wire::CallHeader kHeader{.id = 5, .generation = 9, .command = "f"};

  // By the typed way, which falls back on Json where it fails.
  template <class R>
  static Result<R> typed(const std::string& value, bool* direct = nullptr) {
    detail::ResultOf<R> sink;
    const std::string payload = reply(value);
    const bool read = wire::OpenReply(kHeader, payload).read_value(sink);
    if (direct != nullptr) *direct = read;
    if (!read) {
      auto said = wire::decode_reply(kHeader, payload);
      if (auto* broken = std::get_if<wire::Malformed>(&said)) return Error{.message = broken->problem};
      sink.keep(std::move(std::get<wire::Value>(said).value));
    }
    return sink.take("f");
  }
  // By way of Json alone.
  template <class R>
  static Result<R> by_dom(const std::string& value) {
    auto said = wire::decode_reply(kHeader, reply(value));
    if (auto* broken = std::get_if<wire::Malformed>(&said)) return Error{.message = broken->problem};
    return detail::result_as<R>("f", std::move(std::get<wire::Value>(said).value));
  }
  // By code that has nothing in common with the reader's.
  static std::optional<Json> by_others(const std::string& value) {
    std::string problem;
    if (packed()) return wire::decode_msgpack(value, problem);
    Json message = Json::parse(reply(value), nullptr, false);
    if (message.is_discarded() || message.size() < 4) return std::nullopt;
    return message[3];
  }
  template <class R>
  static void expect_value(const Json& value, const R& expected) {
    bool direct = false;
    const auto way = typed<R>(encoded(value), &direct);
    ASSERT_TRUE(way) << value << ": " << way.error().message;
    EXPECT_EQ(*way, expected) << value;
    EXPECT_TRUE(direct) << value;
    EXPECT_EQ(by_dom<R>(encoded(value)).value(), expected) << value;
  }
  template <class R>
  static void expect_error(const Json& value, const std::string& why) {
    bool direct = true;
    const auto way = typed<R>(encoded(value), &direct);
    ASSERT_FALSE(way) << value;
    EXPECT_FALSE(direct);
    EXPECT_EQ(way.error().kind, ErrorKind::kInvalidArgument);
    EXPECT_EQ(way.error().delivery, Delivery::kExecuted);
    EXPECT_NE(way.error().message.find(why), std::string::npos) << way.error().message;
    const auto dom = by_dom<R>(encoded(value));
    ASSERT_FALSE(dom);
    EXPECT_EQ(dom.error().message, way.error().message);
  }
};

INSTANTIATE_TEST_SUITE_P(Codecs, Typed, testing::Bool(),
                         [](const auto& of) { return of.param ? "MessagePack" : "Json"; });

// --- Arguments ----------------------------------------------------------------------------------------

TEST_P(Typed, WritesArgumentsAsJsonWould) {
  expect_same_arguments();
  expect_same_arguments(0, -1, 127, 128, -32, -33, 255, 256, -128, -129, 65535, 65536, -32768, -32769);
  expect_same_arguments(std::numeric_limits<std::int64_t>::min(), std::numeric_limits<std::int64_t>::max(),
                        std::numeric_limits<std::uint64_t>::max(), std::int32_t{-2147483647 - 1},
                        std::uint32_t{4294967295u}, std::int8_t{-128}, std::uint8_t{255}, 'a', 1ll << 32);
  expect_same_arguments(0.0, -0.0, 1.0, 0.1, 1e22, 1e-7, -2.5e300, 5e-324, 100000.0, 1.5f, 3.4e38f);
  expect_same_arguments(true, false, nullptr, std::byte{200});
  expect_same_arguments("", "text", std::string("with \"quotes\", \\ and \n\t\x01 \x7f"),
                        std::string_view("ä€𝄞"), std::string(31, 'a'), std::string(32, 'a'),
                        std::string(300, 'a'), std::string(70000, 'a'), std::string("a\0b", 3));
  expect_same_arguments(std::vector<int>{}, std::vector<double>{1, 2.5}, std::vector<bool>{true, false},
                        std::vector<std::string>{"a", ""},
                        std::vector<std::byte>{std::byte{0}, std::byte{255}}, std::vector<int>(15, 1),
                        std::vector<int>(16, 1), std::vector<int>(70000, 1));
  expect_same_arguments(std::array<int, 2>{1, 2}, std::array<int, 0>{}, std::tuple<>(),
                        std::tuple{1, "a", 2.5}, std::pair<int, std::string>{1, "b"});
  const std::vector<float> floats = {0.5f, 0.1f};
  expect_same_arguments(std::span<const float>(floats), std::optional<int>{}, std::optional<int>{3},
                        std::vector<std::optional<std::string>>{std::nullopt, "x"});
  expect_same_arguments(std::map<std::string, int>{}, std::map<std::string, int>{{"b", 1}, {"a\"", 2}},
                        std::unordered_map<std::string, std::vector<int>>{{"only", {1}}});
  expect_same_arguments(
      Row{.name = "r", .age = std::nullopt, .points = {{.x = 1, .y = -2}}, .known = {{"k", true}}},
      std::vector<Point>(3));
  expect_same_arguments(Json(), Json::object(), Json({{"a", {1, 2.5, "x", nullptr}}}), Json({1, 2}));
  expect_same_arguments(Old{.value = 4}, std::vector<Old>{{.value = 5}}, std::map<int, int>{{1, 2}});
}

TEST_P(Typed, RefusesWhatJsonCannotSay) {
  EXPECT_FALSE(written(std::nan("")));
  EXPECT_FALSE(written(std::vector<float>{1, std::numeric_limits<float>::infinity()}));
  EXPECT_FALSE(written("bad \xff"));
  EXPECT_FALSE(written("a surrogate \xed\xa0\x80"));
  EXPECT_FALSE(written(std::map<std::string, int>{{"\xc0\x80", 1}}));
  EXPECT_FALSE(written(1, Json::binary({1, 2})));
  Json deep;
  for (int i = 0; i < 998; ++i) deep = Json::array({std::move(deep)});
  EXPECT_TRUE(written(deep));
  deep = Json::array({std::move(deep)});
  EXPECT_FALSE(written(deep));
}

TEST_P(Typed, HasStructsAsJsonToo) {
  const Row row{.name = "r", .age = 3, .points = {{.x = 1.5, .y = 2}}, .known = {}};
  const Json json = row;
  EXPECT_EQ(json, Json::parse(R"({"name":"r","age":3,"points":[{"x":1.5,"y":2}],"known":{}})"));
  EXPECT_EQ(json.get<Row>(), row);
  EXPECT_THROW((void)Json(3).get<Row>(), Json::exception);
}

// --- Results ------------------------------------------------------------------------------------------

TEST_P(Typed, ReadsResultsAsJsonWould) {
  expect_value<int>(5, 5);
  expect_value<int>(-5, -5);
  for (const std::int64_t number : {-129, -128, -33, -32, -1, 0, 127, 128, 255, 256, 32767, 32768, 65536})
    expect_value<std::int64_t>(number, number);
  expect_value<std::int64_t>(std::numeric_limits<std::int64_t>::min(),
                             std::numeric_limits<std::int64_t>::min());
  expect_value<std::int64_t>(std::numeric_limits<std::int64_t>::max(),
                             std::numeric_limits<std::int64_t>::max());
  expect_value<std::uint64_t>(std::numeric_limits<std::uint64_t>::max(),
                              std::numeric_limits<std::uint64_t>::max());
  expect_value<std::int8_t>(-128, -128);
  expect_value<std::uint8_t>(255, 255);
  expect_value<std::byte>(255, std::byte{255});
  expect_value<bool>(true, true);
  expect_value<double>(0.1, 0.1);
  expect_value<double>(3, 3.0);
  expect_value<double>(-3, -3.0);
  expect_value<double>(std::numeric_limits<std::uint64_t>::max(), 18446744073709551615.0);
  expect_value<double>(5e-324, 5e-324);
  expect_value<float>(0.1, 0.1f);
  expect_value<std::string>("", "");
  expect_value<std::string>("ä€𝄞 \"\\/\b\f\n\r\t\x01", "ä€𝄞 \"\\/\b\f\n\r\t\x01");
  expect_value<std::string>(std::string(70000, 'x'), std::string(70000, 'x'));
  expect_value<std::optional<int>>(nullptr, std::nullopt);
  expect_value<std::optional<int>>(3, 3);
  expect_value<std::vector<int>>(Json::array(), {});
  expect_value<std::vector<std::vector<double>>>({{1, 2.5}, Json::array()}, {{1, 2.5}, {}});
  expect_value<std::vector<bool>>({true, false}, {true, false});
  expect_value<std::vector<std::byte>>({0, 255}, {std::byte{0}, std::byte{255}});
  expect_value<std::array<int, 3>>({1, 2, 3}, {1, 2, 3});
  expect_value<std::tuple<int, std::string>>({1, "a"}, {1, "a"});
  expect_value<std::pair<bool, std::optional<int>>>({true, nullptr}, {true, std::nullopt});
  expect_value<std::map<std::string, int>>({{"b", 1}, {"a\n", 2}}, {{"b", 1}, {"a\n", 2}});
  expect_value<std::unordered_map<std::string, Json>>({{"b", {1, "x"}}}, {{"b", {1, "x"}}});
  expect_value<Row>(Json::parse(R"({"name":"r","age":null,"points":[{"x":1,"y":2}],"known":{"k":true}})"),
                    {.name = "r", .age = std::nullopt, .points = {{.x = 1, .y = 2}}, .known = {{"k", true}}});
  // A member that the struct has not is passed over; an optional field that is not there stays as it was made.
  expect_value<Row>(
      Json::parse(R"({"more":[{"a":[1,2.5,"x",null,true]}],"name":"r","points":[],"known":{}})"),
      {.name = "r", .age = 7, .points = {}, .known = {}});
  const Json any = Json::parse(R"({"a":[1,-2,2.5,"x",null,true,{"b":[]}],"big":18446744073709551615})");
  expect_value<Json>(any, any);
}

TEST_P(Typed, ReadsTypesOfOthersByTheirOwnWay) {
  EXPECT_EQ(typed<Old>(encoded({{"value", 3}})).value(), Old{.value = 3});
  EXPECT_EQ(typed<std::vector<Old>>(encoded({{{"value", 3}}})).value(), std::vector<Old>{{.value = 3}});
  const auto wrong = typed<std::vector<Old>>(encoded({{{"value", 3}}, {{"other", 3}}}));
  ASSERT_FALSE(wrong);
  EXPECT_EQ(wrong.error().message,
            "the result of 'f' is not of the type asked for: at [1] key 'value' not found; it is "
            R"([{"value":3},{"other":3}])");
  EXPECT_TRUE(typed<void>(encoded({1, {{"a", 2}}})));
}

TEST_P(Typed, SaysWhereAndWhatDoesNotFit) {
  expect_error<int>("text", "an integer is wanted, not a string (\"text\"); it is \"text\"");
  expect_error<int>(2.5, "an integer is wanted, not a float (2.5)");
  expect_error<int>(2.0, "an integer is wanted, not a float (2.0)");
  expect_error<int>(true, "an integer is wanted, not a boolean (true)");
  expect_error<int>(nullptr, "an integer is wanted, not null");
  expect_error<bool>(1, "a boolean is wanted, not a number (1)");
  expect_error<double>("1", "a number is wanted, not a string");
  expect_error<std::string>({1}, "a string is wanted, not an array");
  expect_error<std::int8_t>(128, "128 does not fit: from -128 to 127 is wanted");
  expect_error<std::int8_t>(-129, "-129 does not fit");
  expect_error<std::uint8_t>(256, "256 does not fit: from 0 to 255");
  expect_error<std::byte>(256, "256 does not fit: from 0 to 255");
  expect_error<std::uint64_t>(-1, "-1 does not fit: from 0 to 18446744073709551615");
  expect_error<std::int64_t>(std::uint64_t{1} << 63, "9223372036854775808 does not fit");
  expect_error<std::int32_t>(std::int64_t{1} << 31, "2147483648 does not fit");
  expect_error<float>(1e39, "1e+39 does not fit");
  expect_error<std::vector<int>>({1, 2, "x"}, "at [2] an integer is wanted, not a string (\"x\")");
  expect_error<std::vector<int>>({{"a", 1}}, "an array is wanted, not an object");
  expect_error<std::array<int, 2>>({1, 2, 3}, "an array of 2 is wanted, not of 3");
  expect_error<std::tuple<int, int>>({1}, "an array of 2 is wanted, not of 1");
  expect_error<std::map<std::string, int>>({{"k", 300.5}}, "at .k an integer is wanted, not a float (300.5)");
  expect_error<Point>({{"x", 1}}, "the field 'y' is missing");
  expect_error<Point>({1, 2}, "an object is wanted, not an array");
  expect_error<std::vector<Row>>(
      Json::array({Json::parse(R"({"name":"r","age":300,"points":[],"known":{}})")}),
      "at [0].age 300 does not fit: from 0 to 255 is wanted");
  expect_error<std::vector<Row>>(
      Json::array({Json::parse(R"({"name":"r","points":[{"x":1,"y":2},{"x":null,"y":2}],"known":{}})")}),
      "at [0].points[1].x a number is wanted, not null");
}

TEST_P(Typed, AcceptsNothingThatJsonWouldRefuse) {
  // clang-format off
  const std::vector<std::string> json = {
      "", "5 5", "05", "+5", "5.", ".5", "-", "1e", "0x1", "nul", "True", "NaN", "Infinity", "1e400", "[1,]",
      "[,1]", "[1 2]", "[", "{\"a\"}", "{\"a\":}", "{\"a\":1,}", "{a:1}", "'x'", "\"", "\"\n\"", "\"\\x\"",
      "\"\\u12\"", "\"\\ud800\"", "\"\\ud800\\u0041\"", "\"\\udc00\"", "\"\xff\"", "\"\xed\xa0\x80\"", "5]", "[1}"};
  const std::vector<std::string> msgpack = {
      "", "\x05\x05", std::string("\xcb\x7f\xf0\0\0\0\0\0\0", 9), std::string("\xcb\x7f\xf8\0\0\0\0\0\0", 9),
      std::string("\xca\x7f\x80\0\0", 5), "\xc1", "\xc4\x01\x61", "\xd4\x01\x01", "\x92\x01", "\xa3\x61",
      "\xa1\xff", "\x81\x01\x01", "\x81\xa1\x61", "\xdd\xff\xff\xff\xff", "\xdf\xff\xff\xff\xff",
      "\xcd\x01", "\xd9\x05\x61"};
  // clang-format on
  for (const std::string& bad : packed() ? msgpack : json) {
    EXPECT_FALSE(typed<int>(bad)) << bad;
    EXPECT_FALSE(typed<void>(bad)) << bad;
    EXPECT_FALSE(typed<Json>(bad)) << bad;
    EXPECT_FALSE(typed<std::string>(bad)) << bad;
    EXPECT_FALSE(typed<std::vector<int>>(bad)) << bad;
    EXPECT_FALSE((typed<std::map<std::string, int>>(bad))) << bad;
    EXPECT_FALSE(typed<Point>(bad)) << bad;
    EXPECT_FALSE(by_dom<Json>(bad)) << bad;
    EXPECT_FALSE(by_others(bad)) << bad;
  }
}

TEST_P(Typed, StopsAtTheSameNesting) {
  const auto nested = [&](std::size_t levels) {
    if (packed()) return std::string(levels, '\x91') + '\xc0';
    return std::string(levels, '[') + "null" + std::string(levels, ']');
  };
  for (const std::size_t levels : {998u, 999u, 1000u, 5000u}) {
    const bool fits = levels < 1000;
    EXPECT_EQ(typed<Json>(nested(levels)).has_value(), fits) << levels;
    EXPECT_EQ(typed<void>(nested(levels)).has_value(), fits) << levels;
    EXPECT_EQ(by_dom<Json>(nested(levels)).has_value(), fits) << levels;
  }
}

TEST_P(Typed, ReadsNumbersAndTextHoweverTheyAreSpelt) {
  if (packed()) {
    for (const std::string& five :
         std::vector<std::string>{"\x05", "\xcc\x05", "\xd0\x05", std::string("\xcd\0\x05", 3),
                                  std::string("\xd3\0\0\0\0\0\0\0\x05", 9)})
      EXPECT_EQ(typed<int>(five).value(), 5);
    EXPECT_EQ(typed<double>(std::string("\xca\x3f\0\0\0", 5)).value(), 0.5);
    EXPECT_EQ(typed<std::string>(std::string("\xda\0\x01x", 4)).value(), "x");
    EXPECT_EQ(typed<std::vector<int>>(std::string("\xdc\0\x01\x07", 4)).value(), std::vector<int>{7});
  } else {
    EXPECT_EQ(typed<std::vector<int>>(" [ 1 ,\n2\t] ").value(), (std::vector<int>{1, 2}));
    EXPECT_EQ(typed<double>("1E+2").value(), 100.0);
    EXPECT_EQ(typed<double>("-0").value(), by_dom<double>("-0").value());
    EXPECT_EQ(typed<double>("123456789012345678901234567890").value(), 123456789012345678901234567890.0);
    EXPECT_EQ(typed<std::string>(R"("\u00e4\ud834\udd1e\/\u0041")").value(), "ä𝄞/A");
    EXPECT_EQ(typed<Point>(R"( { "x" : 1 , "\u0079" : 2, "x": 3 } )").value(), (Point{.x = 3, .y = 2}));
    EXPECT_EQ(typed<Json>("12345678901234567890123").value(),
              by_dom<Json>("12345678901234567890123").value());
    const Json minus = typed<Json>("-0").value();
    EXPECT_EQ(minus.type(), by_dom<Json>("-0").value().type());
  }
}

// Values at random, and bytes of them that have been changed: whatever the one way makes of them, the other does, too.
TEST_P(Typed, AgreesWithJsonOnAnything) {
  std::mt19937 random(7);
  const auto below = [&](unsigned n) { return static_cast<unsigned>(random() % n); };
  const std::function<Json(int)> any = [&](int depth) -> Json {
    switch (below(depth > 4 ? 6 : 8)) {
      case 0:
        return nullptr;
      case 1:
        return below(2) == 0;
      case 2:
        return static_cast<std::int64_t>(random()) << below(32);
      case 3:
        return -static_cast<std::int64_t>(random() >> below(32));
      case 4:
        return std::ldexp(static_cast<double>(random()) - 2e9, static_cast<int>(below(200)) - 100);
      case 5: {
        static const std::vector<std::string> texts = {"", "x", "ä\n", "\"\\", "𝄞", std::string(40, 'y')};
        return texts[below(6)];
      }
      case 6: {
        Json array = Json::array();
        for (unsigned i = below(5); i > 0; --i) array.push_back(any(depth + 1));
        return array;
      }
      default: {
        Json object = Json::object();
        for (unsigned i = below(5); i > 0; --i) object["k" + std::to_string(below(9))] = any(depth + 1);
        return object;
      }
    }
  };
  for (int i = 0; i < 3000; ++i) {
    const Json value = any(0);
    std::string bytes = encoded(value);
    ASSERT_EQ(typed<Json>(bytes).value().dump(), value.dump());
    ASSERT_EQ(parsed(*written(value)), Json::array({value}));
    for (unsigned changes = below(3); changes > 0; --changes)
      bytes[below(static_cast<unsigned>(bytes.size()))] = static_cast<char>(random());
    const auto way = typed<Json>(bytes);
    const auto others = by_others(bytes);
    ASSERT_EQ(way.has_value(), others.has_value()) << bytes;
    if (way) {
      ASSERT_EQ(base::shown(*way, 10000), base::shown(*others, 10000));
    }
    ASSERT_EQ(typed<void>(bytes).has_value(), way.has_value()) << bytes;
    const auto numbers = typed<std::vector<int>>(bytes);
    const auto dom_numbers = by_dom<std::vector<int>>(bytes);
    ASSERT_EQ(numbers.has_value(), dom_numbers.has_value()) << bytes;
    if (numbers) {
      ASSERT_EQ(*numbers, *dom_numbers);
    } else {
      ASSERT_EQ(numbers.error().message, dom_numbers.error().message);
    }
  }
}

TEST_P(Typed, ReadsOnlyTheResultOfItsCall) {
  detail::ResultOf<int> sink;
  const auto message = [&](const Json& value) { return encoded(value); };
  EXPECT_TRUE(wire::OpenReply(kHeader, message({2, 5, 9, 7})).read_value(sink));
  EXPECT_EQ(sink.take("f").value(), 7);
  for (const Json& other :
       {Json({3, 5, 9, 7}), Json({2, 6, 9, 7}), Json({2, 5, 8, 7}), Json({2, 5, 9}), Json({2, 5, 9, 7, 8}),
        Json({6, 5, 9, Json::array({7})}), Json(7), Json::object()}) {
    detail::ResultOf<int> unused;
    EXPECT_FALSE(wire::OpenReply(kHeader, message(other)).read_value(unused)) << other;
  }
  wire::CallHeader one = kHeader;
  one.protocol = wire::Protocol::kOne;
  EXPECT_FALSE(wire::OpenReply(one, message({2, 5, 9, 7})).read_value(sink));
}

}  // namespace
}  // namespace lair
