// How long many things took, in bounded memory: counts in buckets whose width grows with the duration, as in
// HdrHistogram. 128 buckets for each power of two: below 256 ns exact, above it at most 0.8 % too high. A sorted
// list of all durations would be exact, but 100,000 calls a second for an hour are 3 GB of it; this is 37 KB, and
// the tail is as precise as the middle.
//
// Thread-safety: any number of threads may add and look at the same time, without a lock. Who looks meanwhile sees
// each addition wholly or not at all, in no particular order.
#pragma once

#include <algorithm>
#include <array>
#include <atomic>
#include <bit>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <lair/deadline.hpp>

namespace lair::base {

class Histogram {
 public:
  // Longer ones (2^42 ns, 73 minutes) count as this long, negative ones as 0.
  static constexpr Duration kLongest{(std::int64_t{1} << 42) - 1};

  void add(Duration duration) noexcept {
    const Duration kept = std::clamp(duration, Duration::zero(), kLongest);
    counts_[bucket_of(static_cast<std::uint64_t>(kept.count()))].fetch_add(1, std::memory_order_relaxed);
    std::int64_t known = longest_.load(std::memory_order_relaxed);
    while (kept.count() > known &&
           !longest_.compare_exchange_weak(known, kept.count(), std::memory_order_relaxed)) {
    }
  }

  std::uint64_t count() const noexcept {
    std::uint64_t sum = 0;
    for (const auto& each : counts_) sum += each.load(std::memory_order_relaxed);
    return sum;
  }

  // The duration that a fraction (0 to 1) of all did not exceed: the longest of its bucket. Zero if there is none.
  Duration quantile(double fraction) const noexcept {
    const auto rank = static_cast<std::uint64_t>(std::ceil(fraction * static_cast<double>(count())));
    std::uint64_t below = 0;
    for (std::size_t i = 0; i < kBuckets; ++i) {
      below += counts_[i].load(std::memory_order_relaxed);
      if (below > 0 && below >= rank) return std::min(Duration(longest_of(i)), max());
    }
    return max();
  }

  Duration max() const noexcept { return Duration(longest_.load(std::memory_order_relaxed)); }

 private:
  static constexpr int kBits = 7;
  static constexpr std::size_t kPerPower = std::size_t{1} << kBits;
  static constexpr std::size_t kBuckets = (42 - kBits + 1) * kPerPower;

  static std::size_t bucket_of(std::uint64_t nanoseconds) noexcept {
    const int shift = std::max(0, static_cast<int>(std::bit_width(nanoseconds)) - kBits - 1);
    return static_cast<std::size_t>(shift) * kPerPower + static_cast<std::size_t>(nanoseconds >> shift);
  }
  static std::int64_t longest_of(std::size_t bucket) noexcept {
    if (bucket < 2 * kPerPower) return static_cast<std::int64_t>(bucket);
    const std::size_t shift = bucket / kPerPower - 1;
    return static_cast<std::int64_t>(((bucket % kPerPower + kPerPower + 1) << shift) - 1);
  }

  std::array<std::atomic<std::uint64_t>, kBuckets> counts_{};
  std::atomic<std::int64_t> longest_ = 0;
};

}  // namespace lair::base
