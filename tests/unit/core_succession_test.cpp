// Planned ends: the heir is ready before its predecessor goes, one at a time; reload, recycle, resize, pause, drain, shedding.
#include <gtest/gtest.h>

#include <algorithm>

#include "support/core_driver.hpp"

namespace lair::test {
namespace {

class Succession : public testing::Test {
 protected:
  CoreDriver ready_pool(const CoreConfig& config) {
    CoreDriver driver(config);
    driver.make_all_ready();
    driver.clear();
    return driver;
  }
  static WorkerRef heir(const CoreDriver& driver) { return driver.core.surge().value().worker; }
  static void serve_once(CoreDriver& driver, Token token) {
    ASSERT_TRUE(driver.checkout(token));
    driver.checkin(token);
  }
  static void bury(CoreDriver& driver, WorkerRef worker) {
    EXPECT_EQ(driver.step(Exited{worker}), Outcome::kDone);
  }
};

TEST_F(Succession, TheHeirIsReadyBeforeTheOldWorkerGoes) {
  CoreDriver driver = ready_pool({.size = 2});
  const WorkerRef old = driver.worker(1);
  driver.step(Retire{old, Reason::kMaxMemory});
  ASSERT_EQ(driver.count<Spawn>(), 1u);
  EXPECT_EQ(heir(driver), (WorkerRef{1, 2}));
  EXPECT_EQ(driver.core.ready_count(), 2u);
  EXPECT_EQ(driver.count<Stop>(), 0u);
  EXPECT_EQ(driver.worker(1), old) << "the slot is still the old worker's";
  driver.make_ready(heir(driver));
  EXPECT_EQ(driver.core.ready_count(), 2u);
  EXPECT_EQ(driver.worker(1), (WorkerRef{1, 2}));
  const auto stops = driver.take<Stop>();
  ASSERT_EQ(stops.size(), 1u);
  EXPECT_EQ(stops[0].worker, old);
  EXPECT_EQ(stops[0].reason, Reason::kMaxMemory);
  EXPECT_EQ(heir(driver), old) << "it is the surge until it has gone";
  bury(driver, old);
  EXPECT_FALSE(driver.core.surge());
  EXPECT_EQ(driver.core.count(SlotState::kIdle), 2u);
}

TEST_F(Succession, ABusyWorkerLeavesWhenItComesBack) {
  CoreDriver driver = ready_pool({.size = 1});
  const auto grant = driver.checkout(1);
  driver.step(Retire{grant->worker, Reason::kRecycled});
  driver.make_ready(heir(driver));
  EXPECT_EQ(driver.count<Stop>(), 0u) << "its call goes on";
  const auto next = driver.checkout(2);
  ASSERT_TRUE(next);
  EXPECT_EQ(next->worker.generation, 2u);
  driver.checkin(*grant);
  EXPECT_EQ(driver.count<Stop>(), 1u);
}

TEST_F(Succession, OneAtATimeTheLongestIdleFirst) {
  CoreDriver driver = ready_pool({.size = 3});
  serve_once(driver, 1);  // by the one on top of the stack
  for (std::uint32_t slot = 0; slot < 3; ++slot) driver.step(Retire{driver.worker(slot), Reason::kRecycled});
  EXPECT_EQ(driver.count<Spawn>(), 1u);
  std::vector<std::uint32_t> order;
  for (int i = 0; i < 3; ++i) {
    const WorkerRef next = heir(driver);
    order.push_back(next.slot);
    driver.make_ready(next);
    EXPECT_EQ(driver.count<Spawn>(), 1u + static_cast<unsigned>(i)) << "its predecessor is still there";
    bury(driver, heir(driver));
  }
  EXPECT_EQ(driver.count<Spawn>(), 3u);
  std::sort(order.begin(), order.end());
  EXPECT_EQ(order, (std::vector<std::uint32_t>{0, 1, 2}));
}

TEST_F(Succession, AnHeirThatDoesNotStartChangesNothingAndIsTriedAgainLater) {
  CoreDriver driver = ready_pool({.size = 1});
  driver.step(Retire{driver.worker(0), Reason::kMaxMemory});
  driver.step(StartFailed{.worker = heir(driver)});
  bury(driver, heir(driver));
  EXPECT_EQ(driver.state(0), SlotState::kIdle);
  const auto news = driver.take<Succeeded>();
  ASSERT_EQ(news.size(), 1u);
  EXPECT_FALSE(news[0].replaced);
  EXPECT_EQ(driver.count<Spawn>(), 1u);
  driver.advance(150ms);
  EXPECT_EQ(driver.count<Spawn>(), 2u) << "after a moment, again";
  EXPECT_FALSE(driver.core.failed());
}

TEST_F(Succession, AnHeirTakesTheSlotOfAPredecessorThatDies) {
  CoreDriver driver = ready_pool({.size = 1});
  const WorkerRef old = driver.worker(0);
  driver.step(Retire{old, Reason::kRecycled});
  const WorkerRef next = heir(driver);
  bury(driver, old);
  EXPECT_FALSE(driver.core.surge());
  EXPECT_EQ(driver.worker(0), next);
  EXPECT_EQ(driver.state(0), SlotState::kStarting);
  driver.make_ready(next);
  EXPECT_EQ(driver.count<Spawn>(), 1u);
}

TEST_F(Succession, AfterItsCallsAWorkerIsReplaced) {
  CoreDriver driver = ready_pool({.size = 1, .max_calls = 100});
  Token token = 0;
  while (driver.count<Spawn>() == 0 && token < 200) serve_once(driver, ++token);
  EXPECT_GE(token, 90u);
  EXPECT_LE(token, 110u);
  driver.make_ready(heir(driver));
  EXPECT_EQ(driver.take<Stop>().at(0).reason, Reason::kMaxCalls);
}

TEST_F(Succession, AtItsAgeAWorkerIsReplacedButNotAllAtOnce) {
  CoreDriver driver = ready_pool({.size = 4, .max_age = 100s});
  std::vector<TimePoint> times;
  const TimePoint began = driver.now;
  while (times.size() < 4 && driver.now < began + 200s) {
    driver.advance(50ms);
    if (driver.take<Spawn>().empty()) continue;
    times.push_back(driver.now);
    driver.make_ready(heir(driver));
    bury(driver, heir(driver));
  }
  ASSERT_EQ(times.size(), 4u);
  EXPECT_GE(times.front() - began, 90s);
  EXPECT_LE(times.back() - began, 101s);
  EXPECT_GT(times.back() - times.front(), 500ms);
}

TEST_F(Succession, ALazyPoolsWorkersEndWhenNobodyUsesThem) {
  CoreDriver driver({.size = 2, .lazy = true, .idle_ttl = 60s});
  driver.checkout(1);
  driver.make_all_ready();
  driver.claim(1);
  driver.checkin(1);
  driver.clear();
  driver.advance(59s);
  EXPECT_EQ(driver.count<Stop>(), 0u);
  driver.advance(1s);
  EXPECT_EQ(driver.take<Stop>().at(0).reason, Reason::kIdle);
  bury(driver, driver.worker(0));
  driver.advance(1h);
  EXPECT_EQ(driver.count<Spawn>(), 0u);
}

TEST_F(Succession, AnOverflowWorkerNeedsNoHeir) {
  CoreDriver driver = ready_pool({.size = 1, .overflow = 1});
  driver.checkout(1);
  driver.checkout(2);
  driver.advance(1s);
  driver.make_all_ready();
  driver.clear();
  driver.step(Retire{driver.worker(1), Reason::kMaxMemory});
  EXPECT_EQ(driver.count<Spawn>(), 0u);
}

// --- Reload ------------------------------------------------------------------------------------------

TEST_F(Succession, AReloadReplacesEveryWorkerAndThenIsComplete) {
  CoreDriver driver = ready_pool({.size = 3});
  driver.step(Reload{});
  for (int i = 0; i < 3; ++i) {
    EXPECT_TRUE(driver.core.reloading());
    EXPECT_EQ(driver.core.ready_count(), 3u);
    driver.make_ready(heir(driver));
    EXPECT_EQ(driver.core.ready_count(), 3u);
    bury(driver, heir(driver));
  }
  const auto news = driver.take<Reloaded>();
  ASSERT_EQ(news.size(), 1u);
  EXPECT_TRUE(news[0].complete);
  EXPECT_EQ(news[0].revision, 2u);
  for (std::uint32_t slot = 0; slot < 3; ++slot) EXPECT_EQ(driver.core.slot(slot).revision, 2u);
}

TEST_F(Succession, TheFirstFailureEndsAReloadAndSuspendsPlannedReplacements) {
  CoreDriver driver = ready_pool({.size = 3, .max_calls = 10});
  driver.step(Reload{});
  driver.step(StartFailed{.worker = heir(driver), .permanent = true});
  bury(driver, heir(driver));
  EXPECT_FALSE(driver.core.reloading());
  EXPECT_TRUE(driver.core.code_fails());
  EXPECT_FALSE(driver.core.failed()) << "the old workers serve";
  EXPECT_FALSE(driver.take<Reloaded>().at(0).complete);
  driver.clear();
  for (Token token = 1; token < 50; ++token) serve_once(driver, token);
  driver.advance(10min);
  EXPECT_EQ(driver.count<Spawn>(), 0u) << "an heir would import what has failed";
  driver.step(Reload{});
  for (int i = 0; i < 3; ++i) {
    driver.make_ready(heir(driver));
    bury(driver, heir(driver));
  }
  EXPECT_FALSE(driver.core.code_fails());
  EXPECT_TRUE(driver.take<Reloaded>().at(0).complete);
}

TEST_F(Succession, AReloadWakesAPoolThatHasFailedForGood) {
  CoreDriver driver({.size = 2});
  while (!driver.starting().empty()) {
    const WorkerRef ref = driver.starting().front();
    driver.step(StartFailed{.worker = ref, .permanent = true, .has_process = false});
  }
  EXPECT_TRUE(driver.core.failed());
  driver.clear();
  driver.step(Reload{});
  EXPECT_FALSE(driver.core.failed());
  EXPECT_EQ(driver.count<Spawn>(), 2u);
  driver.make_all_ready();
  EXPECT_TRUE(driver.take<Reloaded>().at(0).complete);
}

TEST_F(Succession, AStartWithTheOldCodeThatFailsOnlyNowSaysNothingOfTheNew) {
  CoreDriver driver({.size = 2});
  const auto starts = driver.starting();
  driver.step(StartFailed{.worker = starts.at(0), .permanent = true, .has_process = false});
  driver.step(Reload{});
  driver.step(StartFailed{.worker = starts.at(1), .permanent = true, .has_process = false});
  EXPECT_FALSE(driver.core.failed());
  driver.make_all_ready();
  driver.advance(1s);
  driver.make_all_ready();
  EXPECT_TRUE(driver.take<Reloaded>().at(0).complete);
}

TEST_F(Succession, AWorkerThatCrashesDuringAReloadComesBackWithTheNewCode) {
  CoreDriver driver = ready_pool({.size = 2});
  for (Token token = 1; token < 9; ++token) serve_once(driver, token);
  driver.step(Reload{});
  const WorkerRef first = heir(driver);
  const std::uint32_t other = 1 - first.slot;
  bury(driver, driver.worker(other));
  driver.make_all_ready();
  EXPECT_EQ(driver.core.slot(other).revision, 2u);
  driver.make_ready(first);
  bury(driver, heir(driver));
  EXPECT_TRUE(driver.take<Reloaded>().at(0).complete);
}

TEST_F(Succession, ALazyPoolWithoutWorkersIsReloadedAtOnce) {
  CoreDriver driver({.size = 2, .lazy = true});
  driver.step(Reload{});
  EXPECT_TRUE(driver.take<Reloaded>().at(0).complete);
}

// --- Resize ------------------------------------------------------------------------------------------

TEST_F(Succession, AGrowingPoolStartsWhatItLacks) {
  CoreDriver driver = ready_pool({.size = 1});
  driver.step(Resize{3});
  EXPECT_EQ(driver.count<Spawn>(), 2u);
  driver.make_all_ready();
  EXPECT_EQ(driver.core.ready_count(), 3u);
}

TEST_F(Succession, AShrinkingPoolEndsWorkersAsTheyComeFree) {
  CoreDriver driver = ready_pool({.size = 3});
  const auto busy = driver.checkout(1);
  driver.step(Resize{1});
  driver.make_all_ready();
  EXPECT_EQ(driver.core.size(), 1u);
  for (const Stop& stop : driver.take<Stop>()) {
    EXPECT_EQ(stop.reason, Reason::kResize);
    EXPECT_NE(stop.worker, busy->worker);
    bury(driver, stop.worker);
  }
  driver.checkin(1);
  for (const Stop& stop : driver.take<Stop>()) bury(driver, stop.worker);
  EXPECT_EQ(driver.core.ready_count(), 1u);
  EXPECT_EQ(driver.core.count(SlotState::kVacant), 0u) << "a closed slot is none";
  driver.step(Resize{2});
  driver.make_all_ready();
  EXPECT_EQ(driver.core.ready_count(), 2u);
  EXPECT_EQ(driver.core.slots(), 3u) << "it is opened again";
}

// --- Pause, drain ----------------------------------------------------------------------------------------

TEST_F(Succession, APausedPoolLetsCallersWait) {
  CoreDriver driver = ready_pool({.size = 1});
  driver.step(Admit{Admission::kPaused});
  EXPECT_FALSE(driver.checkout(1));
  EXPECT_FALSE(driver.refusal_of(1));
  driver.advance(1s);
  EXPECT_FALSE(driver.grant_of(1));
  driver.step(Admit{Admission::kOpen});
  EXPECT_TRUE(driver.grant_of(1));
}

TEST_F(Succession, ADrainingPoolServesThoseThatWaitAndRefusesOthers) {
  CoreDriver driver = ready_pool({.size = 1});
  driver.checkout(1);
  driver.checkout(2);
  driver.step(Admit{Admission::kDraining});
  driver.checkout(3);
  EXPECT_EQ(driver.refusal_of(3), RefuseReason::kDraining);
  EXPECT_FALSE(driver.core.quiet());
  driver.checkin(1);
  ASSERT_TRUE(driver.grant_of(2) || driver.claim(2));
  driver.checkin(2);
  EXPECT_TRUE(driver.core.quiet());
}

// --- Shedding ---------------------------------------------------------------------------------------------

TEST_F(Succession, AQueueThatStandsStillIsShed) {
  CoreDriver driver = ready_pool({.size = 1, .queue_target = 100ms, .queue_interval = 1s});
  driver.checkout(1);  // and hangs
  for (Token token = 2; token <= 5; ++token) {
    driver.checkout(token);
    driver.advance(10ms);
  }
  driver.advance(1s);
  EXPECT_FALSE(driver.refusal_of(2));
  driver.advance(100ms);
  for (Token token = 2; token <= 5; ++token) EXPECT_EQ(driver.refusal_of(token), RefuseReason::kShed);
  EXPECT_GT(driver.retry_after(2), 0ms);
  driver.checkout(6);
  driver.advance(199ms);
  EXPECT_FALSE(driver.refusal_of(6)) << "nobody before twice the target";
}

TEST_F(Succession, WaitersThatComeAndGoDoNotWakeTheSupervisorEachTime) {
  CoreDriver driver =
      ready_pool({.size = 1, .barging_window = 0ms, .queue_target = 10s, .queue_interval = 10s});
  driver.checkout(1);
  for (Token token = 2; token < 100; ++token) {
    driver.checkout(token);
    driver.checkin(token - 1);
    ASSERT_TRUE(driver.grant_of(token));
  }
  EXPECT_EQ(driver.count<Rearm>(), 1u);
}

TEST_F(Succession, AQueueThatMovesIsNotShed) {
  CoreDriver driver =
      ready_pool({.size = 1, .barging_window = 0ms, .queue_target = 100ms, .queue_interval = 1s});
  driver.checkout(1);
  for (Token token = 2; token < 100; ++token) {
    driver.checkout(token);  // each waits 80 ms
    driver.advance(80ms);
    driver.checkin(token - 1);
    ASSERT_TRUE(driver.grant_of(token));
  }
}

TEST_F(Succession, SheddingSparesThePatientAndThoseThatAStartWillServe) {
  CoreDriver driver = ready_pool({.size = 2, .queue_target = 100ms, .queue_interval = 1s});
  driver.checkout(1);
  driver.checkout(2);
  bury(driver, driver.worker(0));  // another starts
  driver.checkout(3);
  driver.step(Checkout{.token = 4, .patient = true});
  driver.advance(1h);
  EXPECT_FALSE(driver.refusal_of(3)) << "the worker that starts is for it";
  EXPECT_FALSE(driver.refusal_of(4));
  driver.checkout(5, {.deadline = driver.now + 1h});
  driver.advance(10min);
  EXPECT_EQ(driver.refusal_of(5), RefuseReason::kShed);
}

}  // namespace
}  // namespace lair::test
