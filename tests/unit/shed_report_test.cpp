// Which refusals are told as overload, when, and that none is told twice or lost.
#include "pool/shed_report.hpp"

#include <gtest/gtest.h>

#include "support/start.hpp"

namespace lair::pool {
namespace {

using namespace std::chrono_literals;
using test::kStart;

TEST(ShedReport, TellsTheFirstAtOnceAndTheOthersASecondLater) {
  ShedReport report;
  EXPECT_EQ(report.next_look(), TimePoint::max());
  EXPECT_TRUE(report.refused(Rejection::kQueueFull, kStart)) << "the supervisor is woken";
  EXPECT_EQ(report.next_look(), kStart);
  auto told = report.take(kStart + 1ms);
  ASSERT_TRUE(told);
  EXPECT_EQ(told->count, 1u);
  EXPECT_EQ(told->message, "is overloaded: 1 caller was refused (queue_full 1)");
  EXPECT_EQ(report.next_look(), TimePoint::max());

  EXPECT_TRUE(report.refused(Rejection::kShed, kStart + 2ms));
  EXPECT_EQ(report.next_look(), kStart + 1001ms);
  for (int i = 0; i < 9; ++i) EXPECT_FALSE(report.refused(Rejection::kQueueFull, kStart + 3ms)) << "once";
  EXPECT_FALSE(report.take(kStart + 1000ms));
  told = report.take(kStart + 1001ms);
  ASSERT_TRUE(told);
  EXPECT_EQ(told->count, 10u);
  EXPECT_EQ(told->most, Rejection::kQueueFull);
  EXPECT_EQ(told->message, "is overloaded: 10 callers were refused (queue_full 9, shed 1)");
  EXPECT_FALSE(report.take(kStart + 1h)) << "each is told once";
}

TEST(ShedReport, TellsTheRestWhenThePoolEnds) {
  ShedReport report;
  EXPECT_FALSE(report.take(kStart, true));
  (void)report.refused(Rejection::kShed, kStart);
  (void)report.take(kStart);
  (void)report.refused(Rejection::kCheckoutTimeout, kStart);
  EXPECT_FALSE(report.take(kStart));
  const auto told = report.take(kStart, true);
  ASSERT_TRUE(told);
  EXPECT_EQ(told->most, Rejection::kCheckoutTimeout);
}

TEST(ShedReport, IsSilentOnOtherRefusals) {
  ShedReport report;
  for (const Rejection why : {Rejection::kShuttingDown, Rejection::kNoWorkers, Rejection::kWorkerGone,
                              Rejection::kDeadline, Rejection::kBreakerOpen, Rejection::kDraining}) {
    EXPECT_FALSE(report.refused(why, kStart));
  }
  EXPECT_EQ(report.next_look(), TimePoint::max());
}

}  // namespace
}  // namespace lair::pool
