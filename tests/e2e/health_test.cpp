// How a pool says it is, and what becomes of workers that are not well.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>

#include <atomic>

#include "support/leak_check.hpp"
#include "support/pools.hpp"

namespace lair {
namespace {

using namespace std::chrono_literals;
using test::eventually;
using test::options_for;
using test::script_worker;
using testing::HasSubstr;
using testing::IsEmpty;

class Health : public test::LeakChecked {};

TEST_F(Health, LiveAndServingAreDifferentQuestions) {
  Pool pool(options_for("slow_start", 2));
  PoolHealth health = pool.health();
  EXPECT_TRUE(health.live);
  EXPECT_FALSE(health.serving);
  EXPECT_TRUE(health.degraded);
  ASSERT_EQ(health.reasons.size(), 1u);
  EXPECT_THAT(health.reasons[0], HasSubstr("0 of 2 workers are up"));
  pool.wait_ready();
  health = pool.health();
  EXPECT_TRUE(health.live && health.serving);
  EXPECT_FALSE(health.degraded) << to_json_value(health).dump();
  ASSERT_EQ(health.workers.size(), 2u);
  for (const WorkerHealth& worker : health.workers) {
    EXPECT_TRUE(worker.live && worker.serving);
    EXPECT_GT(worker.pid, 0);
    EXPECT_EQ(worker.reason, "");
    EXPECT_FALSE(worker.last_check);
  }
  pool.shutdown();
  health = pool.health();
  EXPECT_FALSE(health.live || health.serving);
  EXPECT_THAT(health.workers, IsEmpty());
}

TEST_F(Health, ALazyPoolServesBeforeItHasAWorker) {
  auto options = options_for("plain", 2);
  options.lazy = true;
  Pool pool(std::move(options));
  EXPECT_TRUE(pool.health().serving);
  EXPECT_FALSE(pool.health().degraded);
}

TEST_F(Health, APoolWhoseModuleDoesNotImportSaysSo) {
  Pool pool(options_for("broken_import", 1));
  ASSERT_TRUE(eventually([&] { return pool.stats().count(SlotState::kFailed) == 1; }));
  const PoolHealth health = pool.health();
  EXPECT_TRUE(health.live);
  EXPECT_FALSE(health.serving);
  ASSERT_FALSE(health.reasons.empty());
  EXPECT_THAT(health.reasons[0], HasSubstr("ModuleNotFoundError"));
}

TEST_F(Health, IdleWorkersAreAskedNowAndThen) {
  auto options = options_for("plain", 2);
  options.health_interval = 50ms;
  options.health_timeout = 20s;  // a machine that is busy makes nobody unwell
  Pool pool(std::move(options));
  pool.wait_ready();
  const auto both_checked = [&] {
    const PoolHealth health = pool.health();
    return health.workers.size() == 2 && health.workers[0].last_check && health.workers[1].last_check;
  };
  EXPECT_TRUE(eventually(both_checked));
  for (int i = 0; i < 200; ++i) EXPECT_EQ(pool.call<int>("add", i, 1), i + 1);  // in between
  for (const WorkerStats& worker : pool.stats().workers) EXPECT_EQ(worker.generation, 1u);
}

TEST_F(Health, ACheckCanBeAskedFor) {
  auto options = options_for("plain", 1);
  options.health_interval = kForever;
  Pool pool(std::move(options));
  pool.wait_ready();
  EXPECT_FALSE(pool.health().workers.at(0).last_check);
  pool.check();
  EXPECT_TRUE(eventually([&] { return pool.health().workers.at(0).last_check.has_value(); }));
  pool.wait_ready(1);
  EXPECT_EQ(pool.call<int>("add", 1, 1), 2);
}

TEST_F(Health, AWorkerThatSaysItIsUnwellIsDegradedThenReplaced) {
  auto options = options_for("unwell", 1);
  options.health_interval = kForever;  // asked by the test, step by step
  Pool pool(std::move(options));
  pool.wait_ready();
  const int first = pool.call<int>("pid");
  const auto check = [&](unsigned failed) {
    pool.check();
    return eventually([&] {
      const PoolHealth health = pool.health();
      return !health.workers.empty() && health.workers[0].failed_checks == failed &&
             health.workers[0].serving;
    });
  };
  pool.call("sicken");
  EXPECT_TRUE(check(1));
  EXPECT_TRUE(check(2));
  const PoolHealth health = pool.health();
  EXPECT_TRUE(health.serving && health.degraded);
  ASSERT_EQ(health.reasons.size(), 1u);
  EXPECT_THAT(health.reasons[0],
              HasSubstr("answered its last check with an error: RuntimeError: the model is gone"));
  EXPECT_EQ(pool.call<int>("pid"), first) << "degraded, it still serves";
  pool.call("recover");
  EXPECT_TRUE(check(0)) << "and may recover";
  EXPECT_FALSE(pool.health().degraded);
  pool.call("sicken");
  EXPECT_TRUE(check(1));
  EXPECT_TRUE(check(2));
  pool.check();
  EXPECT_TRUE(eventually([&] { return pool.stats().workers[0].generation == 2; }));
  pool.wait_ready();
  EXPECT_NE(pool.call<int>("pid"), first);
  EXPECT_FALSE(pool.health().degraded);
}

TEST_F(Health, AProgramThatDoesNotKnowTheQuestionIsWell) {
  for (const char* file : {"original.py", "no_ping.py"}) {
    for (const char* stdio : {"socket", "pipe"}) {
      auto options = options_for(script_worker(file), 1);
      options.worker.stdio = stdio;
      options.health_interval = kForever;
      Pool pool(std::move(options));
      pool.wait_ready();
      for (int i = 0; i < 4; ++i) {
        const auto before = SteadyClock::now();
        pool.check();
        ASSERT_TRUE(eventually([&] {
          const auto last = pool.health().workers.at(0).last_check;
          return last && SteadyClock::now() - *last > before;
        })) << file
            << ' ' << stdio;
      }
      EXPECT_EQ(pool.health().workers.at(0).failed_checks, 0u);
      EXPECT_EQ(pool.stats().workers[0].generation, 1u);
    }
  }
}

TEST_F(Health, AStoppedIdleWorkerIsReplacedAndItsReasonIsLogged) {
  auto options = options_for("plain", 1);
  options.health_interval = 50ms;
  options.health_timeout = 200ms;
  const test::Lines lines(options);
  std::atomic<int> missed = 0;
  options.on_event = [&](const PoolEvent& event) {
    if (event.kind == PoolEventKind::kHealth && event.reason == "missed" && event.worker->slot == 0) ++missed;
  };
  Pool pool(std::move(options));
  pool.wait_ready();
  ASSERT_EQ(::kill(pool.stats().workers[0].pid, SIGSTOP), 0);
  EXPECT_TRUE(eventually([&] { return pool.stats().workers[0].generation >= 2; }));
  EXPECT_EQ(pool.call<int>("add", 1, 1), 2);
  EXPECT_TRUE(eventually([&] {
    return lines.contain("did not answer its check within health_timeout = 200 ms") &&
           lines.contain("(unhealthy)") && missed >= 1;
  })) << lines.text();
}

TEST_F(Health, AWorkerThatBabblesWhileItIsIdleIsFoundByItsCheck) {
  auto options = options_for(script_worker("stray_bytes.py"), 1);
  options.health_interval = 50ms;
  options.health_timeout = 20s;
  const test::Lines lines(options);
  Pool pool(std::move(options));
  pool.wait_ready();
  (void)pool.try_call("babble", kwargs{{"n", 1}});
  EXPECT_TRUE(eventually([&] { return pool.stats().workers[0].generation >= 2; }));
  EXPECT_TRUE(eventually([&] { return lines.contain("(protocol)"); })) << lines.text();
}

}  // namespace
}  // namespace lair
