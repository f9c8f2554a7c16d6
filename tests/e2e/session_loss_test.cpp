// Sessions whose worker dies or is replaced: strict ones are lost, and say so until they are opened again.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <filesystem>
#include <functional>
#include <future>
#include <map>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "support/sessions.hpp"

namespace lair::test {
namespace {

using namespace std::chrono_literals;
using testing::HasSubstr;

class SessionLoss : public SessionTest {
 protected:
  // Each loss that the pool has told of, by its reason.
  void listen(PoolOptions& options) {
    options.on_event = [this](const PoolEvent& event) {
      if (event.kind != PoolEventKind::kSessionLost) return;
      const std::lock_guard lock(mutex_);
      told_.push_back(event);
    };
  }
  std::vector<PoolEvent> told() {
    const std::lock_guard lock(mutex_);
    return told_;
  }
  static std::uint64_t lost(const Pool& pool) {
    std::uint64_t sum = 0;
    for (const auto& [cause, count] : pool.stats().sessions.lost) sum += count;
    return sum;
  }
  static void expect_lost(Session& session, const std::string& cause) {
    for (int i = 0; i < 2; ++i) {
      const auto outcome = session.try_call("whoami");
      ASSERT_FALSE(outcome);
      EXPECT_EQ(outcome.error().kind, ErrorKind::kSessionLost);
      EXPECT_EQ(outcome.error().delivery, Delivery::kNotSent);
      EXPECT_THAT(outcome.error().message, HasSubstr("is lost"));
      EXPECT_THAT(outcome.error().message, HasSubstr('(' + cause + ')'));
      EXPECT_THAT(outcome.error().message, HasSubstr("reopen()"));
    }
    const SessionInfo info = session.info();
    EXPECT_FALSE(info.open);
    EXPECT_TRUE(info.lost);
    EXPECT_EQ(info.cause, cause);
    EXPECT_FALSE(info.worker);
  }

 private:
  std::mutex mutex_;
  std::vector<PoolEvent> told_;
};

TEST_F(SessionLoss, ItIsLostWithItsWorkerUntilItIsReopened) {
  PoolOptions options = options_of(2);
  listen(options);
  Pool pool(options);
  pool.wait_ready();
  for (const SessionOptions& affinity : {kStrictly, kExclusively}) {
    const std::string id = to_string(*affinity.affinity);
    SCOPED_TRACE(id);
    Session session = pool.session(id, affinity);
    EXPECT_EQ(session.call<int>("count"), 1);
    session.put("key", "kept");
    const SessionInfo before = session.info();
    const std::size_t losses = told().size();
    const auto in_flight = session.try_call("crash");
    ASSERT_FALSE(in_flight);
    EXPECT_EQ(in_flight.error().kind, ErrorKind::kWorkerLost) << "that call was under way";
    ASSERT_TRUE(eventually([&] { return session.info().lost; }));
    expect_lost(session, "crash");
    EXPECT_EQ(outcome_of(pool.session(id).try_call("whoami")), "session_lost")
        << "another handle makes no new one";

    ASSERT_TRUE(eventually([&] { return told().size() == losses + 1; }));
    const PoolEvent event = told().back();
    EXPECT_EQ(event.reason, "crash");
    EXPECT_THAT(event.message, HasSubstr("\"" + id + "\""));
    ASSERT_TRUE(event.worker);
    EXPECT_EQ(event.worker->slot, before.worker->slot);
    EXPECT_EQ(event.worker->generation, before.worker->generation);

    EXPECT_EQ(session.get("key"), "kept");
    session.put("key", "and changed");
    session.reopen();
    EXPECT_TRUE(session.info().open);
    EXPECT_FALSE(session.info().lost);
    EXPECT_TRUE(session.info().cause.empty());
    const std::uint64_t number = session.info().number;
    EXPECT_GT(number, before.number);
    session.reopen();
    EXPECT_EQ(session.info().number, number) << "it is open";
    EXPECT_EQ(session.call<int>("count"), 1) << "what its worker kept is gone";
    EXPECT_EQ(session.call("get", "key"), "and changed");
    EXPECT_EQ(lost(pool), losses + 1);
    session.end();
  }
  pool.shutdown();
  EXPECT_EQ(told().size(), 2u);
}

TEST_F(SessionLoss, AnIdleWorkerTakesItsSessionsAndNoOthers) {
  PoolOptions options = options_of(3);
  listen(options);
  Pool pool(options);
  pool.wait_ready();
  std::vector<Session> strict;
  std::vector<Session> prefer;
  for (int i = 0; i < 9; ++i) {
    strict.push_back(pool.session("strict-" + std::to_string(i), kStrictly));
    strict.back().call("count");
    prefer.push_back(pool.session("prefer-" + std::to_string(i)));
    prefer.back().call("append", 1);
  }
  const auto home = *strict[0].info().worker;
  std::set<std::string> there;
  for (const Session& session : strict) {
    if (session.info().worker->slot == home.slot) there.insert(session.id());
  }
  kill_home(pool, strict[0]);
  ASSERT_TRUE(eventually([&] { return told().size() >= there.size(); }));
  for (Session& session : strict) {
    SCOPED_TRACE(session.id());
    if (there.count(session.id()) > 0) {
      expect_lost(session, "crash");
    } else {
      EXPECT_EQ(session.call<int>("count"), 2);
    }
  }
  for (Session& session : prefer) EXPECT_EQ(session.call("append", 2), Json({1, 2}));
  EXPECT_EQ(lost(pool), there.size());
  EXPECT_EQ(pool.sessions().size(), 18u) << "those that are lost are among them";
  pool.shutdown();
}

TEST_F(SessionLoss, CallsThatWaitAreTold) {
  PoolOptions options = options_of(2);
  options.max_waiters = 100;
  Pool pool(options);
  pool.wait_ready();
  Gate gate(pool);
  Session session = pool.session("s", kStrictly);
  auto crash = Blocking::begin(session, {}, "gate_then_crash", "g");
  ASSERT_TRUE(gate.reached("g"));
  std::vector<Reply> waiting;
  for (int i = 0; i < 6; ++i) {
    waiting.push_back(i % 2 == 0 ? Callback::begin(session, {.timeout = kForever}, "whoami")
                                 : Blocking::begin(session, {.timeout = kForever}, "whoami"));
  }
  ASSERT_TRUE(eventually([&] { return pool.stats().waiters == 6; }));
  gate.open("g");
  EXPECT_EQ(outcome_of(crash.get()), "worker_lost");
  for (Reply& call : waiting) {
    const auto outcome = call.get();
    ASSERT_FALSE(outcome);
    EXPECT_EQ(outcome.error().kind, ErrorKind::kSessionLost);
    EXPECT_EQ(outcome.error().delivery, Delivery::kNotSent);
    EXPECT_THAT(outcome.error().message, HasSubstr("crash"));
  }
  EXPECT_EQ(lost(pool), 1u);
}

TEST_F(SessionLoss, APreferOnesWaitingCallsGoOnElsewhere) {
  PoolOptions options = options_of(2);
  options.max_waiters = 100;
  Pool pool(options);
  pool.wait_ready();
  Gate gate(pool);
  Session session = pool.session("s");
  auto crash = Blocking::begin(session, {}, "gate_then_crash", "g");
  ASSERT_TRUE(gate.reached("g"));
  std::vector<Reply> waiting;
  for (int i = 0; i < 4; ++i) {
    waiting.push_back(Callback::begin(session, {}, "append", i));
    ASSERT_TRUE(eventually([&] { return pool.stats().waiters == static_cast<std::uint64_t>(i) + 1; }));
  }
  gate.open("g");
  EXPECT_EQ(outcome_of(crash.get()), "worker_lost");
  for (Reply& call : waiting) EXPECT_TRUE(call.get());
  EXPECT_EQ(session.get("values"), Json({0, 1, 2, 3}));
}

TEST_F(SessionLoss, AnIdempotentCallIsNotMadeAgainInALostSession) {
  Pool pool(options_of(2));
  pool.wait_ready();
  Session session = pool.session("s", kStrictly);
  session.call("count");
  const auto outcome = session.try_call({.idempotent = true, .retries = 3}, "crash");
  ASSERT_FALSE(outcome);
  EXPECT_TRUE(outcome.error().kind == ErrorKind::kWorkerLost ||
              outcome.error().kind == ErrorKind::kSessionLost);
  EXPECT_EQ(session.info().calls, 2u);
  EXPECT_EQ(pool.stats().crashed, 1u) << "one worker, not four";
  ASSERT_TRUE(eventually([&] { return session.info().lost; }));
}

TEST_F(SessionLoss, OneMayBeEndedInsteadOfReopened) {
  Pool pool(options_of(1));
  Session session = pool.session("s", kStrictly);
  session.put("key", 1);
  (void)session.try_call("crash");
  ASSERT_TRUE(eventually([&] { return session.info().lost; }));
  EXPECT_TRUE(session.try_end());
  EXPECT_TRUE(pool.sessions().empty());
  EXPECT_EQ(outcome_of(session.try_call("whoami")), "invalid_argument");
  EXPECT_EQ(pool.session("s", kStrictly).get("key"), std::nullopt);
}

TEST_F(SessionLoss, ALostOneExpiresLikeAnyOther) {
  Pool pool(options_of(1));
  Session session = pool.session("s", {.affinity = Affinity::kStrict, .ttl = 200ms});
  (void)session.try_call("crash");
  ASSERT_TRUE(eventually([&] { return pool.stats().sessions.expired == 1; }));
  EXPECT_TRUE(pool.sessions().empty());
}

TEST_F(SessionLoss, ALostExclusiveOneKeepsNoWorker) {
  Pool pool(options_of(2));
  pool.wait_ready();
  Session lost_one = pool.session("lost", kExclusively);
  lost_one.call("count");
  (void)lost_one.try_call("crash");
  ASSERT_TRUE(eventually([&] { return lost_one.info().lost && pool.stats().ready() == 2; }));
  const Lease first = pool.checkout();
  EXPECT_TRUE(pool.try_checkout({.timeout = 10s})) << "its successor serves everybody";
}

// --- Planned ends ----------------------------------------------------------------------------------------

class PlannedEnds : public SessionLoss {
 protected:
  using Change = std::function<Result<void>(Pool&)>;
  struct Kind {
    const char* reason;
    Change change;
  };
  static std::vector<Kind> kinds() {
    return {{"reload", [](Pool& pool) { return pool.try_reload(); }},
            {"recycled", [](Pool& pool) { return pool.try_recycle(0); }},
            {"resize", [](Pool& pool) { return pool.try_resize(1); }}};
  }
  // A strict session at home in slot 0 (for resize: in the last).
  static Session at_home_in(Pool& pool, std::uint32_t slot, Affinity affinity, std::vector<Session>& others) {
    for (int i = 0; i < 50; ++i) {
      const std::string id = "s" + std::to_string(pool.stats().sessions.opened);
      Session session = pool.session(id, {.affinity = affinity});
      session.call("whoami");
      if (session.info().worker->slot == slot) return session;
      others.push_back(session);
    }
    throw std::runtime_error("no session came to that slot");
  }
};

TEST_F(PlannedEnds, AStrictSessionHasItsGraceAndEndsInPeace) {
  for (const Kind& kind : kinds()) {
    SCOPED_TRACE(kind.reason);
    std::filesystem::remove(ends_path());
    PoolOptions options = options_of(2);
    options.session_grace = 10min;
    Pool pool(options);
    pool.wait_ready();
    std::vector<Session> sessions;
    for (int i = 0; i < 6; ++i) {
      sessions.push_back(pool.session("s" + std::to_string(i), kStrictly));
      EXPECT_EQ(sessions.back().call<int>("count"), 1);
    }
    auto change = std::async(std::launch::async, [&] { return kind.change(pool); });
    for (int round = 2; round < 12; ++round) {
      for (Session& session : sessions) EXPECT_EQ(session.call<int>("count"), round);
    }
    EXPECT_EQ(change.wait_for(0s), std::future_status::timeout) << "it waits for them";
    for (Session& session : sessions) {
      EXPECT_EQ(session.call<int>("count"), 12);
      session.end();
    }
    const auto done = change.get();
    EXPECT_TRUE(done) << done.error().report();
    EXPECT_EQ(ends().size(), 6u);
    EXPECT_EQ(lost(pool), 0u);
    EXPECT_EQ(pool.session("s0", kStrictly).call<int>("count"), 1);
  }
}

TEST_F(PlannedEnds, AfterItsGraceItIsLostAndSaysWhy) {
  for (const Kind& kind : kinds()) {
    SCOPED_TRACE(kind.reason);
    std::filesystem::remove(ends_path());
    PoolOptions options = options_of(2);
    options.session_grace = 50ms;
    Pool pool(options);
    pool.wait_ready();
    std::vector<Session> sessions;
    for (int i = 0; i < 6; ++i) {
      sessions.push_back(pool.session("s" + std::to_string(i), kStrictly));
      sessions.back().put("key", i);
      sessions.back().call("count");
    }
    const auto done = kind.change(pool);
    ASSERT_TRUE(done) << done.error().report();
    unsigned gone = 0;
    for (Session& session : sessions) {
      if (!session.info().lost) {
        EXPECT_EQ(session.call<int>("count"), 2);
        continue;
      }
      ++gone;
      expect_lost(session, kind.reason);
      session.reopen();
      EXPECT_EQ(session.call<int>("count"), 1);
    }
    for (int i = 0; i < 6; ++i) EXPECT_EQ(sessions[static_cast<std::size_t>(i)].get<int>("key"), i);
    EXPECT_GE(gone, std::string(kind.reason) == "reload" ? 6u : 1u);
    EXPECT_EQ(lost(pool), gone);
    EXPECT_EQ(pool.stats().sessions.lost.at(kind.reason), gone);
    EXPECT_EQ(ends().size(), gone) << "a worker that ends in peace runs on_session_end";
  }
}

TEST_F(PlannedEnds, APreferSessionIsNoHindrance) {
  for (const Kind& kind : kinds()) {
    SCOPED_TRACE(kind.reason);
    std::filesystem::remove(ends_path());
    PoolOptions options = options_of(2);
    options.session_grace = 10min;
    Pool pool(options);
    pool.wait_ready();
    std::vector<Session> sessions;
    for (int i = 0; i < 6; ++i) {
      sessions.push_back(pool.session("s" + std::to_string(i)));
      sessions.back().call("append", 1);
    }
    const auto done = kind.change(pool);
    ASSERT_TRUE(done) << done.error().report();
    for (Session& session : sessions) EXPECT_EQ(session.call("append", 2), Json({1, 2}));
    EXPECT_EQ(lost(pool), 0u);
  }
}

// Strict sessions go where there are the fewest: to a worker with one rather than to one with many, but for its planned end.
TEST_F(PlannedEnds, NewStrictSessionsKeepAwayFromAWorkerThatIsToGo) {
  PoolOptions options = options_of(2);
  options.session_grace = 10min;
  Pool pool(options);
  pool.wait_ready();
  std::vector<Session> others;
  Session session = at_home_in(pool, 0, Affinity::kStrict, others);
  const int pid = pid_of(session);
  for (int i = 0; i < 3; ++i) others.push_back(at_home_in(pool, 1, Affinity::kStrict, others));
  std::erase_if(others, [](Session& other) {
    const bool beside = other.info().worker->slot == 0;
    if (beside) other.end();
    return beside;
  });
  const auto where_the_next_goes = [&] {
    Session next = pool.session("next", kStrictly);
    const int there = pid_of(next);
    next.end();
    return there;
  };
  EXPECT_EQ(where_the_next_goes(), pid);
  auto change = std::async(std::launch::async, [&] { return pool.try_recycle(0); });
  EXPECT_TRUE(eventually([&] { return where_the_next_goes() != pid; }));
  for (int i = 0; i < 5; ++i) EXPECT_NE(where_the_next_goes(), pid);

  EXPECT_EQ(pid_of(session), pid) << "who is there, stays";
  EXPECT_EQ(change.wait_for(0s), std::future_status::timeout);
  EXPECT_EQ(outcome_of(session.try_call("crash")), "worker_lost");
  EXPECT_TRUE(change.get()) << "nothing is left to wait for";
  ASSERT_TRUE(eventually([&] { return session.info().lost; }));
  EXPECT_EQ(session.info().cause, "crash");
}

TEST_F(PlannedEnds, ADrainWaitsForCallsNotForSessions) {
  PoolOptions options = options_of(2);
  options.session_grace = 10min;
  Pool pool(options);
  pool.wait_ready();
  Session session = pool.session("s", kStrictly);
  EXPECT_EQ(session.call<int>("count"), 1);
  pool.drain();
  EXPECT_EQ(outcome_of(session.try_call("count")), "unavailable");
  EXPECT_TRUE(session.info().open);
  pool.resume();
  EXPECT_EQ(session.call<int>("count"), 2);
}

}  // namespace
}  // namespace lair::test
