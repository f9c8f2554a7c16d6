// Who goes to which side of a Router, and what it counts.
#include <lair/router.hpp>
#include <lair/testing.hpp>

#include <gtest/gtest.h>

#include <future>
#include <limits>
#include <string>

namespace lair {
namespace {

class RouterOverFakes : public ::testing::Test {
 protected:
  RouterOverFakes() {
    for (FakeEndpoint* side : {&first, &second}) {
      side->on("f", fake::returns(side == &first ? 1 : 2));
      side->on("g", fake::returns(side == &first ? 1 : 2));
      side->on("rows", fake::yields({1, 2}).raises("ValueError", "row 3 is torn"));
    }
  }
  int seconds_of(int calls, const char* command = "f") {
    int count = 0;
    for (int i = 0; i < calls; ++i) count += router.call<int>(command) == 2 ? 1 : 0;
    return count;
  }

  FakeEndpoint first;
  FakeEndpoint second;
  Router router{first, second};
};

TEST_F(RouterOverFakes, SendsEverythingToTheFirstSideAtFirst) { EXPECT_EQ(seconds_of(100), 0); }

TEST_F(RouterOverFakes, SendsAsManyOfAnyHundredCallsAsItsShareSays) {
  router.share(1);
  EXPECT_EQ(seconds_of(100), 1);
  router.share(25);
  EXPECT_EQ(seconds_of(400), 100);
  router.share(100);
  EXPECT_EQ(seconds_of(50), 50);
  router.share(0);
  EXPECT_EQ(seconds_of(50), 0);
}

TEST_F(RouterOverFakes, SendsNamedCommandsToTheSecondSide) {
  router.commands({"g"});
  EXPECT_EQ(seconds_of(10, "g"), 10);
  EXPECT_EQ(seconds_of(10, "f"), 0);
  router.commands({"f"});
  EXPECT_EQ(seconds_of(10, "g"), 0);
}

TEST_F(RouterOverFakes, GoesBackWithOneCall) {
  router.share(100);
  router.commands({"g"});
  router.back();
  EXPECT_EQ(seconds_of(20, "f") + seconds_of(20, "g"), 0);
  EXPECT_EQ(router.stats().percent, 0);
  EXPECT_TRUE(router.stats().commands.empty());
}

TEST_F(RouterOverFakes, RefusesAShareThatIsNone) {
  EXPECT_THROW(router.share(-0.1), CallError);
  EXPECT_THROW(router.share(100.1), CallError);
  EXPECT_THROW(router.share(std::numeric_limits<double>::quiet_NaN()), CallError);
}

TEST_F(RouterOverFakes, CountsEachSideByItself) {
  second.on("g", fake::fails(ErrorKind::kWorkerLost));
  router.commands({"g"});
  EXPECT_TRUE(router.try_call("f"));
  EXPECT_FALSE(router.try_call("g"));
  std::promise<bool> done;
  router.start({}, "g", Json::array(), [&done](Result<Json> reply) { done.set_value(reply.has_value()); });
  EXPECT_FALSE(done.get_future().get());
  const RouterStats stats = router.stats();
  EXPECT_EQ(stats.first.calls, 1u);
  EXPECT_EQ(stats.first.ok, 1u);
  EXPECT_EQ(stats.second.calls, 2u);
  EXPECT_EQ(stats.second.ok, 0u);
  EXPECT_EQ(stats.second.errors.at("worker_lost"), 2u);
  EXPECT_EQ(stats.second.took.count, 2u);
  EXPECT_EQ(to_json_value(stats)["second"]["errors"]["worker_lost"], 2);
  router.reset_stats();
  EXPECT_EQ(router.stats().second.calls, 0u);
  EXPECT_EQ(router.stats().commands, std::vector<std::string>{"g"});
}

TEST_F(RouterOverFakes, CountsAStreamOnceWhenItHasEnded) {
  auto stream = router.stream<int>("rows");
  EXPECT_EQ(*stream.try_next().value(), 1);
  EXPECT_EQ(router.stats().first.calls, 0u);
  EXPECT_EQ(*stream.try_next().value(), 2);
  EXPECT_FALSE(stream.try_next());
  EXPECT_FALSE(stream.try_next());
  EXPECT_EQ(router.stats().first.calls, 1u);
  EXPECT_EQ(router.stats().first.errors.at("remote"), 1u);
  { auto dropped = router.stream<int>("rows"); }
  EXPECT_EQ(router.stats().first.calls, 2u);
}

TEST_F(RouterOverFakes, HasNoSessionsWithoutPools) {
  const auto refused = router.try_session("s");
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().kind, ErrorKind::kInvalidArgument);
}

}  // namespace
}  // namespace lair
