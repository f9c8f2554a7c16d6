// Rows about a pool that is changed, overloaded or stuck while it is called.
#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <filesystem>
#include <fstream>
#include <mutex>
#include <thread>

#include "faults/row.hpp"

namespace lair::test {
namespace {

using namespace std::chrono_literals;

TimePoint now() { return SteadyClock::now(); }

class Changes : public FaultRow {
 protected:
  void SetUp() override {
    FaultRow::SetUp();
    folder = std::filesystem::temp_directory_path() / ("lair-changes-" + std::to_string(::getpid()));
    std::filesystem::create_directories(folder);
    write("def version():\n    return 1\n");
  }
  void TearDown() override {
    std::filesystem::remove_all(folder);
    FaultRow::TearDown();
  }
  void write(const std::string& text) { std::ofstream(folder / "service.py") << text; }
  PoolOptions service(std::size_t size) const {
    WorkerSpec worker = python("service");
    worker.python_path = {folder.string()};
    worker.env["PYTHONDONTWRITEBYTECODE"] = "1";
    return options_for(std::move(worker), size);
  }
  // Four callers all the time; every call must succeed. Returns how many there were.
  template <class Change>
  static std::size_t under_load(Pool& pool, Change change) {
    std::atomic<bool> done = false;
    std::atomic<std::size_t> calls = 0;
    std::vector<std::thread> callers;
    for (int t = 0; t < 4; ++t) {
      callers.emplace_back([&] {
        while (!done) {
          const auto version = pool.try_call<int>("version");
          EXPECT_TRUE(version) << version.error().report();
          if (!version) return;
          ++calls;
        }
      });
    }
    change();
    done = true;
    for (std::thread& caller : callers) caller.join();
    return calls;
  }

  std::filesystem::path folder;
};

TEST_F(Changes, R32_APoolIsReloadedUnderLoad) {
  Pool pool(service(4));
  pool.wait_ready();
  const int reloads = rounds(kSanitized ? 2 : 5, 100);
  const std::size_t calls = under_load(pool, [&] {
    for (int i = 2; i < 2 + reloads; ++i) {
      write("def version():\n    return " + std::to_string(i) + "\n");
      pool.reload();
      EXPECT_EQ(pool.stats().ready(), 4u);
    }
  });
  EXPECT_EQ(pool.call<int>("version"), reloads + 1);
  fact("reloads", std::to_string(reloads));
  fact("calls meanwhile", std::to_string(calls));
  expect_whole(pool);
}

TEST_F(Changes, R33_TheNewCodeIsBroken) {
  Pool pool(service(4));
  pool.wait_ready();
  // So that the one which dies later has proved its worth.
  std::vector<Lease> all;
  for (int i = 0; i < 4; ++i) EXPECT_EQ(all.emplace_back(pool.checkout()).call<int>("version"), 1);
  all.clear();
  for (const char* broken :
       {"import a_module_that_nobody_has\n", "def version(:\n", "raise RuntimeError('no')\n"}) {
    write(broken);
    under_load(pool, [&] {
      EXPECT_FALSE(pool.try_reload());
      EXPECT_EQ(pool.stats().ready(), 4u) << "the old code serves";
    });
    EXPECT_EQ(pool.call<int>("version"), 1);
  }
  // And a worker crashes meanwhile: what replaces it cannot start, and the others serve.
  under_load(pool, [&] {
    // Between calls: one that it has would be lost with it.
    auto lease = pool.checkout();
    const int pid = lease.worker().pid;
    EXPECT_TRUE(::kill(pid, SIGKILL) == 0);
    lease.release();
    EXPECT_TRUE(eventually([&] { return pool.stats().ready() == 3; }, 20s));
  });
  write("def version():\n    return 2\n");
  under_load(pool, [&] { pool.reload(); });
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
  std::mutex mutex;
  std::vector<std::thread> callers;
  for (int i = 0; i < 4; ++i) {
    callers.emplace_back([&] { (void)pool.try_call({.timeout = 5s}, "nap", 60.0); });
  }
  ASSERT_TRUE(eventually([&] { return pool.stats().count(SlotState::kBusy) == 4; }));
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
  EXPECT_EQ(pool.stats().rejected.at("shed"), 16u);
  ASSERT_TRUE(eventually([&] { return pool.stats().ready() == 4; }, 20s));
  expect_whole(pool);
}

TEST_F(Changes, R26_TenTimesMoreCallsThanItCanServe) {
  std::atomic<std::uint64_t> told = 0;
  auto options = options_for("hungry", 4);
  options.on_event = [&](const PoolEvent& event) {
    if (event.kind == PoolEventKind::kShed) told += event.count;
  };
  Pool pool(std::move(options));
  pool.wait_ready();
  const Duration length = rounds(3, 60) * 1s;
  std::atomic<std::uint64_t> served = 0;
  std::mutex mutex;
  std::vector<Duration> refusals;
  const TimePoint end = now() + length;
  std::vector<std::thread> callers;
  for (int i = 0; i < 40; ++i) {
    callers.emplace_back([&] {
      (void)eventually(  // a millisecond after each answer, the next call
          [&] {
            const TimePoint began = now();
            const auto outcome = pool.try_call("nap", 0.05);
            if (outcome) {
              ++served;
            } else {
              EXPECT_EQ(outcome.error().kind, ErrorKind::kOverloaded);
              const std::lock_guard lock(mutex);
              refusals.push_back(now() - began);
            }
            return now() >= end;
          },
          std::chrono::duration_cast<std::chrono::milliseconds>(length) + 60s);
    });
  }
  for (std::thread& caller : callers) caller.join();
  const double seconds = std::chrono::duration<double>(length).count();
  const double goodput = static_cast<double>(served) / seconds / (4 / 0.05);
  fact("goodput, of its peak", std::to_string(goodput));
  EXPECT_GT(served, 0u);
  ASSERT_FALSE(refusals.empty());
  std::sort(refusals.begin(), refusals.end());
  took("a caller is refused (p99)", refusals[refusals.size() * 99 / 100], 5ms);
#ifdef LAIR_TIMES_COUNT
  EXPECT_GE(goodput, 0.9);
#endif
  const TimePoint over = now();
  EXPECT_TRUE(pool.try_call("nap", 0.0));
  took("served again when it is over", now() - over, 2s);
  expect_whole(pool);
  pool.shutdown();
  EXPECT_TRUE(eventually([&] { return told == refusals.size(); })) << told << " of " << refusals.size();
}

}  // namespace
}  // namespace lair::test
