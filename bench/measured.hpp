// Times, medians, and threads that call.
//
// Thread-safety: one thread, but for what on_threads() runs.
#pragma once

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstddef>
#include <functional>
#include <latch>
#include <limits>
#include <thread>
#include <vector>

namespace bench {

using Clock = std::chrono::steady_clock;

inline double seconds_since(Clock::time_point began) {
  return std::chrono::duration<double>(Clock::now() - began).count();
}

inline double seconds_of(const std::function<void()>& work) {
  const auto began = Clock::now();
  work();
  return seconds_since(began);
}

inline double quantile(std::vector<double> values, double fraction) {
  const auto at = static_cast<std::ptrdiff_t>(fraction * static_cast<double>(values.size() - 1) + 0.5);
  std::nth_element(values.begin(), values.begin() + at, values.end());
  return values[static_cast<std::size_t>(at)];
}

inline double median(const std::vector<double>& values) {
  const double upper = quantile(values, 0.5);  // of two in the middle
  if (values.size() % 2 == 1) return upper;
  double lower = -std::numeric_limits<double>::infinity();
  std::size_t below = 0;
  for (const double value : values) {
    if (value >= upper) continue;
    ++below;
    lower = std::max(lower, value);
  }
  return below == values.size() / 2 ? (lower + upper) / 2 : upper;  // fewer below: the lower one is its equal
}

struct Measured {
  double seconds = 0;
  std::vector<double> latencies = {};  // seconds, one for each piece of work
  double per_second() const { return static_cast<double>(latencies.size()) / seconds; }
};

// Runs `work(thread, i)` for i in [0, count), shared out among `threads` as they come. The clock starts when all
// threads are there.
inline Measured on_threads(std::size_t threads, std::size_t count,
                           const std::function<void(std::size_t, std::size_t)>& work) {
  std::atomic<std::size_t> next = 0;
  std::vector<std::vector<double>> latencies(threads);
  std::latch ready(static_cast<std::ptrdiff_t>(threads) + 1);
  std::vector<std::jthread> callers;
  for (std::size_t t = 0; t < threads; ++t) {
    latencies[t].reserve(count);
    callers.emplace_back([&, t] {
      ready.arrive_and_wait();
      for (std::size_t i = next++; i < count; i = next++) {
        latencies[t].push_back(seconds_of([&] { work(t, i); }));
      }
    });
  }
  ready.arrive_and_wait();
  Measured measured;
  measured.seconds = seconds_of([&] { callers.clear(); });  // joins them
  for (const auto& each : latencies)
    measured.latencies.insert(measured.latencies.end(), each.begin(), each.end());
  return measured;
}

}  // namespace bench
