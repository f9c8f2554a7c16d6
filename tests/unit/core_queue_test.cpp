// The wait queue: who gets a worker that comes free, and when.
#include <gtest/gtest.h>

#include "support/core_driver.hpp"

namespace lair::test {
namespace {

// --- Hand-off and barging ---------------------------------------------------------------------------

TEST(WaitQueue, AnIdleWorkerIsGrantedAtOnceAndTheWarmestFirst) {
  CoreDriver driver = ready_pool({.size = 3});
  const Grant a = *driver.checkout(1);
  const Grant b = *driver.checkout(2);
  EXPECT_NE(a.worker, b.worker);
  driver.checkin(a);
  driver.checkin(b);
  EXPECT_EQ(driver.checkout(3)->worker, b.worker);
  EXPECT_EQ(driver.checkout(4)->worker, a.worker);
}

TEST(WaitQueue, AWaiterOfTheWindowsAgeOwnsTheNextFreeWorker) {
  CoreDriver driver = ready_pool({.size = 1, .barging_window = 5ms});
  driver.checkout(1);
  EXPECT_FALSE(driver.checkout(2));
  driver.advance(5ms);
  driver.checkin(1);
  EXPECT_TRUE(driver.grant_of(2));
  EXPECT_EQ(driver.state(0), SlotState::kBusy);
}

TEST(WaitQueue, AYoungerWaiterIsOnlyWokenAndClaims) {
  CoreDriver driver = ready_pool({.size = 1, .barging_window = 5ms});
  driver.checkout(1);
  driver.checkout(2);
  driver.advance(5ms - 1ns);
  driver.checkin(1);
  EXPECT_FALSE(driver.grant_of(2));
  EXPECT_TRUE(driver.woken(2));
  EXPECT_EQ(driver.state(0), SlotState::kIdle);
  EXPECT_TRUE(driver.claim(2));
  EXPECT_EQ(driver.step(Claim{2}), Outcome::kStale) << "it is no waiter any more";
}

TEST(WaitQueue, WithinTheWindowAnArrivalMayBeQuicker) {
  CoreDriver driver = ready_pool({.size = 1, .barging_window = 5ms});
  driver.checkout(1);
  driver.checkout(2);
  driver.checkin(1);
  EXPECT_TRUE(driver.checkout(3));
  EXPECT_FALSE(driver.claim(2)) << "it sleeps on";
  driver.advance(5ms);
  driver.checkin(3);
  EXPECT_TRUE(driver.grant_of(2)) << "its place was kept";
}

TEST(WaitQueue, AfterTheWindowNoArrivalOvertakesAWokenWaiter) {
  CoreDriver driver = ready_pool({.size = 1, .barging_window = 5ms});
  driver.checkout(1);
  driver.checkout(2);
  driver.checkin(1);
  driver.advance(5ms);
  EXPECT_FALSE(driver.checkout(3));
  EXPECT_TRUE(driver.grant_of(2) || driver.claim(2));
}

TEST(WaitQueue, WithoutAWindowHandOffIsStrict) {
  CoreDriver driver = ready_pool({.size = 1, .barging_window = 0ms});
  driver.checkout(1);
  driver.checkout(2);
  driver.checkin(1);
  EXPECT_TRUE(driver.grant_of(2));
  EXPECT_FALSE(driver.checkout(3));
}

TEST(WaitQueue, IsFirstInFirstOut) {
  CoreDriver driver = ready_pool({.size = 1, .barging_window = 0ms});
  driver.checkout(100);
  for (Token token = 1; token <= 5; ++token) driver.checkout(token);
  Token holder = 100;
  for (Token next = 1; next <= 5; ++next) {
    for (Token later = next; later <= 5; ++later) EXPECT_FALSE(driver.grant_of(later));
    driver.checkin(holder);
    EXPECT_TRUE(driver.grant_of(next));
    holder = next;
  }
}

// --- Wakes are never lost ---------------------------------------------------------------------------

TEST(WaitQueue, AWokenWaiterThatGivesUpPassesTheWakeOn) {
  CoreDriver driver = ready_pool({.size = 1, .barging_window = 5ms});
  driver.checkout(1);
  driver.checkout(2);
  driver.checkout(3);
  driver.checkin(1);
  EXPECT_TRUE(driver.woken(2));
  EXPECT_FALSE(driver.woken(3));
  EXPECT_EQ(driver.step(Abandon{2}), Outcome::kDone);
  EXPECT_TRUE(driver.woken(3));
  EXPECT_TRUE(driver.claim(3));
}

TEST(WaitQueue, AnAgedWaiterIsGrantedWhenTheWokenOneGivesUp) {
  CoreDriver driver = ready_pool({.size = 1, .barging_window = 5ms});
  driver.checkout(1);
  driver.checkout(2);
  driver.checkout(3);
  driver.checkin(1);
  driver.advance(10ms);
  driver.step(Abandon{2});
  EXPECT_TRUE(driver.grant_of(3));
}

// Two free workers, two woken waiters, both past the window; the younger is the quicker to claim.
TEST(WaitQueue, TheYoungerOfTwoWokenWaitersIsServedWhicheverClaimsFirst) {
  CoreDriver driver = ready_pool({.size = 2, .barging_window = 5ms});
  driver.checkout(1);
  driver.checkout(2);
  driver.checkout(3);
  driver.checkout(4);
  driver.checkin(1);
  driver.checkin(2);
  ASSERT_TRUE(driver.woken(3));
  ASSERT_TRUE(driver.woken(4));
  driver.advance(10ms);
  driver.claim(4);
  driver.step(Claim{3});
  EXPECT_TRUE(driver.grant_of(3));
  EXPECT_TRUE(driver.grant_of(4)) << "a worker is idle while it sleeps";
}

// Its thread has not run yet: it will claim or give up, and either passes the worker on. No invariant is
// broken.
TEST(WaitQueue, AWokenWaiterPastItsDeadlineIsStillOnItsWay) {
  CoreDriver driver = ready_pool({.size = 1, .barging_window = 5ms});
  driver.checkout(1);
  driver.checkout(2, {.deadline = driver.now + 1ms});
  driver.checkout(3);
  driver.checkin(1);
  ASSERT_TRUE(driver.woken(2));
  driver.advance(2ms);
  driver.step(Tick{});
  driver.step(Abandon{2});
  EXPECT_TRUE(driver.woken(3));
}

TEST(WaitQueue, AWokenLeaseIsOnItsWayLikeAnyOther) {
  CoreDriver driver = ready_pool({.size = 1, .barging_window = 5ms});
  driver.checkout(1);
  driver.checkout(2, {.exclusive = true});
  driver.checkout(3);
  driver.checkin(1);
  EXPECT_TRUE(driver.woken(2));
  EXPECT_TRUE(driver.claim(2));
}

TEST(WaitQueue, AGrantThatCrossesAnAbandonIsSeenAsStale) {
  CoreDriver driver = ready_pool({.size = 1, .barging_window = 0ms});
  driver.checkout(1);
  driver.checkout(2);
  driver.checkin(1);
  EXPECT_EQ(driver.step(Abandon{2}), Outcome::kStale) << "it owns a worker and must bring it back";
  EXPECT_EQ(driver.state(0), SlotState::kBusy);
}

TEST(WaitQueue, AWokenWaiterWhoseWorkerDiedSleepsUntilTheNext) {
  CoreDriver driver = ready_pool({.size = 1, .barging_window = 5ms});
  driver.checkout(1);
  driver.checkout(2);
  driver.checkin(1);
  driver.step(Exited{driver.worker(0)});
  EXPECT_FALSE(driver.claim(2));
  driver.advance(1ms);
  driver.make_all_ready();
  EXPECT_TRUE(driver.claim(2));
}

// --- Deadlines --------------------------------------------------------------------------------------

TEST(WaitQueue, ExpiredWaitersAreDroppedBeforeDispatch) {
  CoreDriver driver = ready_pool({.size = 1, .barging_window = 0ms});
  driver.checkout(1);
  driver.checkout(2, {.deadline = driver.now + 10ms});
  driver.checkout(3);
  driver.advance(10ms);
  driver.checkin(1);
  EXPECT_EQ(driver.refusal_of(2), RefuseReason::kExpired);
  EXPECT_TRUE(driver.grant_of(3));
}

TEST(WaitQueue, ACallerWhoseDeadlineHasPassedGetsNothingThoughAWorkerIsIdle) {
  CoreDriver driver = ready_pool({.size = 1});
  EXPECT_FALSE(driver.checkout(1, {.deadline = driver.now}));
  EXPECT_EQ(driver.refusal_of(1), RefuseReason::kExpired);
}

// --- Bounds -----------------------------------------------------------------------------------------

TEST(WaitQueue, RefusesOneMoreThanMaxWaitersAtOnce) {
  CoreDriver driver = ready_pool({.size = 1, .max_waiters = 2});
  for (Token token = 1; token <= 3; ++token) driver.checkout(token);
  driver.checkout(4);
  EXPECT_EQ(driver.refusal_of(4), RefuseReason::kQueueFull);
  EXPECT_EQ(driver.core.waiters(), 2u);
  driver.step(Abandon{2});
  driver.checkout(5);
  EXPECT_FALSE(driver.refusal_of(5)) << "there is room again";
}

TEST(WaitQueue, RetryAfterGrowsWithServiceTimeAndIsBounded) {
  const auto after_calls_of = [](Duration service) {
    CoreDriver driver = ready_pool({.size = 1, .max_waiters = 1});
    for (Token token = 1; token <= 50; ++token) {
      driver.checkout(token);
      driver.advance(service);
      driver.checkin(token);
    }
    driver.checkout(100);
    driver.checkout(101);
    driver.checkout(102);
    return driver.retry_after(102);
  };
  EXPECT_GE(after_calls_of(1us), 1ms);
  EXPECT_GT(after_calls_of(100ms), 100ms);
  EXPECT_LT(after_calls_of(100ms), 400ms);
  EXPECT_EQ(after_calls_of(1h), 30s);
}

TEST(WaitQueue, ARefusalForWantOfWorkersHasNoRetryAfter) {
  CoreDriver driver({.size = 1});
  driver.step(StartFailed{.worker = driver.worker(0), .permanent = true});
  driver.checkout(1);
  EXPECT_EQ(driver.retry_after(1), 0ms);
}

// --- A call that is dispatched again ----------------------------------------------------------------

TEST(WaitQueue, ReDispatchedCallKeepsItsPlace) {
  CoreDriver driver = ready_pool({.size = 1, .barging_window = 0ms});
  const TimePoint came = driver.now;
  driver.checkout(1);
  driver.advance(1ms);
  driver.checkout(2);
  driver.checkin_dirty(1, Reason::kCrash);
  driver.checkout(11, {.since = came});
  driver.step(Exited{driver.worker(0)});
  driver.advance(1s);
  driver.make_all_ready();
  EXPECT_TRUE(driver.grant_of(11));
  EXPECT_FALSE(driver.grant_of(2));
}

TEST(WaitQueue, ReDispatchedCallIsNotRefusedForTheQueuesLength) {
  CoreDriver driver = ready_pool({.size = 1, .max_waiters = 1});
  const TimePoint came = driver.now;
  driver.checkout(1);
  driver.checkout(2);
  driver.checkin_dirty(1, Reason::kCrash);
  driver.checkout(11, {.since = came});
  EXPECT_FALSE(driver.refusal_of(11));
  EXPECT_EQ(driver.core.waiters(), 2u);
  EXPECT_EQ(driver.core.oldest_waiter_since(), came);
}

TEST(WaitQueue, ReDispatchedCallGoesBetweenOlderAndYoungerWaiters) {
  CoreDriver driver = ready_pool({.size = 1, .barging_window = 0ms});
  driver.checkout(1);
  driver.checkout(2);
  driver.advance(2ms);
  const TimePoint came = driver.now - 1ms;
  driver.checkout(3);
  driver.checkout(11, {.since = came});
  Token holder = 1;
  for (const Token next : {2, 11, 3}) {
    driver.checkin(holder);
    ASSERT_TRUE(driver.grant_of(next));
    holder = next;
  }
}

// --- Eligibility ------------------------------------------------------------------------------------

TEST(WaitQueue, APinnedWaiterTakesOnlyItsWorker) {
  CoreDriver driver = ready_pool({.size = 2, .barging_window = 0ms});
  const Grant mine = *driver.checkout(1);
  driver.checkout(2, {.who = Eligibility::just(mine.worker)});
  EXPECT_FALSE(driver.grant_of(2)) << "the other worker is idle, but will not do";
  EXPECT_TRUE(driver.checkout(3)) << "and is free for others";
  driver.checkin(3);
  EXPECT_FALSE(driver.grant_of(2));
  driver.checkin(1);
  ASSERT_TRUE(driver.grant_of(2));
  EXPECT_EQ(driver.grant_of(2)->worker, mine.worker);
}

TEST(WaitQueue, APinnedWaiterIsRefusedWhenItsWorkerMustDie) {
  CoreDriver driver = ready_pool({.size = 2});
  const Grant mine = *driver.checkout(1);
  driver.checkout(2, {.who = Eligibility::just(mine.worker)});
  driver.checkin_dirty(1, Reason::kTimeout);
  EXPECT_EQ(driver.refusal_of(2), RefuseReason::kWorkerGone);
  driver.checkout(3, {.who = Eligibility::just(mine.worker)});
  EXPECT_EQ(driver.refusal_of(3), RefuseReason::kWorkerGone);
}

TEST(WaitQueue, APinnedWaiterIsRefusedWhenItsWorkerExitsUnasked) {
  CoreDriver driver = ready_pool({.size = 2});
  const Grant mine = *driver.checkout(1);
  driver.checkout(2, {.who = Eligibility::just(mine.worker)});
  driver.step(Exited{mine.worker});
  EXPECT_EQ(driver.refusal_of(2), RefuseReason::kWorkerGone);
  driver.checkout(3, {.who = Eligibility::just({mine.worker.slot, mine.worker.generation + 1})});
  EXPECT_FALSE(driver.grant_of(3)) << "a generation that has not come yet is no worker";
}

TEST(WaitQueue, OneThatWouldRatherHaveAWorkerGetsItIfItIsIdle) {
  CoreDriver driver = ready_pool({.size = 3});
  for (const std::uint32_t slot : {1u, 0u, 2u}) {
    EXPECT_EQ(driver.checkout(slot + 1, {.who = {.rather = slot}})->worker.slot, slot);
  }
  driver.checkin(1);
  EXPECT_EQ(driver.checkout(4, {.who = {.rather = 1}})->worker.slot, 0u)
      << "it is busy, and any other will do";
  driver.checkin(2);
  EXPECT_TRUE(driver.checkout(5, {.who = {.rather = 77}})) << "there is no such slot (any more)";
}

TEST(WaitQueue, APinnedWaiterStartsNoWorkers) {
  CoreDriver lazy({.size = 2, .lazy = true});
  lazy.checkout(1);
  lazy.make_all_ready();
  lazy.claim(1);
  lazy.clear();
  lazy.checkout(2, {.who = Eligibility::just(lazy.grant_of(1)->worker)});
  EXPECT_EQ(lazy.count<Spawn>(), 0u) << "another worker would not do";
}

}  // namespace
}  // namespace lair::test
