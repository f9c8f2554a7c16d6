// How sessions end: on demand, when nobody uses them, with their pool.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <chrono>
#include <filesystem>
#include <string>
#include <thread>
#include <vector>

#include "support/sessions.hpp"

namespace lair::test {
namespace {

using namespace std::chrono_literals;
using testing::HasSubstr;
using testing::IsEmpty;

class SessionEnds : public SessionTest {
 protected:
  static bool is_known(const Pool& pool, const std::string& id) {
    for (const SessionInfo& info : pool.sessions()) {
      if (info.id == id) return true;
    }
    return false;
  }
};

TEST_F(SessionEnds, ItsWorkerIsToldAndItsIdIsFree) {
  for (const SessionOptions& affinity : {kPreferred, kStrictly, kExclusively}) {
    const std::string id = to_string(*affinity.affinity);
    SCOPED_TRACE(id);
    Pool pool(options_of(3));
    pool.wait_ready();
    Session session = pool.session(id, affinity);
    const bool lasting = *affinity.affinity != Affinity::kPrefer;
    if (lasting) session.call("remember", "key", "kept");
    session.call("put", "key", "stored");
    const int pid = pid_of(session);
    const std::uint64_t number = session.info().number;
    session.end();
    const auto ended = ends_of(id);
    ASSERT_EQ(ended.size(), 1u);
    EXPECT_EQ(ended[0].at("number"), number);
    EXPECT_EQ(ended[0].at("pid"), pid) << "the worker that it had";
    EXPECT_EQ(ended[0].at("local"), (lasting ? Json{{"key", "kept"}} : Json()));
    EXPECT_THAT(pool.sessions(), IsEmpty());

    for (int i = 0; i < 2; ++i) {
      const auto outcome = session.try_call("whoami");
      ASSERT_FALSE(outcome);
      EXPECT_EQ(outcome.error().kind, ErrorKind::kInvalidArgument);
      EXPECT_EQ(outcome.error().delivery, Delivery::kNotSent);
      EXPECT_THAT(outcome.error().message, HasSubstr("has ended"));
      EXPECT_TRUE(session.try_end()) << "twice is no error";
    }
    EXPECT_EQ(outcome_of(session.try_get("key")), "invalid_argument");
    EXPECT_EQ(outcome_of(session.try_put("key", 1)), "invalid_argument");
    EXPECT_EQ(outcome_of(session.try_reopen()), "invalid_argument");
    EXPECT_FALSE(session.info().open);
    EXPECT_FALSE(session.info().lost);

    Session next = pool.session(id, kStrictly);
    EXPECT_GT(next.info().number, number);
    EXPECT_EQ(next.call("recall", "key"), Json());
    EXPECT_EQ(next.call("get", "key"), Json());
    EXPECT_EQ(outcome_of(session.try_call("whoami")), "invalid_argument") << "the old one is not the new one";
    EXPECT_TRUE(session.try_end());
    EXPECT_TRUE(next.info().open);
    EXPECT_EQ(ends_of(id).size(), 1u);
    const SessionStats stats = pool.stats().sessions;
    EXPECT_EQ(stats.ended, 1u);
    EXPECT_EQ(stats.opened, 2u);
    EXPECT_EQ(stats.open, 1u);
  }
}

TEST_F(SessionEnds, OneThatHasNotCalledConcernsNoWorker) {
  PoolOptions options = options_of(1);
  options.lazy = true;
  Pool pool(options);
  for (const SessionOptions& affinity : {kPreferred, kStrictly, kExclusively}) {
    Session session = pool.session("s", affinity);
    session.put("key", 1);
    session.end();
    EXPECT_EQ(pool.session("s").get("key"), std::nullopt);
    pool.session("s").end();
  }
  EXPECT_EQ(pool.stats().workers_started, 0u);
  EXPECT_EQ(pool.stats().admitted, 0u);
}

TEST_F(SessionEnds, TheCallsBeforeItAreServed) {
  for (const SessionOptions& affinity : {kPreferred, kStrictly, kExclusively}) {
    SCOPED_TRACE(to_string(*affinity.affinity));
    std::filesystem::remove(ends_path());
    Pool pool(options_of(2));
    pool.wait_ready();
    Gate gate(pool);
    Session session = pool.session("s", affinity);
    auto first = Blocking::begin(session, {}, "gate", "g");
    ASSERT_TRUE(gate.reached("g"));
    auto second = Callback::begin(session, {}, "put", "key", 1);
    ASSERT_TRUE(eventually([&] { return pool.stats().waiters == 1; }));
    auto end = std::async(std::launch::async, [&] { return session.try_end(); });
    ASSERT_TRUE(eventually([&] { return !session.info().open; }));
    EXPECT_EQ(outcome_of(session.try_call("whoami")), "invalid_argument") << "those after it are not";
    EXPECT_EQ(outcome_of(pool.try_session("s")), "session_busy") << "the id is free when it has ended";
    EXPECT_EQ(end.wait_for(0s), std::future_status::timeout);
    gate.open("g");
    EXPECT_EQ(outcome_of(first.get()), "ok");
    EXPECT_EQ(outcome_of(second.get()), "ok");
    const auto ended = end.get();
    EXPECT_TRUE(ended) << ended.error().report();
    EXPECT_EQ(ends_of("s").size(), 1u);
    EXPECT_TRUE(pool.try_session("s"));
  }
}

TEST_F(SessionEnds, ItMayUseTheStoreOnceMore) {
  Pool pool(options_of(1));
  Session session = pool.session("s", kStrictly);
  session.call("remember", "at_end", "put");
  const auto ended = session.try_end();
  EXPECT_TRUE(ended) << ended.error().report();
  EXPECT_THAT(pool.session("s").keys(), IsEmpty()) << "for nobody";
}

TEST_F(SessionEnds, WhatItsEndRaisesKeepsNothingAlive) {
  Pool pool(options_of(1));
  Session session = pool.session("s", kStrictly);
  session.call("remember", "at_end", "raise");
  (void)session.try_end();
  EXPECT_EQ(ends_of("s").size(), 1u) << "the other functions have run";
  EXPECT_FALSE(is_known(pool, "s"));
  EXPECT_EQ(pool.session("s", kStrictly).call("recall", "at_end"), Json());
  EXPECT_EQ(pool.stats().workers_started, 1u);
}

TEST_F(SessionEnds, OneThatHangsAtItsEndHasEndedAllTheSame) {
  PoolOptions options = options_of(2);
  options.cancel_grace = 50ms;
  Pool pool(options);
  pool.wait_ready();
  Session session = pool.session("s", kStrictly);
  session.call("remember", "at_end", "hang");
  session.put("key", 1);
  const auto ended = session.try_end(100ms);
  ASSERT_FALSE(ended);
  EXPECT_EQ(ended.error().kind, ErrorKind::kDeadlineExceeded);
  EXPECT_THAT(ended.error().message, HasSubstr("session \"s\" has ended"));
  EXPECT_THAT(pool.sessions(), IsEmpty());
  EXPECT_EQ(pool.session("s").get("key"), std::nullopt);
}

TEST_F(SessionEnds, OneWhoseWorkerIsBusyEndsWhenItsTimeIsUp) {
  Pool pool(options_of(2));
  pool.wait_ready();
  Session session = pool.session("s", kStrictly);
  session.call("remember", "key", 1);
  {
    const Lease home = take_home(pool, session);
    const auto ended = session.try_end(50ms);
    ASSERT_FALSE(ended);
    EXPECT_THAT(ended.error().message, HasSubstr("has not cleaned up"));
  }
  // The worker has not been told: what it keeps goes when the session comes again.
  EXPECT_THAT(ends_of("s"), IsEmpty());
  std::vector<Session> next;
  for (int i = 0; i < 2; ++i) {
    Session again = pool.session("s", kStrictly);
    EXPECT_EQ(again.call("recall", "key"), Json());
    again.end();
  }
}

TEST_F(SessionEnds, AnOlderOneThatTheWorkerStillHasIsEndedByTheNext) {
  Pool pool(options_of(1));
  Session session = pool.session("s", kStrictly);
  session.call("remember", "key", "old");
  {
    const Lease home = take_home(pool, session);
    EXPECT_FALSE(session.try_end(50ms));
  }
  Session next = pool.session("s", kStrictly);
  EXPECT_EQ(next.call("recall", "key"), Json());
  const auto ended = ends_of("s");
  ASSERT_EQ(ended.size(), 1u);
  EXPECT_EQ(ended[0].at("local"), (Json{{"key", "old"}}));
}

// --- By time ---------------------------------------------------------------------------------------------

TEST_F(SessionEnds, WhatNobodyUsesExpires) {
  Pool pool(options_of(1));
  Session session = pool.session("s", {.affinity = Affinity::kStrict, .ttl = 50ms});
  session.call("remember", "key", "kept");
  session.put("key", "stored");
  const std::uint64_t number = session.info().number;
  ASSERT_TRUE(eventually([&] { return pool.stats().sessions.expired == 1; }));
  EXPECT_THAT(pool.sessions(), IsEmpty());
  EXPECT_EQ(ends_of("s").size(), 1u) << "its worker has been told";
  EXPECT_EQ(pool.stats().sessions.stored_bytes, 0u);
  EXPECT_EQ(session.info().cause, "expired");
  for (int i = 0; i < 2; ++i) {
    const auto outcome = session.try_call("whoami");
    ASSERT_FALSE(outcome);
    EXPECT_EQ(outcome.error().kind, ErrorKind::kSessionLost);
    EXPECT_EQ(outcome.error().delivery, Delivery::kNotSent);
    EXPECT_THAT(outcome.error().message, HasSubstr("has expired"));
    EXPECT_THAT(outcome.error().message, HasSubstr("reopen"));
  }
  EXPECT_EQ(outcome_of(session.try_get("key")), "session_lost");
  EXPECT_TRUE(session.try_end()) << "it has";
  session.reopen();
  EXPECT_GT(session.info().number, number);
  EXPECT_EQ(session.call("recall", "key"), Json());
  EXPECT_EQ(session.get("key"), std::nullopt);
  EXPECT_TRUE(session.info().cause.empty());
}

TEST_F(SessionEnds, AnExpiredOneIsNotOpenedBesideAnother) {
  Pool pool(options_of(1));
  Session old = pool.session("s", {.ttl = 50ms});
  ASSERT_TRUE(eventually([&] { return pool.stats().sessions.expired == 1; }));
  Session next = pool.session("s");
  next.put("key", "next's");
  EXPECT_EQ(outcome_of(old.try_reopen()), "invalid_argument");
  EXPECT_EQ(outcome_of(old.try_get("key")), "session_lost");
  EXPECT_EQ(next.get("key"), "next's");
}

// Another one, which is opened later and expires, tells that the time of the first would have been over.
TEST_F(SessionEnds, ACallThatIsUnderWayKeepsItAlive) {
  Pool pool(options_of(2));
  pool.wait_ready();
  Gate gate(pool);
  Session session = pool.session("s", {.affinity = Affinity::kStrict, .ttl = 50ms});
  auto call = Blocking::begin(session, {}, "gate", "g");
  ASSERT_TRUE(gate.reached("g"));
  for (std::uint64_t i = 1; i <= 3; ++i) {
    pool.session("other " + std::to_string(i), {.ttl = 60ms});
    ASSERT_TRUE(eventually([&] { return pool.stats().sessions.expired == i; }));
    EXPECT_TRUE(session.info().open);
  }
  gate.open("g");
  EXPECT_TRUE(call.get());
  ASSERT_TRUE(eventually([&] { return pool.stats().sessions.expired == 4; })) << "then it goes, too";
}

TEST_F(SessionEnds, EveryUsePutsItOff) {
  PoolOptions options = options_of(1);
  options.session_ttl = 50ms;
  Pool pool(options);
  Session used = pool.session("used", {.ttl = 1h});
  Session forever = pool.session("forever", {.ttl = kForever});
  Session usual = pool.session("usual");
  for (std::uint64_t i = 1; i <= 2; ++i) {
    ASSERT_TRUE(eventually([&] { return pool.stats().sessions.expired == i; }));
    EXPECT_FALSE(usual.info().open);
    EXPECT_TRUE(used.info().open);
    EXPECT_TRUE(forever.info().open);
    usual.reopen();
  }
  (void)pool.session("used", {.ttl = 50ms});
  ASSERT_TRUE(eventually([&] { return !used.info().open; })) << "a shorter time counts at once";
  usual.end();
}

TEST_F(SessionEnds, ThereMayBeSoMany) {
  PoolOptions options = options_of(1);
  options.max_sessions = 3;
  options.lazy = true;
  Pool pool(options);
  std::vector<Session> sessions;
  for (int i = 0; i < 3; ++i) sessions.push_back(pool.session("s" + std::to_string(i)));
  const auto refused = pool.try_session("s3");
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().kind, ErrorKind::kOverloaded);
  EXPECT_THAT(refused.error().message, HasSubstr("max_sessions"));
  EXPECT_TRUE(pool.try_session("s0")) << "it is one of them";
  sessions[0].end();
  EXPECT_TRUE(pool.try_session("s3", {.ttl = 50ms}));
  EXPECT_FALSE(pool.try_session("s4"));
  ASSERT_TRUE(eventually([&] { return pool.stats().sessions.expired == 1; }));
  EXPECT_TRUE(pool.try_session("s4"));
  EXPECT_EQ(pool.stats().workers_started, 0u);
}

// --- With the pool ---------------------------------------------------------------------------------------

TEST_F(SessionEnds, AShutdownEndsWhatWorkersHave) {
  PoolOptions options = options_of(2);
  options.session_grace = 24h;
  Pool pool(options);
  pool.wait_ready();
  std::vector<Session> sessions;
  for (int i = 0; i < 6; ++i) {
    sessions.push_back(pool.session("s" + std::to_string(i), kStrictly));
    sessions.back().call("remember", "key", i);
  }
  pool.shutdown();  // session_grace is not for this
  EXPECT_EQ(ends().size(), 6u) << "each has been told";
  for (Session& session : sessions) {
    EXPECT_EQ(outcome_of(session.try_call("whoami")), "unavailable");
    EXPECT_EQ(outcome_of(session.try_reopen()), "unavailable");
    EXPECT_TRUE(session.try_end());
  }
  EXPECT_EQ(outcome_of(pool.try_session("new")), "unavailable");
}

TEST_F(SessionEnds, HandlesMayOutliveThePool) {
  std::optional<Pool> pool;
  pool.emplace(options_of(1));
  Session strict = pool->session("strict", kStrictly);
  Session prefer = pool->session("prefer");
  strict.call("whoami");
  prefer.call("put", "key", 1);
  pool.reset();
  for (Session* session : {&strict, &prefer}) {
    EXPECT_EQ(outcome_of(session->try_call("whoami")), "unavailable");
    EXPECT_EQ(outcome_of(Callback::begin(*session, {}, "whoami").get()), "unavailable");
    EXPECT_FALSE(session->stream<int>("numbers", 3).try_next());
    EXPECT_TRUE(session->try_end());
  }
}

}  // namespace
}  // namespace lair::test
