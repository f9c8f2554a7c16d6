// Pools among others: several in one program, forked hosts, shutdown with everything still going on.
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <thread>

#include "support/leak_check.hpp"
#include "support/pools.hpp"

namespace lair {
namespace {

using namespace std::chrono_literals;
using test::eventually;
using test::options_for;
using test::script_worker;

class Lifecycle : public test::LeakChecked {};

TEST_F(Lifecycle, ManyPoolsLiveInOneProgram) {
  Pool python(options_for("plain", 2));
  Pool original(options_for(script_worker("original.py"), 1));
  Pool same_name(options_for("plain", 1));
  EXPECT_EQ(python.call<int>("add", 1, 2), 3);
  EXPECT_EQ(original.call("echo", kwargs{{"a", 1}}), (Json{{"a", 1}}));
  EXPECT_EQ(same_name.call<int>("add", 3, 4), 7);
  python.shutdown();
  EXPECT_EQ(python.try_call("add", 1).error().kind, ErrorKind::kUnavailable);
  EXPECT_EQ(same_name.call<int>("add", 3, 4), 7);
}

TEST_F(Lifecycle, APoolCanBeMovedAndAssigned) {
  Pool first(options_for("plain", 1));
  const int pid = first.call<int>("pid");
  Pool second(std::move(first));
  EXPECT_EQ(second.call<int>("pid"), pid);
  second = Pool(options_for("plain", 1));
  EXPECT_NE(second.call<int>("pid"), pid);
}

TEST_F(Lifecycle, AnUnusedPoolEndsInTheMiddleOfItsStart) {
  for (int i = 0; i < 5; ++i) Pool pool(options_for("slow_start", 3));
}

TEST_F(Lifecycle, ShutdownLetsCallsInFlightFinish) {
  Pool pool(options_for("plain", 1));
  pool.wait_ready();
  Result<double> outcome = 0.0;
  const test::Note note;
  std::thread caller([&] { outcome = pool.try_call<double>("nap", 0.5, note.path()); });
  EXPECT_TRUE(note.comes());
  pool.shutdown();
  caller.join();
  EXPECT_TRUE(outcome) << outcome.error().report();
}

TEST_F(Lifecycle, ShutdownFailsWaitersAndEndsWhatDoesNotFinish) {
  PoolOptions options = options_for("plain", 1);
  options.terminate_grace = 200ms;
  Pool pool(std::move(options));
  pool.wait_ready();
  Result<Json> hung = Json();
  Result<Json> waiting = Json();
  std::thread caller([&] { hung = pool.try_call("spin"); });
  ASSERT_TRUE(eventually([&] { return pool.stats().count(SlotState::kBusy) == 1; }));
  std::thread waiter([&] { waiting = pool.try_call("pid"); });
  ASSERT_TRUE(eventually([&] { return pool.stats().waiters == 1; }));
  pool.shutdown(100ms);
  caller.join();
  waiter.join();
  EXPECT_EQ(hung.error().kind, ErrorKind::kWorkerLost);
  EXPECT_EQ(waiting.error().kind, ErrorKind::kUnavailable);
  EXPECT_EQ(waiting.error().delivery, Delivery::kNotSent);
}

TEST_F(Lifecycle, AWorkerThatIgnoresEverythingGoesWithItsPool) {
  PoolOptions options = options_for(script_worker("stubborn.py"), 2);
  options.terminate_grace = 200ms;
  Pool pool(std::move(options));
  pool.wait_ready();
  const int pid = pool.call<int>("pid");
  EXPECT_EQ(pool.call("shutdown")["status"], "shutting_down");
  EXPECT_NE(test::start_time_of(pid), "");
  pool.shutdown();
  EXPECT_EQ(test::start_time_of(pid), "");
}

TEST_F(Lifecycle, ALeaseMayOutliveItsPool) {
  std::optional<Lease> lease;
  {
    PoolOptions options = options_for("plain", 1);
    options.shutdown_grace = 100ms;
    options.terminate_grace = 200ms;
    Pool pool(std::move(options));
    lease.emplace(pool.checkout());
    EXPECT_GT(lease->call<int>("pid"), 0);
  }
  EXPECT_EQ(lease->try_call("pid").error().kind, ErrorKind::kWorkerLost);
  lease.reset();
}

TEST_F(Lifecycle, ConcurrentShutdownsAllWaitForTheEnd) {
  Pool pool(options_for("plain", 2));
  pool.wait_ready();
  std::vector<std::thread> threads;
  for (int i = 0; i < 4; ++i) {
    threads.emplace_back([&] {
      pool.shutdown();
      EXPECT_EQ(pool.stats().workers_exited, pool.stats().workers_ready);
    });
  }
  for (auto& thread : threads) thread.join();
}

TEST_F(Lifecycle, TheThreadThatMadeAPoolMayGo) {
  std::optional<Pool> pool;
  std::thread([&] {
    pool.emplace(options_for("plain", 2));
    pool->wait_ready();
  }).join();
  const int pid = pool->call<int>("pid");
  for (int i = 0; i < 100; ++i) std::thread([&] { EXPECT_TRUE(pool->try_call("pid")); }).join();
  EXPECT_NE(test::start_time_of(pid), "");
  EXPECT_EQ(pool->stats().workers_exited, 0u);
}

TEST_F(Lifecycle, AForkedChildsPoolIsInert) {
  Pool pool(options_for("plain", 1));
  const int pid = pool.call<int>("pid");
  const pid_t child = ::fork();
  ASSERT_GE(child, 0);
  if (child == 0) {
    const auto outcome = pool.try_call("pid");
    const bool refused = !outcome && outcome.error().kind == ErrorKind::kUnavailable &&
                         outcome.error().message.find("fork") != std::string::npos;
    {
      const Pool moved = std::move(pool);  // its destructor must neither wait nor kill
    }
    ::_exit(refused ? 0 : 1);
  }
  int status = 0;
  ASSERT_EQ(::waitpid(child, &status, 0), child);
  EXPECT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) == 0);
  EXPECT_EQ(pool.call<int>("pid"), pid);
}

TEST_F(Lifecycle, AHostThatIgnoresSigchldIsServedAllTheSame) {
  const auto before = ::signal(SIGCHLD, SIG_IGN);
  {
    Pool pool(options_for("plain", 1));
    EXPECT_EQ(pool.try_call("crash").error().kind, ErrorKind::kWorkerLost);
    EXPECT_EQ(pool.call<int>("add", 1, 1), 2);
  }
  ::signal(SIGCHLD, before);
}

TEST_F(Lifecycle, TheLibraryLeavesSignalsAlone) {
  struct sigaction before[65]{};
  for (int s = 1; s < 65; ++s) ::sigaction(s, nullptr, &before[s]);
  Pool pool(options_for("plain", 1));
  EXPECT_EQ(pool.call<int>("add", 1, 1), 2);
  for (int s = 1; s < 65; ++s) {
    struct sigaction now {};
    ::sigaction(s, nullptr, &now);
    EXPECT_EQ(now.sa_handler, before[s].sa_handler) << "signal " << s;
  }
}

}  // namespace
}  // namespace lair
