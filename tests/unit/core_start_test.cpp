// Starting workers: how many, when, and how fast.
#include <gtest/gtest.h>

#include <algorithm>

#include "support/core_driver.hpp"

namespace lair::test {
namespace {

// --- Eager ------------------------------------------------------------------------------------------

TEST(Start, AnEagerPoolStartsAllItsWorkersAtOnce) {
  CoreDriver driver({.size = 4, .overflow = 2});
  EXPECT_EQ(driver.take<Spawn>().size(), 4u);
  driver.make_all_ready();
  EXPECT_EQ(driver.core.ready_count(), 4u);
  EXPECT_EQ(driver.core.count(SlotState::kVacant), 2u) << "overflow waits until it is needed";
}

TEST(Start, NothingStartsBeforeBegin) {
  CoreDriver driver({.size = 4}, false);
  driver.checkout(1);
  driver.advance(1min);
  EXPECT_EQ(driver.count<Spawn>(), 0u);
  driver.step(Begin{});
  EXPECT_EQ(driver.count<Spawn>(), 4u);
}

TEST(Start, TheBoundCountsOnlyWorkersThatLoadCode) {
  CoreDriver driver({.size = 6, .max_starting = 2});
  ASSERT_EQ(driver.take<Spawn>().size(), 2u);
  driver.step(Spawned{driver.worker(0)});
  EXPECT_EQ(driver.take<Spawn>().size(), 0u) << "its imports are still to come";
  driver.step(Handshaken{driver.worker(0)});
  EXPECT_EQ(driver.take<Spawn>().size(), 1u) << "it warms up now, and mostly waits";
  driver.step(Handshaken{driver.worker(1)});
  EXPECT_EQ(driver.take<Spawn>().size(), 1u);
  EXPECT_EQ(driver.core.starting_count(), 4u);
}

TEST(Start, ASecondHandshakenChangesNothing) {
  CoreDriver driver({.size = 6, .max_starting = 2});
  driver.step(Handshaken{driver.worker(0)});
  driver.take<Spawn>();
  driver.step(Handshaken{driver.worker(0)});
  EXPECT_EQ(driver.count<Spawn>(), 0u);
}

TEST(Start, AFailedStartMakesRoomForTheNext) {
  CoreDriver driver({.size = 3, .max_starting = 1});
  driver.take<Spawn>();
  driver.step(StartFailed{.worker = driver.worker(0), .has_process = false});
  EXPECT_EQ(driver.take<Spawn>().size(), 1u);
  EXPECT_EQ(driver.state(1), SlotState::kStarting);
}

// A process that was killed may take its time to vanish; its imports are over.
TEST(Start, AFailedStartWhoseProcessLingersHoldsUpNoOther) {
  CoreDriver driver({.size = 3, .max_starting = 1});
  driver.take<Spawn>();
  driver.step(StartFailed{.worker = driver.worker(0)});
  ASSERT_EQ(driver.state(0), SlotState::kStopping);
  driver.advance(1s);
  EXPECT_EQ(driver.count<Spawn>(), 1u);
}

TEST(Start, WaitersDuringAStartAreServedWhenItIsDone) {
  CoreDriver driver({.size = 2});
  for (Token token = 1; token <= 4; ++token) EXPECT_FALSE(driver.checkout(token));
  driver.advance(29s);
  driver.make_all_ready();
  EXPECT_TRUE(driver.grant_of(1));
  EXPECT_TRUE(driver.grant_of(2));
  EXPECT_FALSE(driver.refusal_of(3));
}

// --- Lazy -------------------------------------------------------------------------------------------

TEST(LazyStart, NothingStartsUntilSomebodyAsks) {
  CoreDriver driver({.size = 4, .lazy = true});
  driver.advance(1h);
  EXPECT_EQ(driver.count<Spawn>(), 0u);
}

TEST(LazyStart, ThreeCallersOfALazyPoolOfTwoStartTwoWorkersAndAreAllServed) {
  CoreDriver driver({.size = 2, .lazy = true});
  for (Token token = 1; token <= 3; ++token) driver.checkout(token);
  EXPECT_EQ(driver.take<Spawn>().size(), 2u);
  driver.advance(5s);
  driver.make_all_ready();
  ASSERT_TRUE(driver.grant_of(1));
  ASSERT_TRUE(driver.grant_of(2));
  driver.checkin(2);
  EXPECT_TRUE(driver.grant_of(3));
  EXPECT_EQ(driver.count<Spawn>(), 0u);
}

TEST(LazyStart, OneWorkerForEachWaiterUpToSize) {
  CoreDriver driver({.size = 4, .lazy = true});
  driver.checkout(1);
  EXPECT_EQ(driver.count<Spawn>(), 1u);
  driver.checkout(2);
  EXPECT_EQ(driver.count<Spawn>(), 2u);
  for (Token token = 3; token <= 8; ++token) driver.checkout(token);
  EXPECT_EQ(driver.count<Spawn>(), 4u);
}

TEST(LazyStart, AnIdleWorkerIsUsedBeforeAnotherIsStarted) {
  CoreDriver driver({.size = 4, .lazy = true});
  driver.checkout(1);
  driver.make_all_ready();
  driver.claim(1);
  driver.checkin(1);
  driver.clear();
  EXPECT_TRUE(driver.checkout(2));
  EXPECT_EQ(driver.count<Spawn>(), 0u);
}

TEST(LazyStart, ACancelledWaiterNeitherKillsNorDelaysAStart) {
  CoreDriver driver({.size = 2, .lazy = true});
  driver.checkout(1);
  driver.checkout(2);
  driver.step(Abandon{1});
  EXPECT_EQ(driver.count<Kill>() + driver.count<Stop>(), 0u);
  EXPECT_EQ(driver.core.starting_count(), 2u);
  driver.advance(1s);
  driver.make_ready(driver.worker(0));
  EXPECT_TRUE(driver.grant_of(2)) << "the first that is ready serves whoever still waits";
  driver.make_all_ready();
  EXPECT_EQ(driver.core.ready_count(), 2u);
}

TEST(LazyStart, PrewarmRacingAHundredCheckoutsStartsNoMoreThanSize) {
  CoreDriver driver({.size = 4, .lazy = true, .max_starting = 8, .max_waiters = 200});
  for (Token token = 1; token <= 100; ++token) {
    driver.checkout(token);
    if (token == 3 || token == 50) driver.step(Prewarm{4});
  }
  EXPECT_EQ(driver.take<Spawn>().size(), 4u);
  driver.make_all_ready();
  std::vector<bool> back(101, false);
  for (int round = 0; round < 100; ++round) {
    driver.advance(1ms);
    for (Token token = 1; token <= 100; ++token) {
      if (driver.woken(token) && !driver.grant_of(token)) driver.claim(token);
      if (!back[token] && driver.grant_of(token)) {
        back[token] = true;
        driver.checkin(token);
      }
    }
  }
  EXPECT_EQ(std::count(back.begin(), back.end(), true), 100) << "all are served";
  EXPECT_EQ(driver.count<Spawn>(), 0u);
}

TEST(LazyStart, PrewarmStartsThatManyAndNoMoreThanSize) {
  CoreDriver driver({.size = 4, .lazy = true});
  driver.step(Prewarm{2});
  EXPECT_EQ(driver.take<Spawn>().size(), 2u);
  driver.step(Prewarm{2});
  EXPECT_EQ(driver.take<Spawn>().size(), 0u);
  driver.step(Prewarm{100});
  EXPECT_EQ(driver.take<Spawn>().size(), 2u);
}

TEST(LazyStart, ADeadWorkerIsReplacedOnlyIfSomebodyWaits) {
  CoreDriver driver({.size = 2, .lazy = true});
  driver.checkout(1);
  driver.make_all_ready();
  driver.claim(1);
  driver.checkin(1);
  driver.clear();
  driver.step(Exited{driver.worker(0)});
  driver.advance(1min);
  EXPECT_EQ(driver.count<Spawn>(), 0u);
  driver.checkout(2);
  EXPECT_EQ(driver.count<Spawn>(), 1u);
}

TEST(LazyStart, AWaiterGetsAWorkerThoughTheOnlyIdleOneMustGo) {
  CoreDriver driver({.size = 2, .lazy = true});
  driver.checkout(1);
  driver.make_all_ready();
  driver.claim(1);
  driver.checkout(2);  // busy: a second worker starts
  driver.checkin(1);   // 2 is woken
  driver.make_all_ready();
  driver.step(Abandon{2});
  driver.clear();
  driver.step(Retire{driver.worker(0), Reason::kIdle});
  driver.step(Retire{driver.worker(1), Reason::kIdle});
  driver.checkout(3);
  driver.step(Exited{driver.worker(0)});
  EXPECT_EQ(driver.count<Spawn>(), 1u);
  driver.make_all_ready();
  EXPECT_TRUE(driver.grant_of(3) || driver.claim(3));
}

// --- Overflow ---------------------------------------------------------------------------------------

CoreDriver busy_pool_with_overflow(std::size_t overflow = 2) {
  CoreDriver driver(
      {.size = 1, .overflow = overflow, .max_waiters = 100, .overflow_after = 250ms, .overflow_idle = 60s});
  driver.make_all_ready();
  driver.checkout(100);
  driver.clear();
  return driver;
}

TEST(Overflow, StartsWhenTheOldestWaiterHasWaitedLongEnough) {
  CoreDriver driver = busy_pool_with_overflow();
  driver.checkout(1);
  EXPECT_EQ(driver.core.next_timer(driver.now), driver.now + 250ms);
  driver.advance(250ms - 1ns);
  EXPECT_EQ(driver.count<Spawn>(), 0u);
  driver.advance(1ns);
  EXPECT_EQ(driver.take<Spawn>().size(), 1u);
  driver.advance(10s);
  EXPECT_EQ(driver.count<Spawn>(), 0u) << "one waiter, one worker";
}

TEST(Overflow, TheTimerIsDueWhenItSaidItWouldBe) {
  CoreDriver driver = busy_pool_with_overflow();
  driver.checkout(1);
  const TimePoint due = driver.core.next_timer(driver.now);
  EXPECT_LE(driver.core.next_timer(due), due)
      << "the supervisor asks again when it wakes, and would not tick";
  EXPECT_LE(driver.core.next_timer(due + 1ms), due + 1ms) << "or a little later";
}

TEST(Overflow, OneWorkerForEachPatientWaiter) {
  CoreDriver driver = busy_pool_with_overflow(3);
  driver.checkout(1);
  driver.checkout(2);
  driver.advance(100ms);
  driver.checkout(3);
  driver.advance(150ms);
  driver.step(Tick{});
  EXPECT_EQ(driver.count<Spawn>(), 2u);
  driver.advance(100ms);
  driver.step(Tick{});
  EXPECT_EQ(driver.count<Spawn>(), 3u);
}

TEST(Overflow, NeverExceedsItsBound) {
  CoreDriver driver = busy_pool_with_overflow(2);
  for (Token token = 1; token <= 50; ++token) driver.checkout(token);
  driver.advance(1min);
  driver.step(Tick{});
  EXPECT_EQ(driver.count<Spawn>(), 2u);
}

TEST(Overflow, RetiresAfterAMinuteIdle) {
  CoreDriver driver = busy_pool_with_overflow(1);
  driver.checkout(1);
  driver.advance(250ms);
  driver.step(Tick{});
  driver.make_all_ready();
  ASSERT_TRUE(driver.grant_of(1));
  driver.checkin(1);
  driver.advance(60s - 1ns);
  EXPECT_EQ(driver.count<Stop>(), 0u);
  driver.advance(1ns);
  const auto stops = driver.take<Stop>();
  ASSERT_EQ(stops.size(), 1u);
  EXPECT_EQ(stops[0].worker, driver.worker(1));
  EXPECT_EQ(stops[0].reason, Reason::kIdle);
  driver.step(Exited{driver.worker(1)});
  driver.advance(1min);
  EXPECT_EQ(driver.state(1), SlotState::kVacant);
}

TEST(Overflow, AWorkerInUseDoesNotRetire) {
  CoreDriver driver = busy_pool_with_overflow(1);
  driver.checkout(1);
  driver.advance(250ms);
  driver.step(Tick{});
  driver.make_all_ready();
  driver.advance(10min);
  EXPECT_EQ(driver.count<Stop>(), 0u);
  driver.checkin(1);
  driver.advance(59s);
  EXPECT_TRUE(driver.checkout(2));
  driver.checkin(2);
  driver.advance(59s);
  EXPECT_EQ(driver.count<Stop>(), 0u) << "each use starts the minute afresh";
}

TEST(Overflow, APinnedWaiterStartsNone) {
  CoreDriver driver = busy_pool_with_overflow(1);
  driver.checkout(1, {.who = Eligibility::just(driver.worker(0))});
  driver.advance(1s);
  driver.step(Tick{});
  EXPECT_EQ(driver.count<Spawn>(), 0u) << "another worker would not do";
}

// --- The bucket of replacements ---------------------------------------------------------------------

// Ends every worker that is up, each after one good call.
void wear_out(CoreDriver& driver, Token& token) {
  for (std::uint32_t i = 0; i < driver.core.slots(); ++i) {
    if (driver.state(i) != SlotState::kIdle) continue;
    driver.checkout(++token, {.who = Eligibility::just(driver.worker(i))});
    driver.checkin(token);
    driver.step(Exited{driver.worker(i)});
  }
}

TEST(StartBucket, AWorkerThatHasDoneWellIsReplacedAtOnce) {
  CoreDriver driver({.size = 2});
  driver.make_all_ready();
  driver.clear();
  Token token = 0;
  wear_out(driver, token);
  EXPECT_EQ(driver.count<Spawn>(), 2u);
}

TEST(StartBucket, ReplacementsAreBoundedToTwentyASecond) {
  CoreDriver driver({.size = 10, .max_starting = 10});
  driver.make_all_ready();
  driver.clear();
  Token token = 0;
  const TimePoint end = driver.now + 10s;
  while (driver.now < end) {
    wear_out(driver, token);
    driver.make_all_ready();
    driver.advance(1ms);
  }
  const std::size_t spawned = driver.count<Spawn>();
  EXPECT_LE(spawned, 220u) << "a bucket of 20, and 20 a second";
  EXPECT_GE(spawned, 200u);
}

TEST(StartBucket, APoolsFirstWorkersAreNotHeldUp) {
  CoreDriver driver({.size = 100, .max_starting = 100});
  EXPECT_EQ(driver.count<Spawn>(), 100u);
}

TEST(StartBucket, TheTimerComesBackForAStartThatHadToWait) {
  CoreDriver driver({.size = 1});
  driver.make_all_ready();
  Token token = 0;
  for (int i = 0; i < 1000 && driver.core.ready_count() == 1; ++i) {
    wear_out(driver, token);
    driver.make_all_ready();
  }
  ASSERT_EQ(driver.state(0), SlotState::kVacant) << "the bucket is empty";
  driver.advance(50ms + 1ns);
  EXPECT_EQ(driver.state(0), SlotState::kStarting);
}

}  // namespace
}  // namespace lair::test
