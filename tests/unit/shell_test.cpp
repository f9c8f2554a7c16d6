// The shell over workers that are threads: calls, their outcomes, leases, the queue, and the books.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <thread>

#include "support/shell_fixture.hpp"

namespace lair::test {
namespace {

using testing::HasSubstr;

// --- Calls ------------------------------------------------------------------------------------------

TEST_F(ShellTest, ACallIsAnswered) {
  start({.size = 1});
  EXPECT_EQ(call("echo", {1, "two"}).value(), Json({1, "two"}));
  EXPECT_EQ(stats().ok, 1u);
}

TEST_F(ShellTest, AProtocolOneWorkerIsAnsweredToo) {
  start({.size = 1},
        protocol_one([](FakeWorker&, const std::string&, const Json& arguments) { return arguments; }));
  EXPECT_EQ(call("whatever", {{"a", 1}}).value(), Json({{"a", 1}}));
  EXPECT_EQ(call("whatever", Json::array()).value(), Json::object()) << "no arguments are no arguments";
  const auto refused = call("whatever", {1});
  EXPECT_EQ(kind(refused), ErrorKind::kInvalidArgument) << "protocol 1 has no positions";
  EXPECT_EQ(refused.error().delivery, Delivery::kNotSent);
}

TEST_F(ShellTest, CallsFromManyThreadsGetEachTheirOwnReply) {
  start({.size = 4});
  std::vector<std::thread> callers;
  std::atomic<int> wrong = 0;
  for (int t = 0; t < 16; ++t) {
    callers.emplace_back([&, t] {
      for (int i = 0; i < 100; ++i) {
        const Json arguments = {t, i};
        const auto reply = call("echo", arguments);
        if (!reply || *reply != arguments) ++wrong;
      }
    });
  }
  for (std::thread& caller : callers) caller.join();
  EXPECT_EQ(wrong, 0);
  EXPECT_EQ(stats().ok, 1600u);
  EXPECT_EQ(stats().workers_started, 4u);
  expect_books_add_up();
}

TEST_F(ShellTest, AnExceptionIsAnErrorAndTheWorkerStays) {
  start({.size = 1}, protocol_two([](FakeWorker&, const std::string&, const Json&) -> std::optional<Json> {
          throw FakeRaise{"ValueError", "no good"};
        }));
  const auto reply = call();
  ASSERT_EQ(kind(reply), ErrorKind::kRemote);
  EXPECT_EQ(reply.error().delivery, Delivery::kExecuted);
  EXPECT_EQ(reply.error().python->type, "ValueError");
  EXPECT_EQ(generation(), 1u);
  EXPECT_EQ(stats().error, 1u);
}

TEST_F(ShellTest, AnUnknownCommandNeverReachesAWorker) {
  start({.size = 1});
  const auto reply = call("ecko");
  ASSERT_EQ(kind(reply), ErrorKind::kUnknownCommand);
  EXPECT_EQ(reply.error().delivery, Delivery::kNotSent);
  EXPECT_THAT(reply.error().message, HasSubstr("did you mean \"echo\""));
}

TEST_F(ShellTest, ArgumentsThatJsonCannotSayAreRefusedByName) {
  start({.size = 1});
  const auto reply = call("echo", {1, std::nan("")});
  EXPECT_EQ(kind(reply), ErrorKind::kInvalidArgument);
  EXPECT_THAT(reply.error().message, HasSubstr("argument [1] is NaN"));
  EXPECT_EQ(kind(call("echo", 7)), ErrorKind::kInvalidArgument);
}

// --- Calls that go wrong ----------------------------------------------------------------------------

TEST_F(ShellTest, ATimeoutFreesTheCallerAndReplacesTheWorker) {
  start({.size = 1}, first_generation(gated("never"), echo()));
  ASSERT_TRUE(shell->wait_ready({}, 10s).has_value());
  const auto late = call("echo", {1}, {.timeout = 20ms});
  ASSERT_EQ(kind(late), ErrorKind::kDeadlineExceeded);
  EXPECT_EQ(late.error().delivery, Delivery::kMaybeExecuted);
  EXPECT_EQ(call("echo", {2}).value(), Json::array({2}));
  EXPECT_EQ(generation(), 2u);
  EXPECT_EQ(stats().timeout, 1u);
}

TEST_F(ShellTest, AWorkersDeathInMidCallIsSeenAtOnce) {
  start({.size = 1}, first_generation(gated("never"), echo()));
  std::thread killer([&] {
    EXPECT_TRUE(eventually([&] { return world->at_gate("never") == 1; }));
    world->kill_all();
  });
  const auto lost = call("echo", {1}, {.timeout = kForever});
  killer.join();
  ASSERT_EQ(kind(lost), ErrorKind::kWorkerLost);
  EXPECT_EQ(lost.error().delivery, Delivery::kMaybeExecuted);
  ASSERT_TRUE(lost.error().worker);
  EXPECT_EQ(lost.error().worker->generation, 1u);
  EXPECT_TRUE(call().has_value());
  EXPECT_EQ(stats().crashed, 1u);
}

TEST_F(ShellTest, AReplyWrittenBeforeTheWorkersEndCounts) {
  start({.size = 1}, [](FakeWorker& worker) {
    if (!shake_hands(worker, {"echo"})) return;
    worker.write({4, 0, worker.generation()});
    if (const auto request = worker.read()) {
      if (request->at(0) == 1) worker.write({2, request->at(1), worker.generation(), "last words"});
    }
  });
  EXPECT_EQ(call().value(), "last words");
}

TEST_F(ShellTest, WhateverIsNotTheReplyIsAProtocolErrorAndEndsTheWorker) {
  const std::vector<std::function<void(FakeWorker&, const Json&)>> babbles = {
      [](FakeWorker& w, const Json&) { w.write_frame("garbage"); },
      [](FakeWorker& w, const Json&) { w.write_raw("Traceback (most recent call last)"); },
      [](FakeWorker& w, const Json& id) {
        w.write({2, id.get<int>() + 1, w.generation(), "another call's"});
      },
      [](FakeWorker& w, const Json& id) {
        w.write({2, id, w.generation() - 1, "another generation's"});
      },
      [](FakeWorker& w, const Json&) {
        w.write({4, 0, w.generation()});
      },
      [](FakeWorker& w, const Json&) { w.write_frame(""); },
  };
  for (const auto& babble : babbles) {
    start({.size = 1}, first_generation(
                           [babble](FakeWorker& worker) {
                             if (!shake_hands(worker, {"echo"})) return;
                             worker.write({4, 0, worker.generation()});
                             if (const auto request = worker.read()) babble(worker, request->at(1));
                             worker.hang();
                           },
                           echo()));
    const auto bad = call();
    ASSERT_EQ(kind(bad), ErrorKind::kProtocol);
    EXPECT_EQ(bad.error().delivery, Delivery::kMaybeExecuted);
    EXPECT_TRUE(call().has_value());
    EXPECT_EQ(generation(), 2u);
    expect_books_add_up();
  }
}

TEST_F(ShellTest, AnUnsentCallOfAnUnfitWorkerGoesToAnother) {
  start({.size = 1},
        first_generation(
            [](FakeWorker& worker) {  // speaks unasked, with its READY
              if (!shake_hands(worker, {"echo"})) return;
              const std::string ready = Json({4, 0, worker.generation()}).dump();
              worker.write_raw(std::string("\0\0\0", 3) + static_cast<char>(ready.size()) + ready + "stray");
              worker.hang();
            },
            echo()));
  EXPECT_EQ(call("echo", {5}).value(), Json::array({5}));
  EXPECT_EQ(generation(), 2u);
  EXPECT_EQ(stats().ok, 1u);
  EXPECT_EQ(stats().admitted, 1u);
}

TEST_F(ShellTest, ACallIsDispatchedAgainOnlySoOften) {
  start({.size = 1}, [](FakeWorker& worker) {
    if (!shake_hands(worker, {"echo"})) return;
    const std::string ready = Json({4, 0, worker.generation()}).dump();
    worker.write_raw(std::string("\0\0\0", 3) + static_cast<char>(ready.size()) + ready + "stray");
    worker.hang();
  });
  const auto bad = call();
  ASSERT_EQ(kind(bad), ErrorKind::kProtocol);
  EXPECT_EQ(bad.error().delivery, Delivery::kNotSent);
  EXPECT_EQ(stats().crashed, 1u);
}

TEST_F(ShellTest, AnIdleWorkersDeathFailsNoCall) {
  start({.size = 2});
  for (int i = 0; i < 20; ++i) {
    world->kill_all();
    EXPECT_TRUE(call().has_value());
  }
  expect_books_add_up();
}

// --- The queue --------------------------------------------------------------------------------------

TEST_F(ShellTest, TheCheckoutTimeoutAndTheCallsDeadlineAreDifferentErrors) {
  start({.size = 1}, gated("done"));
  std::thread holder([&] { EXPECT_TRUE(call("echo", {1}, {.timeout = kForever}).has_value()); });
  ASSERT_TRUE(eventually([&] { return world->at_gate("done") == 1; }));
  const auto queued = call("echo", {1}, {.timeout = 1min, .checkout_timeout = 5ms});
  EXPECT_EQ(kind(queued), ErrorKind::kOverloaded);
  const auto late = call("echo", {1}, {.timeout = 5ms, .checkout_timeout = 1min});
  EXPECT_EQ(kind(late), ErrorKind::kDeadlineExceeded);
  EXPECT_EQ(late.error().delivery, Delivery::kNotSent);
  EXPECT_EQ(stats().shed, 2u);
  world->open("done");
  holder.join();
  expect_books_add_up();
}

TEST_F(ShellTest, NoWorkerUpWithinTheCheckoutTimeoutIsUnavailable) {
  world->hold_spawns();
  start({.size = 1});
  const auto none = call("echo", {1}, {.checkout_timeout = 5ms});
  EXPECT_EQ(kind(none), ErrorKind::kUnavailable);
  EXPECT_EQ(none.error().delivery, Delivery::kNotSent);
  world->release_spawns();
}

TEST_F(ShellTest, AFullQueueRefusesAtOnceAndSaysWhenToComeBack) {
  start({.size = 1, .max_waiters = 1}, gated("done"));
  std::thread holder([&] { (void)call(); });
  ASSERT_TRUE(eventually([&] { return world->at_gate("done") == 1; }));
  std::thread waiter([&] { (void)call(); });
  ASSERT_TRUE(eventually([&] { return stats().waiters == 1; }));
  const auto refused = call("echo", {1}, {.timeout = kForever, .checkout_timeout = kForever});
  ASSERT_EQ(kind(refused), ErrorKind::kOverloaded);
  ASSERT_TRUE(refused.error().retry_after_ms);
  EXPECT_GE(*refused.error().retry_after_ms, 1);
  world->open("done");
  holder.join();
  waiter.join();
}

TEST_F(ShellTest, ATimeoutThatHasPassedSendsNothing) {
  start({.size = 1});
  const auto late = call("echo", {1}, {.timeout = 0ms});
  EXPECT_EQ(kind(late), ErrorKind::kDeadlineExceeded);
  EXPECT_EQ(late.error().delivery, Delivery::kNotSent);
  expect_books_add_up();
}

TEST_F(ShellTest, ATimeoutThatHasPassedLeavesALeasesWorkerAlone) {
  start({.size = 1});
  pool::Hold held = lease();
  const auto late = shell->call_on(held, {.timeout = 0ms}, "echo", Json::array());
  EXPECT_EQ(kind(late), ErrorKind::kDeadlineExceeded);
  EXPECT_EQ(late.error().delivery, Delivery::kNotSent);
  EXPECT_TRUE(shell->call_on(held, {}, "echo", Json::array()));
  shell->give_back(held, {});
  EXPECT_EQ(generation(), 1u);
  expect_books_add_up();
}

TEST_F(ShellTest, GrantsThatRaceWithExpiryLoseNoWorker) {
  start({.size = 2, .barging_window = 0ms});
  std::vector<std::thread> callers;
  for (int t = 0; t < 8; ++t) {
    callers.emplace_back([&, t] {
      for (int i = 0; i < 200; ++i) {
        (void)call("echo", {i},
                   {.timeout = 10s, .checkout_timeout = std::chrono::microseconds(20 * (1 + (i + t) % 10))});
      }
    });
  }
  for (std::thread& caller : callers) caller.join();
  EXPECT_TRUE(eventually([&] { return stats().count(SlotState::kIdle) == 2; }));
  expect_books_add_up();
}

// Two workers are free for an elder, whose turn it is, and for another, who is quicker to claim one: the elder is served in
// its place, and the hint to come again for what is left is not lost.
TEST_F(ShellTest, AWaiterThatLetsAnElderGoFirstIsToldOfWhatIsLeft) {
  struct Told : pool::Parker::Listener {
    void post(core::Token, pool::Parker::Notice notice) override { notices.push_back(std::move(notice)); }
    std::vector<pool::Parker::Notice> notices;
  };
  start({.size = 2, .barging_window = 400ms});
  const pool::Hold first = lease();
  const pool::Hold second = lease();
  const TimePoint now = SteadyClock::now();
  const pool::Wanted since_before{
      .exclusive = true, .queue_deadline = Deadline::after(60s), .since = now - 200ms};
  const pool::Wanted since_now{.exclusive = true, .queue_deadline = Deadline::after(60s)};
  pool::Wait elder{.wanted = &since_before};
  pool::Wait other{.wanted = &since_now};
  Told to_elder;
  Told to_other;
  ASSERT_FALSE(shell->enter(elder, &to_elder));
  ASSERT_FALSE(shell->enter(other, &to_other));
  shell->give_back(first, {});
  shell->give_back(second, {});
  // Now it is the elder's turn, and not yet the other's.
  EXPECT_TRUE(eventually([&] { return SteadyClock::now() > now + 200ms; }));

  // Each goes on as its thread would, but for the elder's, which has not run yet.
  std::optional<Result<pool::Hold>> served;
  for (std::size_t i = 0; !served && i < to_other.notices.size(); ++i) {
    const pool::Parker::Notice notice = to_other.notices[i];
    served = shell->told(other, notice);
  }
  EXPECT_TRUE(served) << "a worker is idle while it waits";
  if (!served) served = shell->give_up(other);
  if (*served) shell->give_back(served->value(), {});
  const auto last = shell->told(elder, to_elder.notices.back());
  ASSERT_TRUE(last);
  shell->give_back(last->value(), {});
}

TEST_F(ShellTest, AnOverflowWorkerComesForAWaiterThatIsAlone) {
  start({.size = 1, .overflow = 1, .overflow_after = 10ms}, first_generation(gated("never"), echo(), true));
  std::thread holder([&] { (void)call("echo", {1}, {.timeout = 30s}); });
  ASSERT_TRUE(eventually([&] { return world->at_gate("never") == 1; }));
  EXPECT_TRUE(call("echo", {2}, {.timeout = 10s}).has_value()) << "nobody else comes to wake the pool";
  world->open("never");
  holder.join();
}

// --- Leases -----------------------------------------------------------------------------------------

TEST_F(ShellTest, ALeasesCallsMeetTheSameWorker) {
  start({.size = 2});
  auto hold = lease();
  const auto ref = hold.record->ref;
  for (int i = 0; i < 5; ++i) EXPECT_TRUE(shell->call_on(hold, {}, "echo", Json::array({i})).has_value());
  EXPECT_EQ(hold.completed, 5u);
  EXPECT_EQ(hold.record->ref, ref);
  shell->give_back(hold, {.completed = hold.completed});
  EXPECT_EQ(stats().ok, 5u);
  EXPECT_TRUE(eventually([&] { return stats().count(SlotState::kIdle) == 2; }));
}

TEST_F(ShellTest, ALeaseKeepsOthersAway) {
  start({.size = 1});
  auto hold = lease();
  EXPECT_EQ(kind(call("echo", {1}, {.checkout_timeout = 5ms})), ErrorKind::kOverloaded);
  shell->give_back(hold, {});
  EXPECT_TRUE(call().has_value());
}

TEST_F(ShellTest, ALeaseWhoseCallTimedOutHasLostItsWorker) {
  start({.size = 1}, first_generation(gated("never"), echo()));
  auto hold = lease();
  EXPECT_EQ(kind(shell->call_on(hold, {.timeout = 10ms}, "echo", Json::array())),
            ErrorKind::kDeadlineExceeded);
  EXPECT_EQ(hold.epoch, 0u) << "it has been given back";
  EXPECT_TRUE(call().has_value());
  EXPECT_EQ(generation(), 2u);
}

TEST_F(ShellTest, ALeakedLeaseOnADeadWorkerKeepsNoSlotEmpty) {
  start({.size = 1});
  auto hold = lease();
  world->kill_all();
  EXPECT_TRUE(call().has_value()) << "the replacement serves";
  const auto lost = shell->call_on(hold, {}, "echo", Json::array());
  EXPECT_EQ(kind(lost), ErrorKind::kWorkerLost);
  EXPECT_EQ(hold.epoch, 0u);
}

TEST_F(ShellTest, LeasesAndCallsShareAPoolInPeace) {
  start({.size = 2});
  std::vector<std::thread> users;
  for (int t = 0; t < 6; ++t) {
    users.emplace_back([&, t] {
      for (int i = 0; i < 100; ++i) {
        if (t % 2 == 0) {
          EXPECT_TRUE(call().has_value());
        } else {
          auto hold = lease();
          EXPECT_TRUE(shell->call_on(hold, {}, "echo", Json::array({i})).has_value());
          shell->give_back(hold, {.completed = 1});
        }
      }
    });
  }
  for (std::thread& user : users) user.join();
  EXPECT_EQ(stats().ok, 600u);
  expect_books_add_up();
}

}  // namespace
}  // namespace lair::test
