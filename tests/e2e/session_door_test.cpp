// What is refused before any worker hears of it, workers of the original protocol, and what is told of all sessions.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <string>
#include <thread>
#include <vector>

#include "support/sessions.hpp"

namespace lair::test {
namespace {

using namespace std::chrono_literals;
using testing::HasSubstr;

class SessionDoor : public SessionTest {
 protected:
  static PoolOptions lazy(PoolOptions options) {
    options.lazy = true;
    return options;
  }
};

TEST_F(SessionDoor, IdsAre1To256BytesOfText) {
  Pool pool(lazy(options_of(1)));
  for (const std::string& id :
       {std::string(), std::string(257, 'i'), std::string("\xff"), std::string("a\xc3")}) {
    const auto refused = pool.try_session(id);
    ASSERT_FALSE(refused);
    EXPECT_EQ(refused.error().kind, ErrorKind::kInvalidArgument);
    EXPECT_EQ(refused.error().delivery, Delivery::kNotSent);
    EXPECT_THAT(refused.error().message, HasSubstr("id"));
    EXPECT_THROW(pool.session(id), CallError);
  }
  for (const std::string& id :
       {std::string("x"), std::string(256, 'i'), std::string("späße/ 'quoted' \"twice\"\n"),
        std::string("../../etc/passwd"), std::string("a\0b", 3)}) {
    const auto session = pool.try_session(id);
    ASSERT_TRUE(session) << session.error().report();
    EXPECT_EQ(session->id(), id);
  }
  EXPECT_EQ(pool.sessions().size(), 5u);
  EXPECT_EQ(pool.stats().workers_started, 0u);
  for (const SessionInfo& info : pool.sessions())
    EXPECT_EQ(pool.session(info.id).call("whoami").at(0), info.id);
}

TEST_F(SessionDoor, AnotherAffinityIsRefused) {
  Pool pool(lazy(options_of(4)));
  const std::vector<SessionOptions> all = {kPreferred, kStrictly, kExclusively};
  for (const SessionOptions& affinity : all) {
    const std::string id = to_string(*affinity.affinity);
    (void)pool.session(id, affinity);
    for (const SessionOptions& other : all) {
      const auto again = pool.try_session(id, other);
      if (other.affinity == affinity.affinity) {
        EXPECT_TRUE(again);
        continue;
      }
      ASSERT_FALSE(again);
      EXPECT_EQ(again.error().kind, ErrorKind::kInvalidArgument);
      EXPECT_THAT(again.error().message, HasSubstr("is " + id + ", not " + to_string(*other.affinity)));
    }
    EXPECT_EQ(pool.session(id).info().affinity, affinity.affinity);
  }
  EXPECT_EQ(pool.session("plain").info().affinity, Affinity::kPrefer);
  EXPECT_EQ(pool.stats().workers_started, 0u);
}

TEST_F(SessionDoor, ATtlIsMoreThanNothing) {
  Pool pool(lazy(options_of(1)));
  for (const Duration ttl : {Duration(0ms), Duration(-1ms)}) {
    const auto refused = pool.try_session("s", {.ttl = ttl});
    ASSERT_FALSE(refused);
    EXPECT_EQ(refused.error().kind, ErrorKind::kInvalidArgument);
    EXPECT_THAT(refused.error().message, HasSubstr("ttl"));
  }
  EXPECT_TRUE(pool.sessions().empty());
}

TEST_F(SessionDoor, SettingsAreChecked) {
  const auto refused = [&](const Json& settings, const std::string& why) {
    Json all = settings;
    all["module"] = "plain";
    const auto parsed = parse_pool_options(all);
    const auto outcome = parsed ? validate(*parsed) : Result<void>(parsed.error());
    ASSERT_FALSE(outcome) << settings;
    EXPECT_EQ(outcome.error().kind, ErrorKind::kInvalidArgument);
    EXPECT_THAT(outcome.error().message, HasSubstr(why));
  };
  refused({{"session_ttl", 0}}, "session_ttl");
  refused({{"max_sessions", 0}}, "max_sessions");
  refused({{"session_grace", -1}}, "session_grace");
  refused({{"session_value_limit", 1}}, "session_value_limit");
  refused({{"session_value_limit", 4096}, {"session_limit", 2048}}, "session_value_limit");
  refused({{"session_store", 3}}, "session_store");
  refused({{"session_tttl", 3}}, "session_ttl");
}

TEST_F(SessionDoor, AWrongCallOfASessionTouchesNoWorker) {
  Pool pool(options_of(1));
  pool.wait_ready();
  Session session = pool.session("s", kStrictly);
  EXPECT_EQ(outcome_of(session.try_call("no such command")), "unknown_command");
  EXPECT_EQ(outcome_of(session.invoke({}, "whoami", Json("neither an array nor an object"))),
            "invalid_argument");
  EXPECT_EQ(outcome_of(session.try_call({.traceparent = std::string(64, 'x')}, "whoami")),
            "invalid_argument");
  EXPECT_EQ(session.info().calls, 0u);
  EXPECT_FALSE(session.info().worker);
  session.call("whoami");
  EXPECT_EQ(session.info().calls, 1u);
}

TEST_F(SessionDoor, WhatThePoolMakesOfItsThreadsIsRefusedThere) {
  Pool pool(options_of(2));
  Session session = pool.session("s", kStrictly);
  session.call("count");
  std::promise<std::vector<std::string>> seen;
  session.start({}, "count", Json::array(), [&](const Result<Json>&) {
    seen.set_value({outcome_of(session.try_call("count")), outcome_of(session.try_end())});
  });
  const auto outcomes = seen.get_future().get();
  EXPECT_EQ(outcomes, (std::vector<std::string>{"invalid_argument", "invalid_argument"}));
  EXPECT_TRUE(session.info().open);
  EXPECT_EQ(session.call<int>("count"), 3);
}

// A greedy session leaves room for others.
TEST_F(SessionDoor, ASessionFillsHalfOfTheLineAtMost) {
  PoolOptions options = options_of(1);
  options.max_waiters = 20;
  Pool pool(options);
  pool.wait_ready();
  Gate gate(pool);
  Session greedy = pool.session("greedy");
  auto holding = Blocking::begin(greedy, {}, "gate", "g");
  ASSERT_TRUE(gate.reached("g"));
  std::vector<Reply> calls;
  for (int i = 0; i < 100; ++i) calls.push_back(Callback::begin(greedy, {}, "whoami"));
  ASSERT_TRUE(eventually([&] { return pool.stats().waiters == 11; })) << pool.stats().waiters;
  Session modest = pool.session("modest");
  auto served = Callback::begin(modest, {}, "whoami");
  auto anonymous = Callback::begin(pool, {}, "whoami");
  ASSERT_TRUE(eventually([&] { return pool.stats().waiters == 13; })) << pool.stats().waiters;
  gate.open("g");
  EXPECT_EQ(outcome_of(served.get()), "ok");
  EXPECT_EQ(outcome_of(anonymous.get()), "ok");
  EXPECT_TRUE(holding.get());
  int refused = 0;
  for (Reply& call : calls) {
    const auto outcome = call.get();
    if (outcome) continue;
    EXPECT_EQ(outcome.error().kind, ErrorKind::kOverloaded) << outcome.error().message;
    EXPECT_EQ(outcome.error().delivery, Delivery::kNotSent);
    ++refused;
  }
  EXPECT_EQ(refused, 89);
}

// --- Workers of the original protocol --------------------------------------------------------------------

class OriginalSessions : public SessionDoor {
 protected:
  static PoolOptions original(std::size_t size) { return options_for(script_worker("original.py"), size); }
};

TEST_F(OriginalSessions, TheyAreToldInTheArguments) {
  Pool pool(original(2));
  pool.wait_ready();
  Session session = pool.session("user-42", kStrictly);
  const Json pid = session.call("pid");
  for (int i = 0; i < 10; ++i) {
    EXPECT_EQ(session.call("echo", kwargs{{"n", i}}), (Json{{"n", i}, {"session_id", "user-42"}}));
    EXPECT_EQ(session.call("pid"), pid);
  }
  EXPECT_EQ(pool.call("echo", kwargs{{"n", 1}}), (Json{{"n", 1}})) << "others are in none";
  EXPECT_EQ(pool.session("p").call("echo", kwargs{{"n", 1}}).at("session_id"), "p");
}

TEST_F(OriginalSessions, TheyNeedNotKnowHowToCleanUp) {
  Pool pool(original(1));
  for (const SessionOptions& affinity : {kPreferred, kStrictly, kExclusively}) {
    Session session = pool.session("s", affinity);
    session.call("pid");
    session.put("key", 1);
    const auto ended = session.try_end();
    EXPECT_TRUE(ended) << ended.error().report();
    EXPECT_EQ(pool.session("s").get("key"), std::nullopt);
    pool.session("s").end();
  }
  EXPECT_EQ(pool.stats().workers_started, 1u);
}

TEST_F(OriginalSessions, TheyAreLostWithTheirWorkerToo) {
  Pool pool(original(2));
  pool.wait_ready();
  Session strict = pool.session("strict", kStrictly);
  strict.call("pid");
  kill_home(pool, strict);
  EXPECT_EQ(outcome_of(strict.try_call("pid")), "session_lost");
  strict.reopen();
  EXPECT_TRUE(strict.try_call("pid"));
}

// --- What is told ----------------------------------------------------------------------------------------

TEST_F(SessionDoor, TheViewIsExactWhileTheyAreUsed) {
  constexpr std::size_t kSessions = 12;
  constexpr int kThreads = 6;
  constexpr int kCalls = 60;
  PoolOptions options = options_of(3);
  options.max_waiters = 200;
  Pool pool(options);
  pool.wait_ready();
  std::vector<Session> sessions;
  for (std::size_t s = 0; s < kSessions; ++s)
    sessions.push_back(pool.session("s" + std::to_string(s), s % 3 == 0 ? kStrictly : kPreferred));
  std::atomic<bool> done = false;
  std::thread looker([&] {
    while (!done) {
      std::uint64_t number = 0;
      for (const SessionInfo& info : pool.sessions()) {
        EXPECT_GT(info.number, number) << "in the order in which they were opened";
        number = info.number;
        EXPECT_LE(info.hits + info.spills + info.moves, info.calls);
        if (info.calls > 0) {
          EXPECT_EQ(info.hits + info.spills + info.moves + 1, info.calls);
        }
      }
    }
  });
  {
    std::vector<std::jthread> threads;
    for (std::size_t t = 0; t < kThreads; ++t) {
      threads.emplace_back([&, t] {
        for (std::size_t i = 0; i < kCalls; ++i) {
          Session& session = sessions[(t * 7 + i * 5) % kSessions];
          EXPECT_TRUE(session.try_call("add", "n", 1));
        }
      });
    }
  }
  done = true;
  looker.join();
  std::uint64_t calls = 0;
  std::uint64_t hits = 0;
  std::uint64_t spills = 0;
  std::uint64_t bytes = 0;
  for (const SessionInfo& info : pool.sessions()) {
    const int counted = pool.session(info.id).get<int>("n").value();
    EXPECT_EQ(info.calls, static_cast<std::uint64_t>(counted));
    EXPECT_EQ(info.calls, info.hits + info.spills + info.moves + 1);
    if (info.affinity == Affinity::kStrict) {
      EXPECT_EQ(info.hits + 1, info.calls);
    }
    EXPECT_EQ(info.stored_bytes, 1 + std::to_string(counted).size());
    EXPECT_TRUE(info.worker);
    EXPECT_GE(info.last_used, info.created);
    calls += info.calls;
    hits += info.hits;
    spills += info.spills;
    bytes += info.stored_bytes;
  }
  EXPECT_EQ(calls, static_cast<std::uint64_t>(kThreads * kCalls));
  const SessionStats stats = pool.stats().sessions;
  EXPECT_EQ(stats.open, kSessions);
  EXPECT_EQ(stats.opened, kSessions);
  EXPECT_EQ(stats.hits, hits);
  EXPECT_EQ(stats.spills, spills);
  EXPECT_EQ(stats.moves, 0u);
  EXPECT_EQ(stats.stored_bytes, bytes);
}

TEST_F(SessionDoor, TheViewIsJsonToo) {
  Pool pool(options_of(1));
  Session session = pool.session("s", kStrictly);
  session.call("put", "key", 1);
  const Json view = to_json_value(pool.sessions().at(0));
  EXPECT_EQ(view.at("id"), "s");
  EXPECT_EQ(view.at("number"), 1);
  EXPECT_EQ(view.at("affinity"), "strict");
  EXPECT_EQ(view.at("calls"), 1);
  EXPECT_EQ(view.at("stored_bytes"), 4);
  EXPECT_EQ(view.at("slot"), 0);
  EXPECT_FALSE(view.contains("cause"));
  EXPECT_EQ(to_json_value(pool.stats()).at("sessions").at("opened"), 1);
}

}  // namespace
}  // namespace lair::test
