// What real Python workers are doing, asked while they do it; and calls that take long.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>

#include <fstream>
#include <future>
#include <thread>
#include <vector>

#include "support/pools.hpp"

namespace lair::test {
namespace {

using namespace std::chrono_literals;
using testing::HasSubstr;

constexpr Duration kPatience = 20s;

struct Stacks : LeakChecked {
  Note note;

  static PoolOptions options(const std::string& module = "stacks") {
    PoolOptions options = options_for(module, 1);
    options.shutdown_grace = 0ms;
    options.terminate_grace = 100ms;
    return options;
  }
  static std::size_t count(const std::string& text, const std::string& part) {
    std::size_t n = 0;
    for (auto at = text.find(part); at != text.npos; at = text.find(part, at + 1)) ++n;
    return n;
  }
};

TEST_F(Stacks, NameTheFunctionOfABusyWorkerAndLeaveItsCallAlone) {
  Pool pool(options());
  pool.wait_ready();
  auto call = std::async(std::launch::async,
                         [&] { return pool.try_call<bool>("until", note.path(), note.path() + ".end"); });
  ASSERT_TRUE(note.comes());
  for (int i = 0; i < 20; ++i) {
    const auto stack = pool.stack(0, kPatience);
    ASSERT_TRUE(stack) << stack.error().message;
    EXPECT_THAT(stack->frames, HasSubstr("stacks.py\", line "));
    EXPECT_EQ(count(stack->frames, " in until\n"), 1u) << stack->frames;
    EXPECT_EQ(count(stack->frames, "(most recent call first)"), 1u) << stack->frames;
    EXPECT_THAT(stack->frames, HasSubstr(" in serve_target\n"));  // whole
    EXPECT_EQ(stack->command, "until");
    EXPECT_EQ(stack->state, SlotState::kBusy);
    EXPECT_GT(stack->running, Duration::zero());
  }
  std::ofstream(note.path() + ".end").put('x');
  EXPECT_EQ(call.get().value(), true);
  EXPECT_EQ(pool.stats().workers_started, 1u);
}

TEST_F(Stacks, DoNotCutASleepShort) {
  Pool pool(options("plain"));
  pool.wait_ready();
  const TimePoint began = SteadyClock::now();
  auto call = std::async(std::launch::async, [&] { return pool.try_call<double>("nap", 3.0, note.path()); });
  ASSERT_TRUE(note.comes());
  std::size_t seen = 0;
  while (call.wait_for(0s) != std::future_status::ready) {
    const auto stack = pool.stack(0, kPatience);
    ASSERT_TRUE(stack) << stack.error().message;
    seen += count(stack->frames, " in nap\n");
  }
  EXPECT_GE(SteadyClock::now() - began, Duration(3s));
  EXPECT_EQ(call.get().value(), 3.0);
  EXPECT_GT(seen, 0u);
}

TEST_F(Stacks, AreHadWhileCCodeHoldsTheGil) {
  Pool pool(options());
  pool.wait_ready();
  auto call = std::async(std::launch::async, [&] { return pool.try_call<int>("hold_the_gil", note.path()); });
  ASSERT_TRUE(note.comes());
  const auto stack = pool.stack(0, kPatience);
  ASSERT_TRUE(stack) << stack.error().message;
  EXPECT_THAT(stack->frames, HasSubstr(" in hold_the_gil\n"));
  pool.shutdown(0ms);
  EXPECT_FALSE(call.get());
}

TEST_F(Stacks, ShowAnIdleWorkerWaiting) {
  Pool pool(options());
  pool.wait_ready();
  auto stack = pool.stack(0, kPatience);
  // It is idle as soon as it has said that it is ready, a moment before it reads.
  EXPECT_TRUE(test::eventually([&] {
    stack = pool.stack(0, kPatience);
    // The accelerator waits in C, which has no frames.
    return !stack || stack->frames.find(" in receive\n") != std::string::npos ||
           stack->frames.find("_protocol2.py") != std::string::npos;
  })) << stack->frames;
  ASSERT_TRUE(stack) << stack.error().message;
  EXPECT_EQ(stack->state, SlotState::kIdle);
  EXPECT_EQ(stack->command, "");
  EXPECT_EQ(stack->pid, pool.call<int>("pid"));
}

TEST_F(Stacks, ShowAllThreads) {
  Pool pool(options());
  pool.wait_ready();
  auto call =
      std::async(std::launch::async, [&] { return pool.try_call("beside_a_thread", note.path(), 60); });
  ASSERT_TRUE(note.comes());
  const auto stack = pool.stack(0, kPatience);
  ASSERT_TRUE(stack) << stack.error().message;
  EXPECT_THAT(stack->frames, HasSubstr(" in beside_a_thread\n"));
  EXPECT_THAT(stack->frames, HasSubstr(" in _rest_in_a_thread\n"));
  pool.shutdown(0ms);
  EXPECT_FALSE(call.get());
}

TEST_F(Stacks, AreGivenToAllWhoAskAtOnce) {
  Pool pool(options());
  pool.wait_ready();
  std::vector<std::thread> askers;
  for (int i = 0; i < 4; ++i) {
    askers.emplace_back([&] {
      for (int n = 0; n < 10; ++n) {
        const auto stack = pool.stack(0, kPatience);
        EXPECT_TRUE(stack) << stack.error().message;
        const std::string frames = stack ? stack->frames : "";
        EXPECT_EQ(count(frames, "(most recent call first)"), 1u) << frames;
      }
    });
  }
  for (int i = 0; i < 100; ++i) EXPECT_TRUE(pool.try_call<int>("pid"));
  for (std::thread& asker : askers) asker.join();
}

TEST_F(Stacks, AreNotToBeHadOfProtocolOne) {
  Pool pool(options_for(script_worker("original.py"), 1));
  pool.wait_ready();
  const auto stack = pool.stack(0);
  ASSERT_FALSE(stack);
  EXPECT_EQ(stack.error().kind, ErrorKind::kUnavailable);
  EXPECT_THAT(stack.error().message, HasSubstr("it speaks protocol 1"));
  EXPECT_THAT(stack.error().message, HasSubstr("worker 0.1"));
}

TEST_F(Stacks, SayThatAWorkerIsStoppedAndAreHadWhenItGoesOn) {
  Pool pool(options());
  pool.wait_ready();
  const int pid = pool.call<int>("pid");
  ASSERT_EQ(::kill(pid, SIGSTOP), 0);
  const auto stopped = pool.stack(0, 300ms);
  ASSERT_FALSE(stopped);
  EXPECT_EQ(stopped.error().kind, ErrorKind::kDeadlineExceeded);
  EXPECT_THAT(stopped.error().message, HasSubstr("it is stopped (SIGSTOP"));
  ASSERT_EQ(::kill(pid, SIGCONT), 0);
  const auto stack = pool.stack(0, kPatience);
  ASSERT_TRUE(stack) << stack.error().message;
  EXPECT_EQ(count(stack->frames, "(most recent call first)"), 1u) << stack->frames;
  EXPECT_EQ(pool.call<int>("pid"), pid);
}

TEST_F(Stacks, ASlowCallIsLoggedOnceWhileItRuns) {
  PoolOptions options = Stacks::options("plain");
  options.slow_call = 1s;
  const Lines log(options);
  Pool pool(std::move(options));
  pool.wait_ready();
  auto call = std::async(std::launch::async, [&] { return pool.try_call("nap", 60, note.path()); });
  ASSERT_TRUE(note.comes());
  EXPECT_TRUE(eventually([&] { return log.contain("command \"nap\" has been running for"); }, 30s));
  EXPECT_EQ(pool.stats().inflight, 1u);
  pool.shutdown(0ms);
  EXPECT_FALSE(call.get());
  EXPECT_EQ(count(log.text(), "has been running for"), 1u);
  EXPECT_THAT(log.text(), HasSubstr("on worker 0.1 (pid "));
  EXPECT_THAT(log.text(), HasSubstr(" in nap\n"));
  EXPECT_EQ(pool.stats().slow_calls, 1u);
}

}  // namespace
}  // namespace lair::test
