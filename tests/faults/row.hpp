// FaultRow: one row of docs/reliability.md. A fault is made to happen for real; the outcome is asserted in every build,
// and in the release build also how long it took, in the worst case of the row.
//
// A bound allows for what the machine adds: the longest that a control thread, which only sleeps, was late in the same
// test, and, where the row contains a kill, 1.5 × what killing an equally large process takes by itself. A test in
// which the control thread was more than 50 ms late has measured the machine: it is reported as invalid (skipped).
//
// Thread-safety: one thread at a time.
#pragma once

#include <gtest/gtest.h>

#include <atomic>
#include <lair/deadline.hpp>
#include <lair/pool.hpp>
#include <string>
#include <thread>
#include <vector>

#include "support/leak_check.hpp"
#include "support/pools.hpp"
#include "support/sanitized.hpp"

namespace lair::test {

#ifdef __OPTIMIZE__
inline constexpr bool kOptimized = true;
#else
inline constexpr bool kOptimized = false;
#endif
// `usual` times in CI, `many` times with LAIR_LONG.
int rounds(int usual, int many);
inline TimePoint now() { return SteadyClock::now(); }

class FaultRow : public LeakChecked {
 protected:
  void SetUp() override;
  void TearDown() override;

  // One measurement of `what`, which may take `bound`; `with_kill` as above.
  void took(const std::string& what, Duration time, Duration bound, bool with_kill = false);
  // A share that must be at least `least`; judged, as times are, only where the machine was quiet enough.
  void reached(const std::string& what, double share, double least);
  // A fact for the table that has no bound in time.
  void fact(const std::string& what, const std::string& value);

  // Back to its size, and every call accounted for.
  static void expect_whole(Pool& pool);

 private:
  struct Timed {
    std::string what;
    Duration worst;
    Duration bound;
    bool with_kill;
    int times;
  };
  struct Reached {
    std::string what;
    double share;
    double least;
  };
  // What the machine may have added to it.
  static Duration allowance(const Timed& timed, Duration late, Duration kill_cost);
  void report(Duration late, Duration kill_cost) const;

  std::vector<Timed> timed_;
  std::vector<Reached> reached_;
  std::vector<std::pair<std::string, std::string>> facts_;
  std::atomic<bool> done_ = false;
  std::atomic<Duration::rep> late_ = 0;
  std::thread sleeper_;
};

}  // namespace lair::test
