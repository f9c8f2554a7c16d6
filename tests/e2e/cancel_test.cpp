// Calls that are cancelled or late: the caller goes on at once, and the worker stays if it gives the call up.
#include <gtest/gtest.h>

#include <chrono>
#include <stop_token>
#include <string>
#include <thread>

#include "support/leak_check.hpp"
#include "support/pools.hpp"

namespace lair {
namespace {

using namespace std::chrono_literals;
using test::eventually;
using test::Lines;
using test::options_for;

// A grace that a loaded machine keeps, too.
PoolOptions patient(std::size_t size = 1) {
  PoolOptions options = options_for("cancel", size);
  options.cancel_grace = 60s;
  return options;
}

class Cancel : public test::LeakChecked {
 protected:
  // Calls `command`, and requests its stop once it says that it has begun.
  static Result<Json> cancelled(Pool& pool, const Lines& lines, const std::string& command) {
    std::stop_source stop;
    const std::size_t before = count_of_begun(lines);
    std::jthread canceller([&] {
      EXPECT_TRUE(eventually([&] { return count_of_begun(lines) > before; }));
      stop.request_stop();
    });
    return pool.try_call({.timeout = 60s, .stop = stop.get_token()}, command);
  }
  static std::size_t count_of_begun(const Lines& lines) {
    const std::string text = lines.text();
    std::size_t count = 0;
    for (std::size_t at = text.find("begun"); at != std::string::npos; at = text.find("begun", at + 1))
      ++count;
    return count;
  }
};

TEST_F(Cancel, AStopRequestEndsTheCallAndTheWorkerStays) {
  PoolOptions options = patient();
  const Lines lines(options);
  Pool pool(options);
  const int pid = pool.call<int>("pid");
  for (const char* command : {"sleep", "spin", "read", "swallow", "convert", "shielded", "numbers"}) {
    SCOPED_TRACE(command);
    const auto reply = cancelled(pool, lines, command);
    ASSERT_FALSE(reply.has_value());
    EXPECT_EQ(reply.error().kind, ErrorKind::kCancelled);
    EXPECT_EQ(reply.error().delivery, Delivery::kMaybeExecuted);
    EXPECT_NE(reply.error().message.find("was cancelled after"), std::string::npos) << reply.error().message;
    EXPECT_EQ(pool.call<int>("pid"), pid);
  }
  const PoolStats stats = pool.stats();
  EXPECT_EQ(stats.cancelled, 7u);
  EXPECT_EQ(stats.workers_started, 1u);
  EXPECT_EQ(stats.admitted, stats.ok + stats.cancelled);
}

// Its signal can come just before a system call that blocks, and wake nobody.
TEST_F(Cancel, AWorkerThatDidNotHearTheBellIsRungAgain) {
  PoolOptions options = patient();
  const Lines lines(options);
  Pool pool(options);
  const int pid = pool.call<int>("pid");
  EXPECT_EQ(cancelled(pool, lines, "hard_of_hearing").error().kind, ErrorKind::kCancelled);
  EXPECT_EQ(pool.call<int>("pid"), pid);
}

TEST_F(Cancel, ADeadlineDoesTheSame) {
  PoolOptions options = patient();
  Pool pool(options);
  const int pid = pool.call<int>("pid");
  const auto reply = pool.try_call({.timeout = 50ms}, "clean_up");
  ASSERT_FALSE(reply.has_value());
  EXPECT_EQ(reply.error().kind, ErrorKind::kDeadlineExceeded);
  EXPECT_NE(reply.error().message.find("told to give it up"), std::string::npos) << reply.error().message;
  EXPECT_EQ(pool.call<int>("pid"), pid);
  EXPECT_EQ(pool.call("take_notes"), Json({"finally True clean_up"}));
  EXPECT_EQ(pool.stats().timeout, 1u);
}

// Also where it gets no time to write that: `hold_later` takes the signal for it a while after it has come.
TEST_F(Cancel, OneThatDoesNotGiveItUpIsKilledWithItsStackInTheLog) {
  for (const std::string command : {"hold", "hold_later"}) {
    PoolOptions options = options_for("holds_the_gil", 1);
    options.cancel_grace = 50ms;
    const Lines lines(options);
    Pool pool(options);
    pool.wait_ready();
    const auto reply = pool.try_call({.timeout = 100ms}, command);
    ASSERT_FALSE(reply.has_value());
    EXPECT_EQ(reply.error().kind, ErrorKind::kDeadlineExceeded);
    EXPECT_EQ(reply.error().delivery, Delivery::kMaybeExecuted);
    EXPECT_TRUE(eventually([&] {
      return lines.contain("killed by SIGKILL") && lines.contain("in " + command);
    })) << lines.text();
  }
}

TEST_F(Cancel, AGraceOfZeroKillsAtOnce) {
  PoolOptions options = options_for("cancel", 1);
  options.cancel_grace = 0ms;
  Pool pool(options);
  const int pid = pool.call<int>("pid");
  const auto reply = pool.try_call({.timeout = 50ms}, "sleep");
  ASSERT_FALSE(reply.has_value());
  EXPECT_NE(reply.error().message.find("was killed"), std::string::npos) << reply.error().message;
  EXPECT_NE(pool.call<int>("pid"), pid);
}

TEST_F(Cancel, AWaiterLeavesTheQueue) {
  Pool pool(options_for("plain", 1));
  const Lease lease = pool.checkout();
  std::stop_source stop;
  std::jthread canceller([&] {
    EXPECT_TRUE(eventually([&] { return pool.stats().waiters == 1; }));
    stop.request_stop();
  });
  const auto reply =
      pool.try_call({.timeout = kForever, .checkout_timeout = kForever, .stop = stop.get_token()}, "echo", 1);
  ASSERT_FALSE(reply.has_value());
  EXPECT_EQ(reply.error().kind, ErrorKind::kCancelled);
  EXPECT_EQ(reply.error().delivery, Delivery::kNotSent);
  EXPECT_EQ(pool.stats().waiters, 0u);
  EXPECT_EQ(pool.stats().cancelled, 1u);
}

TEST_F(Cancel, AStopThatCameBeforeTheCallEndsItUnsent) {
  Pool pool(options_for("plain", 1));
  pool.wait_ready();
  std::stop_source stop;
  stop.request_stop();
  const auto reply = pool.try_call({.stop = stop.get_token()}, "echo", 1);
  ASSERT_FALSE(reply.has_value());
  EXPECT_EQ(reply.error().kind, ErrorKind::kCancelled);
  EXPECT_EQ(reply.error().delivery, Delivery::kNotSent);
  Lease lease = pool.checkout();
  EXPECT_EQ(lease.try_call({.stop = stop.get_token()}, "echo", 1).error().kind, ErrorKind::kCancelled);
  EXPECT_EQ(lease.call<int>("echo", 2), 2) << "the lease is as good as before";
}

TEST_F(Cancel, AProgramOfProtocolOneIsKilled) {
  PoolOptions options = options_for(test::script_worker("silent.py"), 1);
  options.cancel_grace = 60s;
  Pool pool(options);
  pool.wait_ready();
  const auto reply = pool.try_call({.timeout = 100ms}, "babble");
  ASSERT_FALSE(reply.has_value());
  EXPECT_EQ(reply.error().kind, ErrorKind::kDeadlineExceeded);
  EXPECT_NE(reply.error().message.find("was killed"), std::string::npos) << reply.error().message;
}

// Each cancel is meant for one call: never does it reach the next one.
TEST_F(Cancel, RacingStopsNeverTouchAnotherCall) {
  PoolOptions options = patient(2);
  Pool pool(options);
  pool.wait_ready();
  constexpr int kThreads = 4;
  constexpr int kRounds = 50;
  std::atomic<int> wrong = 0;
  std::vector<std::jthread> threads;
  for (int t = 0; t < kThreads; ++t) {
    threads.emplace_back([&, t] {
      for (int i = 0; i < kRounds; ++i) {
        std::stop_source stop;
        std::jthread canceller([&] { stop.request_stop(); });
        const auto reply = pool.try_call({.timeout = 60s, .stop = stop.get_token()}, "echo", i);
        if (!reply && reply.error().kind != ErrorKind::kCancelled) ++wrong;
        if (reply && *reply != Json(i)) ++wrong;
        // This one nobody cancels.
        if (pool.call<int>("echo", 1000 * t + i) != 1000 * t + i) ++wrong;
      }
    });
  }
  threads.clear();
  EXPECT_EQ(wrong, 0);
  EXPECT_EQ(pool.stats().workers_started, 2u) << "nobody had to be killed";
}

}  // namespace
}  // namespace lair
