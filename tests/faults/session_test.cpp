// Rows about sessions: their worker dies, one of them is greedy, the pool is reloaded or shut down beneath them.
#include <gtest/gtest.h>
#include <signal.h>

#include <algorithm>
#include <atomic>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "base/duration.hpp"
#include "faults/row.hpp"
#include "support/service_module.hpp"
#include "support/sessions.hpp"

namespace lair::test {
namespace {

using namespace std::chrono_literals;

class SessionRows : public FaultRow {
 protected:
  static PoolOptions options_of(std::size_t size) {
    PoolOptions options = options_for("gated_sessions", size);
    options.max_waiters = 1000;
    return options;
  }
  static std::uint64_t lost(const Pool& pool) {
    std::uint64_t sum = 0;
    for (const auto& [cause, count] : pool.stats().sessions.lost) sum += count;
    return sum;
  }
};

Duration p99(std::vector<Duration> times) {
  EXPECT_FALSE(times.empty());
  if (times.empty()) return {};
  std::sort(times.begin(), times.end());
  return times[times.size() * 99 / 100];
}

// Alive and idle, or in the middle of a call with others behind it: `count` says whether a session was made anew in silence.
TEST_F(SessionRows, R31_ASessionsWorkerDies) {
  Pool pool(options_of(4));
  pool.wait_ready();
  Session session = pool.session("s", kStrictly);
  session.put("key", "kept");
  int times = 0;
  for (int i = 0; i < rounds(5, 100); ++i) {
    EXPECT_EQ(session.call<int>("count"), 1);
    EXPECT_EQ(session.call<int>("count"), 2);
    const auto home = session.info().worker;
    ASSERT_TRUE(home);
    const int pid = pool.stats().workers.at(home->slot).pid;
    const bool busy = i % 2 == 1;
    if (!busy) {
      const TimePoint killed = now();
      ASSERT_EQ(::kill(pid, SIGKILL), 0);
      // The caller cannot know of the death yet: its call may still meet the worker, and is lost with it.
      Result<Json> outcome = Json();
      ASSERT_TRUE(eventually([&] {
        outcome = session.try_call("count");
        EXPECT_FALSE(outcome) << "a session made anew, in silence";
        return outcome || outcome.error().kind == ErrorKind::kSessionLost;
      }));
      took("the next call is told", now() - killed, 50ms, true);
      ASSERT_FALSE(outcome);
      EXPECT_NE(outcome.error().message.find("(crash)"), std::string::npos) << outcome.error().message;
    } else {
      // A request that its worker had not read would go to another one.
      auto in_flight = Blocking::begin(session, {}, "put_and_wait", "begun", i);
      ASSERT_TRUE(eventually([&] { return session.get<int>("begun") == i; }));
      auto behind = Blocking::begin(session, {}, "count");
      ASSERT_TRUE(eventually([&] {
        const PoolStats stats = pool.stats();
        return stats.waiters == 1 && stats.count(SlotState::kBusy) == 1;
      }));
      const TimePoint killed = now();
      ASSERT_EQ(::kill(pid, SIGKILL), 0);
      const auto first = in_flight.get();
      const auto second = behind.get();
      took("the call in flight and one behind it are told", now() - killed, 50ms, true);
      ASSERT_FALSE(first || second);
      const bool is_first = first.error().kind == ErrorKind::kWorkerLost;
      EXPECT_EQ((is_first ? first : second).error().kind, ErrorKind::kWorkerLost);
      EXPECT_EQ((is_first ? second : first).error().kind, ErrorKind::kSessionLost);
    }
    const TimePoint began = now();
    const auto again = session.try_call("count");
    took("a later call is refused", now() - began, 5ms);
    EXPECT_EQ(outcome_of(again), "session_lost");
    EXPECT_EQ(lost(pool), static_cast<std::uint64_t>(++times));
    session.reopen();
    EXPECT_EQ(session.get("key"), "kept");
  }
  fact("sessions that were made anew in silence", "0");
  fact("losses, each told once", std::to_string(times));
  expect_whole(pool);
}

// --- Reload ----------------------------------------------------------------------------------------------

TEST_F(SessionRows, R32_APoolIsReloadedUnderItsSessions) {
  const ServiceModule service;
  PoolOptions options = service.options(4);
  options.session_grace = 100ms;
  std::atomic<std::uint64_t> events = 0;
  options.on_event = [&](const PoolEvent& event) {
    events += event.kind == PoolEventKind::kSessionLost ? 1 : 0;
  };
  Pool pool(options);
  pool.wait_ready();
  const int reloads = rounds(kSanitized ? 2 : 5, 100);
  std::atomic<bool> done = false;
  std::atomic<std::uint64_t> calls = 0;
  std::atomic<std::uint64_t> reported = 0;
  std::vector<std::thread> callers;
  for (int i = 0; i < 4; ++i) {
    callers.emplace_back([&, i] {
      Session session = pool.session("prefer-" + std::to_string(i));
      for (int n = 0; !done; ++n) {
        const auto outcome = session.try_call("version");
        EXPECT_TRUE(outcome) << outcome.error().report();
        ++calls;
      }
    });
  }
  for (int i = 0; i < 4; ++i) {
    callers.emplace_back([&, i] {
      Session session = pool.session("strict-" + std::to_string(i), kStrictly);
      while (!done) {
        const auto outcome = session.try_call("version");
        ++calls;
        if (outcome) continue;
        EXPECT_EQ(outcome.error().kind, ErrorKind::kSessionLost) << outcome.error().report();
        EXPECT_NE(outcome.error().message.find("(reload)"), std::string::npos) << outcome.error().message;
        ++reported;
        session.reopen();
      }
      if (session.info().lost) ++reported;  // nobody has called since
    });
  }
  for (int i = 2; i < 2 + reloads; ++i) {
    service.write(ServiceModule::version(i));
    pool.reload();
  }
  done = true;
  for (std::thread& caller : callers) caller.join();
  EXPECT_EQ(pool.call<int>("version"), reloads + 1);
  EXPECT_GE(reported, static_cast<std::uint64_t>(reloads))
      << "a worker of the old code is no session's for ever";
  EXPECT_EQ(lost(pool), reported) << "each once, and none in silence";
  EXPECT_TRUE(eventually([&] { return events == reported; }));
  fact("calls of prefer sessions that failed", "0");
  fact("strict sessions that were lost, each told once", std::to_string(reported.load()));
  fact("calls of sessions meanwhile", std::to_string(calls.load()));
  expect_whole(pool);
}

// --- Greed -----------------------------------------------------------------------------------------------

// A hundred calls of one session wait all the time, while another one makes one after the other.
class Greed : public SessionRows {
 protected:
  static constexpr double kNap = 0.01;

  struct Victim {
    std::vector<Duration> times;       // of each of its calls
    std::vector<std::uint64_t> turns;  // of the greedy session's calls, from before it until after it
  };

  // `calls` more of the victim, while `beside` calls of another session are under way.
  static void call(Victim& saw, Pool& pool, Affinity affinity, int beside, int calls) {
    Session greedy = pool.session("greedy", {.affinity = affinity});
    Session victim = pool.session("victim", {.affinity = affinity});
    std::atomic<bool> done = false;
    std::atomic<int> under_way = 0;
    std::atomic<int> failed = 0;
    const auto nap = std::make_shared<std::function<void()>>();
    *nap = [&, again = std::weak_ptr(nap)] {
      ++under_way;
      greedy.start({}, "sleep", Json::array({kNap}), [&, keep = again.lock()](const Result<Json>& outcome) {
        if (!outcome) ++failed;
        if (!done) (*keep)();
        --under_way;
      });
    };
    for (int i = 0; i < beside; ++i) (*nap)();
    EXPECT_TRUE(eventually([&] { return beside == 0 || greedy.info().calls > 0; }));
    for (int i = 0; i < calls; ++i) {
      const std::uint64_t turns = greedy.info().calls;
      const TimePoint began = now();
      EXPECT_TRUE(victim.try_call("sleep", kNap));
      saw.times.push_back(now() - began);
      saw.turns.push_back(greedy.info().calls - turns);
    }
    done = true;
    EXPECT_TRUE(eventually([&] { return under_way == 0; }, 60s));
    EXPECT_EQ(failed, 0);
    greedy.end();
    victim.end();
  }

  void measure(std::size_t size, Affinity affinity) {
    Pool pool(options_of(size));
    pool.wait_ready();
    // In turn, so that both meet the same machine; often enough for the 99th of a hundred not to be the worst of all.
    Victim alone, beside;
    for (int i = 0; i < 4; ++i) {
      const int calls = rounds(kSanitized ? 10 : 75, 500);
      call(alone, pool, affinity, 0, calls);
      call(beside, pool, affinity, 100, calls);
    }
    std::sort(beside.turns.begin(), beside.turns.end());
    const std::uint64_t turns = beside.turns[beside.turns.size() / 2];
    EXPECT_LE(turns, 2u) << "the one that was under way when it came, and the one after it";
    fact("calls of the greedy one beside one of the victim (median)", std::to_string(turns));
    const Duration usual = p99(alone.times);
    took("a call of the victim (p99)", p99(beside.times), 2 * usual);
    fact("the same, alone (p99)", base::format_duration(usual));
    expect_whole(pool);
  }
};

TEST_F(Greed, R36_OneSessionMakesAHundredTimesMoreCalls) { measure(2, Affinity::kPrefer); }
TEST_F(Greed, R36_OneOfTwoStrictSessionsIsGreedyOnTheirOnlyWorker) { measure(1, Affinity::kStrict); }

// --- Shutdown --------------------------------------------------------------------------------------------

TEST_F(SessionRows, R38_AWorkerHangsAtShutdownAndHasSessions) {
  PoolOptions options = options_of(4);
  options.terminate_grace = 500ms;
  options.session_grace = 24h;
  Pool pool(options);
  pool.wait_ready();
  std::vector<Session> sessions;
  for (int i = 0; i < 8; ++i) {
    sessions.push_back(pool.session("s" + std::to_string(i), i % 2 == 0 ? kStrictly : kPreferred));
    sessions.back().call("append", i);
  }
  Session exclusive = pool.session("exclusive", kExclusively);
  auto hung = Callback::begin(sessions[0], {.timeout = kForever}, "put_and_wait", "begun", 1);
  ASSERT_TRUE(eventually([&] { return sessions[0].get<int>("begun") == 1; }));
  std::vector<Reply> waiting;
  for (int i = 0; i < 3; ++i) waiting.push_back(Callback::begin(sessions[0], {.timeout = kForever}, "count"));
  waiting.push_back(Blocking::begin(sessions[0], {.timeout = kForever}, "count"));
  ASSERT_TRUE(eventually([&] { return pool.stats().waiters == 4; }));
  const TimePoint began = now();
  pool.shutdown(300ms);
  took("shutdown returns, after both graces", now() - began - 800ms, 1s, true);
  EXPECT_EQ(outcome_of(hung.get()), "worker_lost");
  for (Reply& call : waiting) {
    const auto outcome = call.get();
    ASSERT_FALSE(outcome);
    EXPECT_EQ(outcome.error().kind, ErrorKind::kUnavailable) << outcome.error().message;
    EXPECT_EQ(outcome.error().delivery, Delivery::kNotSent);
  }
  for (Session& session : sessions) EXPECT_EQ(outcome_of(session.try_call("count")), "unavailable");
  EXPECT_EQ(outcome_of(exclusive.try_call("count")), "unavailable");
  EXPECT_EQ(pool.stats().count(SlotState::kVacant), 4u);
}

}  // namespace
}  // namespace lair::test
