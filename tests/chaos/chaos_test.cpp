// Chaos: everything that can happen to a worker happens to some worker all the time, and every call still has its one
// outcome, which is held against what the workers have really executed.
#include <gtest/gtest.h>

#include <cstdio>
#include <cstdlib>

#include "support/leak_check.hpp"
#include "support/pools.hpp"
#include "support/sanitized.hpp"
#include "support/storm.hpp"

namespace lair::test {
namespace {

using namespace std::chrono_literals;

constexpr std::size_t kSize = 4;
// Of the history's room: how many calls there are before enough workers have been killed is for the machine to say.
constexpr std::size_t kReserve = 1'000'000;

// How much of it there is: at least so many calls and kills. LAIR_CHAOS_CALLS has as many as it says of the long run.
struct Extent {
  std::size_t calls;
  unsigned kills;
  unsigned trouble_one_in;
};

Extent extent() {
  if (const char* calls = std::getenv("LAIR_CHAOS_CALLS")) {
    return {std::strtoul(calls, nullptr, 10), 60, 400};
  }
  if (std::getenv("LAIR_LONG") != nullptr) {
    return kSanitized ? Extent{20'000, 1'000, 200} : Extent{1'000'000, 1'000, 400};
  }
  return kSanitized ? Extent{1'000, 20, 40} : Extent{2'000, 60, 40};
}

class Chaos : public LeakChecked {
 protected:
  static PoolOptions options_of(WorkerSpec worker, const History& history) {
    PoolOptions options = options_for(std::move(worker), kSize);
    options.worker.env["LAIR_TEST_JOURNAL"] = history.journal_path();
    options.health_interval = 100ms;
    options.health_timeout = 1s;
    return options;
  }

  static bool workers_ended_in_all_ways(const PoolStats& stats) {
    const auto some = [&](const char* reason) { return stats.exits.at(reason) > 0; };
    return some("crash") && some("timeout") && some("protocol");
  }

  static void rage(const WorkerSpec& worker, const Extent& extent) {
    Footprint::of_one_heap();
    History history(extent.calls + extent.calls / 4 + kReserve);
    Pool pool(options_of(worker, history));
    pool.wait_ready();
    const Footprint fresh = Footprint::now(history);
    Storm storm(pool, history, {.trouble_one_in = extent.trouble_one_in});

    // What the pool, the allocator and the threads need for this they have then.
    storm.blow([&] { return history.begun() >= extent.calls / 4 && storm.kills() >= extent.kills / 4; });
    ASSERT_TRUE(storm.calm()) << to_json_value(pool.stats()).dump(1);
    const Footprint warm = Footprint::now(history);
    const std::size_t begun = history.begun();

    const TimePoint began = SteadyClock::now();
    storm.blow([&] {
      return history.begun() >= begun + extent.calls && storm.kills() >= extent.kills &&
             workers_ended_in_all_ways(pool.stats());
    });
    const std::chrono::duration<double> took = SteadyClock::now() - began;

    EXPECT_TRUE(storm.calm()) << "not all workers are well again: " << to_json_value(pool.stats()).dump(1);
    EXPECT_FALSE(storm.pool_failed());
    EXPECT_FALSE(history.full()) << "the storm has ended for want of room, not because it was enough";
    EXPECT_TRUE(eventually([&] { return pool.stats().count(SlotState::kIdle) == kSize; }, 1min));
    const Footprint after = expect_flat(history, fresh, warm);
    const PoolStats stats = pool.stats();
    EXPECT_EQ(stats.inflight, 0u);
    EXPECT_EQ(stats.rejected.count("no_workers") > 0 ? stats.rejected.at("no_workers") : 0, 0u);
    EXPECT_EQ(stats.workers_started, stats.workers_exited + kSize);
    expect_flawless(history, stats);
    std::printf("%s; %.1f s; killed %u, stopped %u, workers %llu\n", summary(history).c_str(), took.count(),
                storm.kills(), storm.stops(), static_cast<unsigned long long>(stats.workers_started));
    for (const auto& [reason, count] : stats.exits) {
      std::printf("  %s: %llu\n", reason.c_str(), static_cast<unsigned long long>(count));
    }
    std::printf("fresh: %s\nwarm:  %s\nafter: %s\n", fresh.text().c_str(), warm.text().c_str(),
                after.text().c_str());
  }
};

TEST_F(Chaos, EveryCallHasItsOneOutcome) { rage(python_worker("chaos"), extent()); }

TEST_F(Chaos, SoItIsWithWorkersOfTheOriginalProtocol) {
  Extent smaller = extent();
  smaller.calls /= 4;
  smaller.kills /= 4;
  rage(script_worker("chaos.py"), smaller);
}

}  // namespace
}  // namespace lair::test
