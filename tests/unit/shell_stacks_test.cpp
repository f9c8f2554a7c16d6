// Stacks on demand and slow calls, over workers that write what the test says. They have this process's pid and a file
// in its memory.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <atomic>
#include <future>
#include <mutex>
#include <vector>

#include "os/memfd.hpp"
#include "support/shell_fixture.hpp"

namespace lair::test {
namespace {

using testing::HasSubstr;

constexpr int kSignal = 61;

struct ShellStacks : LeakChecked {
  os::Fd file = os::make_memfd("lair-stacks", "");
  std::atomic<int> signals = 0;
  std::atomic<bool> answers = true;  // a signal
  std::mutex mutex;
  std::vector<PoolEvent> slow;
  std::unique_ptr<FakeWorld> world = std::make_unique<FakeWorld>(echo());
  std::unique_ptr<pool::Shell> shell;

  void TearDown() override {
    shell.reset();
    world.reset();
    file.reset();
    LeakChecked::TearDown();
  }

  void write(const std::string& text) {
    ASSERT_EQ(::pwrite(file.get(), text.data(), text.size(), ::lseek(file.get(), 0, SEEK_END)),
              static_cast<ssize_t>(text.size()));
  }
  Json stacks() const { return {{"stacks", {{"signal", kSignal}, {"fd", file.get()}}}}; }
  // Answers a call when the gate "go" is opened; "quick" at once.
  Behaviour gated_with(const Json& more) {
    return protocol_two(
        [](FakeWorker& worker, const std::string& command, const Json& arguments) -> std::optional<Json> {
          if (command == "parse" && !worker.await("go")) return std::nullopt;
          return arguments;
        },
        {"parse", "quick"}, more);
  }

  void start(Behaviour behaviour, Duration slow_call = kForever, bool lazy = false) {
    world->behave(std::move(behaviour));
    world->give_own_pid();
    world->on_signal = [this](worker::WorkerKey, int number) {
      if (number == kSignal && ++signals > 0 && answers) write("stack " + std::to_string(signals) + "\n");
    };
    PoolOptions options{.name = "text",
                        .worker = command({"/bin/sh"}),
                        .size = 1,
                        .lazy = lazy,
                        .slow_call = slow_call,
                        .shutdown_grace = 0ms,
                        .log_level = "off",
                        .on_event = [this](const PoolEvent& event) {
                          const std::lock_guard lock(mutex);
                          if (event.kind == PoolEventKind::kSlowCall) slow.push_back(event);
                        }};
    shell = std::make_unique<pool::Shell>(base::resolve(options, 4), world->launcher());
    if (lazy) return;
    ASSERT_TRUE(shell->wait_ready({}, 10s).has_value());
  }
  void start() { start(gated_with(stacks())); }
  // A call that a worker is at, until the gate is opened.
  std::future<Result<Json>> begin_call() {
    auto call = std::async(std::launch::async, [this] { return shell->call({}, "parse", Json::array()); });
    EXPECT_TRUE(eventually([this] { return world->at_gate("go") == 1; }));
    return call;
  }
  Result<WorkerStack> stack(Duration timeout = 10s) { return shell->stack(0, timeout); }
  std::size_t told() {
    const std::lock_guard lock(mutex);
    return slow.size();
  }
};

TEST_F(ShellStacks, SayWhatABusyWorkerWritesAndWhatItRuns) {
  start();
  auto call = begin_call();
  const auto stack = this->stack();
  ASSERT_TRUE(stack) << stack.error().message;
  EXPECT_EQ(stack->frames, "stack 1\n");
  EXPECT_EQ(stack->command, "parse");
  EXPECT_GT(stack->running, Duration::zero());
  EXPECT_EQ(stack->state, SlotState::kBusy);
  EXPECT_EQ(stack->generation, 1u);
  EXPECT_EQ(stack->pid, ::getpid());
  EXPECT_EQ(this->stack()->frames, "stack 2\n");
  world->open("go");
  EXPECT_TRUE(call.get());
}

TEST_F(ShellStacks, NameNoCommandForAnIdleWorkerOrALease) {
  start();
  EXPECT_EQ(stack()->state, SlotState::kIdle);
  const pool::Hold hold = shell->take({.exclusive = true, .queue_deadline = Deadline::after(10s)}).value();
  const auto leased = stack();
  EXPECT_EQ(leased->state, SlotState::kBusy);
  EXPECT_EQ(leased->command, "");
  shell->give_back(hold, {});
}

TEST_F(ShellStacks, WhoAsksDuringALookGetsTheNextOne) {
  start();
  answers = false;
  auto first = std::async(std::launch::async, [this] { return stack(); });
  ASSERT_TRUE(eventually([this] { return signals == 1; }));
  auto second = std::async(std::launch::async, [this] { return stack(); });
  answers = true;
  write("first\n");
  EXPECT_EQ(first.get()->frames, "first\n");
  const auto later = second.get();
  ASSERT_TRUE(later) << later.error().message;
  EXPECT_EQ(later->frames, "stack 2\n");
}

TEST_F(ShellStacks, ManyAtOnceAreAllAnswered) {
  start();
  std::vector<std::future<Result<WorkerStack>>> all;
  for (int i = 0; i < 8; ++i) all.push_back(std::async(std::launch::async, [this] { return stack(); }));
  for (auto& one : all) {
    const auto stack = one.get();
    ASSERT_TRUE(stack) << stack.error().message;
    EXPECT_THAT(stack->frames, HasSubstr("stack "));
  }
  EXPECT_LE(signals, 8);
}

TEST_F(ShellStacks, AWorkerThatDoesNotAnswerIsLateAndItsOldAnswerIsNotTakenForANewOne) {
  start();
  answers = false;
  const auto late = stack(20ms);
  ASSERT_FALSE(late);
  EXPECT_EQ(late.error().kind, ErrorKind::kDeadlineExceeded);
  EXPECT_THAT(late.error().message, HasSubstr("worker 0.1"));
  // The signal is still on its way: another is not sent, and its answer is the answer.
  EXPECT_FALSE(stack(20ms));
  EXPECT_EQ(signals, 1);
  write("old\n");
  answers = true;
  EXPECT_EQ(stack()->frames, "stack 2\n");
}

TEST_F(ShellStacks, AreRefusedWhereThereAreNone) {
  start(gated_with(Json::object()));
  EXPECT_EQ(shell->stack(1, 1s).error().kind, ErrorKind::kInvalidArgument);
  EXPECT_THAT(shell->stack(1, 1s).error().message, HasSubstr("no slot 1"));
  EXPECT_EQ(stack().error().kind, ErrorKind::kUnavailable);
  EXPECT_THAT(stack().error().message, HasSubstr("announced no signal"));
  EXPECT_EQ(signals, 0);
}

TEST_F(ShellStacks, AreRefusedByProtocolOne) {
  start(protocol_one([](FakeWorker&, const std::string&, const Json& a) { return a; }));
  EXPECT_EQ(stack().error().kind, ErrorKind::kUnavailable);
  EXPECT_THAT(stack().error().message, HasSubstr("protocol 1"));
}

TEST_F(ShellStacks, AreRefusedForASlotWithoutAWorker) {
  start(gated_with(stacks()), kForever, true);
  EXPECT_EQ(stack().error().kind, ErrorKind::kUnavailable);
  EXPECT_THAT(stack().error().message, HasSubstr("vacant"));
}

TEST_F(ShellStacks, AWorkerWhoseFileIsGoneIsNotSignalled) {
  const os::Fd other = os::make_memfd("something-else", "precious");
  start(gated_with({{"stacks", {{"signal", kSignal}, {"fd", other.get()}}}}));
  EXPECT_EQ(stack().error().kind, ErrorKind::kUnavailable);
  EXPECT_THAT(stack().error().message, HasSubstr("something in the worker has closed it"));
  EXPECT_EQ(signals, 0);
  EXPECT_EQ(::lseek(other.get(), 0, SEEK_END), 8);
}

TEST_F(ShellStacks, AWorkerThatEndsMeanwhileIsSaidToHave) {
  start();
  answers = false;
  auto asked = std::async(std::launch::async, [this] { return stack(kForever); });
  ASSERT_TRUE(eventually([this] { return signals == 1; }));
  world->kill_all();
  EXPECT_EQ(asked.get().error().kind, ErrorKind::kWorkerLost);
}

TEST_F(ShellStacks, AShutdownAnswersThoseWhoWait) {
  start();
  answers = false;
  auto asked = std::async(std::launch::async, [this] { return stack(kForever); });
  ASSERT_TRUE(eventually([this] { return signals == 1; }));
  shell->shutdown(0ms);
  EXPECT_FALSE(asked.get());
  EXPECT_EQ(stack().error().kind, ErrorKind::kUnavailable);
}

TEST_F(ShellStacks, ASlowCallIsToldOnceWithItsStack) {
  start(gated_with(stacks()), 50ms);
  auto call = begin_call();
  ASSERT_TRUE(eventually([this] { return told() == 1; }));
  world->open("go");
  EXPECT_TRUE(call.get());
  const PoolEvent& event = slow.at(0);
  EXPECT_EQ(event.command, "parse");
  EXPECT_EQ(event.stack, "stack 1\n");
  EXPECT_GE(*event.took, Duration(50ms));
  EXPECT_EQ(event.worker->generation, 1u);
  EXPECT_THAT(event.message, HasSubstr("command \"parse\" has been running for"));
  EXPECT_THAT(event.message, HasSubstr("slow_call = 50 ms"));
  EXPECT_EQ(shell->stats().slow_calls, 1u);
  shell.reset();  // all is delivered
  EXPECT_EQ(slow.size(), 1u);
}

TEST_F(ShellStacks, ASlowCallOfALeaseIsToldToo) {
  start(gated_with(stacks()), 50ms);
  pool::Hold hold = shell->take({.exclusive = true, .queue_deadline = Deadline::after(10s)}).value();
  auto call =
      std::async(std::launch::async, [&] { return shell->call_on(hold, {}, "parse", Json::array()); });
  ASSERT_TRUE(eventually([this] { return told() == 1; }));
  world->open("go");
  EXPECT_TRUE(call.get());
  shell->give_back(hold, {});
}

TEST_F(ShellStacks, ASlowCallWithoutAStackSaysWhy) {
  start(gated_with(Json::object()), 50ms);
  auto call = begin_call();
  ASSERT_TRUE(eventually([this] { return told() == 1; }));
  world->open("go");
  EXPECT_TRUE(call.get());
  EXPECT_EQ(slow.at(0).stack, "");
  EXPECT_THAT(slow.at(0).message, HasSubstr("Its stack is not known"));
}

TEST_F(ShellStacks, ASlowCallThatEndsBeforeItsStackIsTakenSaysSo) {
  start(gated_with(stacks()), 50ms);
  answers = false;
  auto call = begin_call();
  ASSERT_TRUE(eventually([this] { return signals == 1; }));
  world->open("go");
  EXPECT_TRUE(call.get());
  EXPECT_TRUE(shell->call({}, "quick", Json::array()));
  write("of another time\n");
  ASSERT_TRUE(eventually([this] { return told() == 1; }));
  EXPECT_EQ(slow.at(0).stack, "");
  EXPECT_THAT(slow.at(0).message, testing::AnyOf(HasSubstr("It ended before its stack was taken"),
                                                 HasSubstr("did not write its stack in time")));
}

// --- When to look ------------------------------------------------------------------------------------

struct SlowCallsWatch : testing::Test {
  pool::SlowCalls watch{1s};
  pool::Records records{{std::make_shared<pool::Record>(core::WorkerRef{0, 1}, 0)},
                        {},
                        {nullptr, std::make_shared<pool::Record>(core::WorkerRef{2, 2}, 0)}};
  TimePoint now = SteadyClock::now();

  bool begin(std::size_t slot) {
    (slot == 0 ? records[0][0] : records[slot][1])->running = {
        pool::Record::Running{.epoch = 1, .command = "parse", .since = now}};
    return watch.began(now);
  }
  std::size_t overdue() { return watch.overdue(records, now).size(); }
};

TEST_F(SlowCallsWatch, ManyCallsAreOneLookAndQuickOnesAreNotFound) {
  EXPECT_EQ(watch.next_look(), TimePoint::max());
  EXPECT_TRUE(begin(0));
  const TimePoint look = watch.next_look();
  EXPECT_EQ(look, now + 1s);
  for (int i = 0; i < 100; ++i, now += 5ms) EXPECT_FALSE(begin(0));
  EXPECT_EQ(watch.next_look(), look);
  now = look;
  EXPECT_EQ(overdue(), 0u);
  EXPECT_EQ(watch.next_look(), records[0][0]->running.front().since + 1s);
  records[0][0]->running.clear();
  now += 1s;
  EXPECT_EQ(overdue(), 0u);
  EXPECT_EQ(watch.next_look(), TimePoint::max());
}

TEST_F(SlowCallsWatch, ASlowCallIsFoundOnce) {
  begin(0);
  now += 400ms;
  begin(2);
  now += 600ms;
  const auto found = watch.overdue(records, now);
  ASSERT_EQ(found.size(), 1u);
  EXPECT_EQ(found[0].record, records[0][0]);
  EXPECT_EQ(found[0].command, "parse");
  EXPECT_EQ(watch.next_look(), now + 400ms);
  now += 400ms;
  EXPECT_EQ(overdue(), 1u);
  EXPECT_EQ(overdue(), 0u);
  begin(0);  // the next call
  now += 1s;
  EXPECT_EQ(overdue(), 1u);
}

TEST_F(SlowCallsWatch, ForeverIsNever) {
  pool::SlowCalls off{kForever};
  EXPECT_FALSE(off.began(now));
  EXPECT_EQ(off.next_look(), TimePoint::max());
}

}  // namespace
}  // namespace lair::test
