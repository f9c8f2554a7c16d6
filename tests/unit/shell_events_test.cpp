// The events of a running pool.
#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <iterator>
#include <mutex>
#include <thread>
#include <vector>

#include "support/shell_fixture.hpp"

namespace lair::test {
namespace {

struct Settings {
  Duration lease_warning = 60s;
  Duration health_timeout = 20s;
  std::size_t max_waiters = 100;
};

struct ShellEvents : testing::Test {
  std::atomic<bool> silent = false;  // to its checks
  std::atomic<bool> sick = false;
  std::atomic<int> pings = 0;
  FakeWorld world{protocol_two(
      [this](FakeWorker& me, const std::string& command, const Json& arguments) -> std::optional<Json> {
        if (command == "crash" && me.generation() == 1) {
          world.kill(me.key());
          me.hang();
          return std::nullopt;
        }
        if (command != "ping") return arguments;
        ++pings;
        if (silent) return std::nullopt;
        if (sick) throw FakeRaise{"RuntimeError", "the model is gone"};
        return arguments;
      },
      {"echo", "crash"})};
  std::mutex mutex;
  std::vector<PoolEvent> events;
  std::unique_ptr<pool::Shell> shell;

  void TearDown() override { shell.reset(); }
  void start(const Settings& settings = {}) {
    PoolOptions options{.name = "text",
                        .worker = command({"/bin/sh"}),
                        .size = 1,
                        .max_waiters = settings.max_waiters,
                        .health_interval = kForever,  // asked by the tests
                        .health_timeout = settings.health_timeout,
                        .lease_warning = settings.lease_warning,
                        .shutdown_grace = 0ms,
                        .log_level = "off",
                        .on_event = [this](const PoolEvent& event) {
                          const std::lock_guard lock(mutex);
                          events.push_back(event);
                        }};
    shell = std::make_unique<pool::Shell>(base::resolve(options, 4), world.launcher());
  }
  std::vector<PoolEvent> all(PoolEventKind kind) {
    const std::lock_guard lock(mutex);
    std::vector<PoolEvent> found;
    std::copy_if(events.begin(), events.end(), std::back_inserter(found),
                 [&](const PoolEvent& event) { return event.kind == kind; });
    return found;
  }
  // Asks the worker whether it is well, and waits until it is idle again.
  void check() {
    const int before = pings;
    shell->check_now();
    EXPECT_TRUE(
        eventually([&] { return pings == before + 1 && shell->stats().count(SlotState::kIdle) == 1; }));
  }
  // The first that fits, waiting for it.
  PoolEvent expect(PoolEventKind kind, const std::string& to = "") {
    PoolEvent found;
    EXPECT_TRUE(eventually([&] {
      const std::lock_guard lock(mutex);
      for (const PoolEvent& event : events) {
        if (event.kind != kind || event.to != to) continue;
        found = event;
        return true;
      }
      return false;
    })) << to_string(kind)
        << ' ' << to;
    return found;
  }
};

TEST_F(ShellEvents, TellAWorkersWholeLife) {
  start();
  ASSERT_TRUE(shell->wait_ready({}, 10s).has_value());
  ASSERT_TRUE(shell->call({}, "echo", Json::array()).has_value());
  shell->shutdown(0ms);
  shell.reset();  // all is delivered
  std::vector<std::string> life;
  for (const PoolEvent& event : events) {
    ASSERT_EQ(event.kind, PoolEventKind::kWorkerMoved);
    EXPECT_EQ(event.pool, "text");
    ASSERT_TRUE(event.worker);
    EXPECT_EQ(event.worker->slot, 0u);
    EXPECT_EQ(event.worker->generation, 1u);
    EXPECT_EQ(event.took.has_value(), event.from != "none");
    life.push_back(event.from + ">" + event.to + (event.reason.empty() ? "" : " " + event.reason));
  }
  EXPECT_EQ(life, (std::vector<std::string>{"none>starting", "starting>idle", "idle>stopping shutdown",
                                            "stopping>dead shutdown"}));
  EXPECT_GT(*events[1].took, Duration::zero());
}

TEST_F(ShellEvents, TellWhyAWorkerEnded) {
  start();
  ASSERT_TRUE(shell->wait_ready({}, 10s).has_value());
  world.kill_all();
  EXPECT_EQ(expect(PoolEventKind::kWorkerMoved, "dead").reason, "crash");
}

TEST_F(ShellEvents, TellAStartThatFailed) {
  world.fail_spawns(true);
  start();
  const PoolEvent failed = expect(PoolEventKind::kStartFailed);
  EXPECT_EQ(failed.stage, "spawn");
  EXPECT_NE(failed.message.find("failed to start at stage spawn"), std::string::npos) << failed.message;
  ASSERT_TRUE(failed.worker);
  EXPECT_EQ(failed.worker->generation, 1u);
}

TEST_F(ShellEvents, TellALeaseThatIsHeldForLong) {
  start({.lease_warning = 10ms});
  ASSERT_TRUE(shell->wait_ready({}, 10s).has_value());
  const pool::Hold hold = shell->take({.exclusive = true, .queue_deadline = Deadline::after(10s)}).value();
  const auto ticket = shell->lease_taken(hold, "main.cpp", 7);
  const PoolEvent leaked = expect(PoolEventKind::kLeaseLeaked);
  EXPECT_GE(*leaked.took, Duration(10ms));
  EXPECT_NE(leaked.message.find("main.cpp:7"), std::string::npos);
  shell->lease_returned(ticket);
  shell->give_back(hold, {});
}

TEST_F(ShellEvents, TellACheckThatIsNotAnswered) {
  silent = true;
  start({.health_timeout = 10ms});
  ASSERT_TRUE(shell->wait_ready({}, 10s).has_value());
  shell->check_now();
  const PoolEvent missed = expect(PoolEventKind::kHealth);
  EXPECT_EQ(missed.reason, "missed");
  EXPECT_EQ(missed.message, "did not answer its check within health_timeout = 10 ms");
  EXPECT_EQ(missed.worker.value_or(PoolEvent::Worker{7, 7}).generation, 1u);
  EXPECT_GE(missed.took.value_or(0ms), Duration(10ms));
  silent = false;
  shell->shutdown(0ms);
  shell.reset();
  EXPECT_EQ(all(PoolEventKind::kHealth).size(), 1u);
}

TEST_F(ShellEvents, TellAChecksErrorAndThatItIsOverButNotAPassedCheck) {
  start();
  ASSERT_TRUE(shell->wait_ready({}, 10s).has_value());
  check();
  sick = true;
  check();
  sick = false;
  check();
  check();
  shell->shutdown(0ms);
  shell.reset();
  const std::vector<PoolEvent> told = all(PoolEventKind::kHealth);
  ASSERT_EQ(told.size(), 2u);
  EXPECT_EQ(told[0].reason, "error");
  EXPECT_EQ(told[0].message, "answered its last check with an error: RuntimeError: the model is gone");
  EXPECT_EQ(told[1].reason, "recovered");
  for (const PoolEvent& event : told) {
    ASSERT_TRUE(event.worker && event.took);
    EXPECT_EQ(event.worker->slot, 0u);
    EXPECT_GT(*event.took, Duration::zero());
  }
}

TEST_F(ShellEvents, TellACallThatIsTriedAgain) {
  start();
  ASSERT_TRUE(shell->wait_ready({}, 10s).has_value());
  ASSERT_TRUE(shell->call({}, "echo", Json::array()).has_value());
  EXPECT_TRUE(all(PoolEventKind::kRetry).empty());
  ASSERT_TRUE(shell->call({.idempotent = true, .retries = 3}, "crash", Json::array()).has_value());
  shell->shutdown(0ms);
  shell.reset();
  const std::vector<PoolEvent> told = all(PoolEventKind::kRetry);
  ASSERT_EQ(told.size(), 1u);
  EXPECT_EQ(told[0].command, "crash");
  EXPECT_EQ(told[0].reason, "worker_lost");
  EXPECT_NE(told[0].message.find("command \"crash\": try 2 of 4 after "), std::string::npos)
      << told[0].message;
  EXPECT_TRUE(told[0].took && *told[0].took >= Duration::zero() && *told[0].took <= Duration(10ms));
}

TEST_F(ShellEvents, TellHowManyCallersWereRefusedAndLoseNone) {
  start({.max_waiters = 1});
  ASSERT_TRUE(shell->wait_ready({}, 10s).has_value());
  const pool::Hold hold = shell->take({.exclusive = true, .queue_deadline = Deadline::after(10s)}).value();
  std::thread waiter([&] { (void)shell->call({}, "echo", Json::array()); });
  EXPECT_TRUE(eventually([&] { return shell->stats().waiters == 1; }));
  const auto refuse = [&] { EXPECT_FALSE(shell->call({}, "echo", Json::array()).has_value()); };
  refuse();
  EXPECT_EQ(expect(PoolEventKind::kShed).count, 1u) << "at once";
  for (int i = 0; i < 500; ++i) refuse();
  shell->give_back(hold, {});
  waiter.join();
  shell->shutdown(0ms);
  shell.reset();
  const std::vector<PoolEvent> told = all(PoolEventKind::kShed);
  std::uint64_t sum = 0;
  for (const PoolEvent& event : told) {
    sum += event.count;
    EXPECT_EQ(event.reason, "queue_full");
    EXPECT_EQ(to_json_value(event).at("count"), event.count);
  }
  EXPECT_EQ(sum, 501u) << "the last are told when the pool ends";
}

}  // namespace
}  // namespace lair::test
