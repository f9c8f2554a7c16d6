// How long many things took, as counts in fixed buckets that get wider with the duration (1, 2.5, 5 of each power of
// ten): the form that monitoring systems take, and 200 bytes. All histograms have the same buckets, so that those of
// several pools, or of two moments, can be added and subtracted.
//
// Thread-safety: a value.
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <lair/deadline.hpp>

namespace lair {

struct DurationHistogram {
  // The longest duration that each bucket counts, itself included. One more bucket counts what is longer.
  static constexpr std::array<Duration, 22> kBounds = [] {
    std::array<Duration, 22> bounds{};
    std::int64_t power = 10'000;  // 10 µs, in nanoseconds
    for (std::size_t i = 0; i < bounds.size(); i += 3, power *= 10) {
      bounds[i] = Duration(power);
      if (i + 1 < bounds.size()) bounds[i + 1] = Duration(power * 5 / 2);
      if (i + 2 < bounds.size()) bounds[i + 2] = Duration(power * 5);
    }
    return bounds;
  }();

  std::array<std::uint64_t, kBounds.size() + 1> counts{};  // by bucket, not cumulated
  std::uint64_t count = 0;                                 // their sum
  Duration sum{};                                          // of all durations

  // Negative durations count as zero. Five comparisons; never allocates.
  void add(Duration duration, std::uint64_t times = 1) noexcept {
    duration = std::max(duration, Duration::zero());
    const auto bucket = std::lower_bound(kBounds.begin(), kBounds.end(), duration) - kBounds.begin();
    counts[static_cast<std::size_t>(bucket)] += times;
    count += times;
    sum += duration * static_cast<std::int64_t>(times);
  }
  void add(const DurationHistogram& other) noexcept {
    for (std::size_t i = 0; i < counts.size(); ++i) counts[i] += other.counts[i];
    count += other.count;
    sum += other.sum;
  }
};
static_assert(DurationHistogram::kBounds.back() == std::chrono::seconds(100));

}  // namespace lair
