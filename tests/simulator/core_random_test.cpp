// The core under thousands of random schedules. LAIR_SEED=n replays one; LAIR_LONG=1 runs many more.
#include <gtest/gtest.h>

#include <cstdlib>
#include <set>

#include "support/core_simulation.hpp"
#include "support/sanitized.hpp"

namespace lair::test {
namespace {

void run_schedules(Flavour flavour, std::uint64_t schedules) {
  if (const char* seed = std::getenv("LAIR_SEED")) {
    const std::string problem = Simulation(std::strtoull(seed, nullptr, 10), flavour).run();
    ASSERT_TRUE(problem.empty()) << problem;
    return;
  }
  // The ten thousand are the release build's. More schedules find more mistakes of the core's judgement, which are the same in each
  // build: for those of its memory a tenth suffices, for it is pure and has one thread.
  if constexpr (kAddressSanitized) {
    schedules /= 10;
  } else {
#ifdef LAIR_FAILPOINTS
    schedules = schedules * 2 / 5;  // not optimised
#endif
  }
  if (std::getenv("LAIR_LONG") != nullptr) schedules *= 40;
  Troubles troubles;
  for (std::uint64_t seed = 1; seed <= schedules; ++seed) {
    Simulation simulation(seed, flavour);
    const std::string problem = simulation.run();
    ASSERT_TRUE(problem.empty()) << "replay with LAIR_SEED=" << seed << ": " << problem;
    troubles.deaths += simulation.troubles().deaths;
    troubles.delays += simulation.troubles().delays;
    troubles.cancels += simulation.troubles().cancels;
    troubles.clock_jumps += simulation.troubles().clock_jumps;
    troubles.spawn_failures += simulation.troubles().spawn_failures;
    troubles.missed_checks += simulation.troubles().missed_checks;
    troubles.recoveries += simulation.troubles().recoveries;
    troubles.planned_ends += simulation.troubles().planned_ends;
    troubles.reloads += simulation.troubles().reloads;
    troubles.failed_reloads += simulation.troubles().failed_reloads;
    troubles.sheds += simulation.troubles().sheds;
    troubles.losses += simulation.troubles().losses;
    troubles.spills += simulation.troubles().spills;
    troubles.moves += simulation.troubles().moves;
  }
  // More than one of each in a schedule, on average.
  EXPECT_GT(troubles.deaths, schedules);
  EXPECT_GT(troubles.delays, schedules);
  EXPECT_GT(troubles.cancels, schedules);
  EXPECT_GT(troubles.clock_jumps, schedules);
  EXPECT_GT(troubles.spawn_failures, schedules);
  EXPECT_GT(troubles.recoveries, schedules / 10);
  EXPECT_GT(troubles.missed_checks, schedules / 10);  // only workers that rest are checked
  EXPECT_GT(troubles.planned_ends, schedules);
  EXPECT_GT(troubles.reloads, schedules / 30);
  EXPECT_GT(troubles.failed_reloads, schedules / 30);
  EXPECT_GT(troubles.sheds, schedules / 30);  // most queues move
  if (!flavour.sessions) return;
  EXPECT_GT(troubles.losses, schedules);
  EXPECT_GT(troubles.spills, schedules / 10);  // most homes come free in time
  EXPECT_GT(troubles.moves, schedules);
}

TEST(CoreRandom, ASeedReplaysItsScheduleToTheLastEvent) {
  const Flavour flavour{.leases = true, .pins = true, .permits = 3};
  std::set<std::size_t> digests;
  for (std::uint64_t seed = 1; seed <= 20; ++seed) {
    Simulation first(seed, flavour);
    Simulation again(seed, flavour);
    EXPECT_EQ(first.run(), again.run());
    EXPECT_EQ(first.digest(), again.digest());
    digests.insert(first.digest());
  }
  EXPECT_EQ(digests.size(), 20u) << "two seeds are one schedule";
}

TEST(CoreRandom, SchedulesOfCallsKeepEveryPromise) { run_schedules({}, 4000); }
TEST(CoreRandom, SchedulesOfCallsAndLeasesKeepEveryPromise) { run_schedules({.leases = true}, 2000); }
TEST(CoreRandom, SchedulesOfPinnedCallersKeepEveryPromise) {
  run_schedules({.leases = true, .pins = true}, 2000);
}
TEST(CoreRandom, SchedulesOfSeveralPermitsKeepEveryPromise) {
  run_schedules({.leases = true, .pins = true, .permits = 3}, 2000);
}
TEST(CoreRandom, SchedulesOfSessionsKeepEveryPromise) { run_schedules({.sessions = true}, 3000); }
TEST(CoreRandom, SchedulesOfSessionsLeasesAndSeveralPermitsKeepEveryPromise) {
  run_schedules({.leases = true, .permits = 3, .sessions = true}, 2000);
}

}  // namespace
}  // namespace lair::test
