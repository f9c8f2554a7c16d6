// Many sessions, few workers: each gets its turn, however many callers another has.
#include <gtest/gtest.h>

#include <deque>

#include "support/core_driver.hpp"

namespace lair::test {
namespace {

// Who holds a worker, in the order of their grants.
std::deque<Token> holders(CoreDriver& driver) {
  std::deque<Token> tokens;
  for (const Grant& grant : driver.take<Grant>()) tokens.push_back(grant.token);
  return tokens;
}

TEST(CoreSessionFairness, AGreedySessionCostsAVictimOneTurn) {
  // Whoever is greedy: 100 callers each, of as many sessions; the victim comes last and has one.
  for (const std::size_t greedy : {std::size_t{1}, std::size_t{3}, std::size_t{10}}) {
    for (const Affinity affinity : {Affinity::kPrefer, Affinity::kStrict}) {
      for (const std::uint32_t permits : {1u, 2u}) {
        CoreDriver driver = ready_pool({.size = 2, .max_waiters = 5000}, permits);
        Token token = 0;
        for (std::size_t i = 0; i < greedy; ++i) {
          const SessionKey session = driver.open(affinity);
          for (int caller = 0; caller < 100; ++caller)
            driver.checkout(++token, {.session = session, .spill_after = driver.now});
        }
        // Somebody else's calls keep both workers busy meanwhile, so that the victim must wait in any case.
        for (int other = 0; other < 4; ++other) driver.checkout(++token);
        const Token victim = ++token;
        std::deque<Token> held = holders(driver);
        driver.checkout(victim, {.session = driver.open(affinity), .spill_after = driver.now});
        std::size_t turns = 0;
        while (!driver.grant_of(victim)) {
          ASSERT_LE(++turns, greedy + 4 + 2) << "more turns than there are places in the line";
          ASSERT_FALSE(held.empty());
          driver.advance(6ms);
          driver.checkin(held.front());
          held.pop_front();
          for (const Token next : holders(driver)) held.push_back(next);
        }
      }
    }
  }
}

TEST(CoreSessionFairness, SessionsTakeTurns) {
  CoreDriver driver = ready_pool({.size = 1, .max_waiters = 1000});
  std::map<Token, SessionKey> of;
  Token token = 0;
  for (const int callers : {50, 10, 10}) {
    const SessionKey session = driver.open(Affinity::kPrefer);
    for (int i = 0; i < callers; ++i) {
      of[++token] = session;
      driver.checkout(token, {.session = session});
    }
  }
  std::map<SessionKey, int> served;
  for (int turn = 0; turn < 30; ++turn) {
    const auto granted = driver.take<Grant>();
    ASSERT_EQ(granted.size(), 1u);
    ++served[of[granted[0].token]];
    driver.advance(6ms);
    driver.checkin(granted[0]);
  }
  ASSERT_EQ(served.size(), 3u);
  for (const auto& [session, count] : served) EXPECT_NEAR(count, 10, 1) << "session " << session;
}

TEST(CoreSessionFairness, ThoseBehindTheirSessionsFirstFillHalfOfTheQueueAtMost) {
  CoreDriver driver = ready_pool({.size = 1, .max_waiters = 10});
  const SessionKey session = driver.open(Affinity::kStrict);
  driver.checkout(1);
  Token token = 1;
  for (int i = 0; i < 6; ++i)
    driver.checkout(++token, {.session = session});  // one in the line, five behind it
  EXPECT_EQ(driver.core.waiters(), 6u);
  driver.checkout(++token, {.session = session});
  EXPECT_EQ(driver.refusal_of(token), RefuseReason::kQueueFull);
  EXPECT_GT(driver.retry_after(token), Duration::zero());
  for (int i = 0; i < 4; ++i) {
    driver.checkout(++token);
    EXPECT_FALSE(driver.refusal_of(token)) << "there is room for others";
  }
  driver.checkout(++token);
  EXPECT_EQ(driver.refusal_of(token), RefuseReason::kQueueFull) << "they count, all the same";
}

TEST(CoreSessionFairness, WhoeverComesDuringASessionsCallIsServedBeforeItsNext) {
  CoreDriver driver = ready_pool({.size = 1, .max_waiters = 100});
  const SessionKey session = driver.open(Affinity::kStrict);
  driver.call(1, session);
  driver.checkout(2, {.session = session});
  for (Token token = 3; token <= 6; ++token) driver.checkout(token, {.session = session});
  driver.checkout(7);
  driver.advance(6ms);
  driver.checkin(2);
  ASSERT_TRUE(driver.grant_of(7)) << "the session's next could not have been served before";
  driver.advance(6ms);
  driver.checkin(7);
  EXPECT_TRUE(driver.grant_of(3));
}

TEST(CoreSessionFairness, APreferSessionsPatienceBeginsWhenItsCallBeforeHasEnded) {
  CoreDriver driver = ready_pool({.size = 2});
  const SessionKey session = driver.open(Affinity::kPrefer);
  const WorkerRef home = driver.call(1, session);
  driver.checkout(2, {.session = session});
  driver.checkout(3, {.session = session, .spill_after = driver.now + 25ms});  // in the line
  driver.checkout(4, {.session = session, .spill_after = driver.now + 25ms});  // behind it
  driver.advance(20ms);
  driver.checkin(2);
  ASSERT_TRUE(driver.grant_of(3));
  driver.checkout(5, {.who = Eligibility::just(home)});
  driver.advance(30ms);
  driver.checkin(3);
  ASSERT_EQ(driver.grant_of(5)->worker, home) << "it came before the fourth was in the line";
  EXPECT_FALSE(driver.grant_of(4)) << "it has waited for its own session so far";
  driver.advance(25ms - 1ns);
  EXPECT_FALSE(driver.grant_of(4));
  driver.advance(1ns);
  ASSERT_TRUE(driver.grant_of(4));
  EXPECT_EQ(driver.grant_of(4)->met, Met::kSpilled);
}

TEST(CoreSessionFairness, AnExclusiveSessionThatFindsNoWorkerIsNoQueueThatStands) {
  CoreDriver driver = ready_pool({.size = 1, .queue_target = 5ms, .queue_interval = 100ms});
  const SessionKey strict = driver.open(Affinity::kStrict);
  driver.call(1, strict);
  const SessionKey exclusive = driver.open(Affinity::kExclusive);
  driver.checkout(2, {.session = exclusive});
  driver.advance(10s);
  EXPECT_FALSE(driver.refusal_of(2));
  driver.step(CloseSession{strict});
  EXPECT_TRUE(driver.grant_of(2));
}

}  // namespace
}  // namespace lair::test
