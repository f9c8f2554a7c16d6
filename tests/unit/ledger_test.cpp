// What a pool's statistics add up, and the histogram that they add it up in.
#include "pool/ledger.hpp"

#include <gtest/gtest.h>

#include <numeric>
#include <string>

#include "support/start.hpp"

namespace lair::pool {
namespace {

using namespace std::chrono_literals;
using core::Reason;

using test::kStart;

PoolStats filled(const Ledger& ledger, TimePoint now = kStart) {
  PoolStats stats;
  ledger.fill(stats, now);
  return stats;
}

const DurationHistogram& calls(const PoolStats& stats, std::size_t command, CallOutcome outcome) {
  return stats.commands.at(command).calls[static_cast<std::size_t>(outcome)];
}

// --- DurationHistogram --------------------------------------------------------------------------------
TEST(DurationHistogram, CountsADurationInTheFirstBucketThatIsLongEnough) {
  DurationHistogram histogram;
  for (const Duration bound : DurationHistogram::kBounds) histogram.add(bound);
  for (std::size_t i = 0; i < DurationHistogram::kBounds.size(); ++i) EXPECT_EQ(histogram.counts[i], 1u) << i;
  EXPECT_EQ(histogram.counts.back(), 0u);
  histogram.add(DurationHistogram::kBounds[4] + 1ns);
  EXPECT_EQ(histogram.counts[5], 2u);
}

TEST(DurationHistogram, CountsWhatIsTooLongAndWhatIsNegative) {
  DurationHistogram histogram;
  histogram.add(1h);
  histogram.add(-1s);
  EXPECT_EQ(histogram.counts.back(), 1u);
  EXPECT_EQ(histogram.counts.front(), 1u);
  EXPECT_EQ(histogram.count, 2u);
  EXPECT_EQ(histogram.sum, Duration(1h));
}

TEST(DurationHistogram, HasBoundsThatGrow) {
  EXPECT_EQ(DurationHistogram::kBounds.front(), Duration(10us));
  EXPECT_EQ(DurationHistogram::kBounds[1], Duration(25us));
  EXPECT_TRUE(std::is_sorted(DurationHistogram::kBounds.begin(), DurationHistogram::kBounds.end()));
}

TEST(DurationHistogram, AddsAnother) {
  DurationHistogram one;
  DurationHistogram two;
  one.add(1ms);
  two.add(1ms);
  two.add(1h);
  one.add(two);
  EXPECT_EQ(one.count, 3u);
  EXPECT_EQ(one.sum, Duration(1h + 2ms));
  EXPECT_EQ(std::accumulate(one.counts.begin(), one.counts.end(), std::uint64_t{0}), 3u);
}

// --- Ledger -------------------------------------------------------------------------------------------
TEST(Ledger, BooksCallsByCommandAndOutcome) {
  Ledger ledger;
  ledger.call_ended("parse", CallOutcome::kOk, 3ms);
  ledger.call_ended("parse", CallOutcome::kOk, 5ms);
  ledger.call_ended("parse", CallOutcome::kTimeout, 1s);
  ledger.call_ended("count", CallOutcome::kError, 2ms);
  const PoolStats stats = filled(ledger);
  ASSERT_EQ(stats.commands.size(), 2u);
  EXPECT_EQ(stats.commands[0].name, "parse");
  EXPECT_EQ(calls(stats, 0, CallOutcome::kOk).count, 2u);
  EXPECT_EQ(calls(stats, 0, CallOutcome::kOk).sum, Duration(8ms));
  EXPECT_EQ(calls(stats, 0, CallOutcome::kTimeout).count, 1u);
  EXPECT_EQ(calls(stats, 1, CallOutcome::kError).count, 1u);
  EXPECT_EQ(calls(stats, 1, CallOutcome::kOk).count, 0u);
}

TEST(Ledger, PutsAllCommandsBeyondTheCapTogether) {
  Ledger ledger;
  for (int i = 0; i < 500; ++i) ledger.call_ended("c" + std::to_string(i), CallOutcome::kOk, 1ms);
  ledger.call_ended("c7", CallOutcome::kOk, 1ms);
  const PoolStats stats = filled(ledger);
  ASSERT_EQ(stats.commands.size(), Ledger::kMostCommands + 1);
  EXPECT_EQ(calls(stats, 7, CallOutcome::kOk).count, 2u);
  EXPECT_EQ(stats.commands.back().name, "other");
  EXPECT_EQ(calls(stats, Ledger::kMostCommands, CallOutcome::kOk).count, 300u);
}

TEST(Ledger, LetsACommandBeCalledOther) {
  Ledger ledger;
  ledger.call_ended("other", CallOutcome::kOk, 1ms);
  for (int i = 0; i < 500; ++i) ledger.call_ended("c" + std::to_string(i), CallOutcome::kOk, 1ms);
  const PoolStats stats = filled(ledger);
  ASSERT_EQ(stats.commands.size(), Ledger::kMostCommands);
  EXPECT_EQ(calls(stats, 0, CallOutcome::kOk).count, 302u);
}

TEST(Ledger, NamesEveryReasonFromTheBeginning) {
  const PoolStats stats = filled(Ledger());
  EXPECT_EQ(stats.exits.size(), static_cast<std::size_t>(Reason::kShutdown));
  EXPECT_EQ(stats.exits.at("crash"), 0u);
  EXPECT_EQ(stats.exits.count("none"), 0u);
  EXPECT_EQ(stats.rejected.size(), kRejections);
  EXPECT_EQ(stats.rejected.at("queue_full"), 0u);
}

TEST(Ledger, BooksExitsRejectionsWaitsAndStarts) {
  Ledger ledger;
  ledger.worker_ended(Reason::kCrash);
  ledger.worker_ended(Reason::kCrash);
  ledger.rejected(Rejection::kDeadline);
  ledger.rejected(rejection_of(core::RefuseReason::kExpired));
  ledger.rejected(rejection_of(core::RefuseReason::kQueueFull));
  ledger.got_worker(2ms);
  ledger.worker_ready(70ms);
  const PoolStats stats = filled(ledger);
  EXPECT_EQ(stats.exits.at("crash"), 2u);
  EXPECT_EQ(stats.rejected.at("deadline"), 2u);
  EXPECT_EQ(stats.rejected.at("queue_full"), 1u);
  EXPECT_EQ(stats.checkout_wait.sum, Duration(2ms));
  EXPECT_EQ(stats.worker_start.sum, Duration(70ms));
}

TEST(Ledger, AddsUpTimeByHowThePoolStood) {
  Ledger ledger;
  ledger.stands({.busy = 2, .exhausted = true}, kStart);
  ledger.stands({.busy = 1, .short_of_workers = true}, kStart + 10s);
  const PoolStats stats = filled(ledger, kStart + 15s);
  EXPECT_EQ(stats.busy_time, Duration(25s));
  EXPECT_EQ(stats.exhausted_time, Duration(10s));
  EXPECT_EQ(stats.below_size_time, Duration(5s));
  EXPECT_EQ(filled(ledger, kStart + 16s).busy_time, Duration(26s)) << "looking changes nothing";
}

TEST(Ledger, IsNotConfusedByAClockThatIsReadInAnotherOrder) {
  Ledger ledger;
  ledger.stands({.busy = 1}, kStart + 10s);
  ledger.stands({.busy = 3}, kStart + 9s);  // read before the lock was taken
  EXPECT_EQ(filled(ledger, kStart + 9s).busy_time, Duration::zero());
  EXPECT_EQ(filled(ledger, kStart + 11s).busy_time, Duration(3s));
}

}  // namespace
}  // namespace lair::pool
