// The events of a running pool.
#include <gtest/gtest.h>

#include <mutex>
#include <vector>

#include "support/shell_fixture.hpp"

namespace lair::test {
namespace {

struct ShellEvents : testing::Test {
  FakeWorld world{echo()};
  std::mutex mutex;
  std::vector<PoolEvent> events;
  std::unique_ptr<pool::Shell> shell;

  void TearDown() override { shell.reset(); }
  void start(Duration lease_warning = 60s) {
    PoolOptions options{.name = "text",
                        .worker = command({"/bin/sh"}),
                        .size = 1,
                        .lease_warning = lease_warning,
                        .shutdown_grace = 0ms,
                        .log_level = "off",
                        .on_event = [this](const PoolEvent& event) {
                          const std::lock_guard lock(mutex);
                          events.push_back(event);
                        }};
    shell = std::make_unique<pool::Shell>(base::resolve(options, 4), world.launcher());
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
  start(10ms);
  ASSERT_TRUE(shell->wait_ready({}, 10s).has_value());
  const pool::Hold hold = shell->take({.exclusive = true, .queue_deadline = Deadline::after(10s)}).value();
  const auto ticket = shell->lease_taken(hold, "main.cpp", 7);
  const PoolEvent leaked = expect(PoolEventKind::kLeaseLeaked);
  EXPECT_GE(*leaked.took, Duration(10ms));
  EXPECT_NE(leaked.message.find("main.cpp:7"), std::string::npos);
  shell->lease_returned(ticket);
  shell->give_back(hold, {});
}

}  // namespace
}  // namespace lair::test
