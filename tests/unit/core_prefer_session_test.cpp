// `prefer` sessions: when they go home, and when they take another worker for their home.
#include <gtest/gtest.h>

#include <map>
#include <utility>
#include <vector>

#include "support/core_driver.hpp"

namespace lair::test {
namespace {

TEST(CorePreferSession, GoesHomeIfHomeIsFree) {
  CoreDriver driver = ready_pool({.size = 3});
  const SessionKey session = driver.open(Affinity::kPrefer);
  const WorkerRef home = driver.call(1, session);
  driver.checkin(*driver.checkout(100));
  EXPECT_EQ(driver.checkout(2, {.session = session, .spill_after = driver.now})->worker, home);
  EXPECT_EQ(driver.grant_of(2)->met, Met::kHome);
}

TEST(CorePreferSession, WaitsForItsHomeForAWhileThenTakesAnother) {
  CoreDriver driver = ready_pool({.size = 2});
  const SessionKey session = driver.open(Affinity::kPrefer);
  const WorkerRef home = driver.call(1, session);
  driver.checkout(2, {.who = Eligibility::just(home)});
  EXPECT_FALSE(driver.checkout(3, {.session = session, .spill_after = driver.now + 25ms}));
  driver.advance(25ms - 1ns);
  EXPECT_FALSE(driver.grant_of(3));
  driver.advance(1ns);
  ASSERT_TRUE(driver.grant_of(3)) << "the timer is enough: nothing else happens";
  EXPECT_EQ(driver.grant_of(3)->met, Met::kSpilled);
  EXPECT_NE(driver.grant_of(3)->worker, home);
  EXPECT_EQ(driver.home(session), driver.grant_of(3)->worker) << "which is its home now";
  driver.checkin(2);
  driver.checkin(3);
  EXPECT_EQ(driver.checkout(4, {.session = session})->met, Met::kHome);
}

TEST(CorePreferSession, GoesHomeIfThatComesFreeInTime) {
  CoreDriver driver = ready_pool({.size = 2});
  const SessionKey session = driver.open(Affinity::kPrefer);
  const WorkerRef home = driver.call(1, session);
  driver.checkout(2, {.who = Eligibility::just(home)});
  driver.checkout(3, {.session = session, .spill_after = driver.now + 25ms});
  driver.advance(10ms);
  driver.checkin(2);
  ASSERT_TRUE(driver.grant_of(3));
  EXPECT_EQ(driver.grant_of(3)->met, Met::kHome);
}

TEST(CorePreferSession, WaitsForItsHomeAsLongAsTenCallsTake) {
  EXPECT_EQ(patience_for_home(0ms, 30s), 25ms);
  EXPECT_EQ(patience_for_home(2ms, 30s), 25ms) << "the least";
  EXPECT_EQ(patience_for_home(5ms, 30s), 50ms);
  EXPECT_EQ(patience_for_home(1h, 30s), 3s) << "a tenth of its time";
  EXPECT_EQ(patience_for_home(0ms, 100ms), 10ms);
  EXPECT_EQ(patience_for_home(5ms, 0ms), 0ms);
  EXPECT_EQ(patience_for_home(1h, Duration::max()), 10h) << "it has all the time";
  EXPECT_GT(patience_for_home(Duration::max(), Duration::max()), 1h);
}

// Two sessions with the same home; `others`: how many are at home in the second of two workers.
std::pair<SessionKey, SessionKey> crowd_one_worker(CoreDriver& driver, Affinity affinity, int others) {
  std::map<WorkerRef, std::vector<SessionKey>> homes;
  for (Token token = 1; token <= 4; ++token) {
    const SessionKey session = driver.open(affinity);
    homes[driver.call(token, session)].push_back(session);
  }
  const std::vector<SessionKey> crowd = homes.begin()->second;
  std::vector<SessionKey> rest = homes.rbegin()->second;
  EXPECT_EQ(crowd.size(), 2u);
  EXPECT_EQ(rest.size(), 2u);
  for (; rest.size() > static_cast<std::size_t>(others); rest.pop_back())
    driver.step(CloseSession{rest.back()});
  return {crowd.front(), crowd.back()};
}

TEST(CorePreferSession, LeavesACrowdedHomeAtOnceForAWorkerThatIsFree) {
  CoreDriver driver = ready_pool({.size = 2});
  const auto [one, other] = crowd_one_worker(driver, Affinity::kPrefer, 0);
  const WorkerRef home = driver.checkout(10, {.session = one})->worker;
  const auto grant = driver.checkout(11, {.session = other, .spill_after = driver.now + 1s});
  ASSERT_TRUE(grant) << "waits though a worker is free that nobody is at home in";
  EXPECT_NE(grant->worker, home);
  EXPECT_EQ(grant->met, Met::kSpilled);
  driver.checkin(10);
  driver.checkin(11);
  EXPECT_EQ(driver.call(12, one), home) << "each has one of its own now";
  EXPECT_EQ(driver.call(13, other), grant->worker);
}

TEST(CorePreferSession, LeavesACrowdedHomeWhenAnotherWorkerComesFree) {
  CoreDriver driver = ready_pool({.size = 2});
  const auto [one, other] = crowd_one_worker(driver, Affinity::kPrefer, 0);
  const WorkerRef home = driver.checkout(10, {.session = one})->worker;
  const auto stranger = driver.checkout(11);
  ASSERT_NE(stranger->worker, home);
  EXPECT_FALSE(driver.checkout(12, {.session = other, .spill_after = driver.now + 1s}));
  driver.advance(10ms);
  driver.checkin(11);
  ASSERT_TRUE(driver.grant_of(12));
  EXPECT_EQ(driver.grant_of(12)->worker, stranger->worker);
  EXPECT_EQ(driver.grant_of(12)->met, Met::kSpilled);
}

TEST(CorePreferSession, WaitsForAHomeThatIsHardlyMoreCrowded) {
  CoreDriver driver = ready_pool({.size = 2});
  const auto [one, other] = crowd_one_worker(driver, Affinity::kPrefer, 1);
  driver.checkout(10, {.session = one});
  EXPECT_FALSE(driver.checkout(11, {.session = other, .spill_after = driver.now + 1s}));
  driver.advance(10ms);
  driver.checkin(10);
  ASSERT_TRUE(driver.grant_of(11));
  EXPECT_EQ(driver.grant_of(11)->met, Met::kHome);
}

TEST(CorePreferSession, AloneLeavesACrowdedHomeAndNeitherStrictOnesNorLeases) {
  CoreDriver driver = ready_pool({.size = 2});
  const auto [one, other] = crowd_one_worker(driver, Affinity::kPrefer, 0);
  driver.checkout(10, {.session = one});
  EXPECT_FALSE(driver.checkout(11, {.exclusive = true, .session = other, .spill_after = driver.now + 1s}));

  CoreDriver bound = ready_pool({.size = 2});
  const auto [first, second] = crowd_one_worker(bound, Affinity::kStrict, 0);
  bound.checkout(10, {.session = first});
  EXPECT_FALSE(bound.checkout(11, {.session = second}));
}

TEST(CorePreferSession, MovesWhenItsWorkerHasEnded) {
  CoreDriver driver = ready_pool({.size = 2});
  const SessionKey session = driver.open(Affinity::kPrefer);
  const WorkerRef home = driver.call(1, session);
  driver.checkout(2, {.who = Eligibility::just(home)});
  EXPECT_FALSE(driver.checkout(3, {.session = session}));
  driver.advance(10ms);
  driver.step(Exited{home});
  ASSERT_TRUE(driver.grant_of(3)) << "it has nothing to wait for any more";
  EXPECT_EQ(driver.grant_of(3)->met, Met::kMoved);
  EXPECT_EQ(driver.count<SessionLost>(), 0u);
}

}  // namespace
}  // namespace lair::test
