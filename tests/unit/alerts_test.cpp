// When alerts are raised, when they are cleared, and that nobody looks at a pool that is well.
#include "pool/alerts.hpp"

#include <gtest/gtest.h>

#include "support/start.hpp"

namespace lair::pool {
namespace {

using namespace std::chrono_literals;
using test::kStart;

struct AlertsTest : testing::Test {
  Alerts alerts{2};
  Ledger::Troubles sums;

  void begins(AlertKind kind, TimePoint now) { EXPECT_TRUE(alerts.begins(kind, sums, now)); }
};

TEST_F(AlertsTest, APoolThatIsWellIsNeverLookedAt) {
  EXPECT_EQ(alerts.next_look(), TimePoint::max());
  EXPECT_TRUE(alerts.look(sums, kStart).empty());
  EXPECT_EQ(alerts.next_look(), TimePoint::max());
}

TEST_F(AlertsTest, ExhaustionThatLastsIsRaisedOnceAndClearedOnce) {
  begins(AlertKind::kExhausted, kStart);
  EXPECT_EQ(alerts.next_look(), kStart + 10s);
  sums.exhausted = 10s;
  const auto raised = alerts.look(sums, kStart + 10s);
  ASSERT_EQ(raised.size(), 1u);
  EXPECT_EQ(raised[0].kind, AlertKind::kExhausted);
  EXPECT_TRUE(raised[0].raised);
  EXPECT_EQ(raised[0].message, "callers waited and no worker was idle for 10 of the last 10 s");

  sums.exhausted = 20s;
  EXPECT_TRUE(alerts.look(sums, kStart + 20s).empty());
  sums.exhausted = 27s;  // 70 %: neither
  EXPECT_TRUE(alerts.look(sums, kStart + 30s).empty());
  EXPECT_TRUE(alerts.raised(AlertKind::kExhausted));
  sums.exhausted = 31s;
  const auto cleared = alerts.look(sums, kStart + 40s);
  ASSERT_EQ(cleared.size(), 1u);
  EXPECT_FALSE(cleared[0].raised);

  EXPECT_EQ(alerts.next_look(), kStart + 50s) << "there was some trouble";
  EXPECT_TRUE(alerts.look(sums, kStart + 50s).empty());
  EXPECT_EQ(alerts.next_look(), TimePoint::max());
}

TEST_F(AlertsTest, TroubleThatComesAndGoesIsNoAlert) {
  begins(AlertKind::kExhausted, kStart);
  for (int window = 1; window <= 10; ++window) {
    sums.exhausted += 8s;
    EXPECT_TRUE(alerts.look(sums, kStart + window * 10s).empty()) << window;
  }
}

TEST_F(AlertsTest, ALookThatIsNotDueChangesNothing) {
  begins(AlertKind::kExhausted, kStart);
  sums.exhausted = 9s;
  EXPECT_TRUE(alerts.look(sums, kStart + 9s).empty());
  EXPECT_EQ(alerts.next_look(), kStart + 10s);
}

TEST_F(AlertsTest, ALateLookAsksForMore) {
  begins(AlertKind::kExhausted, kStart);
  sums.exhausted = 10s;  // half of the time
  EXPECT_TRUE(alerts.look(sums, kStart + 20s).empty());
}

TEST_F(AlertsTest, TooFewWorkersForLongAreRaised) {
  begins(AlertKind::kBelowSize, kStart);
  sums.below_size = 26s;
  EXPECT_TRUE(alerts.look(sums, kStart + 30s).empty());
  sums.below_size += 30s;
  const auto raised = alerts.look(sums, kStart + 60s);
  ASSERT_EQ(raised.size(), 1u);
  EXPECT_EQ(raised[0].kind, AlertKind::kBelowSize);
}

TEST_F(AlertsTest, AStormIsFiveEndsInAMinuteTheFirstIncluded) {
  sums.bad_exits = 1;  // counted before it is told
  begins(AlertKind::kRestartStorm, kStart);
  sums.bad_exits = 4;
  EXPECT_TRUE(alerts.look(sums, kStart + 60s).empty());
  sums.bad_exits += 5;
  const auto raised = alerts.look(sums, kStart + 120s);
  ASSERT_EQ(raised.size(), 1u);
  EXPECT_EQ(raised[0].message, "5 workers ended unasked in the last 60 s");
  sums.bad_exits += 3;  // more than half
  EXPECT_TRUE(alerts.look(sums, kStart + 180s).empty());
  sums.bad_exits += 2;
  EXPECT_EQ(alerts.look(sums, kStart + 240s).size(), 1u);
  EXPECT_FALSE(alerts.raised(AlertKind::kRestartStorm));
}

TEST_F(AlertsTest, ALargePoolNeedsMoreForAStorm) {
  Alerts large(16);
  sums.bad_exits = 1;
  EXPECT_TRUE(large.begins(AlertKind::kRestartStorm, sums, kStart));
  sums.bad_exits = 31;
  EXPECT_TRUE(large.look(sums, kStart + 60s).empty());
  sums.bad_exits += 32;
  EXPECT_EQ(large.look(sums, kStart + 120s).size(), 1u);
}

TEST_F(AlertsTest, OnlyALookThatComesNearerWakesTheWatcher) {
  begins(AlertKind::kBelowSize, kStart);
  EXPECT_FALSE(alerts.begins(AlertKind::kRestartStorm, sums, kStart));
  EXPECT_TRUE(alerts.begins(AlertKind::kExhausted, sums, kStart));
  EXPECT_FALSE(alerts.begins(AlertKind::kExhausted, sums, kStart + 1s)) << "it is watched already";
  EXPECT_EQ(alerts.next_look(), kStart + 10s);
}

}  // namespace
}  // namespace lair::pool
