// Rows about a pool that is changed, overloaded or stuck while it is called.
#include <gtest/gtest.h>

#include <signal.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <mutex>
#include <stop_token>
#include <thread>

#include "base/duration.hpp"
#include "faults/row.hpp"
#include "support/service_module.hpp"

namespace lair::test {
namespace {

using namespace std::chrono_literals;

class Changes : public FaultRow {
 protected:
  const ServiceModule service;
};

Duration p99(std::vector<std::vector<Duration>>& by_thread) {
  std::vector<Duration> all;
  for (const auto& each : by_thread) all.insert(all.end(), each.begin(), each.end());
  EXPECT_FALSE(all.empty());
  if (all.empty()) return {};
  std::sort(all.begin(), all.end());
  return all[all.size() * 99 / 100];
}

// In turn: the pool is reloaded, or as many interpreters start beside it, one after the other too. What a reload costs its
// callers is what it adds to that.
TEST_F(Changes, R32_APoolIsReloadedUnderLoad) {
  constexpr int kSize = 4;
  Pool pool(service.options(kSize));
  const ServiceModule other;
  Pool beside(other.options(1));
  pool.wait_ready();
  beside.wait_ready();
  const int reloads = rounds(kSanitized ? 2 : 5, 100);
  enum Phase { kNeither, kReload, kBeside, kPhases };
  std::atomic<Phase> phase = kNeither;
  using Times = std::vector<std::vector<Duration>>;
  std::array<Times, kPhases> times;
  times.fill(Times(kSize));
  std::array<Phase, kSize> at_begin{};  // of each thread's last call
  const auto reload = [&](int version) {
    service.write(ServiceModule::version(version));
    phase = kReload;
    pool.reload();
    phase = kNeither;
    EXPECT_EQ(pool.stats().ready(), 4u);
  };
  const auto start_beside = [&] {
    phase = kBeside;
    for (int i = 0; i < kSize; ++i) beside.recycle(0);
    phase = kNeither;
  };
  const std::size_t calls = call_all_the_time(
      pool, kSize,
      [&] {
        for (int i = 2; i < 2 + reloads; ++i) {
          if (i % 2 == 0) reload(i);
          start_beside();
          if (i % 2 != 0) reload(i);
        }
      },
      [&](int thread, TimePoint began, TimePoint ended) {
        const auto t = static_cast<std::size_t>(thread);
        const Phase now_in = phase;  // that of calls from begin to end in one of them
        if (now_in == at_begin[t]) times[now_in][t].push_back(ended - began);
        at_begin[t] = now_in;
      });
  EXPECT_EQ(pool.call<int>("version"), reloads + 1);
  EXPECT_EQ(beside.stats().exits.at("recycled"), static_cast<unsigned>(kSize * reloads));
  const Duration beside_p99 = p99(times[kBeside]);
  took("a call while the pool is reloaded (p99)", p99(times[kReload]), beside_p99 * 3 / 2);
  fact("the same while as many interpreters start beside it (p99)", base::format_duration(beside_p99));
  fact("reloads", std::to_string(reloads));
  fact("calls meanwhile", std::to_string(calls));
  expect_whole(pool);
}

TEST_F(Changes, R33_TheNewCodeIsBroken) {
  Pool pool(service.options(4));
  pool.wait_ready();
  // So that the one which dies later has proved its worth.
  std::vector<Lease> all;
  for (int i = 0; i < 4; ++i) EXPECT_EQ(all.emplace_back(pool.checkout()).call<int>("version"), 1);
  all.clear();
  for (const char* broken :
       {"import a_module_that_nobody_has\n", "def version(:\n", "raise RuntimeError('no')\n"}) {
    service.write(broken);
    call_all_the_time(pool, 4, [&] {
      EXPECT_FALSE(pool.try_reload());
      EXPECT_EQ(pool.stats().ready(), 4u) << "the old code serves";
    });
    EXPECT_EQ(pool.call<int>("version"), 1);
  }
  // And a worker crashes meanwhile: what replaces it cannot start, and the others serve.
  call_all_the_time(pool, 4, [&] {
    // Between calls: one that it has would be lost with it.
    auto lease = pool.checkout();
    const int pid = lease.worker().pid;
    EXPECT_TRUE(::kill(pid, SIGKILL) == 0);
    lease.release();
    EXPECT_TRUE(eventually([&] { return pool.stats().ready() == 3; }, 20s));
  });
  service.write(ServiceModule::version(2));
  call_all_the_time(pool, 4, [&] { pool.reload(); });
  EXPECT_EQ(pool.call<int>("version"), 2);
  expect_whole(pool);
}

TEST_F(Changes, R25_AWorkerUsesMoreMemoryThanItMay) {
  auto options = options_for("hungry", 2);
  options.memory_limit = kSanitized ? 400u << 20 : 200u << 20;
  options.memory_interval = 200ms;
  Pool pool(std::move(options));
  pool.wait_ready();
  for (int i = 0; i < rounds(2, 20); ++i) {
    const TimePoint began = now();
    const auto outcome = pool.try_call("eat", 500, 60.0);
    took("killed, with its caller told", now() - began, 200ms + 500ms, true);  // 0.3 s are for taking 500 MiB
    ASSERT_FALSE(outcome);
    EXPECT_EQ(outcome.error().kind, ErrorKind::kWorkerLost);
    EXPECT_NE(outcome.error().message.find("memory_limit is"), std::string::npos) << outcome.error().message;
    EXPECT_EQ(pool.call<int>("eat", 1), 1) << "others serve";
  }
  EXPECT_EQ(pool.stats().exits.at("memory_limit"), static_cast<unsigned>(rounds(2, 20)));
  expect_whole(pool);
}

TEST_F(Changes, R27_AllWorkersHang) {
  auto options = options_for("hungry", 4);
  options.queue_target = 200ms;
  options.queue_interval = 1s;
  Pool pool(std::move(options));
  pool.wait_ready();
  std::stop_source over;
  std::vector<std::thread> hanging;
  for (int i = 0; i < 4; ++i) {
    hanging.emplace_back(
        [&] { (void)pool.try_call({.timeout = 10min, .stop = over.get_token()}, "nap", 600.0); });
  }
  EXPECT_TRUE(eventually([&] { return pool.stats().count(SlotState::kBusy) == 4; }));
  std::mutex mutex;
  std::vector<std::thread> callers;
  for (int i = 0; i < 16; ++i) {
    callers.emplace_back([&] {
      const TimePoint began = now();
      const auto outcome = pool.try_call({.timeout = 60s}, "nap", 0.0);
      const Duration waited = now() - began;
      const std::lock_guard lock(mutex);
      took("a waiting caller is refused", waited, 1s + 2 * 200ms);
      ASSERT_FALSE(outcome);
      EXPECT_EQ(outcome.error().kind, ErrorKind::kOverloaded) << outcome.error().report();
      EXPECT_NE(outcome.error().message.find("has stood still"), std::string::npos);
      EXPECT_GT(outcome.error().retry_after_ms.value_or(0), 0);
    });
  }
  for (std::thread& caller : callers) caller.join();
  over.request_stop();
  for (std::thread& caller : hanging) caller.join();
  EXPECT_EQ(pool.stats().rejected.at("shed"), 16u);
  ASSERT_TRUE(eventually([&] { return pool.stats().ready() == 4; }, 20s));
  expect_whole(pool);
}

// Calls of `nap` from `threads` callers for `length`, each a millisecond after the answer to the one before.
struct Load {
  std::atomic<std::uint64_t> served = 0;
  std::vector<Duration> refusals;
};
void load(Load& sum, Pool& pool, int threads, Duration length) {
  std::mutex mutex;
  const TimePoint end = now() + length;
  std::vector<std::thread> callers;
  for (int i = 0; i < threads; ++i) {
    callers.emplace_back([&] {
      (void)eventually(
          [&] {
            const TimePoint began = now();
            const auto outcome = pool.try_call("nap", 0.05);
            const bool over = now() >= end;
            if (outcome) {
              sum.served += over ? 0 : 1;
            } else {
              EXPECT_EQ(outcome.error().kind, ErrorKind::kOverloaded);
              const std::lock_guard lock(mutex);
              sum.refusals.push_back(now() - began);
            }
            return over;
          },
          std::chrono::duration_cast<std::chrono::milliseconds>(length) + 60s);
    });
  }
  for (std::thread& caller : callers) caller.join();
}

TEST_F(Changes, R26_TenTimesMoreCallsThanItCanServe) {
  std::atomic<std::uint64_t> told = 0;
  auto options = options_for("hungry", 4);
  options.on_event = [&](const PoolEvent& event) {
    if (event.kind == PoolEventKind::kShed) told += event.count;
  };
  Pool pool(std::move(options));
  pool.wait_ready();
  // The peak is what as many callers as workers get from the same machine, just before and just after.
  const Duration length = rounds(2, 60) * 1s;
  Load peak;
  Load over;
  load(peak, pool, 4, length / 2);
  load(over, pool, 40, length);
  const TimePoint ended = now();
  EXPECT_TRUE(pool.try_call("nap", 0.0));
  took("served again when it is over", now() - ended, 2s);
  load(peak, pool, 4, length / 2);
  EXPECT_GT(over.served, 0u);
  ASSERT_FALSE(over.refusals.empty());
  std::sort(over.refusals.begin(), over.refusals.end());
  took("a caller is refused (p99)", over.refusals[over.refusals.size() * 99 / 100], 5ms);
  reached("goodput, of its peak", static_cast<double>(over.served) / static_cast<double>(peak.served), 0.9);
  expect_whole(pool);
  pool.shutdown();
  EXPECT_TRUE(eventually([&] { return told == over.refusals.size(); }))
      << told << " of " << over.refusals.size();
}

}  // namespace
}  // namespace lair::test
