// Checks of idle workers: when, what an answer means, what silence means, and that nobody is kept waiting by them.
#include <gtest/gtest.h>

#include "support/core_driver.hpp"

namespace lair::test {
namespace {

TEST(CoreHealth, AnIdleWorkerIsCheckedWhenItHasRestedForTheInterval) {
  CoreDriver driver = ready_pool({.size = 1, .health_interval = 32s});
  driver.advance(31s);
  EXPECT_EQ(driver.count<Check>(), 0u);
  driver.advance(1s);
  ASSERT_EQ(driver.count<Check>(), 1u);
  EXPECT_EQ(driver.state(0), SlotState::kChecking);
  EXPECT_EQ(driver.core.ready_count(), 1u) << "it is as ready as before";
  driver.step(CheckPassed{driver.worker(0)});
  EXPECT_EQ(driver.state(0), SlotState::kIdle);
  driver.clear();
  driver.advance(32s);
  EXPECT_EQ(driver.count<Check>(), 1u) << "and again";
  EXPECT_EQ(driver.count<Moved>(), 0u) << "a check that is passed is no news";
}

TEST(CoreHealth, WorkersThatCameUpTogetherAreNotCheckedTogether) {
  CoreDriver driver = ready_pool({.size = 16, .max_starting = 16, .health_interval = 160s});
  std::vector<TimePoint> times;
  while (times.size() < 16 && driver.now < TimePoint{} + 3000s) {
    driver.advance(100ms);
    for (const Check& check : driver.take<Check>()) {
      times.push_back(driver.now);
      driver.step(CheckPassed{check.worker});
    }
  }
  ASSERT_EQ(times.size(), 16u);
  for (std::size_t i = 1; i < times.size(); ++i) EXPECT_GE(times[i] - times[i - 1], 900ms);
  EXPECT_LE(times.back() - times.front(), 16s) << "a tenth of the interval";
}

TEST(CoreHealth, AWorkerThatServesIsNotChecked) {
  CoreDriver driver = ready_pool({.size = 1, .health_interval = 10s, .health_timeout = 2s});
  for (core::Token token = 1; token < 10; ++token) {
    const auto grant = driver.checkout(token);
    driver.advance(15s);  // a long call
    driver.step(Checkin{.worker = grant->worker, .epoch = grant->epoch, .completed = 1});
    driver.advance(9s);
  }
  EXPECT_EQ(driver.count<Check>(), 0u);
  driver.advance(1s);
  EXPECT_EQ(driver.count<Check>(), 1u);
}

TEST(CoreHealth, OneMissedCheckEndsAWorkerAndItIsReplacedAtOnce) {
  CoreDriver driver = ready_pool({.size = 1, .health_interval = 10s, .health_timeout = 2s});
  driver.advance(10s);
  driver.advance(1999ms);
  EXPECT_EQ(driver.state(0), SlotState::kChecking);
  driver.advance(1ms);
  const auto kills = driver.take<Kill>();
  ASSERT_EQ(kills.size(), 1u);
  EXPECT_EQ(kills[0].reason, Reason::kUnhealthy);
  EXPECT_EQ(driver.step(CheckPassed{driver.worker(0)}), Outcome::kStale) << "too late";
  driver.clear();
  driver.step(Exited{driver.worker(0)});
  EXPECT_EQ(driver.count<Spawn>(), 1u) << "not a failed start: no backoff";
}

TEST(CoreHealth, AnErrorDegradesAndTheThirdInARowReplacesGently) {
  CoreDriver driver = ready_pool({.size = 1, .health_interval = 10s, .health_timeout = 2s});
  const auto answer = [&](bool well) {
    driver.advance(10s);
    EXPECT_EQ(driver.state(0), SlotState::kChecking);
    if (well) {
      driver.step(CheckPassed{driver.worker(0)});
    } else {
      driver.step(CheckFailed{driver.worker(0)});
    }
  };
  answer(false);
  EXPECT_EQ(driver.core.slot(0).failed_checks, 1u);
  EXPECT_TRUE(driver.checkout(1)) << "degraded, and serving";
  driver.step(Checkin{.worker = driver.worker(0), .epoch = 1, .completed = 1});
  answer(false);
  answer(true);
  EXPECT_EQ(driver.core.slot(0).failed_checks, 0u) << "in a row";
  answer(false);
  answer(false);
  EXPECT_EQ(driver.state(0), SlotState::kIdle);
  answer(false);
  EXPECT_EQ(driver.state(0), SlotState::kStopping);
  const auto stops = driver.take<Stop>();
  ASSERT_EQ(stops.size(), 1u);
  EXPECT_EQ(stops[0].reason, Reason::kUnhealthy);
}

TEST(CoreHealth, ACallerThatComesDuringACheckIsServedAfterIt) {
  CoreDriver driver = ready_pool({.size = 1, .health_interval = 10s, .health_timeout = 2s});
  driver.advance(10s);
  EXPECT_FALSE(driver.checkout(1));
  driver.step(CheckPassed{driver.worker(0)});
  driver.step(Claim{1});
  EXPECT_EQ(driver.state(0), SlotState::kBusy);
}

TEST(CoreHealth, ALazyPoolStartsNobodyForACallerThatACheckKeepsWaiting) {
  CoreDriver driver({.size = 2, .lazy = true, .health_interval = 10s, .health_timeout = 2s});
  driver.checkout(1);
  driver.make_ready(driver.worker(0));
  driver.step(Claim{1});
  driver.step(Checkin{.worker = driver.worker(0), .epoch = 1, .completed = 1});
  driver.clear();
  driver.step(BeginCheck{driver.worker(0)});
  driver.checkout(2);
  EXPECT_EQ(driver.count<Spawn>(), 0u);
}

TEST(CoreHealth, ChecksKeepNoOverflowWorkerFromRetiring) {
  CoreDriver driver = ready_pool({.size = 1, .overflow = 1, .overflow_after = 0s, .health_interval = 10s});
  driver.checkout(1);
  driver.checkout(2);
  driver.step(Tick{});
  driver.make_ready(driver.worker(1));
  driver.step(Claim{2});
  driver.step(Checkin{.worker = driver.worker(1), .epoch = 2, .completed = 1});
  for (int i = 0; i < 7; ++i) {
    driver.advance(10s);
    for (const Check& check : driver.take<Check>()) driver.step(CheckPassed{check.worker});
  }
  EXPECT_EQ(driver.state(1), SlotState::kStopping);
}

TEST(CoreHealth, AShutdownDoesNotWaitForAnswers) {
  CoreDriver driver = ready_pool({.size = 2, .health_interval = 32s, .health_timeout = 2s});
  driver.step(BeginCheck{driver.worker(0)});
  driver.step(Shutdown{driver.now});
  EXPECT_EQ(driver.state(0), SlotState::kStopping);
  EXPECT_EQ(driver.step(CheckFailed{driver.worker(0)}), Outcome::kStale);
}

TEST(CoreHealth, WithoutAnIntervalNobodyIsChecked) {
  CoreDriver driver = ready_pool({.size = 2});
  EXPECT_EQ(driver.core.next_timer(driver.now), TimePoint::max());
}

}  // namespace
}  // namespace lair::test
