// The shell over workers that are threads: commands that are refused for a while, and calls that are tried again.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <thread>

#include "support/shell_fixture.hpp"

namespace lair::test {
namespace {

using testing::HasSubstr;

// Workers with a command that kills them while `deadly`, one that raises, and one that never answers.
class ShellBreakerTest : public ShellTest {
 protected:
  Behaviour mixed() {
    const auto handler = [this, w = world.get()](FakeWorker& me, const std::string& command,
                                                 const Json& arguments) -> std::optional<Json> {
      if (command == "raise") throw FakeRaise{"ValueError", "no good"};
      if (command == "hang") {
        me.hang();
        return std::nullopt;
      }
      if (command == "crash" && deadly) {
        w->kill(me.key());
        me.hang();
        return std::nullopt;
      }
      return arguments;
    };
    return protocol_two(handler, {"echo", "crash", "raise", "hang"});
  }
  BreakerStats command(const std::string& name) const {
    for (const BreakerStats& each : stats().breakers) {
      if (each.command == name) return each;
    }
    return {};
  }
  // On a worker that has proved its worth: other deaths make the pool wait before it starts another.
  Result<Json> crash(const CallOptions& options = {}) {
    EXPECT_TRUE(call());
    return call("crash", Json::array(), options);
  }

  std::atomic<bool> deadly = true;
};

TEST_F(ShellBreakerTest, ACommandThatCrashesThreeWorkersIsQuarantined) {
  start({.size = 1}, mixed());
  for (int i = 0; i < 3; ++i) EXPECT_EQ(kind(crash()), ErrorKind::kWorkerLost);
  const auto refused = crash();
  ASSERT_EQ(kind(refused), ErrorKind::kUnavailable);
  EXPECT_EQ(refused.error().delivery, Delivery::kNotSent);
  EXPECT_THAT(refused.error().message,
              HasSubstr("command \"crash\" of pool \"lair\" is quarantined: it crashed 3 "
                        "workers within 1 min; the last failure was a crash"));
  EXPECT_GT(refused.error().retry_after_ms.value_or(0), 0);
  EXPECT_LE(refused.error().retry_after_ms.value_or(0), 5000);
  EXPECT_TRUE(call()) << "other commands are served";
  EXPECT_EQ(command("crash").state, BreakerState::kOpen);
  EXPECT_TRUE(command("crash").quarantined);
  EXPECT_EQ(command("crash").calls, 3u);
  EXPECT_EQ(command("crash").refused, 1u);
  EXPECT_EQ(command("echo").state, BreakerState::kClosed);
  EXPECT_EQ(stats().crashed, 3u);
  EXPECT_EQ(stats().shed, 1u);
  EXPECT_EQ(to_json_value(stats()).at("breakers").at(1).at("state"), "open");
  expect_books_add_up();
}

TEST_F(ShellBreakerTest, ItIsTriedAfterAWhileAndCalledAgainWhenItIsWell) {
  start({.size = 1, .breaker = {.open_for = 50ms, .crashes = 1}}, mixed());
  EXPECT_EQ(kind(crash()), ErrorKind::kWorkerLost);
  EXPECT_EQ(command("crash").opened, 1u);
  const auto half_open = [&] { return command("crash").state == BreakerState::kHalfOpen; };
  ASSERT_TRUE(eventually(half_open));
  EXPECT_EQ(kind(crash()), ErrorKind::kWorkerLost) << "a trial call";
  EXPECT_EQ(command("crash").opened, 2u);
  deadly = false;
  ASSERT_TRUE(eventually(half_open));
  for (int i = 0; i < 3; ++i) EXPECT_TRUE(crash());
  EXPECT_EQ(command("crash").state, BreakerState::kClosed);
  expect_books_add_up();
}

TEST_F(ShellBreakerTest, MissedDeadlinesOpenItToo) {
  start({.size = 1, .breaker = {.min_calls = 2}}, mixed());
  for (int i = 0; i < 2; ++i) {
    EXPECT_TRUE(call());
    EXPECT_EQ(kind(call("hang", Json::array(), {.timeout = 20ms})), ErrorKind::kDeadlineExceeded);
  }
  const auto refused = call("hang");
  ASSERT_EQ(kind(refused), ErrorKind::kUnavailable);
  EXPECT_THAT(refused.error().message,
              HasSubstr("is not called for a while: 2 of 2 calls within 10 s failed; the last failure was a "
                        "missed deadline. It will be tried again in "));
  expect_books_add_up();
}

TEST_F(ShellBreakerTest, ExceptionsAreAnswers) {
  start({.size = 1}, mixed());
  for (int i = 0; i < 50; ++i) EXPECT_EQ(kind(call("raise")), ErrorKind::kRemote);
  EXPECT_EQ(command("raise").calls, 50u);
  EXPECT_EQ(command("raise").failures, 0u);
}

TEST_F(ShellBreakerTest, ACallerThatWaitedIsRefusedWhenItsTurnComes) {
  start({.size = 1, .breaker = {.crashes = 1}}, mixed());
  pool::Hold held = lease();
  EXPECT_TRUE(shell->call_on(held, {}, "echo", Json::array()));
  std::optional<Result<Json>> waited;
  std::thread waiter([&] { waited = call("crash", Json::array(), {.timeout = 60s}); });
  EXPECT_TRUE(eventually([&] { return stats().waiters == 1; }));
  world->hold_spawns();  // a crash counts when its caller has heard of it
  EXPECT_EQ(kind(shell->call_on(held, {}, "crash", Json::array())), ErrorKind::kWorkerLost);
  world->release_spawns();
  waiter.join();
  EXPECT_EQ(kind(*waited), ErrorKind::kUnavailable);
  EXPECT_EQ(command("crash").refused, 1u);
  EXPECT_TRUE(call()) << "the worker that was meant for it is free";
  EXPECT_EQ(stats().workers_started, 2u);
  expect_books_add_up();
}

TEST_F(ShellBreakerTest, ALeaseIsRefusedToo) {
  start({.size = 1, .breaker = {.crashes = 1}}, mixed());
  EXPECT_EQ(kind(crash()), ErrorKind::kWorkerLost);
  pool::Hold held = lease();
  EXPECT_EQ(kind(shell->call_on(held, {}, "crash", Json::array())), ErrorKind::kUnavailable);
  EXPECT_TRUE(shell->call_on(held, {}, "echo", Json::array())) << "and keeps its worker";
  shell->give_back(held, {.completed = held.completed});
  expect_books_add_up();
}

// --- Trying again ----------------------------------------------------------------------------------

TEST_F(ShellBreakerTest, AnIdempotentCallOutlivesItsWorker) {
  start({.size = 1}, mixed());
  EXPECT_TRUE(call());
  world->behave(
      protocol_two([](FakeWorker&, const std::string&, const Json&) { return "at last"; }, {"crash"}));
  EXPECT_EQ(call("crash", Json::array(), {.idempotent = true}).value(), "at last");
  EXPECT_EQ(stats().admitted, 2u);
  EXPECT_EQ(stats().ok, 2u);
  EXPECT_EQ(stats().retries, 1u);
  EXPECT_EQ(stats().retried_ok, 1u);
  EXPECT_EQ(stats().retries_denied, 0u);
  expect_books_add_up();
}

TEST_F(ShellBreakerTest, OthersAreNotTriedAgainOnceTheyMayHaveRun) {
  start({.size = 1}, mixed());
  EXPECT_EQ(kind(crash()), ErrorKind::kWorkerLost);
  EXPECT_EQ(kind(crash({.retries = 5})), ErrorKind::kWorkerLost);
  EXPECT_EQ(command("crash").calls, 2u);
  EXPECT_EQ(stats().retries, 0u);
}

TEST_F(ShellBreakerTest, TriesAreLimitedAndAreOneCall) {
  start({.size = 1, .breaker = {.enabled = false}}, mixed());
  const auto lost = crash({.idempotent = true});
  ASSERT_EQ(kind(lost), ErrorKind::kWorkerLost);
  EXPECT_EQ(lost.error().delivery, Delivery::kMaybeExecuted);
  EXPECT_THAT(lost.error().message, HasSubstr("(This was try 3.)"));
  EXPECT_EQ(stats().admitted, 2u);
  EXPECT_EQ(stats().crashed, 1u);
  EXPECT_EQ(stats().retries, 2u);
  EXPECT_EQ(stats().retried_ok, 0u);
  EXPECT_EQ(command("crash").calls, 3u);
  expect_books_add_up();
}

TEST_F(ShellBreakerTest, WhatWouldFailAgainIsNotTriedAgain) {
  start({.size = 1}, mixed());
  EXPECT_EQ(kind(call("raise", Json::array(), {.idempotent = true})), ErrorKind::kRemote);
  EXPECT_EQ(kind(call("unknown", Json::array(), {.idempotent = true})), ErrorKind::kUnknownCommand);
  EXPECT_EQ(kind(call("hang", Json::array(), {.timeout = 20ms, .idempotent = true})),
            ErrorKind::kDeadlineExceeded);
  EXPECT_EQ(stats().retries, 0u);
  expect_books_add_up();
}

TEST_F(ShellBreakerTest, ARetryThatIsRefusedSaysThatTheCommandMayHaveRun) {
  start({.size = 1, .breaker = {.crashes = 1}}, mixed());
  const auto refused = crash({.idempotent = true});
  ASSERT_EQ(kind(refused), ErrorKind::kUnavailable);
  EXPECT_EQ(refused.error().delivery, Delivery::kMaybeExecuted);
  EXPECT_THAT(refused.error().message, HasSubstr("quarantined"));
  EXPECT_THAT(refused.error().message, HasSubstr("An earlier try may have run."));
  EXPECT_EQ(stats().crashed, 1u) << "a worker was lost";
  EXPECT_EQ(stats().shed, 0u);
  expect_books_add_up();
}

TEST_F(ShellBreakerTest, ACallThatFoundTheQueueFullTriesAgain) {
  start({.size = 1, .max_waiters = 1}, mixed());
  pool::Hold held = lease();
  std::thread waiter([&] { EXPECT_TRUE(call("echo", {1}, {.timeout = 60s})); });
  EXPECT_TRUE(eventually([&] { return stats().waiters == 1; }));
  EXPECT_EQ(kind(call()), ErrorKind::kOverloaded) << "unless it is told to";
  std::thread patient([&] { EXPECT_TRUE(call("echo", {2}, {.timeout = 60s, .retries = 10})); });
  EXPECT_TRUE(eventually([&] { return stats().retries >= 1; }));
  shell->give_back(held, {});
  waiter.join();
  patient.join();
  EXPECT_EQ(stats().ok, 2u);
  EXPECT_EQ(stats().shed, 1u);
  EXPECT_EQ(stats().retried_ok, 1u);
  expect_books_add_up();
}

TEST_F(ShellBreakerTest, APoolThatIsIllIsNotStormed) {
  start({.size = 1, .breaker = {.enabled = false}}, mixed());
  for (int i = 0; i < 15; ++i) {
    EXPECT_EQ(kind(crash({.idempotent = true, .retries = 1})), ErrorKind::kWorkerLost);
  }
  const PoolStats all = stats();
  EXPECT_EQ(all.retries, 10 + all.admitted / 10);
  EXPECT_EQ(all.retries + all.retries_denied, 15u);
  EXPECT_EQ(all.crashed, 15u);
  expect_books_add_up();
}

TEST_F(ShellBreakerTest, APoolRetriesAsMuchAsItIsToldItMay) {
  start({.size = 1, .breaker = {.enabled = false}, .retry_percent = 100}, mixed());
  for (int i = 0; i < 15; ++i) (void)crash({.idempotent = true, .retries = 1});
  EXPECT_EQ(stats().retries, 15u);
  EXPECT_EQ(stats().retries_denied, 0u);
}

}  // namespace
}  // namespace lair::test
