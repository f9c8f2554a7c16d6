// Deaths: which of them speak against another start, how long a slot waits, when a pool gives up and when it
// hopes again.
#include <gtest/gtest.h>

#include <algorithm>

#include "support/core_driver.hpp"

namespace lair::test {
namespace {

// Lets a slot's workers die at start until it has had `deaths` of them; returns the waits in between.
std::vector<Duration> die_at_start(CoreDriver& driver, std::uint32_t slot, int deaths) {
  std::vector<Duration> waits;
  for (int i = 0; i < deaths; ++i) {
    EXPECT_EQ(driver.state(slot), SlotState::kStarting);
    const TimePoint died = driver.now;
    driver.step(Exited{driver.worker(slot)});
    if (driver.state(slot) != SlotState::kBackingOff) break;
    while (driver.state(slot) == SlotState::kBackingOff) {
      driver.now = std::max(driver.now, driver.core.next_timer(driver.now));
      driver.step(Tick{});
    }
    waits.push_back(driver.now - died);
  }
  return waits;
}

TEST(Backoff, AWorkerThatHasAnsweredUnderALeaseIsReplacedAtOnce) {
  for (const bool answered : {false, true}) {
    CoreDriver driver = ready_pool({.size = 1});
    const Grant grant = *driver.checkout(1, {.exclusive = true});
    if (answered) driver.step(Answered{grant.worker});
    driver.step(Exited{grant.worker});
    EXPECT_EQ(driver.state(0), answered ? SlotState::kStarting : SlotState::kBackingOff);
    EXPECT_EQ(driver.step(Answered{grant.worker}), Outcome::kStale) << "it is known too late";
  }
}

// --- Backoff ----------------------------------------------------------------------------------------

TEST(Backoff, DoublesFromATenthOfASecondWithTwentyPerCentOfJitter) {
  CoreDriver driver({.size = 10, .max_starting = 10});
  const auto waits = die_at_start(driver, 0, 6);
  ASSERT_EQ(waits.size(), 6u);
  Duration expected = 100ms;
  for (const Duration wait : waits) {
    EXPECT_GE(wait, expected * 8 / 10);
    EXPECT_LE(wait, expected * 12 / 10 + 1ms);
    expected *= 2;
  }
}

TEST(Backoff, IsAtMostThirtySeconds) {
  CoreDriver driver({.size = 20, .max_starting = 20});
  const auto waits = die_at_start(driver, 0, 15);
  ASSERT_EQ(waits.size(), 15u);
  EXPECT_LE(*std::max_element(waits.begin(), waits.end()), 36s);
  EXPECT_GE(waits.back(), 24s);
}

TEST(Backoff, ASlotSpawnsAtMostTwelveTimesAMinute) {
  CoreDriver driver({.size = 1});
  const TimePoint begun = driver.now;
  std::size_t spawns = 0;
  while (driver.now < begun + 60s) {
    spawns += driver.take<Spawn>().size();
    if (driver.state(0) == SlotState::kStarting) driver.step(Exited{driver.worker(0)});
    driver.advance(10ms);
  }
  EXPECT_LE(spawns, 12u);
  EXPECT_GE(spawns, 3u);
}

TEST(Backoff, OnlyTheFailingSlotWaits) {
  CoreDriver driver({.size = 2});
  driver.make_ready(driver.worker(1));
  driver.step(Exited{driver.worker(0)});
  EXPECT_EQ(driver.state(0), SlotState::kBackingOff);
  EXPECT_TRUE(driver.checkout(1));
}

TEST(Backoff, ACompletedCallForgivesTheSlotsPast) {
  CoreDriver driver({.size = 10, .max_starting = 10});
  die_at_start(driver, 0, 5);
  driver.make_all_ready();
  driver.checkout(1, {.who = Eligibility::just(driver.worker(0))});
  driver.checkin(1);
  driver.step(Exited{driver.worker(0)});
  ASSERT_EQ(driver.state(0), SlotState::kStarting) << "it did well: at once";
  EXPECT_LE(die_at_start(driver, 0, 1).at(0), 121ms) << "and then from the beginning";
}

TEST(Backoff, BeingReadyAloneForgivesNothing) {
  CoreDriver driver({.size = 10, .max_starting = 10});
  die_at_start(driver, 0, 5);
  driver.make_all_ready();
  driver.step(Exited{driver.worker(0)});
  EXPECT_EQ(driver.state(0), SlotState::kBackingOff);
  driver.advance(2s);
  EXPECT_EQ(driver.state(0), SlotState::kBackingOff) << "the sixth in a row: 3.2 s ± 20 %";
}

// --- Which deaths count -----------------------------------------------------------------------------

TEST(Deaths, OfAWorkerThatNeverCompletedACallBackOff) {
  for (const Reason reason : {Reason::kCrash, Reason::kProtocol}) {
    CoreDriver driver = ready_pool({.size = 1});
    driver.checkout(1);
    driver.checkin_dirty(1, reason);
    driver.step(Exited{driver.worker(0)});
    EXPECT_EQ(driver.state(0), SlotState::kBackingOff) << to_string(reason);
  }
}

TEST(Deaths, OfAWorkerThatCompletedACallDoNot) {
  CoreDriver driver = ready_pool({.size = 1});
  driver.checkout(1);
  driver.checkin(1);
  driver.step(Exited{driver.worker(0)});
  EXPECT_EQ(driver.state(0), SlotState::kStarting);
}

TEST(Deaths, ByTimeoutNeverCountWhateverTheirNumber) {
  CoreDriver driver({.size = 1});
  for (Token token = 1; token <= 50; ++token) {
    driver.advance(100ms);
    driver.make_all_ready();
    ASSERT_TRUE(driver.checkout(token));
    driver.checkin_dirty(token, Reason::kTimeout);
    driver.step(Exited{driver.worker(0)});
    ASSERT_EQ(driver.state(0), SlotState::kStarting);
  }
  EXPECT_FALSE(driver.core.failed());
}

TEST(Deaths, OfHoldersThatGaveUpNeverCount) {
  CoreDriver driver = ready_pool({.size = 1});
  driver.checkout(1);
  driver.checkin_dirty(1, Reason::kAbandoned);
  driver.step(Exited{driver.worker(0)});
  EXPECT_EQ(driver.state(0), SlotState::kStarting);
}

TEST(Deaths, OfProductiveWorkersNeverFailThePool) {
  CoreDriver driver = ready_pool({.size = 2});
  for (Token token = 1; token <= 100; ++token) {
    driver.advance(100ms);
    driver.make_all_ready();
    ASSERT_TRUE(driver.checkout(token));
    driver.checkin(token);
    driver.step(Exited{driver.grant_of(token)->worker});
  }
  EXPECT_FALSE(driver.core.failed());
}

// --- A pool that has failed -------------------------------------------------------------------------

// Every worker dies at start, until the pool gives up or `deaths` are spent. How many it took.
std::size_t let_fail(CoreDriver& driver, std::size_t most = 1000) {
  std::size_t deaths = 0;
  while (!driver.core.failed() && deaths < most) {
    const auto starting = driver.starting();
    if (starting.empty()) {
      driver.now = std::max(driver.now, driver.core.next_timer(driver.now));
      driver.step(Tick{});
      continue;
    }
    driver.step(Exited{starting.front()});
    ++deaths;
  }
  return deaths;
}

TEST(FailedPool, TakesMoreDeathsThanFiveOrTwiceTheSize) {
  for (const auto& [size, deaths] :
       std::vector<std::pair<std::size_t, std::size_t>>{{1, 6}, {2, 6}, {3, 7}, {8, 17}}) {
    CoreDriver driver({.size = size, .max_starting = 8});
    EXPECT_EQ(let_fail(driver), deaths) << "size " << size;
  }
}

TEST(FailedPool, DeathsLongAgoDoNotCount) {
  CoreDriver driver({.size = 8, .max_starting = 8});
  driver.make_all_ready();
  Token token = 0;
  for (int i = 0; i < 60; ++i) {  // 12 a minute
    for (std::uint32_t slot = 0; slot < 8; ++slot) {
      if (driver.state(slot) != SlotState::kStarting) continue;
      driver.make_ready(driver.worker(slot));
    }
    driver.checkout(++token);
    driver.checkin_dirty(token, Reason::kCrash);
    driver.step(Exited{driver.grant_of(token)->worker});
    driver.advance(5s);
  }
  EXPECT_FALSE(driver.core.failed());
}

TEST(FailedPool, RefusesWaitersAndCallersAtOnce) {
  CoreDriver driver({.size = 1});
  driver.checkout(1);
  let_fail(driver);
  EXPECT_EQ(driver.refusal_of(1), RefuseReason::kNoWorkers);
  driver.checkout(2);
  EXPECT_EQ(driver.refusal_of(2), RefuseReason::kNoWorkers);
  EXPECT_EQ(driver.state(0), SlotState::kFailed);
  EXPECT_FALSE(driver.core.can_serve());
}

TEST(FailedPool, ProbesOnceEveryThirtySeconds) {
  CoreDriver driver({.size = 3, .max_starting = 3});
  let_fail(driver);
  for (const WorkerRef rest : driver.starting()) driver.step(Exited{rest});
  driver.clear();
  for (int probe = 0; probe < 3; ++probe) {
    driver.advance(30s - 1ns);
    EXPECT_EQ(driver.count<Spawn>(), 0u);
    driver.advance(1ns);
    EXPECT_EQ(driver.take<Spawn>().size(), 1u);
    driver.step(Exited{driver.starting().at(0)});
  }
}

TEST(FailedPool, RecoversWhenAProbeIsReady) {
  CoreDriver driver({.size = 3, .max_starting = 3});
  let_fail(driver);
  for (const WorkerRef rest : driver.starting()) driver.step(Exited{rest});
  driver.advance(30s);
  ASSERT_EQ(driver.core.starting_count(), 1u);
  driver.make_ready(driver.starting().front());
  EXPECT_FALSE(driver.core.failed());
  EXPECT_TRUE(driver.checkout(1));
  driver.make_all_ready();
  EXPECT_EQ(driver.core.ready_count(), 3u) << "and is whole again";
}

TEST(FailedPool, AWorkerThatIsUpKeepsServing) {
  CoreDriver driver({.size = 2});
  driver.make_ready(driver.worker(1));
  driver.checkout(1);
  driver.checkout(2);
  while (!driver.core.failed()) {
    die_at_start(driver, 0, 1);
  }
  EXPECT_FALSE(driver.refusal_of(2)) << "its turn will come";
  driver.checkin(1);
  EXPECT_TRUE(driver.grant_of(2));
}

// The probe was killed for taking too long, and takes longer still to vanish.
TEST(FailedPool, AProbeThatDoesNotDieLeavesNoTimerSpinning) {
  CoreDriver driver({.size = 1});
  let_fail(driver);
  driver.advance(30s);
  ASSERT_EQ(driver.state(0), SlotState::kStarting);
  driver.step(StartFailed{.worker = driver.worker(0)});
  driver.advance(2min);
  EXPECT_EQ(driver.state(0), SlotState::kStopping);
  driver.step(Exited{driver.worker(0)});
  driver.advance(30s);
  EXPECT_EQ(driver.state(0), SlotState::kStarting) << "the next probe";
}

// --- A start that failed for good -------------------------------------------------------------------

TEST(PermanentFailure, NoSpawnFollowsAndWaitersAreRefusedAtOnce) {
  CoreDriver driver({.size = 1});
  driver.checkout(1);
  driver.clear();
  driver.step(StartFailed{.worker = driver.worker(0), .permanent = true});
  EXPECT_EQ(driver.refusal_of(1), RefuseReason::kNoWorkers);
  driver.step(Exited{driver.worker(0)});
  driver.advance(24h);
  EXPECT_EQ(driver.count<Spawn>(), 0u) << "not even a probe";
  EXPECT_EQ(driver.core.next_timer(driver.now), TimePoint::max());
  driver.checkout(2);
  EXPECT_EQ(driver.refusal_of(2), RefuseReason::kNoWorkers);
}

TEST(PermanentFailure, StartsUnderWayFinishAndServe) {
  CoreDriver driver({.size = 4, .max_starting = 2});
  driver.checkout(1);
  driver.clear();
  driver.step(StartFailed{.worker = driver.worker(0), .permanent = true});
  EXPECT_FALSE(driver.refusal_of(1)) << "another start may have seen the code before";
  driver.step(Exited{driver.worker(0)});
  EXPECT_EQ(driver.count<Spawn>(), 0u);
  EXPECT_EQ(driver.count<Kill>(), 1u) << "only the failed one";
  driver.make_ready(driver.worker(1));
  EXPECT_TRUE(driver.grant_of(1) || driver.claim(1));
}

TEST(PermanentFailure, TheLastStartUnderWayDecidesForTheWaiters) {
  CoreDriver driver({.size = 2});
  driver.checkout(1);
  driver.step(StartFailed{.worker = driver.worker(0), .permanent = true});
  ASSERT_FALSE(driver.refusal_of(1));
  driver.step(StartFailed{.worker = driver.worker(1), .permanent = true, .has_process = false});
  EXPECT_EQ(driver.refusal_of(1), RefuseReason::kNoWorkers);
}

TEST(PermanentFailure, WorkersAlreadyUpKeepServing) {
  CoreDriver driver({.size = 2});
  driver.make_ready(driver.worker(0));
  driver.step(StartFailed{.worker = driver.worker(1), .permanent = true});
  driver.step(Exited{driver.worker(1)});
  for (Token token = 1; token <= 3; ++token) {
    EXPECT_TRUE(driver.checkout(token));
    driver.checkin(token);
  }
  driver.checkout(10);
  driver.checkout(11);
  driver.step(Exited{driver.worker(0)});
  EXPECT_EQ(driver.refusal_of(11), RefuseReason::kNoWorkers) << "now the last one is gone";
}

// A lease that has made many calls is known to be productive only when it comes back.
TEST(Deaths, OfAWorkerThatALeaseUsedWellCountAsProductive) {
  CoreDriver driver = ready_pool({.size = 1});
  const Grant lease = *driver.checkout(1, {.exclusive = true});
  driver.step(Condemn{lease.worker, Reason::kCrash});  // the supervisor sees it first
  driver.step(Checkin{.worker = lease.worker,
                      .epoch = lease.epoch,
                      .clean = false,
                      .reason = Reason::kCrash,
                      .completed = 100});
  driver.step(Exited{lease.worker});
  EXPECT_EQ(driver.state(0), SlotState::kStarting);
}

}  // namespace
}  // namespace lair::test
