// Typed calls on real workers, in both codecs, and on everything that can be called.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <array>
#include <chrono>
#include <cstdint>
#include <filesystem>
#include <future>
#include <lair/async.hpp>
#include <lair/fields.hpp>
#include <lair/pool.hpp>
#include <lair/router.hpp>
#include <limits>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <tuple>
#include <vector>

#include "support/coroutine.hpp"
#include "support/pools.hpp"

namespace typed_e2e {

struct Row {
  std::string name;
  std::optional<int> age;
  std::vector<double> scores;
  friend bool operator==(const Row&, const Row&) = default;
};
LAIR_FIELDS(Row, name, age, scores)

}  // namespace typed_e2e

namespace lair::test {
namespace {

using namespace std::chrono_literals;
using testing::ElementsAre;
using testing::HasSubstr;
using typed_e2e::Row;

class TypedCalls : public testing::TestWithParam<const char*> {
 protected:
  // With the accelerator, which reads MessagePack, and without.
  static PoolOptions options() {
    PoolOptions options = options_for("typed", 1);
    options.worker.env["LAIR_NATIVE"] = GetParam();
    return options;
  }
};
INSTANTIATE_TEST_SUITE_P(Codecs, TypedCalls, testing::Values("on", "off"),
                         [](const auto& of) { return std::string(of.param); });

TEST_P(TypedCalls, TakeAndGiveWhatTheyAreDeclaredTo) {
  Pool pool(options());
  pool.wait_ready();
  EXPECT_EQ(pool.call<std::string>("codec"), GetParam() == std::string("on") ? "msgpack" : "json");
  EXPECT_EQ(pool.call<int>("add", 2, 3), 5);
  EXPECT_EQ(pool.call<std::uint64_t>("same", std::numeric_limits<std::uint64_t>::max()),
            std::numeric_limits<std::uint64_t>::max());
  EXPECT_EQ(pool.call<std::int64_t>("same", std::numeric_limits<std::int64_t>::min()),
            std::numeric_limits<std::int64_t>::min());
  EXPECT_EQ(pool.call<double>("same", 1e22), 1e22);
  EXPECT_EQ(pool.call<std::string>("same", "ä \"𝄞\" \n"), "ä \"𝄞\" \n");
  EXPECT_THAT(pool.call<std::vector<std::string>>("kinds", 1, 1.0, true, "x", nullptr, std::vector<int>{},
                                                  Row{}, std::optional<int>{}, std::tuple(1, 2)),
              ElementsAre("int", "float", "bool", "str", "NoneType", "list", "dict", "NoneType", "list"));
  const std::vector<Row> rows = {{"a", 3, {0.5, 1}}, {"b", std::nullopt, {}}};
  EXPECT_EQ(pool.call<std::vector<Row>>("same", rows), rows);
  EXPECT_EQ(pool.call("same", rows[0]), Json({{"name", "a"}, {"age", 3}, {"scores", {0.5, 1.0}}}));
  EXPECT_EQ((pool.call<std::tuple<std::vector<int>, std::map<std::string, Row>>>(
                "echo", kwargs{{"row", Json(rows[0])}})),
            (std::tuple{std::vector<int>(), std::map<std::string, Row>{{"row", rows[0]}}}));
}

TEST_P(TypedCalls, SayWhereAResultDoesNotFit) {
  Pool pool(options());
  const auto narrow = pool.try_call<std::vector<std::int8_t>>("echo", 1, 300);
  ASSERT_FALSE(narrow);
  EXPECT_EQ(narrow.error().kind, ErrorKind::kInvalidArgument);
  EXPECT_EQ(narrow.error().delivery, Delivery::kExecuted);
  EXPECT_EQ(narrow.error().message,
            "the result of 'echo' is not of the type asked for: at [1] 300 does not fit: from -128 to 127 is "
            "wanted; it is [1,300]");
  EXPECT_EQ(pool.stats().ok, 1u) << "the command has run, and its worker is in order";
  EXPECT_EQ(pool.call<int>("add", 1, 1), 2);
}

TEST_P(TypedCalls, RefuseArgumentsInTheWordsOfJson) {
  Pool pool(options());
  const double nan = std::numeric_limits<double>::quiet_NaN();
  const auto typed = pool.try_call<int>("add", 1, std::vector<double>{0.5, nan});
  const auto dom = pool.invoke({}, "add", Json::array({1, Json::array({0.5, nan})}));
  ASSERT_FALSE(typed);
  EXPECT_EQ(typed.error().message, dom.error().message);
  EXPECT_THAT(typed.error().message, HasSubstr("[1][1] is NaN"));
  EXPECT_EQ(typed.error().delivery, Delivery::kNotSent);
  EXPECT_THAT(pool.try_call("same", "\xff").error().message, HasSubstr("is not valid UTF-8"));
}

TEST_P(TypedCalls, AreMadeOnEverythingThatCanBeCalled) {
  Pool pool(options());
  Session session = pool.session("s");
  EXPECT_EQ(session.call<int>("add", 2, 3), 5);
  session.end();
  {
    Lease lease = pool.checkout();
    EXPECT_EQ(lease.call<int>("add", 2, 3), 5);
    EXPECT_EQ(lease.fn<int(int, int)>("add")(3, 4), 7);
  }
  Router router(pool, pool);
  EXPECT_EQ(router.call<int>("add", 2, 3), 5);
  EXPECT_FALSE(router.try_call<int>("fail", "why"));
  EXPECT_EQ(router.stats().first.ok, 1u);
  EXPECT_EQ(router.stats().first.errors.at("remote"), 1u);
}

TEST_P(TypedCalls, AreFunctions) {
  Pool pool(options());
  const auto add = pool.fn<int(int, int)>("add", {.timeout = 60s});
  EXPECT_EQ(add(2, 3), 5);
  EXPECT_EQ(add.try_call(2, 3).value(), 5);
  EXPECT_EQ(add.with({.timeout = 0ms}).try_call(2, 3).error().kind, ErrorKind::kDeadlineExceeded);
  EXPECT_THAT(add.map(std::vector<std::tuple<int, int>>{{1, 2}, {3, 4}}), ElementsAre(3, 7));
  EXPECT_EQ(add.future_call(2, 4).get(), 6);
  const auto awaited = std::make_shared<std::promise<int>>();
  [](const auto& function, std::shared_ptr<std::promise<int>> promise) -> Detached {
    promise->set_value(co_await function.co_call(2, 5));
  }(add, awaited);
  EXPECT_EQ(awaited->get_future().get(), 7);
  const auto score = pool.fn<double(std::string_view)>("fail");
  const auto failed = score.try_call("a reason");
  ASSERT_FALSE(failed);
  EXPECT_EQ(failed.error().python->message, "a reason");
  const auto nothing = pool.fn<void(Row)>("same");
  nothing({.name = "x", .age = 1, .scores = {}});
}

TEST_P(TypedCalls, CarryWhatOtherCallsCarry) {
  Pool pool(options());
  pool.expose("twice", [](int value) { return 2 * value; });
  EXPECT_EQ(pool.call<int>("ask", 21), 42) << "in the middle of a typed call";
  const std::string trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
  EXPECT_EQ(pool.call<std::string>({.traceparent = trace}, "traceparent"), trace);
  const auto note =
      std::filesystem::temp_directory_path() / ("lair-typed-" + std::to_string(::getpid()) + GetParam());
  std::filesystem::remove(note);
  EXPECT_EQ((pool.call<std::vector<int>>({.idempotent = true}, "dies_once", note.string(), std::array{1, 2})),
            (std::vector{1, 2}))
      << "on another worker";
  std::filesystem::remove(note);
}

TEST_P(TypedCalls, GoByWayOfJsonWhereAWorkerHasSeveralCalls) {
  PoolOptions several = options_for("several", 1);
  several.worker.env["LAIR_NATIVE"] = GetParam();
  several.concurrency = 4;
  Pool pool(several);
  EXPECT_EQ(pool.call<int>("echo", 5), 5);
  EXPECT_THAT(pool.try_call<std::int8_t>("echo", 500).error().message, HasSubstr("500 does not fit"));
}

TEST(TypedCallsOfProtocolOne, TakeKeywords) {
  Pool pool(options_for(script_worker("original.py"), 1));
  const auto positional = pool.try_call<int>("ping", 1);
  ASSERT_FALSE(positional);
  EXPECT_THAT(positional.error().message, HasSubstr("protocol 1"));
  EXPECT_TRUE(pool.try_call<Json>("ping"));
  EXPECT_TRUE(pool.try_call<void>("ping", kwargs{}));
}

}  // namespace
}  // namespace lair::test
