// Rows about the pool as a whole: races, starts, and the machine around it.
#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cmath>

#include "faults/row.hpp"
#include "support/core_driver.hpp"
#include "support/paths.hpp"
#include "support/shell_fixture.hpp"

namespace lair::test {
namespace {

using namespace std::chrono_literals;

class PoolRows : public FaultRow {};

// The backoff is a matter of minutes, so the core is asked, under a clock of its own; the processes are real in
// Start.* of tests/e2e.
TEST_F(PoolRows, R23_AWorkerCrashesAtEveryStart) {
  CoreDriver driver({.size = 1, .max_starting = 4});
  std::vector<TimePoint> spawns;
  for (const TimePoint end = driver.now + 10min; driver.now < end; driver.advance(50ms)) {
    for (const core::Spawn& spawn : driver.take<core::Spawn>()) {
      spawns.push_back(driver.now);
      driver.step(core::Spawned{spawn.worker});
      driver.step(core::Exited{spawn.worker});
    }
  }
  std::size_t most = 0;
  for (const TimePoint& first : spawns) {
    const auto in_a_minute = std::count_if(spawns.begin(), spawns.end(),
                                           [&](TimePoint at) { return at >= first && at < first + 1min; });
    most = std::max(most, static_cast<std::size_t>(in_a_minute));
  }
  EXPECT_LE(most, 12u);
  EXPECT_GT(spawns.size(), 10u) << "it goes on trying";
  fact("most spawns in a minute", std::to_string(most));
}

TEST_F(PoolRows, R24_ACommandSegfaults) {
  PoolOptions options = options_for("plain", 4);
  options.breaker = {};
  Pool pool(std::move(options));
  pool.wait_ready();
  std::atomic<bool> stop = false;
  std::atomic<int> others = 0;
  std::vector<std::thread> callers;
  for (int i = 0; i < 3; ++i) {
    callers.emplace_back([&] {
      for (int n = 0; !stop; ++n) {
        const auto sum = pool.try_call<int>("add", n, 1);
        EXPECT_TRUE(sum) << sum.error().report();
        ++others;
      }
    });
  }
  int deaths = 0;
  int refused = 0;
  for (int i = 0; i < 50; ++i) {
    const TimePoint began = SteadyClock::now();
    const auto outcome = pool.try_call("crash");
    ASSERT_FALSE(outcome);
    if (outcome.error().kind == ErrorKind::kWorkerLost) {
      EXPECT_NE(outcome.error().message.find("SIGSEGV"), std::string::npos) << outcome.error().message;
      ++deaths;
    } else {
      took("it is refused", SteadyClock::now() - began, 10ms);
      EXPECT_EQ(outcome.error().kind, ErrorKind::kUnavailable);
      EXPECT_EQ(outcome.error().delivery, Delivery::kNotSent);
      EXPECT_NE(outcome.error().message.find("quarantined"), std::string::npos) << outcome.error().message;
      ++refused;
    }
  }
  const int before = others;
  EXPECT_TRUE(eventually([&] { return others >= before + 100; }));
  stop = true;
  for (std::thread& caller : callers) caller.join();
  EXPECT_GE(deaths, 1);
  EXPECT_LE(deaths, 3);
  EXPECT_EQ(deaths + refused, 50);
  EXPECT_EQ(pool.stats().workers_exited, static_cast<std::uint64_t>(deaths));
  fact("deaths, and calls of other commands beside them, all answered",
       std::to_string(deaths) + ", " + std::to_string(others));
  expect_whole(pool);
}

// Waiters whose time is up in the very moment in which a worker comes free.
class Race : public ShellTestOn<FaultRow> {};

TEST_F(PoolRows, R34_SpawningIsRefused) {
  PoolOptions options = options_for("plain", 4);
  Pool pool(std::move(options));
  pool.wait_ready();
  const auto before = open_descriptors().size();
  rlimit saved{};
  ASSERT_EQ(::getrlimit(RLIMIT_NOFILE, &saved), 0);
  for (int i = 0; i < rounds(20, 500); ++i) {
    // No descriptor beyond those that are open: the next start is refused, in the middle, at another place each time.
    int highest = 0;
    for (const auto& [fd, what] : open_descriptors()) highest = std::max(highest, fd);
    rlimit scarce = saved;
    scarce.rlim_cur = static_cast<rlim_t>(highest + 1 + i % 6);
    ASSERT_EQ(::setrlimit(RLIMIT_NOFILE, &scarce), 0);
    const auto exited = pool.stats().workers_exited;
    const auto victim = pool.try_call<int>("pid");
    ASSERT_TRUE(victim) << victim.error().report();
    ::kill(*victim, SIGKILL);
    EXPECT_TRUE(eventually([&] { return pool.stats().workers_exited > exited; }));
    // It neither spins nor gives up: the other workers serve meanwhile.
    for (int n = 0; n < 5; ++n) EXPECT_EQ(pool.try_call<int>("add", n, 1).value_or(-1), n + 1);
    ASSERT_EQ(::setrlimit(RLIMIT_NOFILE, &saved), 0);
    EXPECT_TRUE(eventually([&] { return pool.stats().count(SlotState::kIdle) == 4; }, 60s))
        << to_json_value(pool.stats()).dump(1);
  }
  EXPECT_EQ(open_descriptors().size(), before);
  expect_whole(pool);
}

TEST_F(PoolRows, R22_TheModuleDoesNotImport) {
  auto options = options_for("broken_import", 4);
  options.max_starting = 2;
  Pool pool(std::move(options));
  const auto first = pool.try_call("anything");
  ASSERT_FALSE(first);
  EXPECT_EQ(first.error().kind, ErrorKind::kUnavailable);
  EXPECT_NE(first.error().message.find("stage environment"), std::string::npos) << first.error().message;
  EXPECT_NE(first.error().message.find("a_module_that_nobody_has_installed"), std::string::npos);
  // Those under way come to their end, and no other follows.
  ASSERT_TRUE(eventually([&] { return pool.stats().count(SlotState::kFailed) == 4; }));
  const auto started = pool.stats().workers_started;
  EXPECT_LE(started, 2u);
  for (int i = 0; i < 200; ++i) {
    const TimePoint began = SteadyClock::now();
    EXPECT_FALSE(pool.try_call("anything"));
    took("a caller is refused", SteadyClock::now() - began, 1ms);
  }
  EXPECT_FALSE(eventually([&] { return pool.stats().workers_started != started; }, 1s));
}

TEST_F(PoolRows, R35_TheWallClockJumps) {
  if (kSanitized) GTEST_SKIP() << "a sanitizer wants to be the first library that is loaded";
  // A program of its own, since the clock must jump from its first moment on.
  const std::string preload = in_bin("wall_clock.so");
  ASSERT_EQ(::access(preload.c_str(), R_OK), 0) << preload;
  const std::string command = "LD_PRELOAD=" + preload + " " + in_bin("clock_host_main");
  std::FILE* host = ::popen(command.c_str(), "re");
  ASSERT_NE(host, nullptr);
  char line[256] = {};
  EXPECT_NE(std::fgets(line, sizeof line, host), nullptr);
  EXPECT_EQ(::pclose(host), 0) << line;
  EXPECT_EQ(std::string(line), "the wall clock jumped; 400 calls, 0 errors, 1 timeout on time\n");
}

double p99(std::vector<double>& times) {
  const auto place = times.begin() + static_cast<std::ptrdiff_t>(times.size() * 99 / 100);
  std::nth_element(times.begin(), place, times.end());
  return *place;
}

std::vector<double> latencies(Pool& pool, int calls) {
  std::vector<double> times;
  for (int i = 0; i < calls; ++i) {
    const TimePoint began = SteadyClock::now();
    EXPECT_EQ(pool.call<int>("add", i, 1), i + 1);
    times.push_back(std::chrono::duration<double, std::milli>(SteadyClock::now() - began).count());
  }
  return times;
}

TEST_F(PoolRows, R41_AnotherPoolIsSaturatedWithSleepers) {
  Pool sleepers(options_for("plain", 4));
  Pool pool(options_for("plain", 1));
  sleepers.wait_ready();
  pool.wait_ready();
  std::atomic<bool> stop = false;
  std::vector<std::thread> callers;
  std::vector<double> alone;
  std::vector<double> beside;
  // In turns, so that the machine's own weather falls on both.
  for (int turn = 0; turn < 10; ++turn) {
    stop = false;
    for (int i = 0; i < 16; ++i) {
      callers.emplace_back([&] {
        while (!stop) EXPECT_TRUE(sleepers.try_call("nap", 0.02));
      });
    }
    EXPECT_TRUE(eventually([&] { return sleepers.stats().waiters >= 8; }));
    const auto more = latencies(pool, 300);
    beside.insert(beside.end(), more.begin(), more.end());
    stop = true;
    for (std::thread& caller : callers) caller.join();
    callers.clear();
    const auto quiet = latencies(pool, 300);
    alone.insert(alone.end(), quiet.begin(), quiet.end());
  }
  const double ratio = p99(beside) / p99(alone);
  char text[32];
  std::snprintf(text, sizeof text, "%.2f", ratio);
  fact("p99 beside it, in terms of p99 alone", text);
#ifdef LAIR_TIMES_COUNT
  // Its bound is 1.5 × what it is alone.
  took("p99 beside a saturated pool",
       std::chrono::duration_cast<Duration>(std::chrono::duration<double, std::milli>(p99(beside))),
       std::chrono::duration_cast<Duration>(std::chrono::duration<double, std::milli>(1.5 * p99(alone))));
#endif
  expect_whole(pool);
  expect_whole(sleepers);
}

TEST_F(PoolRows, R43_ThreeCallersComeToALazyPoolOfTwo) {
  PoolOptions options = options_for("slow_start", 2);
  options.lazy = true;
  const int seconds = rounds(1, 5);
  options.worker.env["SLOW_START"] = std::to_string(seconds);
  Pool pool(std::move(options));
  const TimePoint began = SteadyClock::now();
  std::vector<std::thread> callers;
  for (int i = 0; i < 3; ++i) callers.emplace_back([&] { EXPECT_GT(pool.call<int>("pid"), 0); });
  for (std::thread& caller : callers) caller.join();
  took("all three are served", SteadyClock::now() - began, 2s * seconds);
  EXPECT_EQ(pool.stats().workers_started, 2u);
  expect_whole(pool);
}

TEST_F(PoolRows, R43_PrewarmingRacesAHundredCheckouts) {
  for (int i = 0; i < rounds(2, 20); ++i) {
    PoolOptions options = options_for("plain", 4);
    options.lazy = true;
    options.max_waiters = 200;
    Pool pool(std::move(options));
    std::vector<std::thread> callers;
    for (int n = 0; n < 100; ++n) {
      callers.emplace_back([&] {
        auto lease = pool.checkout();
        EXPECT_GT(lease.call<int>("pid"), 0);
      });
      if (n == 50) callers.emplace_back([&] { pool.wait_ready(); });
    }
    for (std::thread& caller : callers) caller.join();
    EXPECT_LE(pool.stats().workers_started, 4u);
    expect_whole(pool);
  }
}

TEST_F(PoolRows, R43_AWaiterLeavesInTheMiddleOfItsStart) {
  PoolOptions options = options_for("slow_start", 1);
  options.lazy = true;
  options.worker.env["SLOW_START"] = "0.5";
  Pool pool(std::move(options));
  EXPECT_EQ(pool.try_call({.checkout_timeout = 100ms}, "pid").error().kind, ErrorKind::kUnavailable);
  // The start that it had caused goes on, and serves the next one.
  EXPECT_GT(pool.call<int>("pid"), 0);
  EXPECT_EQ(pool.stats().workers_started, 1u);
  EXPECT_EQ(pool.stats().workers_exited, 0u);
  expect_whole(pool);
}

TEST_F(Race, R29_GrantAndExpiryRace) {
  start({.size = 4, .max_waiters = 1000, .barging_window = 0ms});
  ASSERT_TRUE(eventually([&] { return stats().count(SlotState::kIdle) == 4; }));
  const int total = rounds(kSanitized ? 5'000 : 100'000, 1'000'000);
  std::atomic<int> left = total;
  std::atomic<int> served = 0;
  std::vector<std::thread> callers;
  for (int i = 0; i < 8; ++i) {
    callers.emplace_back([&, i] {
      for (int n = left--; n > 0; n = left--) {
        // About as long as the others take: the grant and the end of the wait come together.
        const auto patience = std::chrono::microseconds(5 + (n * 7 + i) % 60);
        if (call("echo", {n}, {.timeout = 60s, .checkout_timeout = patience})) ++served;
      }
    });
  }
  for (std::thread& caller : callers) caller.join();
  EXPECT_GT(served, 0);
  EXPECT_LT(served, total) << "nobody's time was up: this was no race";
  EXPECT_EQ(stats().waiters, 0u);
  EXPECT_TRUE(eventually([&] { return stats().count(SlotState::kIdle) == 4; })) << "a worker was lost";
  expect_books_add_up();
}

}  // namespace
}  // namespace lair::test
