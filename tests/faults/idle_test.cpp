// Rows about workers that nobody is calling.
#include <signal.h>

#include "faults/row.hpp"
#include "os/pidfd.hpp"
#include "os/wait.hpp"

namespace lair::test {
namespace {

using namespace std::chrono_literals;

class Idle : public FaultRow {};

Duration start_of(const WorkerStats& worker) { return worker.start.whole(); }

// Every worker answers once: where one dies before that, the pool waits a little before it starts another.
void call_all(Pool& pool) {
  std::vector<Lease> leases;
  for (std::size_t i = 0; i < pool.options().size; ++i) leases.push_back(pool.checkout());
  for (Lease& lease : leases) EXPECT_EQ(lease.call<int>("add", 1, 1), 2);
}

TEST_F(Idle, R01_AnIdleWorkerIsKilled) {
  Pool pool(options_for("plain", 4));
  pool.wait_ready();
  for (int i = 0; i < rounds(10, 200); ++i) {
    call_all(pool);
    const WorkerStats victim = pool.stats().workers.at(static_cast<std::size_t>(i) % 4);
    const TimePoint killed = now();
    ASSERT_EQ(::kill(victim.pid, SIGKILL), 0);
    // Calls go on all the while.
    const auto replaced = [&] {
      const PoolStats stats = pool.stats();
      return stats.workers[victim.slot].generation > victim.generation && stats.ready() == 4;
    };
    EXPECT_TRUE(eventually(
        [&] {
          EXPECT_TRUE(pool.try_call("add", 1, 1));
          return replaced();
        },
        20s));
    const Duration start = start_of(pool.stats().workers.at(victim.slot));
    took("whole again, after one start", now() - killed - start, 200ms, true);
  }
  const PoolStats stats = pool.stats();
  EXPECT_EQ(stats.ok, stats.admitted);
  expect_whole(pool);
}

TEST_F(Idle, R04_AnIdleWorkerIsStopped) {
  auto options = options_for("plain", 4);
  options.health_interval = 1s;
  options.health_timeout = 1s;
  Pool pool(std::move(options));
  pool.wait_ready();
  const auto failed = [&] {
    const PoolStats stats = pool.stats();
    return stats.admitted - stats.ok;
  };
  for (int i = 0; i < rounds(1, 10); ++i) {
    const WorkerStats victim = pool.stats().workers.at(static_cast<std::size_t>(i) % 4);
    const os::Fd process = os::open_pidfd(victim.pid);
    const TimePoint stopped = now();
    ASSERT_EQ(::kill(victim.pid, SIGSTOP), 0);
    ASSERT_TRUE(eventually(
        [&] {
          const PoolStats stats = pool.stats();
          return stats.workers[victim.slot].state == SlotState::kStopping ||
                 stats.workers[victim.slot].generation > victim.generation;
        },
        20s));
    took("condemned", now() - stopped, 2s);
    (void)os::wait_for_io({.exit_fd = process.get()}, Deadline::after(10s));
    took("dead", now() - stopped, 2s + 100ms, true);
    ASSERT_TRUE(eventually([&] { return pool.stats().ready() == 4; }, 20s));
  }
  EXPECT_EQ(failed(), 0u) << "nobody called it";
  // And beside calls, which may reach it before its check does.
  const WorkerStats victim = pool.stats().workers.at(3);
  ASSERT_EQ(::kill(victim.pid, SIGSTOP), 0);
  std::vector<std::thread> callers;
  for (int t = 0; t < 4; ++t) {
    callers.emplace_back([&] {
      (void)eventually(
          [&] {
            (void)pool.try_call({.timeout = 5s}, "add", 1, 1);
            return false;
          },
          6s);
    });
  }
  for (std::thread& caller : callers) caller.join();
  EXPECT_LE(failed(), 1u);
  ASSERT_TRUE(eventually([&] { return pool.stats().ready() == 4; }, 20s));
  expect_whole(pool);
}

}  // namespace
}  // namespace lair::test
