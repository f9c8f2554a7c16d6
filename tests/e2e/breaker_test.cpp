// Commands that cost workers, and calls that are tried again, with real workers.
#include <gtest/gtest.h>
#include <signal.h>
#include <unistd.h>

#include <optional>
#include <thread>

#include "support/leak_check.hpp"
#include "support/pools.hpp"

namespace lair {
namespace {

using namespace std::chrono_literals;
using test::eventually;
using test::options_for;

class Breaker : public test::LeakChecked {};

BreakerStats breaker_of(const Pool& pool, const std::string& name) {
  for (const BreakerStats& each : pool.stats().breakers) {
    if (each.command == name) return each;
  }
  return {};
}

TEST_F(Breaker, ACommandThatIsRefusedIsCalledAgainOnceItIsWell) {
  PoolOptions options = options_for("plain", 2);
  options.breaker = {.open_for = 100ms};
  const test::Lines lines(options);
  Pool pool(std::move(options));
  pool.wait_ready();
  for (int i = 0; i < 3; ++i) {
    ASSERT_GT(pool.call<int>("pid"), 0);
    EXPECT_EQ(pool.try_call("exit_now", 7).error().kind, ErrorKind::kWorkerLost);
  }
  const auto refused = pool.try_call("exit_now", 7);
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().kind, ErrorKind::kUnavailable);
  EXPECT_TRUE(refused.error().retry_after_ms);
  EXPECT_TRUE(eventually([&] { return lines.contain("\"exit_now\" of pool \"test\" is quarantined"); }))
      << lines.text();
  ASSERT_TRUE(eventually([&] { return breaker_of(pool, "exit_now").state == BreakerState::kHalfOpen; }));
  // Answers, if not what was hoped for: Python raises.
  for (int i = 0; i < 3; ++i) {
    EXPECT_EQ(pool.try_call("exit_now", "text").error().kind, ErrorKind::kRemote);
  }
  EXPECT_EQ(breaker_of(pool, "exit_now").state, BreakerState::kClosed);
  EXPECT_TRUE(eventually([&] { return lines.contain("\"exit_now\" of pool \"test\" is called again"); }));
}

TEST_F(Breaker, AWorkerThatDiesWithItsKeeperWasNotCrashedByItsCommand) {
  PoolOptions options = options_for("plain", 4);
  options.breaker = {};
  Pool pool(std::move(options));
  pool.wait_ready();
  std::vector<std::thread> callers;
  const test::Note notes[4];
  for (const test::Note& note : notes) {
    callers.emplace_back(
        [&] { EXPECT_EQ(pool.try_call("nap", 60, note.path()).error().kind, ErrorKind::kWorkerLost); });
  }
  for (const test::Note& note : notes) ASSERT_TRUE(note.comes());
  const int worker = pool.stats().workers.at(0).pid;
  int keeper = 0;
  for (const int candidate : test::descendants(::getpid())) {
    if (test::descendants(candidate).count(worker) != 0) keeper = candidate;
  }
  ASSERT_NE(keeper, 0);
  ASSERT_EQ(::kill(keeper, SIGKILL), 0);
  for (std::thread& caller : callers) caller.join();
  EXPECT_EQ(breaker_of(pool, "nap").state, BreakerState::kClosed);
  EXPECT_EQ(breaker_of(pool, "nap").failures, 0u);
  EXPECT_TRUE(pool.try_call("nap", 0));
}

TEST_F(Breaker, AnIdempotentCallOutlivesItsWorker) {
  Pool pool(options_for("plain", 2));
  pool.wait_ready();
  const test::Note note;
  std::optional<Result<Json>> outcome;
  // It makes the file; the second try finds it there, and Python raises: so it has run twice.
  std::thread caller([&] { outcome = pool.try_call({.idempotent = true}, "nap", 60, note.path()); });
  ASSERT_TRUE(note.comes());
  for (const WorkerStats& worker : pool.stats().workers) {
    if (worker.state == SlotState::kBusy) {
      EXPECT_EQ(::kill(worker.pid, SIGKILL), 0);
    }
  }
  caller.join();
  ASSERT_FALSE(*outcome);
  EXPECT_EQ(outcome->error().kind, ErrorKind::kRemote);
  EXPECT_EQ(outcome->error().python->type, "FileExistsError");
  const PoolStats stats = pool.stats();
  EXPECT_EQ(stats.admitted, 1u);
  EXPECT_EQ(stats.error, 1u);
  EXPECT_EQ(stats.retries, 1u);
}

}  // namespace
}  // namespace lair
