// What a running pool's statistics say of calls, waits, refusals and ends.
#include <gtest/gtest.h>

#include <thread>

#include "support/shell_fixture.hpp"

namespace lair::test {
namespace {

using ShellStats = ShellTest;

std::uint64_t count(const PoolStats& stats, const std::string& command, CallOutcome outcome) {
  for (const CommandStats& each : stats.commands) {
    if (each.name == command) return each.calls[static_cast<std::size_t>(outcome)].count;
  }
  return 0;
}
std::uint64_t sum(const std::map<std::string, std::uint64_t>& counts) {
  std::uint64_t all = 0;
  for (const auto& [name, count] : counts) all += count;
  return all;
}

TEST_F(ShellStats, CountACallUnderItsCommandAndOutcome) {
  start({.size = 1}, protocol_two(
                         [](FakeWorker&, const std::string& command, const Json&) -> std::optional<Json> {
                           if (command == "bad") throw FakeRaise{"ValueError", "no good"};
                           return Json(1);
                         },
                         {"good", "bad"}));
  ASSERT_TRUE(shell->wait_ready({}, 10s).has_value());
  for (int i = 0; i < 3; ++i) EXPECT_TRUE(call("good").has_value());
  EXPECT_FALSE(call("bad").has_value());
  EXPECT_FALSE(call("unheard_of").has_value());
  const PoolStats all = stats();
  EXPECT_EQ(count(all, "good", CallOutcome::kOk), 3u);
  EXPECT_EQ(count(all, "bad", CallOutcome::kError), 1u);
  EXPECT_EQ(all.commands.size(), 2u) << "a call that was not admitted is in no book";
  EXPECT_EQ(all.checkout_wait.count, 4u);
  EXPECT_EQ(all.worker_start.count, 1u);
  EXPECT_GT(all.worker_start.sum, Duration::zero());
}

TEST_F(ShellStats, AgreeWithTheBooksWhateverHappens) {
  start({.size = 2, .max_waiters = 1}, first_generation(gated("never"), echo()));
  ASSERT_TRUE(shell->wait_ready({}, 10s).has_value());
  std::vector<std::thread> callers;
  for (int t = 0; t < 8; ++t) {
    callers.emplace_back([this] {
      for (int i = 0; i < 20; ++i) (void)call("echo", {i}, {.timeout = 20ms});
    });
  }
  for (std::thread& caller : callers) caller.join();
  const PoolStats all = stats();
  EXPECT_EQ(count(all, "echo", CallOutcome::kOk), all.ok);
  EXPECT_EQ(count(all, "echo", CallOutcome::kError), all.error);
  EXPECT_EQ(count(all, "echo", CallOutcome::kTimeout), all.timeout);
  EXPECT_EQ(count(all, "echo", CallOutcome::kCrashed), all.crashed);
  EXPECT_EQ(count(all, "echo", CallOutcome::kShed), all.shed);
  EXPECT_GE(all.timeout, 2u) << "a worker of the first generation never answers";
  EXPECT_EQ(sum(all.rejected), all.shed);
  expect_books_add_up();
}

TEST_F(ShellStats, SayWhyCallersGotNoWorker) {
  start({.size = 1, .max_waiters = 1}, gated("go"));
  ASSERT_TRUE(shell->wait_ready({}, 10s).has_value());
  const pool::Hold held = lease();
  EXPECT_FALSE(call("echo", Json::array(), {.timeout = 10ms}).has_value());
  EXPECT_FALSE(call("echo", Json::array(), {.checkout_timeout = 10ms}).has_value());
  std::thread waiter([this] { (void)call("echo", Json::array(), {.timeout = 10s}); });
  EXPECT_TRUE(eventually([&] { return stats().waiters == 1; }));
  EXPECT_FALSE(call().has_value());
  EXPECT_TRUE(eventually([&] { return stats().exhausted_time > Duration::zero(); }));
  world->open("go");
  shell->give_back(held, {});
  waiter.join();
  const PoolStats all = stats();
  EXPECT_EQ(all.rejected.at("deadline"), 1u);
  EXPECT_EQ(all.rejected.at("checkout_timeout"), 1u);
  EXPECT_EQ(all.rejected.at("queue_full"), 1u);
  EXPECT_EQ(sum(all.rejected), 3u);
  EXPECT_GT(all.busy_time, Duration::zero());
  EXPECT_EQ(stats().exhausted_time, all.exhausted_time) << "nobody waits any more";
}

TEST_F(ShellStats, CountEndsByReason) {
  start({.size = 1});
  ASSERT_TRUE(shell->wait_ready({}, 10s).has_value());
  EXPECT_TRUE(call().has_value());
  world->kill_all();
  EXPECT_TRUE(eventually([&] { return stats().exits.at("crash") == 1; }));
  EXPECT_TRUE(eventually([&] { return stats().ready() == 1; }));
  const Duration below = stats().below_size_time;
  EXPECT_GT(below, Duration::zero());
  shell->shutdown(0ms);
  EXPECT_EQ(stats().exits.at("shutdown"), 1u);
  EXPECT_EQ(sum(stats().exits), stats().workers_exited);
  EXPECT_EQ(stats().below_size_time, below) << "a pool that shuts down wants no workers";
}

TEST_F(ShellStats, LetALazyPoolHaveFewerWorkersThanItsSize) {
  start({.size = 3, .lazy = true});
  EXPECT_TRUE(call().has_value());
  EXPECT_EQ(stats().below_size_time, Duration::zero());
}

}  // namespace
}  // namespace lair::test
