// The core under thousands of random schedules. LAIR_SEED=n replays one; LAIR_LONG=1 runs many more.
#include <gtest/gtest.h>

#include <cstdlib>

#include "support/core_simulation.hpp"

namespace lair::test {
namespace {

void run_schedules(Flavour flavour, std::uint64_t schedules) {
  if (const char* seed = std::getenv("LAIR_SEED")) {
    const std::string problem = Simulation(std::strtoull(seed, nullptr, 10), flavour).run();
    ASSERT_TRUE(problem.empty()) << problem;
    return;
  }
#ifdef __SANITIZE_THREAD__
  schedules /= 10;  // one thread: here is nothing that only ThreadSanitizer could find
#endif
  if (std::getenv("LAIR_LONG") != nullptr) schedules *= 100;
  for (std::uint64_t seed = 1; seed <= schedules; ++seed) {
    const std::string problem = Simulation(seed, flavour).run();
    ASSERT_TRUE(problem.empty()) << "replay with LAIR_SEED=" << seed << ": " << problem;
  }
}

TEST(CoreRandom, SchedulesOfCallsKeepEveryPromise) { run_schedules({}, 1500); }
TEST(CoreRandom, SchedulesOfCallsAndLeasesKeepEveryPromise) { run_schedules({.leases = true}, 800); }
TEST(CoreRandom, SchedulesOfPinnedCallersKeepEveryPromise) {
  run_schedules({.leases = true, .pins = true}, 800);
}
TEST(CoreRandom, SchedulesOfSeveralPermitsKeepEveryPromise) {
  run_schedules({.leases = true, .pins = true, .permits = 3}, 800);
}

}  // namespace
}  // namespace lair::test
