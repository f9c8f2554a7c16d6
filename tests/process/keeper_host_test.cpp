// The host goes, in every way a host can: nothing of what it started stays.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <utility>
#include <vector>

#include "os/pidfd.hpp"
#include "os/stream_pair.hpp"
#include "process/keeper_io.hpp"
#include "support/leak_check.hpp"
#include "support/paths.hpp"
#include "support/sanitized.hpp"

extern "C" char** environ;

namespace lair {
namespace {

using namespace std::chrono_literals;
using test::descendants;
using test::eventually;
using test::read_line;

class KeeperHost : public test::LeakChecked {};

// keeper_host_main, and what it has been seen to start. Processes are known by pidfd: a number may be reused.
class HostProgram {
 public:
  HostProgram(int workers, int children, const char* option = nullptr) {
    os::Pipe orders = os::make_pipe();
    os::Pipe answers = os::make_pipe();
    const std::string path = test::in_bin("keeper_host_main");
    std::string worker_count = std::to_string(workers);
    std::string child_count = std::to_string(children);
    std::string extra = option == nullptr ? "" : option;
    std::string name = path;
    char* argv[] = {name.data(), worker_count.data(), child_count.data(), extra.data(), nullptr};
    posix_spawn_file_actions_t actions;
    ::posix_spawn_file_actions_init(&actions);
    ::posix_spawn_file_actions_adddup2(&actions, orders.read_end.get(), 0);
    ::posix_spawn_file_actions_adddup2(&actions, answers.write_end.get(), 1);
    EXPECT_EQ(::posix_spawn(&pid_, path.c_str(), &actions, nullptr, argv, environ), 0);
    ::posix_spawn_file_actions_destroy(&actions);
    pidfd_ = os::open_pidfd(pid_);
    orders_ = std::move(orders.write_end);
    answers_ = std::move(answers.read_end);
  }
  ~HostProgram() {
    if (pid_ != 0) kill_and_reap();
  }
  HostProgram(const HostProgram&) = delete;
  HostProgram& operator=(const HostProgram&) = delete;

  // The answer is its words, of which the last is the order's.
  std::string tell(const std::string& order) {
    const std::string line = order + "\n";
    EXPECT_EQ(::write(orders_.get(), line.data(), line.size()), static_cast<ssize_t>(line.size()));
    return read_line(answers_.get());
  }

  int pid() const { return pid_; }
  // The keeper is its one child.
  int keeper() const {
    for (const int pid : descendants(pid_)) {
      if (::getpgid(pid) == pid && descendants(pid).size() + 1 == descendants(pid_).size()) return pid;
    }
    return 0;
  }

  // Takes pidfds of all that it has started until now, but for what has ended and been reaped since the look.
  std::size_t watch() {
    for (const int pid : descendants(pid_)) {
      os::Fd pidfd = os::open_pidfd(pid);
      if (pidfd) watched_.push_back(std::move(pidfd));
    }
    return watched_.size();
  }
  void kill() { EXPECT_TRUE(os::signal_pidfd(pidfd_.get(), SIGKILL)); }
  void kill_and_reap() {
    (void)os::signal_pidfd(pidfd_.get(), SIGKILL);
    ::waitpid(std::exchange(pid_, 0), nullptr, 0);
  }
  // Blocks until all that was watched is gone.
  bool all_gone(Duration patience = 10s) {
    const Deadline deadline = Deadline::after(patience);
    return std::all_of(watched_.begin(), watched_.end(), [&](const os::Fd& pidfd) {
      return os::wait_for_io({.exit_fd = pidfd.get()}, deadline).exited;
    });
  }

 private:
  pid_t pid_ = 0;
  os::Fd pidfd_;
  os::Fd orders_;
  os::Fd answers_;
  std::vector<os::Fd> watched_;
};

constexpr int kWorkers = 8;
constexpr int kRunaways = 3;
constexpr std::size_t kFamily = 1 + kWorkers + kWorkers * kRunaways;

TEST_F(KeeperHost, AKilledHostLeavesNothingTimeAndAgain) {
  std::vector<double> sweep_ms;
  for (int round = 0; round < (test::kSanitized ? 20 : 100); ++round) {
    HostProgram host(kWorkers, kRunaways);
    ASSERT_EQ(host.tell("ready?"), "ready?");
    ASSERT_EQ(host.watch(), kFamily);
    const auto begin = SteadyClock::now();
    host.kill();
    ASSERT_TRUE(host.all_gone());
    sweep_ms.push_back(std::chrono::duration<double, std::milli>(SteadyClock::now() - begin).count());
  }
  std::sort(sweep_ms.begin(), sweep_ms.end());
  std::printf("host killed, all %zu gone: p50 %.1f ms, p90 %.1f ms, max %.1f ms\n", kFamily,
              sweep_ms[sweep_ms.size() / 2], sweep_ms[sweep_ms.size() * 9 / 10], sweep_ms.back());
}

TEST_F(KeeperHost, AHostKilledWhileItsWorkersStartLeavesNothing) {
  for (int round = 0; round < (test::kSanitized ? 10 : 50); ++round) {
    HostProgram host(kWorkers, kRunaways);
    ASSERT_EQ(host.tell("order"), "order");
    // Orders are under way. Those not yet carried out must not be, or must end at once.
    const int keeper = host.keeper();
    host.watch();
    host.kill();
    EXPECT_TRUE(host.all_gone());
    EXPECT_TRUE(keeper == 0 || eventually([&] { return descendants(keeper).empty(); }));
  }
}

TEST_F(KeeperHost, AStoppedKeeperStillSweeps) {
  for (int round = 0; round < 10; ++round) {
    HostProgram host(2, 2);
    ASSERT_EQ(host.tell("ready?"), "ready?");
    ASSERT_EQ(host.watch(), 1u + 2 + 4);
    const int keeper = host.keeper();
    ASSERT_NE(keeper, 0);
    ASSERT_EQ(::kill(keeper, SIGSTOP), 0);
    host.kill();
    EXPECT_TRUE(host.all_gone());
  }
}

TEST_F(KeeperHost, AHostThatBecomesAnotherProgramLosesItsWorkers) {
  HostProgram host(2, 2);
  ASSERT_EQ(host.tell("ready?"), "ready?");
  ASSERT_EQ(host.watch(), 1u + 2 + 4);
  EXPECT_EQ(host.tell("exec"), "exec");
  EXPECT_TRUE(host.all_gone());
}

TEST_F(KeeperHost, AForkedChildOfAKilledHostKeepsNothingAlive) {
  HostProgram host(2, 2);
  ASSERT_EQ(host.tell("ready?"), "ready?");
  ASSERT_EQ(host.watch(), 1u + 2 + 4);
  const int child = std::atoi(host.tell("fork").c_str());
  ASSERT_GT(child, 1);
  const os::Fd child_pidfd = os::open_pidfd(child);
  host.kill();
  EXPECT_TRUE(host.all_gone());
  EXPECT_TRUE(os::signal_pidfd(child_pidfd.get(), SIGKILL));  // it is the host's own affair: still there
}

TEST_F(KeeperHost, AnOrderlyEndLeavesNothing) {
  HostProgram host(2, 2);
  ASSERT_EQ(host.tell("ready?"), "ready?");
  ASSERT_EQ(host.watch(), 1u + 2 + 4);
  EXPECT_EQ(host.tell("stop"), "stop");
  EXPECT_TRUE(host.all_gone(0s));  // when it returns, they are gone
  EXPECT_EQ(host.tell("zombies"), "0 zombies");
}

TEST_F(KeeperHost, AKilledKeeperTakesTheWorkersAlong) {
  HostProgram host(4, 0);
  ASSERT_EQ(host.tell("ready?"), "ready?");
  ASSERT_EQ(host.watch(), 1u + 4);
  const int keeper = host.keeper();
  ASSERT_NE(keeper, 0);
  ASSERT_EQ(::kill(keeper, SIGKILL), 0);
  EXPECT_EQ(host.tell("exits"), "exits");
  EXPECT_TRUE(host.all_gone());
}

// --- Narrow escapes ----------------------------------------------------------------------------------------

TEST_F(KeeperHost, AForkedChildDoesNotHoldUpAnOrderlyEnd) {
  // The child has a copy of the control socket: closing ours is no end of file. shutdown(2) is.
  HostProgram host(1, 2);
  ASSERT_EQ(host.tell("ready?"), "ready?");
  ASSERT_EQ(host.watch(), 1u + 1 + 2);
  const os::Fd child_pidfd = os::open_pidfd(std::atoi(host.tell("fork").c_str()));
  const auto begin = SteadyClock::now();
  EXPECT_EQ(host.tell("stop"), "stop");
  EXPECT_LT(SteadyClock::now() - begin, 2s);
  EXPECT_TRUE(host.all_gone(1s)) << "runaways are left";
  EXPECT_TRUE(os::signal_pidfd(child_pidfd.get(), SIGKILL));
}

TEST_F(KeeperHost, AHostThatIsItselfAReaperReapsTheWorkersOfAKilledKeeper) {
  // PID 1 of a container, say. The orphans become its children.
  HostProgram host(4, 0, "subreaper");
  ASSERT_EQ(host.tell("ready?"), "ready?");
  const int keeper = host.keeper();
  ASSERT_NE(keeper, 0);
  ASSERT_EQ(::kill(keeper, SIGKILL), 0);
  EXPECT_EQ(host.tell("exits"), "exits");
  EXPECT_EQ(host.tell("zombies"), "0 zombies");
}

}  // namespace
}  // namespace lair
