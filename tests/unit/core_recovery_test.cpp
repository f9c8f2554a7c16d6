// Workers that are asked to give up a call: who is, who stays, and who must go.
#include <gtest/gtest.h>

#include "support/core_driver.hpp"

namespace lair::test {
namespace {

struct Recovery : testing::Test {
  // A late call's worker, given back.
  Outcome give_back(CoreDriver& driver, Token token = 1, bool may_recover = true) {
    const Grant grant = driver.grant_of(token).value();
    return driver.step(Checkin{.worker = grant.worker,
                               .epoch = grant.epoch,
                               .clean = false,
                               .may_recover = may_recover,
                               .reason = Reason::kTimeout});
  }
};

TEST_F(Recovery, OneThatGivesUpTheCallServesOn) {
  CoreDriver driver = ready_pool({.size = 1});
  ASSERT_TRUE(driver.checkout(1));
  EXPECT_EQ(give_back(driver), Outcome::kDone);
  EXPECT_EQ(driver.count<core::Cancel>(), 1u);
  EXPECT_EQ(driver.count<Kill>(), 0u);
  EXPECT_EQ(driver.state(0), SlotState::kChecking);
  EXPECT_FALSE(driver.checkout(2)) << "it is nobody's meanwhile";
  const WorkerRef worker = driver.worker(0);
  EXPECT_EQ(driver.step(CheckPassed{worker}), Outcome::kDone);
  EXPECT_TRUE(driver.grant_of(2) || (driver.woken(2) && driver.claim(2)));
  driver.advance(10s);
  EXPECT_EQ(driver.worker(0), worker);
  EXPECT_EQ(driver.count<Kill>(), 0u);
}

TEST_F(Recovery, OneThatDoesNotIsKilledWithTheReasonOfItsCall) {
  CoreDriver driver = ready_pool({.size = 1, .cancel_grace = 250ms});
  ASSERT_TRUE(driver.checkout(1));
  give_back(driver);
  driver.advance(249ms);
  EXPECT_EQ(driver.count<Kill>(), 0u);
  driver.advance(1ms);
  const auto kills = driver.take<Kill>();
  ASSERT_EQ(kills.size(), 1u);
  EXPECT_EQ(kills.front().reason, Reason::kTimeout);
}

TEST_F(Recovery, NotAskedAreThoseThatCannotOrNeedNot) {
  CoreDriver without_grace = ready_pool({.size = 1, .cancel_grace = 0ms});
  ASSERT_TRUE(without_grace.checkout(1));
  give_back(without_grace);
  EXPECT_EQ(without_grace.count<Kill>(), 1u);

  CoreDriver cannot = ready_pool({.size = 1});
  ASSERT_TRUE(cannot.checkout(1));
  give_back(cannot, 1, false);
  EXPECT_EQ(cannot.count<Kill>(), 1u);
  EXPECT_EQ(cannot.count<core::Cancel>(), 0u);

  CoreDriver ending = ready_pool({.size = 1});
  ASSERT_TRUE(ending.checkout(1));
  ending.step(Shutdown{ending.now + 10s});
  give_back(ending);
  EXPECT_EQ(ending.count<Kill>(), 1u);
  EXPECT_EQ(ending.count<core::Cancel>(), 0u);
}

TEST_F(Recovery, AWorkerThatDiesOverItIsReplaced) {
  CoreDriver driver = ready_pool({.size = 1});
  ASSERT_TRUE(driver.checkout(1));
  give_back(driver);
  const WorkerRef worker = driver.worker(0);
  driver.step(Condemn{worker, Reason::kCrash});
  driver.step(Exited{worker});
  EXPECT_EQ(driver.step(CheckPassed{worker}), Outcome::kStale) << "too late";
  driver.advance(1s);
  EXPECT_GT(driver.worker(0).generation, worker.generation);
}

}  // namespace
}  // namespace lair::test
