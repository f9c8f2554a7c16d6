// The end of a pool: nobody new, a grace for calls in flight, then every process goes and is accounted for.
#include <gtest/gtest.h>

#include "support/core_driver.hpp"

namespace lair::test {
namespace {

// Slot 0 busy (token 1), 1 idle, 2 checking, 3 starting.
CoreDriver varied_pool() {
  CoreDriver driver({.size = 4, .terminate_grace = 5s});
  for (std::uint32_t i = 0; i < 3; ++i) driver.make_ready(driver.worker(i));
  driver.checkout(1, {.who = Eligibility::just(driver.worker(0))});
  driver.step(BeginCheck{driver.worker(2)});
  driver.clear();
  return driver;
}

void reap_all_but_busy(CoreDriver& driver) {
  for (std::uint32_t i = 0; i < driver.core.slots(); ++i) {
    if (driver.state(i) == SlotState::kStopping) driver.step(Exited{driver.worker(i)});
  }
}

TEST(CoreShutdown, RefusesNewCallersAndFailsThoseWaiting) {
  CoreDriver driver({.size = 1});
  driver.checkout(1);
  driver.checkout(2);
  driver.step(Shutdown{driver.now + 30s});
  EXPECT_EQ(driver.refusal_of(1), RefuseReason::kShuttingDown);
  EXPECT_EQ(driver.refusal_of(2), RefuseReason::kShuttingDown);
  driver.checkout(3);
  EXPECT_EQ(driver.refusal_of(3), RefuseReason::kShuttingDown);
}

TEST(CoreShutdown, StopsTheIdleKillsTheStartingAndLetsTheBusyFinish) {
  CoreDriver driver = varied_pool();
  driver.step(Shutdown{driver.now + 30s});
  EXPECT_EQ(driver.state(0), SlotState::kBusy);
  std::set<std::uint32_t> stopped;
  for (const Stop& stop : driver.take<Stop>()) stopped.insert(stop.worker.slot);
  EXPECT_EQ(stopped, (std::set<std::uint32_t>{1, 2}));
  const auto kills = driver.take<Kill>();
  ASSERT_EQ(kills.size(), 1u);
  EXPECT_EQ(kills[0].worker.slot, 3u);
  driver.advance(1s);
  driver.checkin(1);
  EXPECT_EQ(driver.count<Stop>(), 1u) << "the busy one, when it is back";
}

TEST(CoreShutdown, TheBusyAreStoppedAtTheGracesEndAndKilledAfterTheirOwn) {
  CoreDriver driver = varied_pool();
  driver.step(Shutdown{driver.now + 30s});
  reap_all_but_busy(driver);
  driver.clear();
  driver.advance(30s - 1ns);
  EXPECT_EQ(driver.state(0), SlotState::kBusy);
  driver.advance(1ns);
  EXPECT_EQ(driver.take<Stop>().size(), 1u);
  driver.advance(5s - 1ns);
  EXPECT_EQ(driver.count<Kill>(), 0u);
  driver.advance(1ns);
  EXPECT_EQ(driver.count<Kill>(), 1u);
}

TEST(CoreShutdown, ThoseThatIgnoreBeingStoppedAreKilled) {
  CoreDriver driver = varied_pool();
  driver.step(Shutdown{driver.now + 30s});
  driver.take<Kill>();
  driver.advance(5s);
  std::set<std::uint32_t> killed;
  for (const Kill& kill : driver.take<Kill>()) killed.insert(kill.worker.slot);
  EXPECT_EQ(killed, (std::set<std::uint32_t>{1, 2}));
}

TEST(CoreShutdown, WithoutGraceTheBusyAreStoppedAtOnce) {
  CoreDriver driver = varied_pool();
  driver.step(Shutdown{driver.now});
  driver.advance(0ns);
  EXPECT_EQ(driver.state(0), SlotState::kStopping);
}

TEST(CoreShutdown, ASecondOneMayShortenTheGraceButNotLengthenIt) {
  CoreDriver driver = varied_pool();
  driver.step(Shutdown{driver.now + 30s});
  const TimePoint first = driver.core.grace_end();
  driver.step(Shutdown{driver.now + 60s});
  EXPECT_EQ(driver.core.grace_end(), first);
  driver.step(Shutdown{driver.now + 1s});
  driver.advance(1s);
  EXPECT_EQ(driver.state(0), SlotState::kStopping);
}

TEST(CoreShutdown, IsDrainedOnceWhenTheLastProcessIsReaped) {
  CoreDriver driver = varied_pool();
  driver.step(Shutdown{driver.now});
  driver.advance(0ns);
  driver.checkin(1);
  for (std::uint32_t i = 0; i < 4; ++i) {
    EXPECT_FALSE(driver.core.drained());
    driver.step(Exited{driver.worker(i)});
  }
  EXPECT_TRUE(driver.core.drained());
  driver.step(Shutdown{driver.now});
  driver.step(Tick{});
  EXPECT_EQ(driver.count<Drained>(), 1u);
  EXPECT_EQ(driver.take<Forget>().size(), 4u);
  EXPECT_EQ(driver.core.next_timer(driver.now), TimePoint::max());
}

TEST(CoreShutdown, OfAPoolWithoutWorkersIsDrainedAtOnce) {
  CoreDriver driver({.size = 3, .lazy = true});
  driver.step(Shutdown{driver.now + 30s});
  EXPECT_TRUE(driver.core.drained());
}

TEST(CoreShutdown, NothingStartsAnyMore) {
  CoreDriver driver = varied_pool();
  driver.step(Shutdown{driver.now + 1s});
  for (std::uint32_t i = 0; i < 4; ++i) driver.step(Exited{driver.worker(i)});
  driver.step(Prewarm{4});
  driver.advance(1h);
  EXPECT_EQ(driver.count<Spawn>(), 0u);
}

TEST(CoreShutdown, AStartThatFailsMeanwhileIsAccountedFor) {
  CoreDriver driver({.size = 1});
  driver.step(Shutdown{driver.now});
  EXPECT_EQ(driver.step(StartFailed{.worker = driver.worker(0), .has_process = false}), Outcome::kDone);
  EXPECT_TRUE(driver.core.drained());
  EXPECT_EQ(driver.count<Forget>(), 1u);
}

TEST(CoreShutdown, AWorkerThatBecomesReadyMeanwhileIsNotRevived) {
  CoreDriver driver({.size = 1});
  driver.step(Shutdown{driver.now});
  EXPECT_EQ(driver.step(Ready{.worker = driver.worker(0)}), Outcome::kStale);
  EXPECT_EQ(driver.state(0), SlotState::kStopping);
}

TEST(CoreShutdown, ALeakedLeaseDoesNotKeepThePoolFromDraining) {
  CoreDriver driver({.size = 1});
  driver.make_all_ready();
  driver.checkout(1, {.exclusive = true});
  driver.step(Shutdown{driver.now});
  driver.advance(0ns);
  driver.step(Exited{driver.worker(0)});
  EXPECT_TRUE(driver.core.drained());
  EXPECT_EQ(driver.count<Forget>(), 0u);
  driver.checkin(1);
  EXPECT_EQ(driver.count<Forget>(), 1u) << "the lease outlived the pool";
}

TEST(CoreForget, ComesOnceWhicheverOfDeathAndReturnIsFirst) {
  for (const bool death_first : {false, true}) {
    CoreDriver driver({.size = 1});
    driver.make_all_ready();
    const WorkerRef worker = driver.checkout(1)->worker;
    driver.step(Condemn{worker, Reason::kTimeout});
    if (death_first) driver.step(Exited{worker});
    EXPECT_EQ(driver.count<Forget>(), 0u);
    driver.checkin(1);
    if (!death_first) {
      EXPECT_EQ(driver.count<Forget>(), 0u) << "not reaped yet";
      driver.step(Exited{worker});
    }
    EXPECT_EQ(driver.count<Forget>(), 1u);
  }
}

}  // namespace
}  // namespace lair::test
