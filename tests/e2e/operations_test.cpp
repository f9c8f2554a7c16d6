// Planned changes of a running pool of real Python workers: reload, resize, recycle, pause, drain, retirement, limits.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>

#include <atomic>
#include <mutex>
#include <set>
#include <thread>

#include "support/pools.hpp"
#include "support/service_module.hpp"

namespace lair::test {
namespace {

using namespace std::chrono_literals;
using testing::HasSubstr;

class Operations : public LeakChecked {
 protected:
  void TearDown() override {
    pool.reset();
    LeakChecked::TearDown();
  }
  void start(PoolOptions options) {
    pool.emplace(std::move(options));
    pool->wait_ready();
  }
  std::set<int> pids() const {
    std::set<int> found;
    for (const WorkerStats& worker : pool->stats().workers) {
      if (worker.pid != 0 && !worker.surge) found.insert(worker.pid);
    }
    return found;
  }
  template <class Change>
  void under_load(Change change) {
    call_all_the_time(*pool, 2, std::move(change));
  }

  const ServiceModule service;
  std::optional<Pool> pool;
};

TEST_F(Operations, AReloadBringsTheNewCodeAndNoCallFails) {
  start(service.options(3));
  const std::set<int> before = pids();
  service.write(ServiceModule::version(2));
  under_load([&] { pool->reload(); });
  for (int i = 0; i < 20; ++i) EXPECT_EQ(pool->call<int>("version"), 2);
  const PoolStats stats = pool->stats();
  EXPECT_EQ(stats.revision, 2u);
  EXPECT_EQ(stats.ready(), 3u);
  EXPECT_EQ(stats.exits.at("reload"), 3u);
  for (const WorkerStats& worker : stats.workers) EXPECT_EQ(worker.revision, 2u);
  for (const int pid : pids()) EXPECT_EQ(before.count(pid), 0u);
  EXPECT_FALSE(pool->health().degraded);
}

TEST_F(Operations, CodeThatFailsIsAnAlertUntilItIsMended) {
  auto options = service.options(1);
  std::mutex mutex;
  std::vector<std::string> told;
  options.on_event = [&](const PoolEvent& event) {
    const std::string kind(to_string(event.kind));
    const std::lock_guard lock(mutex);
    if (event.reason == "code_fails" || event.kind == PoolEventKind::kReload)
      told.push_back(kind + " " + event.reason);
  };
  const auto has_told = [&](std::vector<std::string> expected) {
    return eventually([&] {
      const std::lock_guard lock(mutex);
      return told == expected;
    });
  };
  start(std::move(options));
  service.write("import a_module_that_nobody_has\n");
  EXPECT_FALSE(pool->try_reload());
  EXPECT_TRUE(pool->stats().code_fails);
  EXPECT_TRUE(has_told({"reload begun", "reload failed", "alert_raised code_fails"}));
  service.write(ServiceModule::version(2));
  pool->reload();
  EXPECT_FALSE(pool->stats().code_fails);
  EXPECT_TRUE(has_told({"reload begun", "reload failed", "alert_raised code_fails", "reload begun",
                        "reload complete", "alert_cleared code_fails"}));
  pool.reset();
}

TEST_F(Operations, AReloadToCodeThatImportsButDoesNotWorkIsGivenUp) {
  auto options = service.options(2);
  options.verify = "version";
  start(std::move(options));
  service.write("def version():\n    raise RuntimeError('no database')\n");
  under_load([&] {
    const auto outcome = pool->try_reload();
    ASSERT_FALSE(outcome);
    EXPECT_EQ(outcome.error().stage, "verify");
    EXPECT_THAT(outcome.error().message, HasSubstr("RuntimeError: no database"));
    ASSERT_TRUE(outcome.error().python);
    EXPECT_THAT(outcome.error().python->traceback, HasSubstr("service.py"));
  });
  EXPECT_EQ(pool->stats().ready(), 2u);
  EXPECT_EQ(pool->call<int>("version"), 1);
}

TEST_F(Operations, AReloadToBrokenCodeIsGivenUpAndTheOldCodeServes) {
  start(service.options(3));
  service.write("import a_module_that_nobody_has\n");
  under_load([&] {
    const auto outcome = pool->try_reload();
    ASSERT_FALSE(outcome);
    EXPECT_EQ(outcome.error().kind, ErrorKind::kUnavailable);
    EXPECT_THAT(outcome.error().message, HasSubstr("the workers go on with the code that they have"));
    EXPECT_THAT(outcome.error().message, HasSubstr("a_module_that_nobody_has"));
    const PoolHealth health = pool->health();
    EXPECT_TRUE(health.serving);
    EXPECT_TRUE(health.degraded);
    EXPECT_THAT(health.reasons, testing::Contains(HasSubstr("code on disk fails")));
    EXPECT_EQ(pool->stats().ready(), 3u);
  });
  const auto recycled = pool->try_recycle(0);
  ASSERT_FALSE(recycled);
  EXPECT_THAT(recycled.error().message, HasSubstr("the old one stays"));
  EXPECT_EQ(pool->call<int>("version"), 1);
}

TEST_F(Operations, AWorkerThatDiesMeanwhileCostsNoOtherCall) {
  start(service.options(3));
  for (int i = 0; i < 6; ++i) EXPECT_EQ(pool->call<int>("version"), 1);
  service.write("import a_module_that_nobody_has\n");
  EXPECT_FALSE(pool->try_reload());
  const WorkerStats victim = pool->stats().workers.at(1);
  ASSERT_EQ(::kill(victim.pid, SIGKILL), 0);
  ASSERT_TRUE(eventually([&] { return pool->stats().count(SlotState::kFailed) == 1; }, 20s));
  for (int i = 0; i < 50; ++i) EXPECT_EQ(pool->call<int>("version"), 1);
  service.write(ServiceModule::version(3));
  under_load([&] { pool->reload(); });
  EXPECT_EQ(pool->stats().ready(), 3u);
  for (int i = 0; i < 20; ++i) EXPECT_EQ(pool->call<int>("version"), 3);
  EXPECT_FALSE(pool->health().degraded);
}

TEST_F(Operations, AReloadReplacesTheWarmParentToo) {
  auto options = service.options(2);
  options.worker.start = "fork";
  options.worker.preload = {"service"};
  start(std::move(options));
  EXPECT_EQ(pool->call<int>("version"), 1);
  service.write(ServiceModule::version(2));
  under_load([&] { pool->reload(); });
  for (int i = 0; i < 20; ++i) EXPECT_EQ(pool->call<int>("version"), 2);
}

TEST_F(Operations, AReloadBringsAPoolBackThatCouldNotStart) {
  service.write("import a_module_that_nobody_has\n");
  pool.emplace(service.options(2));
  EXPECT_FALSE(pool->try_wait_ready());
  service.write(ServiceModule::version(2));
  pool->reload();
  EXPECT_EQ(pool->call<int>("version"), 2);
  EXPECT_EQ(pool->stats().ready(), 2u);
}

TEST_F(Operations, AReloadWaitsForALeaseAndSaysWhichWorkerIsBusy) {
  start(service.options(1));
  auto lease = pool->checkout();
  const auto outcome = pool->try_reload(2s);
  ASSERT_FALSE(outcome);
  EXPECT_EQ(outcome.error().kind, ErrorKind::kDeadlineExceeded);
  EXPECT_THAT(outcome.error().message, HasSubstr("It goes on."));
  EXPECT_EQ(lease.call<int>("version"), 1);
  lease.release();
  EXPECT_TRUE(eventually([&] { return pool->stats().exits.at("reload") == 1; }, 20s));
  EXPECT_EQ(pool->stats().workers.at(0).revision, 2u);
}

TEST_F(Operations, OneWorkerIsReplacedOnDemand) {
  start(service.options(2));
  const WorkerStats before = pool->stats().workers.at(1);
  under_load([&] { pool->recycle(1); });
  const WorkerStats after = pool->stats().workers.at(1);
  EXPECT_EQ(after.generation, before.generation + 1);
  EXPECT_NE(after.pid, before.pid);
  EXPECT_EQ(pool->stats().exits.at("recycled"), 1u);
  const auto nobody = pool->try_recycle(7);
  ASSERT_FALSE(nobody);
  EXPECT_EQ(nobody.error().kind, ErrorKind::kInvalidArgument);
}

TEST_F(Operations, APoolGrowsAndShrinks) {
  start(service.options(2));
  under_load([&] {
    pool->resize(4);
    EXPECT_EQ(pool->stats().ready(), 4u);
    EXPECT_EQ(pool->stats().size, 4u);
    pool->resize(1);
    EXPECT_EQ(pids().size(), 1u);
    pool->resize(2);
  });
  const PoolStats stats = pool->stats();
  EXPECT_EQ(stats.ready(), 2u);
  EXPECT_EQ(stats.workers.size(), 2u);
  EXPECT_EQ(pool->try_resize(0).error().kind, ErrorKind::kInvalidArgument);
  EXPECT_THAT(pool->try_resize(65).error().message, HasSubstr("1 to 64"));
}

TEST_F(Operations, APausedPoolHoldsCallersBack) {
  start(service.options(1));
  pool->pause();
  EXPECT_FALSE(pool->health().serving);
  std::atomic<bool> answered = false;
  std::thread caller([&] {
    EXPECT_EQ(pool->call<int>("version"), 1);
    answered = true;
  });
  EXPECT_TRUE(eventually([&] { return pool->stats().waiters == 1; }));
  EXPECT_FALSE(eventually([&] { return answered.load(); }, 100ms));
  EXPECT_EQ(pool->try_call<int>({.timeout = 20ms}, "version").error().kind, ErrorKind::kDeadlineExceeded);
  pool->resume();
  caller.join();
  EXPECT_TRUE(pool->health().serving);
}

TEST_F(Operations, ADrainReturnsWhenNothingIsUnderWay) {
  start(service.options(2));
  auto lease = pool->checkout();
  EXPECT_EQ(pool->try_drain(100ms).error().kind, ErrorKind::kDeadlineExceeded);
  const auto refused = pool->try_call<int>("version");
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().kind, ErrorKind::kUnavailable);
  EXPECT_EQ(refused.error().delivery, Delivery::kNotSent);
  EXPECT_THAT(refused.error().message, HasSubstr("is draining"));
  lease.release();
  pool->drain();
  EXPECT_EQ(pool->stats().rejected.at("draining"), 1u);
  pool->resume();
  EXPECT_EQ(pool->call<int>("version"), 1);
}

TEST_F(Operations, WorkersAreReplacedAfterTheirCalls) {
  auto options = service.options(2);
  options.max_calls = 20;
  start(std::move(options));
  EXPECT_TRUE(eventually(
      [&] {
        EXPECT_EQ(pool->call<int>("version"), 1);
        return pool->stats().exits.at("max_calls") >= 3;
      },
      30s));
}

TEST_F(Operations, ALazyPoolGivesUnusedWorkersUp) {
  auto options = service.options(2);
  options.lazy = true;
  options.idle_ttl = 50ms;
  pool.emplace(std::move(options));
  EXPECT_EQ(pool->call<int>("version"), 1);
  EXPECT_TRUE(eventually([&] { return pool->stats().count(SlotState::kVacant) == 2; }, 20s));
  EXPECT_EQ(pool->stats().exits.at("idle"), 1u);
  EXPECT_EQ(pool->call<int>("version"), 1);
}

TEST_F(Operations, AWorkerThatHasGrownIsReplacedWhenItIsFree) {
  auto options = options_for("hungry", 1);
  options.max_memory = 200u << 20;
  options.memory_interval = 50ms;
  start(std::move(options));
  EXPECT_EQ(pool->call<int>("eat", 300), 1);
  EXPECT_TRUE(eventually([&] { return pool->stats().exits.at("max_memory") == 1; }, 30s));
  EXPECT_EQ(pool->call<int>("eat", 1), 1) << "another worker";
}

TEST_F(Operations, SettingsThatContradictEachOtherAreRefused) {
  auto options = service.options(1);
  options.idle_ttl = 1s;
  EXPECT_THAT(Pool::create(options).error().message, HasSubstr("'idle_ttl': is for lazy pools"));
  options.idle_ttl = kForever;
  options.max_memory = 2;
  options.memory_limit = 1;
  EXPECT_THAT(Pool::create(options).error().message, HasSubstr("'max_memory': is more than memory_limit"));
}

}  // namespace
}  // namespace lair::test
