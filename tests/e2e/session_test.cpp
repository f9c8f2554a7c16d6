// Sessions and their workers: which worker serves a strict, a prefer, an exclusive session, and whom it serves besides.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <chrono>
#include <set>
#include <string>
#include <vector>

#include "support/sessions.hpp"

namespace lair::test {
namespace {

using namespace std::chrono_literals;
using testing::HasSubstr;

class Sessions : public SessionTest {};

TEST_F(Sessions, AStrictOneHasOneWorkerAndItsObjectsStayThere) {
  Pool pool(options_of(3));
  pool.wait_ready();
  std::vector<Session> sessions;
  std::vector<int> pids;
  for (int i = 0; i < 6; ++i) {
    sessions.push_back(pool.session("strict-" + std::to_string(i), kStrictly));
    pids.push_back(pid_of(sessions.back()));
  }
  EXPECT_EQ(std::set<int>(pids.begin(), pids.end()).size(), 3u) << "they are spread over the workers";
  for (int round = 1; round <= 10; ++round) {
    for (std::size_t i = 0; i < sessions.size(); ++i) {
      EXPECT_EQ(sessions[i].call<int>("use_thing"), round);
      EXPECT_EQ(pid_of(sessions[i]), pids[i]);
    }
  }
  for (const Session& session : sessions) {
    const SessionInfo info = session.info();
    EXPECT_EQ(info.calls, 21u);
    EXPECT_EQ(info.hits, 20u) << "all but the first";
    EXPECT_EQ(info.spills + info.moves, 0u);
  }
}

TEST_F(Sessions, OneIsToldWhoItIs) {
  Pool pool(options_of(1));
  Session session = pool.session("user-42", kStrictly);
  EXPECT_EQ(session.id(), "user-42");
  const Json me = session.call("whoami");
  EXPECT_EQ(me.at(0), "user-42");
  EXPECT_EQ(me.at(1), session.info().number);
  EXPECT_EQ(me.at(2), "strict");
  EXPECT_EQ(pool.session("other").call("whoami").at(2), "prefer");
  session.end();  // an exclusive one takes no worker that a strict one has
  EXPECT_EQ(pool.session("third", kExclusively).call("whoami").at(2), "exclusive")
      << "a pool of one may be had";
}

TEST_F(Sessions, AnAnonymousCallIsInNone) {
  Pool pool(options_of(1));
  Session session = pool.session("s", kStrictly);
  session.call("remember", "secret", "of s");
  EXPECT_EQ(pool.call("whoami").at(0), Json());
  const auto outcome = pool.try_call("recall", "secret");
  ASSERT_FALSE(outcome);
  EXPECT_THAT(outcome.error().message, HasSubstr("belongs to no session"));
  Lease lease = pool.checkout();
  EXPECT_EQ(lease.call("whoami").at(0), Json());
}

TEST_F(Sessions, ObjectsAreTheirOwnAlsoOnOneWorker) {
  Pool pool(options_of(1));
  std::vector<Session> sessions;
  for (int i = 0; i < 20; ++i) sessions.push_back(pool.session("s" + std::to_string(i), kStrictly));
  for (int i = 0; i < 20; ++i) {
    EXPECT_EQ(sessions[static_cast<std::size_t>(i)].call("recall", "secret"), Json());
    sessions[static_cast<std::size_t>(i)].call("remember", "secret", i);
  }
  for (int i = 0; i < 20; ++i) EXPECT_EQ(sessions[static_cast<std::size_t>(i)].call("recall", "secret"), i);
}

TEST_F(Sessions, ManyHandlesAreOneSession) {
  Pool pool(options_of(2));
  Session first = pool.session("same", kStrictly);
  Session copy = first;
  Session again = pool.session("same");
  EXPECT_EQ(first.call<int>("count"), 1);
  EXPECT_EQ(copy.call<int>("count"), 2);
  EXPECT_EQ(again.call<int>("count"), 3);
  EXPECT_EQ(again.info().affinity, Affinity::kStrict) << "that of the session";
  EXPECT_EQ(again.info().number, first.info().number);
  EXPECT_EQ(pool.sessions().size(), 1u);
}

TEST_F(Sessions, APreferOneStaysWhereItIsWhileThatIsFree) {
  Pool pool(options_of(3));
  pool.wait_ready();
  Session session = pool.session("p");
  const int pid = pid_of(session);
  for (int i = 0; i < 100; ++i) {
    pool.call("whoami");
    EXPECT_EQ(pid_of(session), pid);
  }
  EXPECT_EQ(session.info().hits, 100u);
  EXPECT_EQ(session.info().spills, 0u);
}

TEST_F(Sessions, APreferOneTakesAnotherWorkerIfItsOwnIsBusy) {
  Pool pool(options_of(2));
  pool.wait_ready();
  Session session = pool.session("p");
  session.put("key", "value");
  const int pid = pid_of(session);
  {
    const Lease home = take_home(pool, session);
    EXPECT_NE(pid_of(session), pid);
    EXPECT_EQ(session.call("get", "key"), "value") << "its values are wherever it is";
  }
  const SessionInfo info = session.info();
  EXPECT_EQ(info.spills, 1u);
  EXPECT_EQ(info.moves, 0u);
  EXPECT_EQ(info.hits, 1u) << "the other worker is its own now";
  EXPECT_NE(pid_of(session), pid) << "and stays it";
}

TEST_F(Sessions, APreferOneMovesWhenItsWorkerHasDied) {
  Pool pool(options_of(2));
  pool.wait_ready();
  Session session = pool.session("p");
  for (int i = 0; i < 5; ++i) {
    session.call("put", "key", i);
    const int pid = pid_of(session);
    kill_home(pool, session);
    EXPECT_EQ(session.call("get", "key"), i);
    EXPECT_NE(pid_of(session), pid);
  }
  const SessionInfo info = session.info();
  EXPECT_EQ(info.moves, 5u);
  EXPECT_FALSE(info.lost);
  EXPECT_TRUE(pool.stats().sessions.lost.empty());
}

TEST_F(Sessions, APreferOneHasNoObjectsInItsWorker) {
  Pool pool(options_of(1));
  const auto outcome = pool.session("p").try_call("remember", "key", 1);
  ASSERT_FALSE(outcome);
  EXPECT_EQ(outcome.error().kind, ErrorKind::kRemote);
  EXPECT_THAT(outcome.error().message, HasSubstr("shared"));
  EXPECT_THAT(outcome.error().message, HasSubstr("strict"));
}

TEST_F(Sessions, AnExclusiveOneKeepsEverybodyElseOut) {
  Pool pool(options_of(2));
  pool.wait_ready();
  Session exclusive = pool.session("mine", kExclusively);
  const int pid = pid_of(exclusive);
  Session strict = pool.session("strict", kStrictly);
  Session prefer = pool.session("prefer");
  std::vector<Reply> calls;
  for (int i = 0; i < 5; ++i) {
    for (Endpoint* other :
         {static_cast<Endpoint*>(&pool), static_cast<Endpoint*>(&strict), static_cast<Endpoint*>(&prefer)})
      calls.push_back(Callback::begin(*other, {}, "whoami"));
    EXPECT_EQ(exclusive.call<int>("count"), i + 1);
  }
  for (Reply& call : calls) EXPECT_NE(call.get().value().at(3), pid);

  const Lease lease = pool.checkout();
  EXPECT_NE(lease.worker().pid, pid);
  const auto second = pool.try_checkout({.timeout = 50ms});
  ASSERT_FALSE(second) << "the other worker is reserved, also between calls";
  EXPECT_EQ(second.error().kind, ErrorKind::kOverloaded) << second.error().message;
  EXPECT_EQ(pid_of(exclusive), pid);
}

TEST_F(Sessions, AnExclusiveOnesWorkerIsForEverybodyWhenItHasEnded) {
  Pool pool(options_of(2));
  pool.wait_ready();
  Session exclusive = pool.session("mine", kExclusively);
  const int pid = pid_of(exclusive);
  const Lease other = pool.checkout();
  auto waiting = std::async(std::launch::async, [&] { return pool.checkout().worker().pid; });
  EXPECT_TRUE(eventually([&] { return pool.stats().waiters == 1; }));
  exclusive.end();
  EXPECT_EQ(waiting.get(), pid);
}

TEST_F(Sessions, AnExclusiveOneTakesNoWorkerThatStrictOnesHave) {
  Pool pool(options_of(2));
  pool.wait_ready();
  Session strict = pool.session("strict", kStrictly);
  const int pid = pid_of(strict);
  Session exclusive = pool.session("exclusive", kExclusively);
  EXPECT_NE(pid_of(exclusive), pid);
  EXPECT_EQ(pid_of(strict), pid);
}

TEST_F(Sessions, AnExclusiveOneThatFindsOnlyWorkersOfStrictOnesSaysSo) {
  PoolOptions options = options_of(1);
  options.queue_target = 1ms;
  options.queue_interval = 5ms;
  Pool pool(options);
  pool.wait_ready();
  Session strict = pool.session("strict", kStrictly);
  pid_of(strict);
  Session exclusive = pool.session("exclusive", kExclusively);
  const auto refused = exclusive.try_call({.timeout = 200ms}, "whoami");
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().kind, ErrorKind::kSessionBusy) << "the queue is in order";
  EXPECT_NE(refused.error().message.find("no strict session"), std::string::npos) << refused.error().message;
  EXPECT_EQ(pool.stats().rejected.at("session_busy"), 1u);
  strict.end();
  EXPECT_TRUE(exclusive.try_call("whoami"));
}

TEST_F(Sessions, AnExclusiveOneThatHasMadeNoCallReservesNothing) {
  Pool pool(options_of(2));
  pool.wait_ready();
  const Session exclusive = pool.session("mine", kExclusively);
  const Lease first = pool.checkout();
  EXPECT_TRUE(pool.try_checkout({.timeout = 10s}));
}

TEST_F(Sessions, ThreeQuartersOfTheWorkersAtMostAreExclusive) {
  struct Case {
    std::size_t size;
    std::size_t most;
  };
  for (const Case& c : {Case{1, 1}, Case{2, 1}, Case{3, 2}, Case{4, 3}, Case{8, 6}}) {
    SCOPED_TRACE(c.size);
    PoolOptions options = options_of(c.size);
    options.lazy = true;
    Pool pool(options);
    std::vector<Session> open;
    for (std::size_t i = 0; i < c.most; ++i) {
      auto session = pool.try_session("e" + std::to_string(i), kExclusively);
      ASSERT_TRUE(session) << session.error().report();
      open.push_back(*session);
    }
    const auto refused = pool.try_session("one more", kExclusively);
    ASSERT_FALSE(refused);
    EXPECT_EQ(refused.error().kind, ErrorKind::kOverloaded);
    EXPECT_THAT(refused.error().message, HasSubstr("exclusive"));
    EXPECT_TRUE(pool.try_session("e0", kExclusively)) << "it is open";
    open.front().end();
    EXPECT_TRUE(pool.try_session("one more", kExclusively));
    EXPECT_EQ(pool.stats().workers_started, 0u) << "none of this is a worker's business";
  }
}

TEST_F(Sessions, AStrictOneSaysThatItsWorkerServesOthers) {
  Pool pool(options_of(2));
  pool.wait_ready();
  Session session = pool.session("s", kStrictly);
  const int pid = pid_of(session);
  const Lease home = take_home(pool, session);
  for (const CallOptions& options : {CallOptions{.timeout = 50ms}, CallOptions{.checkout_timeout = 50ms}}) {
    const auto outcome = session.try_call(options, "whoami");
    ASSERT_FALSE(outcome);
    EXPECT_EQ(outcome.error().kind, ErrorKind::kSessionBusy) << outcome.error().message;
    EXPECT_EQ(outcome.error().delivery, Delivery::kNotSent);
    EXPECT_THAT(outcome.error().message, HasSubstr("session \"s\""));
    EXPECT_THAT(outcome.error().message, HasSubstr("served others"));
  }
  EXPECT_NE(pid_of(pool), pid) << "the other worker is free";
  EXPECT_EQ(session.info().calls, 1u) << "those that got no worker do not count";
}

TEST_F(Sessions, OneSaysThatAnotherCallOfItIsUnderWay) {
  for (const SessionOptions& affinity : {kPreferred, kStrictly, kExclusively}) {
    SCOPED_TRACE(to_string(*affinity.affinity));
    Pool pool(options_of(2));
    pool.wait_ready();
    Gate gate(pool);
    Session session = pool.session("s", affinity);
    auto first = Blocking::begin(session, {}, "gate", "g");
    ASSERT_TRUE(gate.reached("g"));
    const auto outcome = session.try_call({.timeout = 50ms}, "whoami");
    ASSERT_FALSE(outcome);
    EXPECT_EQ(outcome.error().kind, ErrorKind::kSessionBusy) << outcome.error().message;
    EXPECT_EQ(outcome.error().delivery, Delivery::kNotSent);
    EXPECT_THAT(outcome.error().message, HasSubstr("a call of the same session was under way"));
    gate.open("g");
    EXPECT_EQ(first.get().value(), "g");
  }
}

TEST_F(Sessions, AFullPoolIsNotABusySession) {
  Pool pool(options_of(1));
  const Lease lease = pool.checkout();
  for (const SessionOptions& affinity : {kPreferred, kStrictly, kExclusively}) {
    Session session = pool.session(to_string(*affinity.affinity), affinity);
    EXPECT_EQ(outcome_of(session.try_call({.checkout_timeout = 20ms}, "whoami")), "overloaded");
    EXPECT_EQ(outcome_of(session.try_call({.timeout = 20ms}, "whoami")), "deadline_exceeded");
    session.end();
  }
}

}  // namespace
}  // namespace lair::test
