// base::Histogram: what its buckets promise, over its whole range.
#include "base/histogram.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <random>
#include <thread>
#include <vector>

namespace lair::base {
namespace {

using namespace std::chrono_literals;

TEST(Histogram, IsExactBelow256Nanoseconds) {
  for (const int n : {0, 1, 127, 128, 255}) {
    Histogram histogram;
    histogram.add(Duration(n));
    histogram.add(1s);
    EXPECT_EQ(histogram.quantile(0.5), Duration(n));
  }
}

TEST(Histogram, QuantilesAreNeverTooLowAndAtMostOnePart128TooHigh) {
  std::mt19937_64 random(7);
  std::uniform_real_distribution<double> exponent(0, 41.9);
  Histogram histogram;
  std::vector<std::int64_t> all;
  for (int i = 0; i < 20'000; ++i) {
    all.push_back(static_cast<std::int64_t>(std::exp2(exponent(random))));
    histogram.add(Duration(all.back()));
  }
  std::sort(all.begin(), all.end());
  for (const double fraction : {0.0, 0.001, 0.1, 0.5, 0.9, 0.99, 0.999, 1.0}) {
    const double rank = std::max(1.0, std::ceil(fraction * static_cast<double>(all.size())));
    const auto exact = static_cast<double>(all[static_cast<std::size_t>(rank) - 1]);
    const auto found = static_cast<double>(histogram.quantile(fraction).count());
    EXPECT_GE(found, exact) << fraction;
    EXPECT_LE(found, exact * (1 + 1.0 / 128)) << fraction;
  }
  EXPECT_EQ(histogram.count(), all.size());
  EXPECT_EQ(histogram.max().count(), all.back());
  EXPECT_EQ(histogram.quantile(1), histogram.max());
}

TEST(Histogram, EveryDurationHasABucketThatHoldsIt) {
  for (int power = 0; power < 42; ++power) {
    for (const std::int64_t off : {-1, 0, 1}) {
      const std::int64_t n = (std::int64_t{1} << power) + off;
      Histogram histogram;
      histogram.add(Duration(n));
      histogram.add(Histogram::kLongest);
      EXPECT_GE(histogram.quantile(0.5).count(), n);
      EXPECT_LE(histogram.quantile(0.5).count(), n + n / 128);
    }
  }
}

TEST(Histogram, KeepsWhatIsOutOfRangeAtItsEnds) {
  Histogram histogram;
  histogram.add(-5ns);
  histogram.add(kForever);
  EXPECT_EQ(histogram.count(), 2U);
  EXPECT_EQ(histogram.quantile(0.5), Duration::zero());
  EXPECT_EQ(histogram.max(), Histogram::kLongest);
}

TEST(Histogram, IsZeroWhenEmpty) {
  const Histogram histogram;
  EXPECT_EQ(histogram.count(), 0U);
  EXPECT_EQ(histogram.quantile(0.99), Duration::zero());
  EXPECT_EQ(histogram.max(), Duration::zero());
}

TEST(Histogram, LosesNothingThatManyThreadsAdd) {
  Histogram histogram;
  {
    std::vector<std::jthread> threads;
    for (int t = 0; t < 4; ++t) {
      threads.emplace_back([&histogram, t] {
        for (int i = 0; i < 10'000; ++i) histogram.add(Duration(1000 * t + i % 100));
      });
    }
  }
  EXPECT_EQ(histogram.count(), 40'000U);
  EXPECT_EQ(histogram.max(), Duration(3099));
}

}  // namespace
}  // namespace lair::base
