// What goes wrong in a worker costs its own call and nothing else.
#include <gtest/gtest.h>
#include <signal.h>

#include <atomic>
#include <thread>

#include "support/leak_check.hpp"
#include "support/pools.hpp"
#include "support/sanitized.hpp"

namespace lair {
namespace {

using namespace std::chrono_literals;
using test::eventually;
using test::options_for;
using test::script_worker;

class Faults : public test::LeakChecked {};

void expect_back_to_size(Pool& pool) {
  EXPECT_TRUE(eventually([&] { return pool.stats().count(SlotState::kIdle) == pool.options().size; }))
      << to_json_value(pool.stats()).dump(1);
}

TEST_F(Faults, AKilledIdleWorkerIsReplacedAndNoCallFails) {
  Pool pool(options_for("plain", 2));
  pool.wait_ready();
  for (int round = 0; round < 5; ++round) {
    const int pid = pool.call<int>("pid");
    ASSERT_EQ(::kill(pid, SIGKILL), 0);
    for (int i = 0; i < 20; ++i) EXPECT_NE(pool.call<int>("pid"), pid);
    expect_back_to_size(pool);
  }
  EXPECT_EQ(pool.stats().crashed, 0u);
}

TEST_F(Faults, ACrashShowsItsSignalAndItsLastWords) {
  Pool pool(options_for("plain", 1));
  const auto outcome = pool.try_call("crash");
  ASSERT_FALSE(outcome);
  EXPECT_NE(outcome.error().message.find("SIGSEGV"), std::string::npos) << outcome.error().message;
  const std::string& tail = outcome.error().worker->stderr_tail;
  EXPECT_EQ(tail.rfind("about to crash\nFatal Python error: Segmentation fault", 0), 0u) << tail;
  EXPECT_NE(tail.find("in crash"), std::string::npos) << tail;
  EXPECT_EQ(pool.call<int>("add", 1, 1), 2);
}

TEST_F(Faults, AMissedDeadlineFreesTheCallerAndKillsTheWorker) {
  PoolOptions options = options_for("plain", 2);
  options.cancel_grace = 0ms;  // not asked
  Pool pool(options);
  pool.wait_ready();
  const int pid = pool.call<int>("pid");
  for (const char* command : {"nap", "spin"}) {
    const auto outcome = std::string(command) == "nap" ? pool.try_call({.timeout = 100ms}, "nap", 60)
                                                       : pool.try_call({.timeout = 100ms}, "spin");
    ASSERT_FALSE(outcome);
    EXPECT_EQ(outcome.error().kind, ErrorKind::kDeadlineExceeded);
    EXPECT_EQ(outcome.error().delivery, Delivery::kMaybeExecuted);
  }
  EXPECT_TRUE(eventually([&] { return test::start_time_of(pid).empty(); }));
  expect_back_to_size(pool);
  EXPECT_EQ(pool.stats().timeout, 2u);
}

struct Babble {
  const char* worker;
  ErrorKind kind;
};
class Babbling : public test::LeakChecked, public ::testing::WithParamInterface<Babble> {};

TEST_P(Babbling, CostsItsOwnCallAndItsWorker) {
  Pool pool(options_for(script_worker(std::string(GetParam().worker) + ".py"), 2));
  pool.wait_ready();
  const int pid = pool.call<int>("pid");
  const auto outcome = pool.try_call({.timeout = 400ms}, "babble", kwargs{{"n", 1}});
  ASSERT_FALSE(outcome) << *outcome;
  EXPECT_EQ(outcome.error().kind, GetParam().kind) << outcome.error().report();
  EXPECT_TRUE(eventually([&] { return test::start_time_of(pid).empty(); }));
  expect_back_to_size(pool);
  for (int i = 0; i < 10; ++i) EXPECT_EQ(pool.call("echo", kwargs{{"i", i}}), (Json{{"i", i}}));
}

INSTANTIATE_TEST_SUITE_P(
    Each, Babbling,
    ::testing::Values(Babble{"garbage", ErrorKind::kProtocol}, Babble{"huge_length", ErrorKind::kProtocol},
                      Babble{"half_frame", ErrorKind::kDeadlineExceeded},
                      Babble{"silent", ErrorKind::kDeadlineExceeded},
                      Babble{"not_json", ErrorKind::kProtocol}, Babble{"not_an_object", ErrorKind::kProtocol},
                      Babble{"nan", ErrorKind::kProtocol}, Babble{"wrong_id", ErrorKind::kProtocol},
                      Babble{"no_success", ErrorKind::kProtocol}, Babble{"empty_frame", ErrorKind::kProtocol},
                      Babble{"closes_its_channel", ErrorKind::kWorkerLost}),
    [](const auto& instance) { return instance.param.worker; });

TEST_F(Faults, ALeaseIsNotGivenAWorkerThatIsSeenToBeFinished) {
  Pool pool(options_for(script_worker("stray_bytes.py"), 1));
  for (int i = 0; i < 5; ++i) {
    EXPECT_EQ(pool.call("babble", kwargs{{"n", i}}), "late");
    EXPECT_EQ(pool.checkout().call("echo", kwargs{{"i", i}}), (Json{{"i", i}}));
  }
}

TEST_F(Faults, AGrandchildThatHoldsTheChannelDoesNotHideADeath) {
  Pool pool(options_for("plain", 1));
  const int grandchild = pool.call<int>("grandchild");
  const std::string started = test::start_time_of(grandchild);
  ASSERT_NE(started, "");
  EXPECT_EQ(pool.try_call("crash").error().kind, ErrorKind::kWorkerLost);
  // And, though it has detached itself, it goes with its worker while the host lives on.
  EXPECT_TRUE(eventually([&] { return test::start_time_of(grandchild) != started; }));
}

// No SIGPIPE, whose default would end this test; and what was not read has not run.
TEST_F(Faults, AWorkerThatDiesBeforeItHasReadLeavesTheHostAlive) {
  for (const char* stdio : {"socket", "pipe"}) {
    WorkerSpec worker = script_worker("original.py");
    worker.stdio = stdio;
    Pool pool(options_for(std::move(worker), 1));
    auto lease = pool.checkout();
    const int pid = lease.worker().pid;
    ASSERT_EQ(::kill(pid, SIGSTOP), 0);
    Result<Json> outcome = Json();
    std::thread caller([&] {
      outcome =
          lease.try_call("echo", kwargs{{"text", std::string((test::kSanitized ? 2u : 8u) << 20, 'x')}});
    });
    // It is on its way when the socket or pipe is full.
    ASSERT_EQ(::kill(pid, SIGKILL), 0);
    caller.join();
    ASSERT_FALSE(outcome);
    EXPECT_EQ(outcome.error().kind, ErrorKind::kWorkerLost);
    EXPECT_EQ(outcome.error().delivery, Delivery::kNotSent) << outcome.error().report();
  }
}

TEST_F(Faults, ARequestThatADyingWorkerHadNotReadIsDispatchedAgain) {
  Pool pool(options_for("plain", 1));
  for (int i = 0; i < 20; ++i) {
    const int pid = pool.call<int>("pid");
    std::thread killer([&] { ::kill(pid, SIGKILL); });
    // Before, after or while the call is sent: it never fails unless the worker had read it.
    const auto outcome = pool.try_call<int>("add", i, 1);
    killer.join();
    if (outcome) {
      EXPECT_EQ(*outcome, i + 1);
    } else {
      EXPECT_EQ(outcome.error().delivery, Delivery::kMaybeExecuted);
    }
  }
}

TEST_F(Faults, ARequestThatIsNotReadMissesItsDeadlineUnsent) {
  for (const char* stdio : {"socket", "pipe"}) {
    WorkerSpec worker = script_worker("original.py");
    worker.stdio = stdio;
    Pool pool(options_for(std::move(worker), 2));
    pool.wait_ready();
    // It stops reading right after this reply.
    auto lease = pool.checkout();
    ASSERT_EQ(::kill(lease.worker().pid, SIGSTOP), 0);
    const auto outcome = lease.try_call(
        {.timeout = 300ms}, "echo", kwargs{{"text", std::string((test::kSanitized ? 4u : 40u) << 20, 'x')}});
    ASSERT_FALSE(outcome);
    EXPECT_EQ(outcome.error().kind, ErrorKind::kDeadlineExceeded);
    EXPECT_EQ(outcome.error().delivery, Delivery::kNotSent);  // a partly written frame counts as not sent
    EXPECT_EQ(pool.call("echo", kwargs{{"i", 1}}), (Json{{"i", 1}}));
    lease.release();
    expect_back_to_size(pool);
  }
}

TEST_F(Faults, TheKeepersDeathIsSurvived) {
  Pool pool(options_for("plain", 2));
  pool.wait_ready();
  const auto family = test::descendants(::getpid());
  const int first_pid = pool.call<int>("pid");
  int keeper = 0;
  for (const int candidate : family) {
    if (test::descendants(candidate).count(first_pid) != 0) keeper = candidate;
  }
  ASSERT_NE(keeper, 0);
  ASSERT_EQ(::kill(keeper, SIGKILL), 0);
  EXPECT_TRUE(eventually([&] { return test::start_time_of(first_pid).empty(); }));
  EXPECT_TRUE(eventually([&] { return pool.try_call<int>("add", 1, 1).value_or(0) == 2; }));
  expect_back_to_size(pool);
}

TEST_F(Faults, UnderAStormOfKillsEveryCallEndsOnceAndThePoolRecovers) {
  PoolOptions options = options_for("plain", 4);
  options.max_waiters = 64;
  Pool pool(std::move(options));
  pool.wait_ready();
  std::atomic<bool> stop = false;
  std::atomic<std::uint64_t> ended = 0;
  std::atomic<int> wrong = 0;
  std::vector<std::thread> callers;
  for (int i = 0; i < 8; ++i) {
    callers.emplace_back([&, i] {
      for (int n = 0; !stop; ++n) {
        const auto sum = pool.try_call<int>("add", i, n);
        ++ended;
        if (sum) {
          wrong += *sum == i + n ? 0 : 1;
        } else if (sum.error().kind != ErrorKind::kWorkerLost) {
          ADD_FAILURE() << sum.error().report();
          stop = true;
        }
      }
    });
  }
  for (int kills = 0; kills < 30 && !stop; ++kills) {
    const auto stats = pool.stats();
    const WorkerStats& victim = stats.workers[static_cast<std::size_t>(kills) % stats.workers.size()];
    if (victim.pid > 0 && victim.calls > 0) ::kill(victim.pid, SIGKILL);
    const std::uint64_t seen = ended;
    eventually([&] { return ended > seen + 100; });
  }
  stop = true;
  for (auto& caller : callers) caller.join();
  EXPECT_EQ(wrong, 0);
  expect_back_to_size(pool);
  const PoolStats stats = pool.stats();
  EXPECT_EQ(stats.admitted, ended);
  EXPECT_EQ(stats.admitted,
            stats.ok + stats.error + stats.timeout + stats.crashed + stats.shed + stats.cancelled);
}

}  // namespace
}  // namespace lair
