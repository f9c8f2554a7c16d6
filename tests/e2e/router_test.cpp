// A change of workers, little by little, under load.
#include <lair/router.hpp>

#include <gtest/gtest.h>

#include <atomic>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "support/leak_check.hpp"
#include "support/pools.hpp"

namespace lair {
namespace {

using namespace std::chrono_literals;
using test::eventually;
using test::options_for;

PoolOptions side(const std::string& name) {
  PoolOptions options = options_for("plain", 2);
  options.name = name;
  options.worker.env["SIDE"] = name;
  options.max_waiters = 64;
  return options;
}

class RouterOverPools : public test::LeakChecked {
 protected:
  // Before it is looked for what they leave behind.
  void TearDown() override {
    pools.reset();
    LeakChecked::TearDown();
  }

  struct Pools {
    Pool before{side("old")};
    Pool after{side("new")};
    Router router{before, after};
  };
  std::unique_ptr<Pools> pools = std::make_unique<Pools>();
  Router& router = pools->router;

  std::string side_of(Endpoint& endpoint) { return endpoint.call<std::string>("env", "SIDE"); }
};

TEST_F(RouterOverPools, FailsNoCallWhileItsShareGoesUpAndBack) {
  pools->before.wait_ready();
  pools->after.wait_ready();
  std::atomic<bool> stop = false;
  std::atomic<int> failed = 0;
  std::atomic<int> opened_on_second = 0;
  std::vector<std::thread> callers;
  for (int i = 0; i < 8; ++i) {
    callers.emplace_back([&, i] {
      const auto is_at = [](RoutedSession& session, const std::string& side) {
        const auto here = session.try_call<std::string>("env", "SIDE");
        return here && *here == side;
      };
      const std::string name = "caller-" + std::to_string(i);
      RoutedSession session = router.session(name);
      const std::string at_home = side_of(session);
      for (int turn = 0; !stop; ++turn) {
        if (!router.try_call("echo", i)) ++failed;
        if (!is_at(session, at_home)) ++failed;
        RoutedSession visitor = router.session(name + "-visitor-" + std::to_string(turn));
        if (!is_at(visitor, visitor.on_second() ? "new" : "old")) ++failed;
        opened_on_second += visitor.on_second() ? 1 : 0;
        visitor.session().end();
      }
    });
  }
  const auto ended = [&](bool second) {
    const RouterStats stats = router.stats();
    return second ? stats.second.calls : stats.first.calls;
  };
  for (const double share : {0.0, 1.0, 50.0, 100.0, 0.0}) {
    router.share(share);
    const std::uint64_t first = ended(false);
    const std::uint64_t second = ended(true);
    EXPECT_TRUE(eventually([&] { return ended(false) - first + ended(true) - second > 400; }));
    EXPECT_TRUE(share < 100 || ended(true) > second);
  }
  stop = true;
  for (std::thread& caller : callers) caller.join();
  EXPECT_EQ(failed, 0);
  const RouterStats stats = router.stats();
  EXPECT_TRUE(stats.first.errors.empty());
  EXPECT_TRUE(stats.second.errors.empty());
  EXPECT_GT(stats.second.calls, 0u);
  EXPECT_GT(opened_on_second, 0);
}

TEST_F(RouterOverPools, KeepsASessionWhereItWasOpened) {
  RoutedSession early = router.session("early");
  EXPECT_EQ(side_of(early), "old");
  router.share(100);
  EXPECT_EQ(side_of(early), "old");
  RoutedSession again = router.session("early");
  EXPECT_FALSE(again.on_second());
  RoutedSession late = router.session("late");
  EXPECT_TRUE(late.on_second());
  EXPECT_EQ(side_of(late), "new");
  router.back();
  EXPECT_EQ(side_of(late), "new");
  EXPECT_TRUE(router.session("late").on_second());
  late.session().end();
  EXPECT_EQ(side_of(early), "old");
  RoutedSession anew = router.session("late");
  EXPECT_FALSE(anew.on_second());
}

TEST_F(RouterOverPools, ChoosesTheSameSessionsAsItsShareGrows) {
  std::vector<bool> before(200, false);
  for (const double share : {10.0, 40.0}) {
    router.share(share);
    int chosen = 0;
    for (std::size_t i = 0; i < before.size(); ++i) {
      RoutedSession session = router.session("user-" + std::to_string(i));
      EXPECT_TRUE(!before[i] || session.on_second()) << i;
      before[i] = session.on_second();
      chosen += session.on_second() ? 1 : 0;
      session.session().end();
    }
    EXPECT_NEAR(chosen, share * 2, 25);
  }
}

}  // namespace
}  // namespace lair
