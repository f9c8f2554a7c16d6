// Planned ends of workers that are home to sessions: those that are bound to it have a while to end first.
#include <gtest/gtest.h>

#include "support/core_driver.hpp"

namespace lair::test {
namespace {

std::size_t stops(CoreDriver& driver) { return driver.take<Stop>().size(); }

TEST(CoreSessionEnds, AReloadWaitsForStrictSessionsAsLongAsTheirGrace) {
  CoreDriver driver = ready_pool({.size = 1, .session_grace = 30s});
  const SessionKey session = driver.open(Affinity::kStrict);
  const WorkerRef old = driver.call(1, session);
  driver.step(Reload{});
  EXPECT_EQ(driver.core.starting_count(), 0u);
  driver.advance(20s);
  EXPECT_EQ(driver.call(2, session), old);
  EXPECT_TRUE(driver.checkout(3)) << "others are served, too";
  driver.checkin(3);
  driver.advance(10s);
  ASSERT_TRUE(driver.core.surge()) << "its time has passed";
  EXPECT_EQ(driver.count<SessionLost>(), 0u) << "but nothing is lost before the heir is ready";
  EXPECT_EQ(driver.call(4, session), old);
  driver.make_ready(driver.core.surge()->worker);
  const auto lost = driver.take<SessionLost>();
  ASSERT_EQ(lost.size(), 1u);
  EXPECT_EQ(lost[0].reason, Reason::kReload);
  driver.step(Exited{old});
  EXPECT_TRUE(driver.take<Reloaded>().at(0).complete);
}

TEST(CoreSessionEnds, WhenItsLastBoundSessionEndsAWorkerIsReplacedAtOnce) {
  CoreDriver driver = ready_pool({.size = 1, .session_grace = 30s});
  const SessionKey a = driver.open(Affinity::kStrict);
  const SessionKey b = driver.open(Affinity::kStrict);
  driver.call(1, a);
  driver.call(2, b);
  driver.step(Reload{});
  driver.step(CloseSession{a});
  EXPECT_FALSE(driver.core.surge());
  driver.step(CloseSession{b});
  EXPECT_TRUE(driver.core.surge());
}

TEST(CoreSessionEnds, PreferSessionsHoldNothingUp) {
  CoreDriver driver = ready_pool({.size = 1, .session_grace = 30s});
  const SessionKey session = driver.open(Affinity::kPrefer);
  driver.call(1, session);
  driver.step(Reload{});
  ASSERT_TRUE(driver.core.surge());
  driver.make_ready(driver.core.surge()->worker);
  EXPECT_EQ(stops(driver), 1u);
  driver.call(2, session);
  EXPECT_EQ(driver.grant_of(2)->met, Met::kMoved);
}

TEST(CoreSessionEnds, TheGracesOfSeveralWorkersPassAtTheSameTime) {
  CoreDriver driver = ready_pool({.size = 3, .session_grace = 30s});
  for (Token token = 1; token <= 3; ++token) driver.call(token, driver.open(Affinity::kStrict));
  driver.step(Reload{});
  driver.advance(30s);
  while (driver.core.surge()) {
    driver.make_ready(driver.core.surge()->worker);
    for (const Stop& stop : driver.take<Stop>()) driver.step(Exited{stop.worker});
  }
  EXPECT_FALSE(driver.core.reloading());
  EXPECT_EQ(driver.take<SessionLost>().size(), 3u);
}

TEST(CoreSessionEnds, CodeThatDoesNotStartCostsNoSession) {
  CoreDriver driver = ready_pool({.size = 1, .session_grace = 1s});
  const SessionKey session = driver.open(Affinity::kStrict);
  const WorkerRef home = driver.call(1, session);
  driver.step(Reload{});
  driver.advance(1s);
  driver.step(StartFailed{.worker = driver.core.surge()->worker, .permanent = true, .has_process = false});
  EXPECT_FALSE(driver.take<Reloaded>().at(0).complete);
  driver.advance(1min);
  EXPECT_EQ(driver.call(2, session), home);
}

TEST(CoreSessionEnds, AgeCallsAndWishesGiveTheSameGrace) {
  const auto ends = [](const CoreConfig& config, Reason reason, auto plan) {
    CoreDriver driver = ready_pool(config);
    const SessionKey session = driver.open(Affinity::kStrict);
    const WorkerRef home = driver.call(1, session);
    plan(driver, home);
    EXPECT_FALSE(driver.core.surge()) << to_string(reason);
    driver.advance(config.session_grace - 1s);
    EXPECT_FALSE(driver.core.surge()) << to_string(reason);
    driver.advance(2s);
    ASSERT_TRUE(driver.core.surge()) << to_string(reason);
    driver.make_ready(driver.core.surge()->worker);
    EXPECT_EQ(driver.take<SessionLost>().at(0).reason, reason);
  };
  const auto nothing = [](CoreDriver&, WorkerRef) {};
  ends({.size = 1, .max_calls = 1, .session_grace = 30s}, Reason::kMaxCalls, nothing);
  ends({.size = 1, .max_age = 1min, .session_grace = 30s}, Reason::kMaxAge,
       [](CoreDriver& driver, WorkerRef) { driver.advance(1min); });
  ends({.size = 1, .session_grace = 30s}, Reason::kRecycled, [](CoreDriver& driver, WorkerRef home) {
    driver.step(Retire{home, Reason::kRecycled});
  });
}

TEST(CoreSessionEnds, NewBoundSessionsAvoidAWorkerWhoseEndIsPlanned) {
  CoreDriver driver = ready_pool({.size = 2, .session_grace = 30s});
  const SessionKey session = driver.open(Affinity::kStrict);
  const WorkerRef old = driver.call(1, session);
  for (Token token = 2; token <= 4; ++token) driver.call(token, driver.open(Affinity::kPrefer));
  driver.step(Retire{old, Reason::kRecycled});
  const SessionKey fresh = driver.open(Affinity::kStrict);
  const SessionKey more = driver.open(Affinity::kStrict);
  EXPECT_NE(driver.call(5, fresh), old);
  EXPECT_NE(driver.call(6, more), old) << "though the other has more";
  driver.checkout(7, {.who = Eligibility::just(driver.home(fresh))});
  EXPECT_EQ(driver.call(8, driver.open(Affinity::kStrict)), old) << "better than to wait";
}

TEST(CoreSessionEnds, ASessionThatComesWhileTheHeirStartsHasItsGraceToo) {
  CoreDriver driver = ready_pool({.size = 1, .session_grace = 30s});
  driver.step(Retire{driver.worker(0), Reason::kRecycled});
  const WorkerRef heir = driver.core.surge()->worker;
  const SessionKey session = driver.open(Affinity::kStrict);
  const WorkerRef old = driver.call(1, session);
  driver.make_ready(heir);
  EXPECT_EQ(stops(driver), 0u);
  EXPECT_EQ(driver.core.surge()->worker, old);
  EXPECT_EQ(driver.checkout(2)->worker, heir) << "others go to the heir";
  EXPECT_EQ(driver.call(3, session), old);
  EXPECT_EQ(driver.step(BeginCheck{old}), Outcome::kStale);
  driver.advance(30s);
  EXPECT_EQ(stops(driver), 1u);
  EXPECT_EQ(driver.take<SessionLost>().at(0).reason, Reason::kRecycled);
}

// --- Ends without an heir ---------------------------------------------------------------------------

TEST(CoreSessionEnds, AWorkerThatAResizeClosesServesOnlyItsSessionsUntilTheyHaveEnded) {
  CoreDriver driver = ready_pool({.size = 2, .session_grace = 30s});
  const SessionKey a = driver.open(Affinity::kStrict);
  const SessionKey b = driver.open(Affinity::kStrict);
  const SessionKey closing = driver.call(1, a).slot == 1 ? a : b;
  const SessionKey staying = closing == a ? b : a;
  driver.call(2, b);
  driver.step(Resize{1});
  EXPECT_EQ(stops(driver), 0u);
  const WorkerRef left = driver.home(closing);
  ASSERT_EQ(left.slot, 1u);
  EXPECT_TRUE(driver.core.slot(1).withdrawn);
  EXPECT_TRUE(driver.checkout(3));
  EXPECT_FALSE(driver.checkout(4));
  EXPECT_EQ(driver.call(5, closing), left);
  EXPECT_FALSE(driver.grant_of(4)) << "still for nobody else";
  driver.advance(30s);
  EXPECT_EQ(stops(driver), 1u);
  EXPECT_EQ(driver.take<SessionLost>().at(0).key, closing);
  EXPECT_EQ(driver.core.session(staying)->lost, Reason::kNone);
}

TEST(CoreSessionEnds, ItLeavesWhenTheyHaveEndedAndStaysWhenThePoolGrowsAgain) {
  for (const bool grows : {true, false}) {
    CoreDriver driver = ready_pool({.size = 2, .session_grace = 30s});
    const SessionKey a = driver.open(Affinity::kStrict);
    const SessionKey b = driver.open(Affinity::kStrict);
    driver.call(1, a);
    driver.call(2, b);
    driver.step(Resize{1});
    if (grows) {
      driver.step(Resize{2});
      EXPECT_TRUE(driver.checkout(3));
      EXPECT_TRUE(driver.checkout(4)) << "both are for all again";
      driver.advance(1h);
    } else {
      driver.step(CloseSession{driver.home(a).slot == 1 ? a : b});
    }
    EXPECT_EQ(stops(driver), grows ? 0u : 1u);
    EXPECT_EQ(driver.count<SessionLost>(), 0u);
  }
}

TEST(CoreSessionEnds, ACallInFlightOutlastsTheGrace) {
  CoreDriver driver = ready_pool({.size = 2, .session_grace = 30s});
  const SessionKey a = driver.open(Affinity::kStrict);
  const SessionKey b = driver.open(Affinity::kStrict);
  driver.call(1, a);
  driver.call(2, b);
  const SessionKey session = driver.home(a).slot == 1 ? a : b;
  driver.checkout(3, {.session = session});
  driver.checkout(4, {.session = session});
  driver.step(Resize{1});
  driver.advance(1min);
  EXPECT_EQ(stops(driver), 0u);
  EXPECT_EQ(driver.count<SessionLost>(), 0u);
  driver.checkin(3);
  EXPECT_EQ(stops(driver), 1u);
  EXPECT_EQ(driver.refusal_of(4), RefuseReason::kSessionLost);
}

TEST(CoreSessionEnds, AnIdleWorkerStaysForItsSessionsAWhileLonger) {
  CoreDriver driver({.size = 1, .lazy = true, .idle_ttl = 1min, .session_grace = 30s});
  const SessionKey session = driver.open(Affinity::kStrict);
  driver.checkout(1, {.session = session});
  driver.make_all_ready();
  driver.claim(1);
  driver.checkin(1);
  driver.advance(89s);
  EXPECT_EQ(stops(driver), 0u);
  driver.advance(1s);
  EXPECT_EQ(stops(driver), 1u);
  EXPECT_EQ(driver.take<SessionLost>().at(0).reason, Reason::kIdle);
}

TEST(CoreSessionEnds, AnIdleWorkerWhoseSessionHasEndedIsAtItsTime) {
  CoreDriver driver({.size = 1, .lazy = true, .idle_ttl = 1min, .session_grace = 30s});
  const SessionKey session = driver.open(Affinity::kStrict);
  driver.checkout(1, {.session = session});
  driver.make_all_ready();
  driver.claim(1);
  driver.checkin(1);
  driver.advance(80s);
  driver.take<Rearm>();
  driver.step(CloseSession{session});
  EXPECT_EQ(driver.count<Rearm>(), 1u);
  driver.advance(0s);
  EXPECT_EQ(stops(driver), 1u);
}

TEST(CoreSessionEnds, WithoutGraceAWorkerLeavesAsIfItHadNoSessions) {
  CoreDriver driver = ready_pool({.size = 1, .session_grace = 0s});
  driver.call(1, driver.open(Affinity::kExclusive));
  driver.step(Reload{});
  ASSERT_TRUE(driver.core.surge());
  driver.make_ready(driver.core.surge()->worker);
  EXPECT_EQ(driver.take<SessionLost>().at(0).reason, Reason::kReload);
}

TEST(CoreSessionEnds, AGraceForEverEndsWithTheSession) {
  CoreDriver driver = ready_pool({.size = 1, .session_grace = kForever});
  const SessionKey session = driver.open(Affinity::kStrict);
  driver.call(1, session);
  driver.step(Reload{});
  driver.advance(1h);
  EXPECT_FALSE(driver.core.surge());
  EXPECT_EQ(driver.core.next_timer(driver.now), TimePoint::max());
  driver.step(CloseSession{session});
  EXPECT_TRUE(driver.core.surge());
}

TEST(CoreSessionEnds, AShutdownGivesNoGraceBeyondItsOwn) {
  CoreDriver driver = ready_pool({.size = 2, .session_grace = 30s});
  const SessionKey idle = driver.open(Affinity::kStrict);
  const SessionKey busy = driver.open(Affinity::kExclusive);
  driver.call(1, idle);
  driver.checkout(2, {.session = busy});
  driver.checkout(3, {.session = busy});
  driver.step(Shutdown{driver.now + 5s});
  EXPECT_EQ(driver.refusal_of(3), RefuseReason::kShuttingDown);
  EXPECT_EQ(stops(driver), 1u);
  driver.advance(5s);
  EXPECT_EQ(stops(driver), 1u);
  for (const SessionLost& lost : driver.take<SessionLost>()) EXPECT_EQ(lost.reason, Reason::kShutdown);
  driver.checkout(4, {.session = idle});
  EXPECT_EQ(driver.refusal_of(4), RefuseReason::kShuttingDown);
}

}  // namespace
}  // namespace lair::test
