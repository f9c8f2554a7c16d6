// The shell's beginning and end: starts, what they say when they fail, shutdown.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <thread>

#include "support/shell_fixture.hpp"

namespace lair::test {
namespace {

using testing::HasSubstr;

// --- Starts -----------------------------------------------------------------------------------------

TEST_F(ShellTest, WaitReadyWaitsForAllOrForSome) {
  start({.size = 3});
  EXPECT_TRUE(shell->wait_ready({}, 10s).has_value());
  EXPECT_EQ(stats().ready(), 3u);
  EXPECT_EQ(shell->commands().at(0).name, "echo");
  EXPECT_EQ(shell->wait_ready(4, 1s).error().kind, ErrorKind::kInvalidArgument);
}

TEST_F(ShellTest, WaitReadyGivesUpAtItsTimeoutAndSaysHowFarItCame) {
  world->hold_spawns();
  start({.size = 2});
  ASSERT_TRUE(eventually([&] { return world->spawned() == 2; }));
  const auto waited = shell->wait_ready({}, 5ms);
  ASSERT_FALSE(waited);
  EXPECT_THAT(waited.error().message, HasSubstr("0 of 2 workers are ready"));
  EXPECT_THAT(waited.error().message, HasSubstr("spawn"));
  world->release_spawns();
  EXPECT_TRUE(shell->wait_ready({}, 10s).has_value());
}

TEST_F(ShellTest, ALazyPoolStartsNothingUntilItIsAsked) {
  start({.size = 3, .lazy = true});
  EXPECT_EQ(stats().workers_started, 0u);
  EXPECT_TRUE(call().has_value());
  EXPECT_EQ(stats().workers_started, 1u);
  EXPECT_TRUE(shell->wait_ready(2, 10s).has_value());
  EXPECT_EQ(stats().workers_started, 2u);
}

TEST_F(ShellTest, ThreeCallersOfALazyPoolOfTwoAreAllServed) {
  world->hold_spawns();
  start({.size = 2, .lazy = true});
  std::vector<std::thread> callers;
  std::atomic<int> served = 0;
  for (int i = 0; i < 3; ++i) callers.emplace_back([&] { served += call().has_value() ? 1 : 0; });
  ASSERT_TRUE(eventually([&] { return stats().waiters == 3; }));
  EXPECT_TRUE(eventually([&] { return world->spawned() == 2; }));
  world->release_spawns();
  for (std::thread& caller : callers) caller.join();
  EXPECT_EQ(served, 3);
  EXPECT_EQ(stats().workers_started, 2u);
}

TEST_F(ShellTest, ACancelledWaiterDoesNotHarmAStart) {
  world->hold_spawns();
  start({.size = 1, .lazy = true});
  EXPECT_FALSE(call("echo", {1}, {.timeout = 5ms}).has_value());
  world->release_spawns();
  EXPECT_TRUE(call().has_value());
  EXPECT_EQ(stats().workers_started, 1u);
}

void expect_stage(const Result<void>& waited, const std::string& stage, const std::string& words) {
  ASSERT_FALSE(waited);
  EXPECT_EQ(waited.error().kind, ErrorKind::kUnavailable);
  EXPECT_EQ(waited.error().stage, stage);
  EXPECT_THAT(waited.error().message, HasSubstr("stage " + stage));
  EXPECT_THAT(waited.error().message, HasSubstr(words));
}

TEST_F(ShellTest, AFailedSpawnSaysSo) {
  world->fail_spawns(true);
  start({.size = 2});
  expect_stage(shell->wait_ready({}, 10s), "spawn", "lets no worker be spawned");
  EXPECT_EQ(kind(call()), ErrorKind::kUnavailable) << "at once";
  EXPECT_LE(world->spawned(), 2u);
}

TEST_F(ShellTest, AWorkerThatBabblesInTheHandshakeSaysWhat) {
  start({.size = 1, .start_timeout = 5s}, [](FakeWorker& worker) {
    worker.write_raw("Welcome to my worker!\n");
    worker.hang();
  });
  ASSERT_TRUE(eventually([&] { return world->spawned() >= 2; })) << "the first has failed";
  expect_stage(shell->wait_ready({}, 5ms), "handshake", "Welcome to my worker");
}

TEST_F(ShellTest, AnImportErrorIsForGoodAndShowsTheLastLinesOfStderr) {
  start({.size = 2}, [](FakeWorker& worker) {
    if (!worker.read()) return;
    worker.log("Traceback (most recent call last):\nboom\n");
    worker.write({{"id", 0},
                  {"success", false},
                  {"error", "No module named 'nope'"},
                  {"error_type", "ModuleNotFoundError"},
                  {"stage", "environment"},
                  {"permanent", true}});
    worker.exit_code = 1;
  });
  const auto waited = shell->wait_ready({}, 10s);
  expect_stage(waited, "environment", "ModuleNotFoundError: No module named 'nope'");
  EXPECT_THAT(waited.error().worker.value().stderr_tail, HasSubstr("boom"));
  const std::size_t spawned = world->spawned();
  EXPECT_LE(spawned, 2u);
  EXPECT_EQ(kind(call()), ErrorKind::kUnavailable);
  EXPECT_EQ(world->spawned(), spawned) << "no more follow";
}

TEST_F(ShellTest, AFailingOnStartIsOfStageWarmUp) {
  start({.size = 1}, [](FakeWorker& worker) {
    if (!shake_hands(worker, {"echo"})) return;
    worker.write({3,
                  0,
                  worker.generation(),
                  {{"type", "OSError"},
                   {"message", "no model"},
                   {"traceback", ""},
                   {"kind", "start"},
                   {"stage", "warm_up"},
                   {"permanent", true}}});
    worker.exit_code = 1;
  });
  expect_stage(shell->wait_ready({}, 10s), "warm_up", "OSError: no model");
}

TEST_F(ShellTest, AWorkerIsVerifiedBeforeItServes) {
  for (const bool two : {true, false}) {
    const Handler handler = [](FakeWorker& worker, const std::string& command,
                               const Json& arguments) -> std::optional<Json> {
      if (command == "smoke" && !worker.await("checked")) return std::nullopt;
      return Json{{"command", command}, {"arguments", arguments}};
    };
    world = std::make_unique<FakeWorld>(echo());
    start({.size = 1, .verify = "smoke"},
          two ? protocol_two(handler, {"echo", "smoke"}) : protocol_one(handler));
    ASSERT_TRUE(eventually([&] { return world->at_gate("checked") == 1; }));
    const auto early = call("echo", Json::object(), {.checkout_timeout = 1ms});
    ASSERT_EQ(kind(early), ErrorKind::kUnavailable);
    EXPECT_THAT(early.error().message, HasSubstr("at stage verify"));
    world->open("checked");
    ASSERT_TRUE(shell->wait_ready({}, 10s).has_value());
    EXPECT_EQ(call("echo", Json::object()).value().at("command"), "echo");
    const PoolStats all = stats();
    EXPECT_GT(all.workers.at(0).start.verify, Duration::zero());
    EXPECT_EQ(all.admitted, 2u) << "the smoke call is in no statistics";
    EXPECT_EQ(all.workers.at(0).calls, 1u);
    for (const CommandStats& each : all.commands) EXPECT_EQ(each.name, "echo");
    shell.reset();
  }
}

TEST_F(ShellTest, ASmokeCallThatFailsIsAFailedStart) {
  const auto raising = [](const std::string& type) -> Handler {
    return [type](FakeWorker& worker, const std::string&, const Json&) -> std::optional<Json> {
      worker.log("loading\n");
      throw FakeRaise{type, "no weights"};
    };
  };
  start({.size = 1, .verify = "echo"}, protocol_two(raising("ValueError")));
  ASSERT_TRUE(eventually([&] { return stats().workers_started >= 2; })) << "it is tried again";
  const auto waited = shell->wait_ready({}, 5ms);
  expect_stage(waited, "verify", "command \"echo\" raised ValueError: no weights");
  EXPECT_THAT(waited.error().worker.value().stderr_tail, HasSubstr("loading"));
  ASSERT_TRUE(waited.error().python);
  EXPECT_EQ(waited.error().python->type, "ValueError");

  start({.size = 1, .verify = "echo"}, protocol_one(raising("")));
  ASSERT_TRUE(eventually([&] { return stats().workers_started >= 2; }));
  expect_stage(shell->wait_ready({}, 5ms), "verify", "command \"echo\" raised an error: no weights");

  start({.size = 1, .verify = "echo"}, protocol_two(raising("ModuleNotFoundError")));
  expect_stage(shell->wait_ready({}, 10s), "verify", "ModuleNotFoundError");
  EXPECT_TRUE(eventually([&] { return stats().count(SlotState::kFailed) == 1; })) << "for good";
}

TEST_F(ShellTest, ASmokeCallThatNobodyKnowsFailsThePoolAtOnce) {
  start({.size = 1, .verify = "nothing_like_it"});
  expect_stage(shell->wait_ready({}, 10s), "verify", "unknown command \"nothing_like_it\"; it has: echo");
  start({.size = 1, .verify = "nope"},
        protocol_one([](FakeWorker&, const std::string& command, const Json&) -> std::optional<Json> {
          throw FakeRaise{"", "Unknown command: " + command};
        }));
  expect_stage(shell->wait_ready({}, 10s), "verify", "Unknown command: nope");
  EXPECT_TRUE(eventually([&] { return stats().count(SlotState::kFailed) == 1; }));
}

TEST_F(ShellTest, ASmokeCallIsBoundByStartTimeout) {
  start({.size = 1, .start_timeout = 200ms, .verify = "echo"}, gated("never"));
  ASSERT_TRUE(eventually([&] { return stats().workers_started >= 2; }));
  expect_stage(shell->wait_ready({}, 5ms), "verify", "\"echo\" (verify) has not answered");
}

TEST_F(ShellTest, AWorkerThatBreaksTheProtocolWhenItIsVerifiedDoesNotServe) {
  start({.size = 1, .verify = "echo"}, [](FakeWorker& worker) {
    if (!shake_hands(worker, {"echo"})) return;
    worker.write({4, 0, worker.generation()});
    if (worker.read()) worker.write({2, 99, worker.generation(), "another call's"});
    worker.hang();
  });
  ASSERT_TRUE(eventually([&] { return stats().workers_started >= 2; }));
  expect_stage(shell->wait_ready({}, 5ms), "verify", "broke the protocol in answer to command \"echo\"");
}

TEST_F(ShellTest, AWorkerThatExitsInItsHandshakeSaysHow) {
  start({.size = 1}, [](FakeWorker& worker) { worker.exit_code = 3; });
  ASSERT_TRUE(eventually([&] { return stats().workers_started >= 2; })) << "the first has failed";
  expect_stage(shell->wait_ready({}, 5ms), "handshake", "exited with status 3");
}

TEST_F(ShellTest, AStartThatTakesTooLongIsKilledAndReplaced) {
  start({.size = 1, .start_timeout = 200ms},
        first_generation([](FakeWorker& worker) { worker.hang(); }, echo()));
  EXPECT_TRUE(eventually([&] { return stats().ready() == 1; }));
  EXPECT_GE(generation(), 2u);
}

TEST_F(ShellTest, APoolHealsWhenSpawningWorksAgain) {
  world->fail_spawns(false);
  start({.size = 1});
  EXPECT_TRUE(eventually([&] { return world->spawned() >= 2; })) << "it tries again, after a moment";
  world->mend_spawns();
  EXPECT_TRUE(eventually([&] { return stats().ready() == 1; }));
  EXPECT_TRUE(call().has_value());
}

// --- Shutdown ---------------------------------------------------------------------------------------

TEST_F(ShellTest, ShutdownLetsCallsInFlightFinishAndRefusesNewOnes) {
  start({.size = 1}, gated("done"));
  std::thread caller([&] { EXPECT_TRUE(call("echo", {1}, {.timeout = kForever}).has_value()); });
  ASSERT_TRUE(eventually([&] { return world->at_gate("done") == 1; }));
  std::thread waiter([&] { EXPECT_EQ(kind(call()), ErrorKind::kUnavailable); });
  ASSERT_TRUE(eventually([&] { return stats().waiters == 1; }));
  std::thread closer([&] { shell->shutdown(1min); });
  waiter.join();
  EXPECT_EQ(kind(call()), ErrorKind::kUnavailable);
  world->open("done");
  caller.join();
  closer.join();
  EXPECT_EQ(world->alive(), 0u);
  EXPECT_EQ(stats().workers_exited, 1u);
  expect_books_add_up();
}

TEST_F(ShellTest, AtTheGracesEndCallsInFlightLoseTheirWorkers) {
  start({.size = 1}, gated("never"));
  std::thread caller(
      [&] { EXPECT_EQ(kind(call("echo", {1}, {.timeout = kForever})), ErrorKind::kWorkerLost); });
  ASSERT_TRUE(eventually([&] { return world->at_gate("never") == 1; }));
  shell->shutdown(0ms);
  caller.join();
  EXPECT_EQ(world->alive(), 0u);
  expect_books_add_up();
}

TEST_F(ShellTest, AWorkerThatIgnoresSigtermIsKilled) {
  start({.size = 1, .terminate_grace = 10ms}, [](FakeWorker& worker) {
    worker.ignores_sigterm = true;
    if (!shake_hands(worker, {"echo"})) return;
    worker.write({4, 0, worker.generation()});
    worker.hang();
  });
  ASSERT_TRUE(shell->wait_ready({}, 10s).has_value());
  shell->shutdown(0ms);
  EXPECT_EQ(world->alive(), 0u);
}

TEST_F(ShellTest, ShutdownEndsAStartThatIsUnderWay) {
  world->hold_spawns();
  start({.size = 2});
  ASSERT_TRUE(eventually([&] { return world->spawned() == 2; }));
  std::thread closer([&] { shell->shutdown(0ms); });
  ASSERT_TRUE(eventually([&] { return stats().count(SlotState::kStopping) == 2; }));
  world->release_spawns();
  closer.join();
  EXPECT_EQ(world->alive(), 0u);
  EXPECT_EQ(shell->wait_ready(1, 1s).error().kind, ErrorKind::kUnavailable);
}

TEST_F(ShellTest, ShutdownTwiceAndFromManyThreadsEndsOnce) {
  start({.size = 2});
  std::vector<std::thread> closers;
  for (int i = 0; i < 4; ++i) closers.emplace_back([&] { shell->shutdown(1s); });
  for (std::thread& closer : closers) closer.join();
  shell->shutdown({});
  EXPECT_EQ(world->alive(), 0u);
}

TEST_F(ShellTest, ALeaseMayOutliveTheShutdown) {
  start({.size = 1});
  auto hold = lease();
  shell->shutdown(0ms);
  const auto lost = shell->call_on(hold, {}, "echo", Json::array());
  ASSERT_FALSE(lost);
  EXPECT_EQ(lost.error().kind, ErrorKind::kWorkerLost);
  EXPECT_EQ(lost.error().delivery, Delivery::kNotSent);
  if (hold.epoch != 0) shell->give_back(hold, {});
}

TEST_F(ShellTest, ALeaseGivenBackAfterTheShutdownIsFine) {
  start({.size = 1});
  auto hold = lease();
  shell->shutdown(0ms);
  shell->give_back(hold, {});
}

TEST_F(ShellTest, AShutdownAmidCallsLeavesNothingAndTheBooksAddUp) {
  start({.size = 4});
  std::atomic<bool> stop = false;
  std::vector<std::thread> callers;
  for (int t = 0; t < 8; ++t) {
    callers.emplace_back([&] {
      while (!stop) (void)call();
    });
  }
  ASSERT_TRUE(eventually([&] { return stats().ok > 100; }));
  world->kill_all();
  ASSERT_TRUE(eventually([&] { return stats().ready() > 0; }));
  shell->shutdown(1s);
  stop = true;
  for (std::thread& caller : callers) caller.join();
  EXPECT_EQ(world->alive(), 0u);
  const PoolStats all = stats();
  EXPECT_EQ(all.workers_exited, world->spawned());
  EXPECT_EQ(all.count(SlotState::kVacant), 4u);
  expect_books_add_up();
}

}  // namespace
}  // namespace lair::test
