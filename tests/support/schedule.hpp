// A random schedule: dice, a clock of its own, and an agenda of what happens when. It begins with a storm of
// troubles, and the same seed is the same schedule.
#pragma once

#include <cstdint>
#include <functional>
#include <lair/deadline.hpp>
#include <map>
#include <random>

namespace lair::test {

struct Flavour {
  bool leases = false;
  bool pins = false;
  std::uint32_t permits = 1;
  bool sessions = false;
};

// How often each kind of trouble came, so that none can vanish from the schedules without a word.
struct Troubles {
  std::uint64_t deaths = 0;          // of workers that nobody had given up
  std::uint64_t delays = 0;          // calls that took seconds, and timers that were served late
  std::uint64_t cancels = 0;         // callers that went away while they waited
  std::uint64_t clock_jumps = 0;     // as after a suspend: much is due at once
  std::uint64_t spawn_failures = 0;  // no process, for the system refused
  std::uint64_t missed_checks = 0;   // by idle workers that hang
  std::uint64_t recoveries = 0;      // of workers that were asked to give up a call
  std::uint64_t planned_ends = 0;    // of workers whose heirs were ready
  std::uint64_t reloads = 0;
  std::uint64_t failed_reloads = 0;
  std::uint64_t sheds = 0;  // of waiters in a queue that stood still
  // Of sessions: lost with their worker; gone elsewhere because it was busy, or because it had ended.
  std::uint64_t losses = 0;
  std::uint64_t spills = 0;
  std::uint64_t moves = 0;
};

class Schedule {
 protected:
  explicit Schedule(std::uint64_t seed) : random_(seed) {}

  std::uint64_t between(std::uint64_t low, std::uint64_t high) { return low + random_() % (high - low + 1); }
  bool chance(unsigned percent) { return random_() % 100 < percent; }
  bool stormy() const { return now_ < storm_end_; }
  Duration soon(unsigned most_ms) {
    return Duration(static_cast<Duration::rep>(random_() % (most_ms * 1'000'000ull + 1)));
  }
  void at(TimePoint when, std::function<void()> action) { actions_.emplace(when, std::move(action)); }
  void after(Duration delay, std::function<void()> action) { at(now_ + delay, std::move(action)); }

  std::mt19937_64 random_;
  TimePoint now_ = TimePoint{} + std::chrono::seconds(1000);
  TimePoint storm_end_{};
  std::multimap<TimePoint, std::function<void()>> actions_;
};

}  // namespace lair::test
