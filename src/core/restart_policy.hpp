// When a slot may start its next worker, and when the pool gives up.
//
// A worker that dies before it is ready, or before it has completed a call, is an unproductive death: it
// raises its slot's backoff (100 ms × 2 → 30 s, ± 20 %) and counts in the pool's tally. More than
// max(5, 2 × size) of them in 60 s and the pool has failed: callers are refused at once and one start
// every 30 s probes whether the world has mended. A start that failed for good (an ImportError) fails the
// pool until its code changes: no probe. Replacements of workers that did well are immediate, within a
// bucket of 20 starts a second.
//
// Thread-safety: none; it lives in the core, under the shell's lock.
#pragma once

#include <deque>
#include <random>

#include "base/backoff.hpp"
#include "core/types.hpp"

namespace lair::core {

class RestartPolicy {
 public:
  static constexpr Duration kTallyWindow = std::chrono::seconds(60);
  static constexpr Duration kProbeInterval = std::chrono::seconds(30);
  static constexpr double kStartsPerSecond = 20;

  RestartPolicy(std::size_t size, std::size_t overflow, std::uint64_t seed);

  // Notes an unproductive death; `strikes` is how many its slot has had in a row, this one included.
  // Returns how long the slot must wait.
  Duration unproductive_death(unsigned strikes, TimePoint now);
  void permanent_failure() { permanent_ = true; }
  // A worker became ready: a failed pool has recovered (unless for good).
  void worker_ready();
  // There is new code: whatever has failed may work now.
  void code_changed() {
    permanent_ = failed_ = false;
    deaths_.clear();
  }
  void resize(std::size_t size, std::size_t overflow);
  // A worker completed its first call: what went before is forgiven.
  void worker_productive() { deaths_.clear(); }

  bool permanent() const { return permanent_; }
  bool failed() const { return failed_ || permanent_; }
  // For a failed pool: when the next probe may start. Never, for a permanent failure.
  TimePoint probe_at() const { return permanent_ ? TimePoint::max() : probe_at_; }
  void probe_started(TimePoint now) { probe_at_ = now + kProbeInterval; }

  // Takes one start out of the bucket, if there is one.
  bool take_start(TimePoint now);
  // When the next start will be there.
  TimePoint next_start(TimePoint now) const;

 private:
  void refill(TimePoint now);

  std::size_t most_deaths_ = 0;
  double bucket_size_ = 0;
  base::Backoff backoff_;
  std::mt19937_64 random_;
  std::deque<TimePoint> deaths_;
  bool failed_ = false;
  bool permanent_ = false;
  TimePoint probe_at_ = TimePoint::max();
  double bucket_ = 0;
  TimePoint refilled_{};
};

}  // namespace lair::core
