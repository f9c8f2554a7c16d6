// The calls of a session run one after another, in order of arrival, in whatever form they are made.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <chrono>
#include <functional>
#include <future>
#include <lair/async.hpp>
#include <set>
#include <stop_token>
#include <string>
#include <thread>
#include <vector>

#include "support/sessions.hpp"

namespace lair::test {
namespace {

using namespace std::chrono_literals;
using testing::HasSubstr;

class SessionOrder : public SessionTest {
 protected:
  static std::vector<int> first(int n) {
    std::vector<int> numbers;
    for (int i = 0; i < n; ++i) numbers.push_back(i);
    return numbers;
  }
  static std::uint64_t waiters(const Pool& pool) { return pool.stats().waiters; }
};

TEST_F(SessionOrder, ThreadsThatShareOneLoseNothing) {
  Pool pool(options_of(3));
  pool.wait_ready();
  for (const SessionOptions& affinity : {kPreferred, kStrictly, kExclusively}) {
    SCOPED_TRACE(to_string(*affinity.affinity));
    Session session = pool.session(to_string(*affinity.affinity), affinity);
    std::mutex mutex;
    std::set<int> seen;
    {
      std::vector<std::jthread> threads;
      for (int t = 0; t < 8; ++t) {
        threads.emplace_back([&] {
          Session own = pool.session(session.id());
          for (int i = 0; i < 25; ++i) {
            const int value = own.call<int>("add", "n", 1);
            const std::lock_guard lock(mutex);
            EXPECT_TRUE(seen.insert(value).second) << "two calls saw the same";
          }
        });
      }
    }
    EXPECT_EQ(session.get<int>("n"), 200);
    EXPECT_EQ(session.info().calls, 200u);
    session.end();
  }
}

TEST_F(SessionOrder, CallsThatDoNotBlockRunAsTheyWereStarted) {
  Pool pool(options_of(3));
  pool.wait_ready();
  for (const SessionOptions& affinity : {kPreferred, kStrictly, kExclusively}) {
    SCOPED_TRACE(to_string(*affinity.affinity));
    Session session = pool.session(to_string(*affinity.affinity), affinity);
    std::vector<Reply> calls;
    for (int i = 0; i < 10; ++i) calls.push_back(Callback::begin(session, {}, "append", i));
    for (int i = 0; i < 10; ++i)
      EXPECT_EQ(calls[static_cast<std::size_t>(i)].get().value(), Json(first(i + 1)));
    session.end();
  }
}

TEST_F(SessionOrder, ThreadsAreServedAsTheyCame) {
  PoolOptions options = options_of(2);
  options.max_waiters = 100;
  Pool pool(options);
  pool.wait_ready();
  Gate gate(pool);
  Session session = pool.session("s", kStrictly);
  auto holding = Blocking::begin(session, {}, "gate", "g");
  ASSERT_TRUE(gate.reached("g"));
  std::vector<Reply> calls;
  for (int i = 0; i < 12; ++i) {
    calls.push_back(i % 3 == 0 ? Callback::begin(session, {}, "append", i)
                               : Blocking::begin(session, {}, "append", i));
    ASSERT_TRUE(eventually([&] { return waiters(pool) == static_cast<std::uint64_t>(i) + 1; }));
  }
  gate.open("g");
  for (Reply& call : calls) EXPECT_TRUE(call.get());
  EXPECT_EQ(session.get("values"), Json(first(12)));
}

TEST_F(SessionOrder, OneThatLeavesTheLineLetsTheNextOneOn) {
  PoolOptions options = options_of(1);
  options.max_waiters = 100;
  Pool pool(options);
  pool.wait_ready();
  Gate gate(pool);
  Session session = pool.session("s", kStrictly);
  auto holding = Blocking::begin(session, {}, "gate", "g");
  ASSERT_TRUE(gate.reached("g"));
  std::stop_source stops[4];
  std::vector<Reply> calls;
  for (int i = 0; i < 4; ++i) {
    calls.push_back(Callback::begin(session, {.stop = stops[i].get_token()}, "append", i));
    ASSERT_TRUE(eventually([&] { return waiters(pool) == static_cast<std::uint64_t>(i) + 1; }));
  }
  stops[0].request_stop();  // the first in the line
  stops[2].request_stop();  // one behind it
  EXPECT_EQ(outcome_of(calls[0].get()), "cancelled");
  EXPECT_EQ(outcome_of(calls[2].get()), "cancelled");
  EXPECT_EQ(waiters(pool), 2u);
  gate.open("g");
  EXPECT_EQ(calls[1].get().value(), Json({1}));
  EXPECT_EQ(calls[3].get().value(), Json({1, 3}));
}

// Threads wait for the gates, so that host functions do not wait for each other.
TEST_F(SessionOrder, AWorkerThatTakesSeveralCallsTakesOneOfEachSession) {
  PoolOptions options = options_of(1);
  options.concurrency = 8;
  Pool pool(options);
  pool.wait_ready();
  for (const SessionOptions& affinity : {kPreferred, kStrictly}) {
    SCOPED_TRACE(to_string(*affinity.affinity));
    const std::string name = to_string(*affinity.affinity);
    Gate gate(pool);
    Session one = pool.session(name + "-1", affinity);
    Session two = pool.session(name + "-2", affinity);
    auto first = Blocking::begin(one, {}, "agate", "one");
    auto second = Blocking::begin(two, {}, "agate", "two");
    ASSERT_TRUE(gate.reached("one"));
    ASSERT_TRUE(gate.reached("two")) << "it is another session";
    auto third = Blocking::begin(one, {}, "agate", "after");
    ASSERT_TRUE(eventually([&] { return waiters(pool) == 1; }));
    EXPECT_TRUE(pool.try_call("aget_nothing").error().kind == ErrorKind::kUnknownCommand);
    EXPECT_EQ(gate.arrived("after"), 0) << "a call of its session is under way";
    gate.open("two");
    EXPECT_TRUE(second.get());
    EXPECT_EQ(gate.arrived("after"), 0);
    gate.open("one");
    EXPECT_TRUE(first.get());
    ASSERT_TRUE(gate.reached("after"));
    gate.open("after");
    EXPECT_TRUE(third.get());
    one.end();
    two.end();
  }
}

TEST_F(SessionOrder, SeveralCallsOnAWorkerKeepItToo) {
  PoolOptions options = options_of(2);
  options.concurrency = 8;
  options.max_waiters = 1000;
  Pool pool(options);
  pool.wait_ready();
  std::vector<Session> sessions;
  for (int s = 0; s < 6; ++s)
    sessions.push_back(pool.session("s" + std::to_string(s), s % 2 == 0 ? kStrictly : kPreferred));
  std::vector<std::vector<Reply>> calls(sessions.size());
  for (int i = 0; i < 20; ++i) {
    for (std::size_t s = 0; s < sessions.size(); ++s) {
      calls[s].push_back(s % 2 == 0 ? Callback::begin(sessions[s], {}, "acount")
                                    : Callback::begin(sessions[s], {}, "aappend", i));
    }
  }
  for (std::size_t s = 0; s < sessions.size(); ++s) {
    for (int i = 0; i < 20; ++i) {
      const auto outcome = calls[s][static_cast<std::size_t>(i)].get();
      ASSERT_TRUE(outcome) << outcome.error().report();
      EXPECT_EQ(*outcome, s % 2 == 0 ? Json(i + 1) : Json(first(i + 1)));
    }
  }
}

TEST_F(SessionOrder, AnExclusiveOneHasAWorkerOfSeveralCallsToItself) {
  PoolOptions options = options_of(2);
  options.concurrency = 8;
  Pool pool(options);
  pool.wait_ready();
  Gate gate(pool);
  Session session = pool.session("mine", kExclusively);
  auto holding = Blocking::begin(session, {}, "agate", "g");
  ASSERT_TRUE(gate.reached("g"));
  std::vector<Reply> others;
  for (int i = 0; i < 20; ++i) others.push_back(Callback::begin(pool, {}, "whoami"));
  std::set<int> pids;
  for (Reply& other : others) pids.insert(other.get().value().at(3).get<int>());
  EXPECT_EQ(pids.size(), 1u);
  gate.open("g");
  EXPECT_TRUE(holding.get());
  EXPECT_EQ(pids.count(pid_of(session)), 0u);
}

// --- Forms of calls ------------------------------------------------------------------------------------

TEST_F(SessionOrder, AllFormsOfCallsAreOfTheSession) {
  Pool pool(options_of(2));
  Session session = pool.session("s", kStrictly);
  int counted = 0;
  const auto expect_next = [&](Reply reply) { EXPECT_EQ(reply.get().value(), ++counted); };
  expect_next(Blocking::begin(session, {}, "count"));
  expect_next(Callback::begin(session, {}, "count"));
  expect_next(Coroutine::begin(session, {}, "count"));
  expect_next(Future::begin(session, {}, "count"));
  std::vector<int> items;
  for (const int x : session.stream<int>("numbers", 3)) items.push_back(x);
  EXPECT_EQ(items, (std::vector<int>{5, 6, 7}));
  EXPECT_EQ(session.call<int>("count"), 8);
  EXPECT_EQ(session.info().calls, 6u);
}

TEST_F(SessionOrder, AStreamIsACallLikeAnyOther) {
  Pool pool(options_of(2));
  pool.wait_ready();
  Gate gate(pool);
  Session session = pool.session("s", kStrictly);
  auto stream = session.stream<int>({.stream_items = 1}, "gated_numbers", "g", 3);
  EXPECT_EQ(stream.next(), 0);
  ASSERT_TRUE(gate.reached("g"));
  EXPECT_EQ(session.get<int>("number"), 0) << "what it puts is there at once";
  auto behind = Callback::begin(session, {}, "get", "number");
  ASSERT_TRUE(eventually([&] { return waiters(pool) == 1; }));
  gate.open("g");
  EXPECT_EQ(stream.next(), 1);
  EXPECT_EQ(stream.next(), 2);
  EXPECT_EQ(stream.next(), std::nullopt);
  EXPECT_EQ(behind.get().value(), 2);
}

TEST_F(SessionOrder, AStreamThatIsDroppedLetsTheSessionGoOn) {
  PoolOptions options = options_of(1);
  options.cancel_grace = 60s;
  Pool pool(options);
  Session session = pool.session("s", kStrictly);
  for (int i = 0; i < 5; ++i) {
    auto stream = session.stream<int>({.stream_items = 1}, "numbers", 1000);
    EXPECT_GT(stream.next(), 0);
  }
  EXPECT_TRUE(session.try_call("count"));
  EXPECT_EQ(pool.stats().workers_started, 1u);
}

// --- Host functions ------------------------------------------------------------------------------------

TEST_F(SessionOrder, ACallOfItselfFromWithinIsRefused) {
  Pool pool(options_of(2));
  pool.wait_ready();
  Session session = pool.session("s", kStrictly);
  Session other = pool.session("other", kStrictly);
  std::vector<Error> refusals;
  Json others;
  std::optional<Json> stored;
  pool.expose("gate", [&](const std::string&) {
    for (const auto& own : {session, pool.session("s")}) {
      Session within = own;
      if (auto outcome = within.try_call("whoami"); !outcome) refusals.push_back(outcome.error());
      if (auto outcome = Callback::begin(within, {}, "whoami").get(); !outcome)
        refusals.push_back(outcome.error());
      if (auto outcome = within.stream<int>("numbers", 3).try_next(); !outcome)
        refusals.push_back(outcome.error());
    }
    others = other.call("whoami").at(0);
    session.put("from", "within");
    stored = session.try_get("from").value();
    return 1;
  });
  EXPECT_EQ(session.call("gate", "g"), 1);
  ASSERT_EQ(refusals.size(), 6u);
  for (const Error& refusal : refusals) {
    EXPECT_EQ(refusal.kind, ErrorKind::kInvalidArgument);
    EXPECT_EQ(refusal.delivery, Delivery::kNotSent);
    EXPECT_THAT(refusal.message, HasSubstr("wait for itself"));
    EXPECT_THAT(refusal.message, HasSubstr("\"s\""));
  }
  EXPECT_EQ(others, "other");
  EXPECT_EQ(stored, "within") << "its values can be used";
}

TEST_F(SessionOrder, ACallOfItselfFromDeeperWithinIsRefusedToo) {
  Pool pool(options_of(2));
  pool.wait_ready();
  Session a = pool.session("a", kStrictly);
  Session b = pool.session("b", kStrictly);
  Error seen;
  pool.expose("gate", [&](const std::string& name) {
    if (name == "a") return b.call("gate", "b");
    auto outcome = a.try_call({.timeout = kForever, .checkout_timeout = kForever}, "whoami");
    if (!outcome) seen = outcome.error();
    return Json(name);
  });
  EXPECT_EQ(a.call("gate", "a"), "b");
  EXPECT_EQ(seen.kind, ErrorKind::kInvalidArgument) << seen.message;
}

TEST_F(SessionOrder, ItsEndFromWithinIsRefusedAndItStaysOpen) {
  Pool pool(options_of(2));
  Session session = pool.session("s", kStrictly);
  session.put("key", 1);
  Error seen;
  pool.expose("gate", [&](const std::string&) {
    if (auto outcome = session.try_end(); !outcome) seen = outcome.error();
    return 1;
  });
  EXPECT_EQ(session.call("gate", "g"), 1);
  EXPECT_EQ(seen.kind, ErrorKind::kInvalidArgument);
  EXPECT_TRUE(session.info().open);
  EXPECT_EQ(session.get<int>("key"), 1);
  EXPECT_EQ(session.call<int>("count"), 1);
}

// The function is run on the one thread that there is for those of calls that do not block.
TEST_F(SessionOrder, AHostFunctionMayCallWhatUsesTheStore) {
  for (const std::size_t concurrency : {1, 8}) {
    SCOPED_TRACE(concurrency);
    PoolOptions options = options_of(2);
    options.concurrency = concurrency;
    Pool pool(options);
    pool.wait_ready();
    Session outer = pool.session("outer");
    Session inner = pool.session("inner");
    pool.expose("gate", [&](const std::string& name) {
      inner.call({.timeout = 30s}, "aput", name, 1);
      EXPECT_TRUE(Callback::begin(inner, {.timeout = 30s}, "aput", name, 2).get());
      return name;
    });
    EXPECT_EQ(Callback::begin(outer, {}, "agate", "key").get().value(), "key");
    EXPECT_EQ(inner.get<int>("key"), 2);
  }
}

}  // namespace
}  // namespace lair::test
