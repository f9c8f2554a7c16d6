// Starting: in parallel, on demand, in named stages, and failing in words.
#include <gtest/gtest.h>
#include <signal.h>

#include <latch>
#include <thread>

#include "support/leak_check.hpp"
#include "support/pools.hpp"

namespace lair {
namespace {

using namespace std::chrono_literals;
using test::eventually;
using test::options_for;
using test::python_worker;
using test::script_worker;

class Start : public test::LeakChecked {};

TEST_F(Start, AnEagerPoolStartsAllOfItsWorkersSideBySide) {
  PoolOptions options = options_for("slow_start", 6);
  options.worker.env["SLOW_START"] = "1.0";
  Pool pool(std::move(options));
  // All six are in on_start at once: the start bound counts only those that load code.
  EXPECT_TRUE(eventually([&] { return pool.stats().count(SlotState::kStarting) == 6; }));
  pool.wait_ready();
  EXPECT_EQ(pool.stats().count(SlotState::kIdle), 6u);
  EXPECT_EQ(pool.stats().workers_started, 6u);
}

TEST_F(Start, AWorkerTellsHowLongEachStageTook) {
  PoolOptions options = options_for("slow_start", 1);
  options.worker.env["SLOW_START"] = "0.2";
  const TimePoint began = SteadyClock::now();
  Pool pool(std::move(options));
  pool.wait_ready();
  const Duration waited = SteadyClock::now() - began;
  const StartTimes took = pool.stats().workers.at(0).start;
  EXPECT_GT(took.spawn, Duration::zero());
  EXPECT_GT(took.handshake, Duration::zero());
  EXPECT_GT(took.warm_up, Duration::zero());
  // The worker warms up as soon as it has answered the handshake, which the pool sees a moment later.
  EXPECT_GE(took.handshake + took.warm_up, 200ms);
  EXPECT_LE(took.environment + took.spawn + took.handshake + took.warm_up, waited);
}

TEST_F(Start, AProgramOfProtocol1HasNoWarmUp) {
  Pool pool(options_for(script_worker("original.py"), 1));
  pool.wait_ready();
  const StartTimes took = pool.stats().workers.at(0).start;
  EXPECT_GT(took.handshake, Duration::zero());
  EXPECT_EQ(took.warm_up, Duration::zero());
}

PoolOptions verified(const std::string& how, std::size_t size = 2) {
  PoolOptions options = options_for("verified", size);
  options.verify = "smoke";
  options.worker.env["VERIFY"] = how;
  return options;
}

TEST_F(Start, AWorkerAnswersItsSmokeCallBeforeItServes) {
  for (const char* how : {"spawn", "fork"}) {
    PoolOptions options = verified("well");
    options.worker.start = how;
    Pool pool(std::move(options));
    pool.wait_ready();
    EXPECT_EQ(pool.call<int>("smoked"), 1);
    const PoolStats stats = pool.stats();
    EXPECT_EQ(stats.admitted, 1u);
    ASSERT_EQ(stats.commands.size(), 1u);
    EXPECT_EQ(stats.commands[0].name, "smoked");
    for (const WorkerStats& worker : stats.workers) EXPECT_GT(worker.start.verify, Duration::zero());
  }
}

TEST_F(Start, AForeignProgramIsVerifiedToo) {
  PoolOptions options = options_for(script_worker("original.py"), 1);
  options.verify = "pid";
  {
    Pool pool(options);
    pool.wait_ready();
    EXPECT_GT(pool.stats().workers.at(0).start.verify, Duration::zero());
  }
  options.verify = "fail";
  const auto ready = Pool(options).try_wait_ready();
  ASSERT_FALSE(ready);
  EXPECT_EQ(ready.error().stage, "verify");
  EXPECT_NE(ready.error().message.find("Program execution failed: no"), std::string::npos);
}

TEST_F(Start, WaitReadyCountsAndTimesOut) {
  PoolOptions options = options_for("slow_start", 2);
  options.worker.env["SLOW_START"] = "60";
  Pool pool(std::move(options));
  const auto late = pool.try_wait_ready(1, 300ms);
  ASSERT_FALSE(late);
  EXPECT_EQ(late.error().kind, ErrorKind::kDeadlineExceeded);
  EXPECT_NE(late.error().message.find("0 of 1 workers are ready"), std::string::npos) << late.error().message;
  EXPECT_EQ(pool.try_wait_ready(3, 300ms).error().kind, ErrorKind::kInvalidArgument);
}

TEST_F(Start, ALazyPoolStartsOneWorkerForEachWaitingCaller) {
  PoolOptions options = options_for("slow_start", 3);
  options.lazy = true;
  Pool pool(std::move(options));
  EXPECT_EQ(pool.stats().workers_started, 0u);
  EXPECT_GT(pool.call<int>("pid"), 0);
  EXPECT_EQ(pool.stats().workers_started, 1u);
  std::vector<std::thread> callers;
  for (int i = 0; i < 5; ++i) callers.emplace_back([&] { pool.call<void>("nap", 0.05); });
  for (auto& caller : callers) caller.join();
  EXPECT_LE(pool.stats().workers_started, 3u);
}

TEST_F(Start, ALazyPoolCanBeWarmedUp) {
  PoolOptions options = options_for("plain", 3);
  options.lazy = true;
  Pool pool(std::move(options));
  pool.wait_ready(2);
  EXPECT_EQ(pool.stats().workers_started, 2u);
}

TEST_F(Start, AWaiterThatGivesUpDoesNotDisturbTheStartItWaitedFor) {
  PoolOptions options = options_for("slow_start", 1);
  options.lazy = true;
  Pool pool(std::move(options));
  const auto impatient = pool.try_call({.timeout = 100ms}, "pid");
  ASSERT_FALSE(impatient);
  EXPECT_EQ(impatient.error().kind, ErrorKind::kDeadlineExceeded);
  EXPECT_EQ(impatient.error().delivery, Delivery::kNotSent);
  EXPECT_GT(pool.call<int>("pid"), 0);
  EXPECT_EQ(pool.stats().workers_started, 1u);
}

TEST_F(Start, OverflowWorkersComeWhenCallersHaveWaitedAndGoWhenIdle) {
  PoolOptions options = options_for("plain", 1);
  options.overflow = 2;
  options.overflow_after = 100ms;
  options.overflow_idle = 300ms;
  Pool pool(std::move(options));
  pool.wait_ready();
  std::vector<std::thread> callers;
  std::latch enough(1);
  for (int i = 0; i < 3; ++i) {
    callers.emplace_back([&] {
      const Lease lease = pool.checkout({.timeout = 60s});
      enough.wait();
    });
  }
  EXPECT_TRUE(eventually([&] { return pool.stats().count(SlotState::kBusy) == 3; }));
  enough.count_down();
  for (auto& caller : callers) caller.join();
  EXPECT_TRUE(
      eventually([&] { return pool.stats().ready() == 1 && pool.stats().count(SlotState::kVacant) == 2; }));
  EXPECT_GT(pool.call<int>("pid"), 0);
}

TEST_F(Start, QueueWaitAndCallTimeOutAsDifferentErrors) {
  Pool pool(options_for("plain", 1));
  pool.wait_ready();
  auto lease = pool.checkout();
  const auto queue = pool.try_call({.timeout = 10s, .checkout_timeout = 100ms}, "pid");
  const auto call = pool.try_call({.timeout = 100ms, .checkout_timeout = 10s}, "pid");
  ASSERT_FALSE(queue);
  ASSERT_FALSE(call);
  EXPECT_EQ(queue.error().kind, ErrorKind::kOverloaded);
  EXPECT_EQ(call.error().kind, ErrorKind::kDeadlineExceeded);
  EXPECT_EQ(queue.error().delivery, Delivery::kNotSent);
  EXPECT_EQ(call.error().delivery, Delivery::kNotSent);
  const auto second = pool.try_checkout({.timeout = 50ms});
  ASSERT_FALSE(second);
  EXPECT_EQ(second.error().kind, ErrorKind::kOverloaded);
}

TEST_F(Start, AFullQueueRefusesAtOnceAndSaysWhenToTryAgain) {
  PoolOptions options = options_for("plain", 1);
  options.max_waiters = 2;
  Pool pool(std::move(options));
  pool.wait_ready();
  auto lease = pool.checkout();
  std::vector<std::thread> waiters;
  for (int i = 0; i < 2; ++i) waiters.emplace_back([&] { EXPECT_GT(pool.call<int>("pid"), 0); });
  ASSERT_TRUE(eventually([&] { return pool.stats().waiters == 2; }));
  const auto refused = pool.try_call("pid");
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().kind, ErrorKind::kOverloaded);
  EXPECT_GT(refused.error().retry_after_ms.value_or(0), 0);
  EXPECT_NE(refused.error().message.find("max_waiters"), std::string::npos);
  lease.release();
  for (auto& waiter : waiters) waiter.join();
}

// --- Failing ---------------------------------------------------------------------------------------

struct BadStart {
  const char* name;
  WorkerSpec worker;
  const char* stage;
  const char* says;
  Duration start_timeout = 1min;  // of those that hang: what they take

  friend void PrintTo(const BadStart& bad, std::ostream* out) { *out << bad.name; }
};
WorkerSpec with(WorkerSpec spec, const std::function<void(WorkerSpec&)>& change) {
  change(spec);
  return spec;
}
WorkerSpec smoking(const std::string& how) {
  return with(python_worker("verified"), [&](WorkerSpec& spec) { spec.env["VERIFY"] = how; });
}
class BadStarts : public test::LeakChecked, public ::testing::WithParamInterface<BadStart> {};

TEST_P(BadStarts, NameTheStageAndTheReasonAndFailFast) {
  PoolOptions options = options_for(GetParam().worker, 2);
  if (GetParam().worker.module == "verified") options.verify = "smoke";
  options.start_timeout = GetParam().start_timeout;
  Pool pool(std::move(options));
  const auto ready = pool.try_wait_ready();
  ASSERT_FALSE(ready);
  EXPECT_EQ(ready.error().stage, GetParam().stage) << ready.error().report();
  EXPECT_NE(ready.error().report().find(GetParam().says), std::string::npos) << ready.error().report();
  const auto call = pool.try_call({.timeout = 60s, .checkout_timeout = 500ms}, "pid");
  ASSERT_FALSE(call);
  EXPECT_EQ(call.error().kind, ErrorKind::kUnavailable);
  EXPECT_EQ(call.error().delivery, Delivery::kNotSent);
  EXPECT_EQ(pool.try_checkout().error().kind, ErrorKind::kUnavailable);
}

INSTANTIATE_TEST_SUITE_P(
    Each, BadStarts,
    ::testing::Values(
        BadStart{"MissingModule", python_worker("no_such_module_anywhere"), "environment",
                 "no_such_module_anywhere"},
        BadStart{"SyntaxError", python_worker("broken_syntax"), "environment", "SyntaxError"},
        BadStart{"ImportError", python_worker("broken_import"), "environment",
                 "a_module_that_nobody_has_installed"},
        BadStart{"OnStartRaises", python_worker("broken_start"), "warm_up", "the model file is missing"},
        BadStart{"SmokeCallRaises", smoking("raise"), "verify", "ValueError: no weights"},
        BadStart{"SmokeCallHangs", smoking("hang"), "verify", "\"smoke\" (verify) has not answered", 4s},
        BadStart{"SmokeCallDies", smoking("die"), "verify", "exited with status 3"},
        BadStart{"MissingInterpreter",
                 with(python_worker("plain"), [](auto& s) { s.interpreter = "/nonexistent/python3"; }),
                 "environment", "/nonexistent/python3"},
        BadStart{"InterpreterNotOnPath",
                 with(python_worker("plain"), [](auto& s) { s.interpreter = "python-that-is-not"; }),
                 "environment", "not found on PATH"},
        BadStart{"NotAPython", with(python_worker("plain"), [](auto& s) { s.interpreter = "/bin/true"; }),
                 "handshake", "exited with status 0"},
        BadStart{"MissingVenv", with(python_worker("plain"), [](auto& s) { s.venv = "/nonexistent/venv"; }),
                 "environment", "/nonexistent/venv"},
        BadStart{"MissingCwd", with(python_worker("plain"), [](auto& s) { s.cwd = "/nonexistent/folder"; }),
                 "environment", "/nonexistent/folder"},
        BadStart{"MissingProgram", command({"/nonexistent/worker"}), "environment", "/nonexistent/worker"},
        BadStart{"CrashOnBoot", script_worker("crash_on_boot.py"), "handshake", "cannot open the database"},
        BadStart{"NeverReady", script_worker("never_ready.py"), "handshake",
                 "loading a model that never comes", 4s},
        BadStart{"PrintsOnItsChannel", script_worker("prints_on_stdout.py"), "handshake", "Hello, I am"}),
    [](const auto& instance) { return instance.param.name; });

TEST_F(Start, APermanentFailureIsNotTriedAgain) {
  PoolOptions options = options_for("broken_import", 2);
  Pool pool(std::move(options));
  EXPECT_FALSE(pool.try_wait_ready());
  EXPECT_TRUE(eventually([&] { return pool.stats().count(SlotState::kFailed) == 2; }));
  const auto started = pool.stats().workers_started;
  EXPECT_LE(started, 2u);
  for (int i = 0; i < 50; ++i) EXPECT_EQ(pool.try_call("f").error().kind, ErrorKind::kUnavailable);
  EXPECT_EQ(pool.stats().workers_started, started);
}

TEST_F(Start, AMissingKeeperSaysWhereWasLooked) {
  ::setenv("LAIR_KEEPER", "/nonexistent/lair-keeper", 1);
  const auto pool = Pool::create(options_for("plain", 1));
  ::unsetenv("LAIR_KEEPER");
  ASSERT_FALSE(pool);
  EXPECT_EQ(pool.error().kind, ErrorKind::kUnavailable);
  EXPECT_NE(pool.error().message.find("/nonexistent/lair-keeper"), std::string::npos);
}

TEST_F(Start, AKeeperThatIsNoneIsSurvived) {
  ::setenv("LAIR_KEEPER", "/bin/true", 1);
  auto pool = Pool::create(options_for("plain", 1));
  ASSERT_TRUE(pool);
  const auto ready = pool->try_wait_ready({}, 5s);
  ::unsetenv("LAIR_KEEPER");
  ASSERT_FALSE(ready);
  EXPECT_NE(ready.error().message.find("lair-keeper"), std::string::npos) << ready.error().report();
}

TEST_F(Start, BadSettingsAreRefusedByName) {
  PoolOptions options = options_for("plain", 1);
  options.worker.argv = {"python3"};
  const auto pool = Pool::create(std::move(options));
  ASSERT_FALSE(pool);
  EXPECT_EQ(pool.error().kind, ErrorKind::kInvalidArgument);
  EXPECT_NE(pool.error().message.find("argv"), std::string::npos) << pool.error().message;
}

}  // namespace
}  // namespace lair
