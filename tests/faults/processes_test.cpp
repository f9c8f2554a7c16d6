// Rows about processes: what must be gone when something else is gone, and how soon.
#include <fcntl.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <optional>

#include "faults/row.hpp"
#include "os/pidfd.hpp"
#include "os/wait.hpp"
#include "support/host.hpp"

namespace lair::test {
namespace {

using namespace std::chrono_literals;

// The pidfds of a family, taken while it is alive: they tell the very moment of each end.
class Wake {
 public:
  explicit Wake(const Family& family) : family_(family) {
    for (const auto& [pid, started] : family) pidfds_.push_back(os::open_pidfd(pid));
  }
  // Until all are dead (a zombie of somebody else's is).
  TimePoint over() const {
    for (const os::Fd& pidfd : pidfds_) {
      if (pidfd) (void)os::wait_for_io({.exit_fd = pidfd.get()}, Deadline::after(10s));
    }
    return now();
  }
  std::string left() const { return survivors(family_); }

 private:
  Family family_;
  std::vector<os::Fd> pidfds_;
};

class Processes : public FaultRow {
 protected:
  // Kills a host with its family of processes, but for `spared`, and measures until the last of them is dead.
  void kill_host(const Host& host, std::size_t least, int spared = 0) {
    Family family = identify(descendants(host.pid()));
    family.erase(spared);
    ASSERT_GE(family.size(), least);
    const Wake wake(family);
    const TimePoint killed = now();
    host.kill();
    const TimePoint over = wake.over();
    host.reap();
    took("the last process is gone", over - killed, 250ms, true);
    ASSERT_EQ(wake.left(), "");
  }
  // A keeper, 2 workers, 3 detached grandchildren of each.
  static constexpr std::size_t kFamily = 1 + 2 + 6;
};

TEST_F(Processes, R06_SigtermIsIgnoredAtShutdown) {
  auto options = options_for("ignores_sigterm", 2);
  options.terminate_grace = 500ms;
  Pool pool(std::move(options));
  pool.wait_ready();
  const Note note;
  auto lease = pool.checkout();
  lease.call("ignore");
  std::thread caller([&] { (void)lease.try_call("nap", 60, note.path()); });
  ASSERT_TRUE(note.comes());
  const TimePoint began = now();
  pool.shutdown(0ms);
  took("shutdown returns, after the grace", now() - began - 500ms, 200ms, true);
  EXPECT_GE(now() - began, 500ms) << "killed before its grace was over";
  caller.join();
}

TEST_F(Processes, R18_TheKeeperIsKilled) {
  for (int i = 0; i < rounds(2, 20); ++i) {
    Pool pool(options_for("plain", 4));
    pool.wait_ready();
    Family family = identify(descendants(::getpid()));
    const int worker = pool.stats().workers[0].pid;
    int keeper = 0;
    for (const auto& [pid, started] : family) {
      if (descendants(pid).count(worker) != 0) keeper = pid;
    }
    ASSERT_NE(keeper, 0);
    family.erase(keeper);
    const Wake workers(family);
    const Note note;
    Result<Json> outcome = Json();
    TimePoint told;
    std::thread caller([&] {
      outcome = pool.try_call("nap", 60, note.path());
      told = now();
    });
    ASSERT_TRUE(note.comes());
    const TimePoint killed = now();
    ASSERT_EQ(::kill(keeper, SIGKILL), 0);
    caller.join();
    took("the caller is told", told - killed, 100ms, true);
    ASSERT_FALSE(outcome);
    EXPECT_EQ(outcome.error().kind, ErrorKind::kWorkerLost);
    EXPECT_EQ(outcome.error().delivery, Delivery::kMaybeExecuted);
    (void)workers.over();
    EXPECT_EQ(workers.left(), "");
    ASSERT_TRUE(eventually([&] { return pool.try_call<int>("add", 1, 1).value_or(0) == 2; }));
    pool.wait_ready();
    took("whole again", now() - killed, 5s);
    expect_whole(pool);
  }
}

// Shards, so that the long run's ten thousand fit under any test's time limit.
class HostKills : public Processes, public ::testing::WithParamInterface<int> {};

TEST_P(HostKills, R16_AHostWithWorkersInCIsKilled) {
  for (int i = 0; i < rounds(kSanitized ? 5 : 50, 2500) && !HasFatalFailure(); ++i) {
    kill_host(Host({"ready", "c"}), kFamily);
  }
}
INSTANTIATE_TEST_SUITE_P(Shard, HostKills, ::testing::Range(0, 4));

TEST_F(Processes, R16_AHostWithWorkersInPythonIsKilled) {
  for (int i = 0; i < rounds(kSanitized ? 5 : 25, 100) && !HasFatalFailure(); ++i) {
    kill_host(Host({"ready"}), kFamily);
  }
}

TEST_F(Processes, R17_AHostIsKilledWhileItsPoolStarts) {
  for (int i = 0; i < rounds(kSanitized ? 9 : 45, 900) && !HasFatalFailure(); ++i) {
    const Host host({"starting", i % 2 == 0 ? "c" : ""});
    // At another point of the start each time.
    eventually([&] { return descendants(host.pid()).size() >= static_cast<std::size_t>(i % 9); }, 2s);
    kill_host(host, 0);
  }
}

TEST_F(Processes, R19_TheKeeperIsStoppedAndThenTheHostIsKilled) {
  for (int i = 0; i < rounds(5, 100) && !HasFatalFailure(); ++i) {
    const Host host({"ready", "c"});
    const Family family = identify(descendants(host.pid()));
    int keeper = 0;
    for (const auto& [pid, started] : family) {
      if (descendants(pid).size() == family.size() - 1) keeper = pid;
    }
    ASSERT_NE(keeper, 0);
    ASSERT_EQ(::kill(keeper, SIGSTOP), 0);
    kill_host(host, kFamily);
  }
}

TEST_F(Processes, R20_TheCallingThreadsExit) {
  Pool pool(options_for("plain", 4));
  pool.wait_ready();
  std::set<int> pids;
  for (const WorkerStats& worker : pool.stats().workers) pids.insert(worker.pid);
  for (int i = 0; i < 1000; ++i) {
    std::thread([&] { EXPECT_EQ(pids.count(pool.call<int>("pid")), 1u); }).join();
  }
  EXPECT_EQ(pool.stats().workers_exited, 0u);
  expect_whole(pool);
}

TEST_F(Processes, R21_AHostThatHasForkedIsKilled) {
  for (int i = 0; i < rounds(3, 50) && !HasFatalFailure(); ++i) {
    const Host host({"ready", "fork"});
    int copy = 0;
    for (const int pid : descendants(host.pid())) {
      if (descendants(pid).empty() && ::getpgid(pid) == ::getpgid(host.pid())) copy = pid;
    }
    ASSERT_NE(copy, 0);
    kill_host(host, kFamily, copy);
    EXPECT_NE(start_time_of(copy), "") << "the copy is the user's own";
    ::kill(copy, SIGKILL);
  }
}

TEST_F(Processes, R38_AWorkerHangsAtShutdown) {
  PoolOptions options = options_for(script_worker("stubborn.py"), 4);
  options.terminate_grace = 500ms;
  Pool pool(std::move(options));
  pool.wait_ready();
  const Note note;
  Result<Json> outcome = Json();
  std::thread caller([&] { outcome = pool.try_call("hang"); });
  EXPECT_TRUE(eventually([&] { return pool.stats().count(SlotState::kBusy) == 1; }));
  const TimePoint began = now();
  pool.shutdown(300ms);
  // The grace of the call, then that of the worker, and a second for everything else.
  took("shutdown returns, after both graces", now() - began - 800ms, 1s, true);
  caller.join();
  EXPECT_EQ(outcome.error().kind, ErrorKind::kWorkerLost);
  EXPECT_EQ(pool.stats().count(SlotState::kVacant), 4u);
}

TEST_F(Processes, R39_AWorkerIgnoresEverythingAndItsPoolEnds) {
  std::optional<Pool> pool;
  PoolOptions options = options_for(script_worker("stubborn.py"), 4);
  options.terminate_grace = 200ms;
  pool.emplace(std::move(options));
  pool->wait_ready();
  EXPECT_EQ(pool->call("shutdown")["status"], "shutting_down");
  const Family family = identify(descendants(::getpid()));
  EXPECT_GE(family.size(), 4u);
  const TimePoint began = now();
  pool.reset();
  took("the pool is gone, after the grace", now() - began - 200ms, 200ms, true);
  EXPECT_EQ(survivors(family), "");
}

TEST_F(Processes, R39_AWorkerIgnoresEverythingAndItsHostIsKilled) {
  for (int i = 0; i < rounds(3, 50) && !HasFatalFailure(); ++i) {
    kill_host(Host({"ready", "stubborn"}), 1 + 2);
  }
}

TEST_F(Processes, R42_AGrandchildOutlivesItsWorker) {
  Pool pool(options_for("plain", 4));
  pool.wait_ready();
  for (int i = 0; i < 5; ++i) {
    auto lease = pool.checkout();
    const int grandchild = lease.call<int>("grandchild");
    const Family family = identify({grandchild});
    ASSERT_EQ(family.size(), 1u);
    const Wake wake(family);
    const TimePoint killed = now();
    ::kill(lease.worker().pid, SIGKILL);
    took("the grandchild is gone", wake.over() - killed, 1s, true);
    EXPECT_EQ(wake.left(), "");
    lease.release();
    // A lease that is taken at once may get the dead worker: its calls are then unsent, and its holder's to make again.
    EXPECT_TRUE(eventually([&] { return pool.stats().workers_exited == static_cast<std::uint64_t>(i) + 1; }));
  }
  expect_whole(pool);
}

}  // namespace
}  // namespace lair::test
