// Workers with several permits, and exclusive holds on them (leases).
#include <gtest/gtest.h>

#include "support/core_driver.hpp"

namespace lair::test {
namespace {

TEST(Permits, AsManyCallsAsPermitsShareAWorker) {
  CoreDriver driver = ready_pool({.size = 1}, 3);
  for (Token token = 1; token <= 3; ++token) EXPECT_TRUE(driver.checkout(token));
  EXPECT_FALSE(driver.checkout(4));
  driver.advance(5ms);
  driver.checkin(2);
  EXPECT_TRUE(driver.grant_of(4));
}

TEST(Permits, AnIdleWorkerIsPreferredToASharedOne) {
  CoreDriver driver = ready_pool({.size = 2}, 2);
  EXPECT_NE(driver.checkout(1)->worker, driver.checkout(2)->worker);
}

TEST(Permits, TheLeastLoadedWorkerIsShared) {
  CoreDriver driver = ready_pool({.size = 2}, 3);
  const WorkerRef a = driver.checkout(1)->worker;
  const WorkerRef b = driver.checkout(2)->worker;
  EXPECT_EQ(driver.checkout(3, {.who = Eligibility::just(a)})->worker, a);
  EXPECT_EQ(driver.checkout(4)->worker, b);
  driver.checkin(1);
  driver.checkin(3);
  EXPECT_EQ(driver.checkout(5)->worker, a);
}

TEST(Permits, AWorkerIsIdleOnlyWhenTheLastHoldIsBack) {
  CoreDriver driver = ready_pool({.size = 1}, 2);
  driver.checkout(1);
  driver.checkout(2);
  driver.checkin(1);
  EXPECT_EQ(driver.state(0), SlotState::kBusy);
  driver.checkin(2);
  EXPECT_EQ(driver.state(0), SlotState::kIdle);
}

TEST(Leases, ALeaseTakesAllPermits) {
  CoreDriver driver = ready_pool({.size = 1}, 3);
  ASSERT_TRUE(driver.checkout(1, {.exclusive = true}));
  EXPECT_FALSE(driver.checkout(2));
  EXPECT_FALSE(driver.checkout(3));
  driver.advance(5ms);
  driver.checkin(1);
  EXPECT_TRUE(driver.grant_of(2));
  EXPECT_TRUE(driver.grant_of(3));
}

TEST(Leases, ALeaseWaitsForAWorkerToDrainAndIsNotStarvedByCalls) {
  CoreDriver driver = ready_pool({.size = 1}, 2);
  driver.checkout(1);
  driver.checkout(2);
  driver.checkout(3, {.exclusive = true});
  driver.advance(5ms);
  driver.checkin(1);
  EXPECT_FALSE(driver.checkout(4)) << "a free permit, but the lease came first";
  driver.checkin(2);
  EXPECT_TRUE(driver.grant_of(3));
  EXPECT_FALSE(driver.grant_of(4));
  driver.checkin(3);
  EXPECT_TRUE(driver.grant_of(4) || driver.claim(4));
}

TEST(Leases, AnAbandonedLeaseGivesItsReservationBack) {
  CoreDriver driver = ready_pool({.size = 1}, 2);
  driver.checkout(1);
  driver.checkout(2, {.exclusive = true});
  driver.checkout(3);
  ASSERT_FALSE(driver.grant_of(3));
  driver.step(Abandon{2});
  EXPECT_TRUE(driver.grant_of(3) || driver.claim(3));
}

TEST(Leases, ALeaseRefusedForTheQueuesLengthReservesNothing) {
  CoreDriver driver = ready_pool({.size = 1, .max_waiters = 1}, 2);
  driver.checkout(1);
  driver.checkout(2);
  driver.checkout(3);
  driver.checkout(4, {.exclusive = true});
  ASSERT_EQ(driver.refusal_of(4), RefuseReason::kQueueFull);
  driver.advance(5ms);
  driver.checkin(1);
  EXPECT_TRUE(driver.grant_of(3)) << "the worker is reserved for one that is gone";
}

TEST(Leases, AnExpiredLeaseGivesItsReservationBack) {
  CoreDriver driver = ready_pool({.size = 1, .barging_window = 0ms}, 2);
  driver.checkout(1);
  driver.checkout(2, {.exclusive = true, .deadline = driver.now + 1ms});
  driver.advance(1ms);
  driver.checkin(1);
  EXPECT_EQ(driver.refusal_of(2), RefuseReason::kExpired);
  EXPECT_TRUE(driver.checkout(3));
}

TEST(Leases, ACallOfTheSameInstantIsNotKeptWaitingByOneThatHasExpired) {
  CoreDriver driver = ready_pool({.size = 1}, 2);
  driver.checkout(1, {.exclusive = true});
  driver.checkout(2);
  driver.checkout(3, {.exclusive = true, .deadline = driver.now + 1ms});  // is to have the worker next
  driver.advance(10ms);
  driver.checkin(1);
  EXPECT_EQ(driver.refusal_of(3), RefuseReason::kExpired);
  EXPECT_TRUE(driver.grant_of(2)) << "it came first, and the worker is idle";
}

TEST(Leases, AShedLeaseGivesItsReservationBack) {
  CoreDriver driver = ready_pool({.size = 1, .queue_target = 5ms, .queue_interval = 100ms}, 2);
  driver.checkout(1);
  driver.checkout(2, {.exclusive = true});
  driver.advance(100ms);
  driver.checkout(3);
  driver.advance(6ms);
  ASSERT_EQ(driver.refusal_of(2), RefuseReason::kShed);
  EXPECT_TRUE(driver.grant_of(3) || driver.woken(3)) << "there is a free permit, and 3 sleeps";
}

TEST(Leases, APinnedLeaseOnASinglePermitWorkerLeavesNoReservationBehind) {
  CoreDriver driver = ready_pool({.size = 1, .barging_window = 0ms}, 1);
  const WorkerRef only = driver.checkout(1)->worker;
  driver.checkout(2, {.who = Eligibility::just(only), .exclusive = true});
  driver.checkin(1);
  ASSERT_TRUE(driver.grant_of(2));
  driver.checkin(2);
  EXPECT_EQ(driver.state(0), SlotState::kIdle);
  EXPECT_TRUE(driver.checkout(3)) << "the worker is idle, and nobody may have it";
}

TEST(Leases, AnAbandonedPinnedLeaseOnASinglePermitWorkerLeavesNoReservationBehind) {
  CoreDriver driver = ready_pool({.size = 1, .barging_window = 0ms}, 1);
  const WorkerRef only = driver.checkout(1)->worker;
  driver.checkout(2, {.who = Eligibility::just(only), .exclusive = true});
  driver.step(Abandon{2});
  driver.checkin(1);
  EXPECT_TRUE(driver.checkout(3));
}

// The lease drains worker A for itself, then finds B idle; A's free permit is open to the call that waited.
TEST(Leases, AReservationThatIsNoLongerNeededWakesThoseWhoWaitedBehindIt) {
  CoreDriver driver = ready_pool({.size = 2, .barging_window = 5ms}, 2);
  const Grant a = *driver.checkout(1);
  const Grant b = *driver.checkout(2, {.exclusive = true});
  ASSERT_NE(a.worker, b.worker);
  driver.checkout(3, {.exclusive = true});  // drains A
  driver.checkout(4);                       // A has a permit, but it is reserved
  ASSERT_FALSE(driver.grant_of(4));
  driver.checkin(2);
  ASSERT_TRUE(driver.woken(3));
  ASSERT_EQ(driver.claim(3)->worker, b.worker);
  EXPECT_TRUE(driver.grant_of(4) || driver.woken(4)) << "A has a free permit and 4 sleeps";
}

TEST(Leases, AnOlderCallIsServedBeforeTheLeaseThatDrainsTheWorker) {
  CoreDriver driver = ready_pool({.size = 1, .barging_window = 0ms}, 2);
  driver.checkout(1);
  driver.checkout(2);
  driver.checkout(3);  // an ordinary call, first in the queue
  driver.advance(1ms);
  driver.checkout(4, {.exclusive = true});  // behind it
  driver.checkin(1);
  EXPECT_TRUE(driver.grant_of(3)) << "first in, first out";
}

TEST(Leases, AReservationDiesWithItsWorker) {
  CoreDriver driver = ready_pool({.size = 1, .barging_window = 0ms}, 2);
  driver.checkout(1);
  driver.checkout(2, {.exclusive = true});
  driver.step(Exited{driver.worker(0)});
  driver.advance(1s);
  driver.make_all_ready(2);
  ASSERT_TRUE(driver.grant_of(2));
  driver.checkin(2);
  EXPECT_TRUE(driver.checkout(3));
}

TEST(Leases, AHoldIsSeenUntilItIsBackWhateverBecameOfTheWorker) {
  CoreDriver driver = ready_pool({.size = 1}, 1);
  const WorkerRef worker = driver.checkout(1, {.exclusive = true})->worker;
  EXPECT_TRUE(driver.core.held(worker));
  driver.step(Condemn{worker, Reason::kCrash});
  EXPECT_TRUE(driver.core.held(worker));
  driver.step(Exited{worker});
  EXPECT_TRUE(driver.core.held(worker));
  driver.checkin(1);
  EXPECT_FALSE(driver.core.held(worker));
}

TEST(Leases, ALeakedLeaseDoesNotKeepItsSlotEmpty) {
  CoreDriver driver = ready_pool({.size = 1}, 1);
  const WorkerRef worker = driver.checkout(1, {.exclusive = true})->worker;
  driver.step(Exited{worker});
  driver.advance(1s);
  driver.make_all_ready();
  EXPECT_TRUE(driver.checkout(2));
  EXPECT_EQ(driver.core.lingering(), 1u);
}

}  // namespace
}  // namespace lair::test
