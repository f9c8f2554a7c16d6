// Sessions: which worker serves a session, in which order its calls run, and what becomes of it.
#include <gtest/gtest.h>

#include "support/core_driver.hpp"

namespace lair::test {
namespace {

// --- Which worker -----------------------------------------------------------------------------------

TEST(CoreSession, AStrictSessionStaysWithTheWorkerOfItsFirstCall) {
  CoreDriver driver = ready_pool({.size = 3});
  const SessionKey session = driver.open(Affinity::kStrict);
  EXPECT_FALSE(driver.core.session(session)->home.generation) << "no worker before its first call";
  const WorkerRef home = driver.call(1, session);
  EXPECT_EQ(driver.grant_of(1)->met, Met::kFirst);
  for (Token token = 2; token <= 10; ++token) {
    driver.checkin(*driver.checkout(100 + token));  // others change which worker is the warmest
    EXPECT_EQ(driver.call(token, session), home);
    EXPECT_EQ(driver.grant_of(token)->met, Met::kHome);
  }
  EXPECT_EQ(driver.home(session), home);
}

TEST(CoreSession, AStrictSessionWaitsForItsWorkerThoughAnotherIsFree) {
  CoreDriver driver = ready_pool({.size = 2});
  const SessionKey session = driver.open(Affinity::kStrict);
  const WorkerRef home = driver.call(1, session);
  ASSERT_EQ(driver.checkout(2, {.who = Eligibility::just(home)})->worker, home);
  EXPECT_FALSE(driver.checkout(3, {.session = session}));
  driver.advance(10s);
  EXPECT_FALSE(driver.grant_of(3));
  EXPECT_EQ(driver.core.count(SlotState::kIdle), 1u);
  driver.checkin(2);
  EXPECT_EQ(driver.grant_of(3)->worker, home);
}

TEST(CoreSession, SessionsAreSpreadOverTheWorkers) {
  CoreDriver driver = ready_pool({.size = 4});
  std::map<WorkerRef, int> homes;
  for (Token token = 1; token <= 40; ++token)
    ++homes[driver.call(token, driver.open(token % 2 == 0 ? Affinity::kStrict : Affinity::kPrefer))];
  ASSERT_EQ(homes.size(), 4u);
  for (const auto& [worker, count] : homes) EXPECT_EQ(count, 10);
}

// --- In order ---------------------------------------------------------------------------------------

TEST(CoreSession, CallsOfASessionRunOneAfterAnotherInOrderOfArrival) {
  for (const Affinity affinity : {Affinity::kPrefer, Affinity::kStrict, Affinity::kExclusive}) {
    CoreDriver driver = ready_pool({.size = 2, .max_waiters = 50}, 3);  // permits for six at a time
    const SessionKey session = driver.open(affinity);
    for (Token token = 1; token <= 20; ++token)
      driver.checkout(token, {.session = session, .spill_after = driver.now});
    EXPECT_EQ(driver.core.session(session)->waiting, 19u);
    for (Token token = 1; token <= 20; ++token) {
      ASSERT_TRUE(driver.grant_of(token));
      EXPECT_TRUE(driver.core.session(session)->in_call);
      EXPECT_FALSE(driver.grant_of(token + 1)) << "two at once";
      driver.advance(5ms);
      driver.checkin(token);
    }
    EXPECT_FALSE(driver.core.session(session)->in_call);
  }
}

TEST(CoreSession, ACallThatComesBackIsServedBeforeThoseBehindIt) {
  CoreDriver driver = ready_pool({.size = 1});
  const SessionKey session = driver.open(Affinity::kPrefer);
  const TimePoint came = driver.now;
  driver.checkout(1, {.session = session});
  driver.advance(10ms);
  driver.checkout(2, {.session = session});
  driver.checkout(3, {.session = session});
  driver.checkin_dirty(1, Reason::kCrash);  // its worker was dead before it was asked
  driver.checkout(4, {.since = came, .session = session});
  driver.step(Exited{driver.grant_of(1)->worker});
  driver.advance(1s);
  driver.make_all_ready();
  ASSERT_TRUE(driver.grant_of(4));
  driver.advance(5ms);
  driver.checkin(4);
  EXPECT_TRUE(driver.grant_of(2));
  EXPECT_FALSE(driver.grant_of(3));
}

TEST(CoreSession, WhenTheFirstGivesUpTheNextTakesItsTurn) {
  CoreDriver driver = ready_pool({.size = 1});
  const SessionKey session = driver.open(Affinity::kStrict);
  driver.checkout(1);
  for (Token token = 2; token <= 5; ++token) driver.checkout(token, {.session = session});
  EXPECT_EQ(driver.step(Claim{3}), Outcome::kDone) << "a late claim of one that is parked does nothing";
  EXPECT_EQ(driver.step(Abandon{4}), Outcome::kDone);
  EXPECT_EQ(driver.step(Abandon{2}), Outcome::kDone);
  driver.advance(5ms);
  driver.checkin(1);
  EXPECT_TRUE(driver.grant_of(3));
  driver.checkin(3);
  EXPECT_TRUE(driver.grant_of(5) || driver.claim(5));
  EXPECT_EQ(driver.core.waiters(), 0u);
}

TEST(CoreSession, WaitersWhoseDeadlineHasPassedMakeRoomForTheNextOfTheirSession) {
  CoreDriver driver = ready_pool({.size = 1});
  const SessionKey session = driver.open(Affinity::kStrict);
  driver.checkout(1);
  driver.checkout(2, {.deadline = driver.now + 10ms, .session = session});
  driver.checkout(3, {.deadline = driver.now + 10ms, .session = session});
  driver.checkout(4, {.session = session});
  driver.advance(20ms);
  driver.checkin(1);
  EXPECT_EQ(driver.refusal_of(2), RefuseReason::kExpired);
  EXPECT_EQ(driver.refusal_of(3), RefuseReason::kExpired);
  EXPECT_TRUE(driver.grant_of(4) || driver.claim(4));
}

TEST(CoreSession, ALeaseInASessionDrainsItsWorkerAndIsOneOfItsCalls) {
  CoreDriver driver = ready_pool({.size = 2}, 2);
  const SessionKey session = driver.open(Affinity::kStrict);
  const WorkerRef home = driver.call(1, session);
  driver.checkout(2, {.who = Eligibility::just(home)});
  EXPECT_FALSE(driver.checkout(3, {.exclusive = true, .session = session}));
  EXPECT_FALSE(driver.checkout(4, {.who = Eligibility::just(home)})) << "the lease came first";
  driver.checkout(5, {.session = session});
  driver.advance(5ms);
  driver.checkin(2);
  ASSERT_TRUE(driver.grant_of(3));
  EXPECT_FALSE(driver.grant_of(5));
  driver.checkin(3);
  EXPECT_TRUE(driver.grant_of(4));
  EXPECT_TRUE(driver.grant_of(5) || driver.claim(5));
}

// --- Exclusive --------------------------------------------------------------------------------------

TEST(CoreSession, AnExclusiveSessionsWorkerServesNobodyElse) {
  CoreDriver driver = ready_pool({.size = 2}, 2);
  const SessionKey session = driver.open(Affinity::kExclusive);
  const WorkerRef own = driver.call(1, session);
  EXPECT_EQ(driver.state(own.slot), SlotState::kIdle);
  EXPECT_TRUE(driver.core.slot(own.slot).withdrawn);
  for (Token token = 2; token <= 3; ++token) EXPECT_NE(driver.checkout(token)->worker, own);
  EXPECT_FALSE(driver.checkout(4));
  EXPECT_FALSE(driver.checkout(5, {.who = Eligibility::just(own)})) << "nor those that want just this one";
  EXPECT_FALSE(driver.checkout(6, {.session = driver.open(Affinity::kPrefer)}));
  EXPECT_FALSE(driver.checkout(7, {.session = driver.open(Affinity::kStrict)}));
  driver.advance(1min);
  EXPECT_EQ(driver.checkout(8, {.session = session})->worker, own);
  driver.checkin(8);
  EXPECT_EQ(driver.holds(), 2u);
  driver.step(CloseSession{session});
  EXPECT_TRUE(driver.grant_of(4)) << "it is free for all again";
  EXPECT_TRUE(driver.grant_of(5));
}

TEST(CoreSession, AnExclusiveSessionTakesNoWorkerThatAnotherIsBoundTo) {
  CoreDriver driver = ready_pool({.size = 2});
  const SessionKey strict = driver.open(Affinity::kStrict);
  const SessionKey prefer = driver.open(Affinity::kPrefer);
  const WorkerRef bound = driver.call(1, strict);
  const WorkerRef other = driver.call(2, prefer);
  ASSERT_NE(bound, other);
  const SessionKey exclusive = driver.open(Affinity::kExclusive);
  EXPECT_EQ(driver.call(3, exclusive), other);
  EXPECT_EQ(driver.call(4, prefer), bound) << "it gives way";
  EXPECT_EQ(driver.grant_of(4)->met, Met::kMoved);
}

TEST(CoreSession, AnExclusiveSessionWaitsUntilAWorkerIsNobodysHome) {
  CoreDriver driver = ready_pool({.size = 1});
  const SessionKey strict = driver.open(Affinity::kStrict);
  driver.call(1, strict);
  const SessionKey exclusive = driver.open(Affinity::kExclusive);
  EXPECT_FALSE(driver.checkout(2, {.session = exclusive}));
  driver.advance(10s);
  EXPECT_EQ(driver.state(0), SlotState::kIdle);
  driver.step(CloseSession{strict});
  EXPECT_TRUE(driver.grant_of(2));
}

TEST(CoreSession, ALazyPoolStartsAWorkerForAnExclusiveSessionThatCannotUseTheFreeOne) {
  CoreDriver driver({.size = 2, .lazy = true});
  const SessionKey strict = driver.open(Affinity::kStrict);
  driver.checkout(1, {.session = strict});
  driver.make_all_ready();
  driver.claim(1);
  driver.checkin(1);
  driver.checkout(2, {.session = driver.open(Affinity::kExclusive)});
  EXPECT_EQ(driver.core.starting_count(), 1u);
  driver.make_all_ready();
  EXPECT_TRUE(driver.grant_of(2) || driver.claim(2));
}

TEST(CoreSession, ALazyPoolStartsNoWorkerForOneThatWaitsForItsOwn) {
  CoreDriver driver({.size = 2, .lazy = true});
  const SessionKey strict = driver.open(Affinity::kStrict);
  driver.checkout(1, {.session = strict});
  driver.make_all_ready();
  driver.claim(1);
  driver.checkout(2, {.session = strict});
  driver.advance(10s);
  EXPECT_EQ(driver.core.starting_count(), 0u);
}

TEST(CoreSession, ExclusiveSessionsLeaveWorkersForOthers) {
  const std::map<std::size_t, std::size_t> most = {{1, 1}, {2, 1}, {3, 2}, {4, 3}, {5, 3}, {8, 6}};
  for (const auto& [size, limit] : most) {
    CoreDriver driver = ready_pool({.size = size});
    for (std::size_t i = 0; i < limit; ++i) {
      EXPECT_TRUE(driver.core.may_open_exclusive());
      driver.call(i + 1, driver.open(Affinity::kExclusive));
    }
    EXPECT_FALSE(driver.core.may_open_exclusive());
    EXPECT_EQ(driver.step(OpenSession{100, Affinity::kExclusive}), Outcome::kIllegal);
    EXPECT_EQ(driver.core.exclusive_sessions(), limit);
    EXPECT_EQ(driver.checkout(50).has_value(), size > 1);
    driver.step(CloseSession{1});
    EXPECT_TRUE(driver.core.may_open_exclusive());
  }
}

// --- Its end, and its loss --------------------------------------------------------------------------

TEST(CoreSession, AClosedSessionsWaitersAreRefusedAndItsCallGoesOn) {
  CoreDriver driver = ready_pool({.size = 1});
  const SessionKey session = driver.open(Affinity::kStrict);
  driver.checkout(1, {.session = session});
  driver.checkout(2, {.session = session});
  driver.checkout(3, {.session = session});
  EXPECT_EQ(driver.step(CloseSession{session}), Outcome::kDone);
  EXPECT_EQ(driver.refusal_of(2), RefuseReason::kSessionEnded);
  EXPECT_EQ(driver.refusal_of(3), RefuseReason::kSessionEnded);
  EXPECT_EQ(driver.core.sessions(), 0u);
  EXPECT_EQ(driver.checkin(1), Outcome::kDone);
  driver.checkout(4, {.session = session});
  EXPECT_EQ(driver.refusal_of(4), RefuseReason::kSessionEnded);
  EXPECT_TRUE(driver.checkout(5));
  EXPECT_EQ(driver.count<SessionLost>(), 0u);
}

TEST(CoreSession, NumbersOnlyGrowAndWhatNoRaceExplainsIsIllegal) {
  CoreDriver driver = ready_pool({.size = 1});
  EXPECT_EQ(driver.step(OpenSession{0, Affinity::kPrefer}), Outcome::kIllegal);
  EXPECT_EQ(driver.step(OpenSession{7, Affinity::kPrefer}), Outcome::kDone);
  EXPECT_EQ(driver.step(OpenSession{7, Affinity::kPrefer}), Outcome::kIllegal);
  EXPECT_EQ(driver.step(CloseSession{7}), Outcome::kDone);
  EXPECT_EQ(driver.step(CloseSession{7}), Outcome::kStale);
  EXPECT_EQ(driver.step(OpenSession{7, Affinity::kPrefer}), Outcome::kIllegal)
      << "not even when it is closed";
  EXPECT_EQ(driver.step(OpenSession{8, Affinity::kPrefer}), Outcome::kDone);
  const Checkout pinned{.token = 1, .who = Eligibility::just(driver.worker(0)), .session = 8};
  EXPECT_EQ(driver.step(pinned), Outcome::kIllegal);
}

TEST(CoreSession, AStrictSessionIsLostWithItsWorkerOnceAndStaysLost) {
  for (const Affinity affinity : {Affinity::kStrict, Affinity::kExclusive}) {
    CoreDriver driver = ready_pool({.size = 2, .max_waiters = 20});
    const SessionKey session = driver.open(affinity);
    driver.checkout(1, {.session = session});
    for (Token token = 2; token <= 4; ++token) driver.checkout(token, {.session = session});
    const WorkerRef home = driver.grant_of(1)->worker;
    driver.step(Condemn{home, Reason::kMemoryLimit});
    const auto lost = driver.take<SessionLost>();
    ASSERT_EQ(lost.size(), 1u);
    EXPECT_EQ(lost[0].key, session);
    EXPECT_EQ(lost[0].worker, home);
    EXPECT_EQ(lost[0].reason, Reason::kMemoryLimit);
    for (Token token = 2; token <= 4; ++token)
      EXPECT_EQ(driver.refusal_of(token), RefuseReason::kSessionLost);
    driver.checkin_dirty(1, Reason::kCrash);
    driver.step(Exited{home});
    driver.make_all_ready();
    for (Token token = 5; token <= 7; ++token) {
      driver.checkout(token, {.session = session});
      EXPECT_EQ(driver.refusal_of(token), RefuseReason::kSessionLost) << "never silently another";
    }
    EXPECT_EQ(driver.core.session(session)->lost, Reason::kMemoryLimit);
    EXPECT_EQ(driver.count<SessionLost>(), 0u);
    EXPECT_EQ(driver.core.exclusive_sessions(), 0u) << "it holds no worker";
    driver.step(CloseSession{session});
    const SessionKey anew = driver.open(affinity);
    driver.call(8, anew);
    EXPECT_EQ(driver.grant_of(8)->met, Met::kFirst);
  }
}

TEST(CoreSession, ADeathNobodyAskedForIsTheReason) {
  CoreDriver driver = ready_pool({.size = 1});
  const SessionKey session = driver.open(Affinity::kStrict);
  driver.step(Exited{driver.call(1, session)});
  EXPECT_EQ(driver.take<SessionLost>().at(0).reason, Reason::kCrash);
}

TEST(CoreSession, AllSessionsOfAWorkerAreLostWithItAndNoOthers) {
  CoreDriver driver = ready_pool({.size = 2});
  std::map<WorkerRef, std::set<SessionKey>> homes;
  for (Token token = 1; token <= 10; ++token) {
    const SessionKey session = driver.open(token <= 6 ? Affinity::kStrict : Affinity::kPrefer);
    const WorkerRef home = driver.call(token, session);
    if (token <= 6) homes[home].insert(session);
  }
  const auto& [worker, bound] = *homes.begin();
  driver.step(Exited{worker});
  std::set<SessionKey> lost;
  for (const SessionLost& event : driver.take<SessionLost>()) EXPECT_TRUE(lost.insert(event.key).second);
  EXPECT_EQ(lost, bound);
}

TEST(CoreSession, AWorkerThatGivesItsCallUpKeepsItsSessions) {
  CoreDriver driver = ready_pool({.size = 1});
  const SessionKey session = driver.open(Affinity::kStrict);
  const Grant grant = *driver.checkout(1, {.session = session});
  driver.checkout(2, {.session = session});
  driver.step(Checkin{.worker = grant.worker,
                      .epoch = grant.epoch,
                      .clean = false,
                      .may_recover = true,
                      .reason = Reason::kTimeout});
  EXPECT_FALSE(driver.grant_of(2));
  driver.advance(10ms);
  driver.step(CheckPassed{grant.worker});
  EXPECT_EQ(driver.grant_of(2)->worker, grant.worker);
  EXPECT_EQ(driver.count<SessionLost>(), 0u);
}

TEST(CoreSession, ACallOfASessionThatHasMovedStillHoldsUpTheNext) {
  CoreDriver driver = ready_pool({.size = 2});
  const SessionKey session = driver.open(Affinity::kPrefer);
  driver.checkout(1, {.session = session});
  driver.step(Exited{driver.grant_of(1)->worker});
  EXPECT_FALSE(driver.checkout(2, {.session = session})) << "the first has not heard of it yet";
  driver.advance(5ms);
  driver.checkin_dirty(1, Reason::kCrash);
  EXPECT_TRUE(driver.grant_of(2));
}

TEST(CoreSession, APausedPoolServesNoSessionAndADrainingOneTakesNoNewCalls) {
  CoreDriver driver = ready_pool({.size = 1});
  const SessionKey session = driver.open(Affinity::kExclusive);
  driver.call(1, session);
  driver.step(Admit{Admission::kPaused});
  EXPECT_FALSE(driver.checkout(2, {.session = session}));
  driver.advance(1s);
  driver.step(Admit{Admission::kOpen});
  EXPECT_TRUE(driver.grant_of(2));
  driver.checkout(3, {.session = session});
  driver.step(Admit{Admission::kDraining});
  driver.checkout(4, {.session = session});
  EXPECT_EQ(driver.refusal_of(4), RefuseReason::kDraining);
  driver.advance(5ms);
  driver.checkin(2);
  EXPECT_TRUE(driver.grant_of(3)) << "one that waits already is served";
}

TEST(CoreSession, APoolAtRestWithSessionsHasNoTimer) {
  CoreDriver driver = ready_pool({.size = 2});
  for (const Affinity affinity : {Affinity::kPrefer, Affinity::kStrict, Affinity::kExclusive})
    driver.call(static_cast<Token>(affinity) + 1, driver.open(affinity));
  driver.advance(1min);
  EXPECT_EQ(driver.core.next_timer(driver.now), TimePoint::max());
}

}  // namespace
}  // namespace lair::test
