// A host that is SIGKILLed leaves nothing: no worker, no keeper, no process that a worker has detached.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <map>
#include <string>
#include <vector>

#include "support/leak_check.hpp"

extern "C" char** environ;

namespace lair::test {
namespace {

class Host {
 public:
  explicit Host(std::vector<std::string> arguments) {
    arguments.insert(arguments.begin(), std::string(LAIR_TEST_BIN_DIR) + "/orphan_host_main");
    int out[2];
    EXPECT_EQ(::pipe2(out, O_CLOEXEC), 0);
    posix_spawn_file_actions_t actions;
    ::posix_spawn_file_actions_init(&actions);
    ::posix_spawn_file_actions_adddup2(&actions, out[1], 1);
    std::vector<char*> argv;
    for (auto& argument : arguments) argv.push_back(argument.data());
    argv.push_back(nullptr);
    EXPECT_EQ(::posix_spawn(&pid_, argv[0], &actions, nullptr, argv.data(), environ), 0);
    ::posix_spawn_file_actions_destroy(&actions);
    ::close(out[1]);
    std::string text;
    for (char c = 0; text.find("go\n") == std::string::npos && ::read(out[0], &c, 1) == 1;) text += c;
    ::close(out[0]);
    EXPECT_NE(text.find("go\n"), std::string::npos);
  }

  int pid() const { return pid_; }
  void kill() const { ::kill(pid_, SIGKILL); }
  void reap() const { ::waitpid(pid_, nullptr, 0); }

 private:
  pid_t pid_ = 0;
};

// Each process with its start time: a pid alone might be another's by the time we look.
std::map<int, std::string> identify(const std::set<int>& pids) {
  std::map<int, std::string> family;
  for (const int pid : pids) {
    if (const std::string started = start_time_of(pid); !started.empty()) family[pid] = started;
  }
  return family;
}

std::string survivors(const std::map<int, std::string>& family) {
  std::string text;
  eventually([&] {
    text.clear();
    for (const auto& [pid, started] : family) {
      if (start_time_of(pid) == started) text += std::to_string(pid) + " ";
    }
    return text.empty();
  });
  return text;
}

class Orphans : public LeakChecked {};
class OrphansInShards : public LeakChecked, public ::testing::WithParamInterface<int> {};

// 4 shards of 25: 100 hosts with 2 workers and 6 setsid grandchildren each.
TEST_P(OrphansInShards, AKilledHostLeavesNone) {
  for (int round = 0; round < 25; ++round) {
    const Host host({"ready"});
    const auto family = identify(descendants(host.pid()));
    ASSERT_GE(family.size(), 1u + 2u + 6u);  // keeper, workers, grandchildren
    host.kill();
    host.reap();
    ASSERT_EQ(survivors(family), "") << "round " << round;
  }
}
INSTANTIATE_TEST_SUITE_P(Of100, OrphansInShards, ::testing::Range(0, 4));

TEST_F(Orphans, AHostKilledWhileItsPoolStartsLeavesNone) {
  for (int round = 0; round < 25; ++round) {
    const Host host({"starting"});
    // At another point of the start each time.
    eventually([&] { return descendants(host.pid()).size() >= static_cast<std::size_t>(round % 9); },
               std::chrono::seconds(2));
    const auto family = identify(descendants(host.pid()));
    host.kill();
    host.reap();
    ASSERT_EQ(survivors(family), "") << "round " << round;
  }
}

TEST_F(Orphans, AHostKilledWhileItsKeeperIsStoppedLeavesNone) {
  const Host host({"ready"});
  const auto family = identify(descendants(host.pid()));
  int keeper = 0;
  for (const auto& [pid, started] : family) {
    if (descendants(pid).size() == family.size() - 1) keeper = pid;
  }
  ASSERT_NE(keeper, 0);
  ASSERT_EQ(::kill(keeper, SIGSTOP), 0);
  host.kill();
  host.reap();
  EXPECT_EQ(survivors(family), "");
}

TEST_F(Orphans, AHostThatBecomesAnotherProgramLeavesNone) {
  const Host host({"ready", "exec"});
  const auto family = identify(descendants(host.pid()));
  EXPECT_EQ(survivors(family), "");  // its execve closed the keeper's socket
  host.kill();
  host.reap();
}

TEST_F(Orphans, AForkedCopyOfTheHostDoesNotKeepItsWorkersAlive) {
  const Host host({"ready", "fork"});
  auto family = identify(descendants(host.pid()));
  int copy = 0;
  ASSERT_TRUE(eventually([&] {
    for (const auto& [pid, started] : family) {
      if (descendants(pid).empty() && descendants(host.pid()).count(pid) != 0 &&
          getpgid(pid) == getpgid(host.pid()))
        copy = pid;
    }
    family = identify(descendants(host.pid()));
    return copy != 0;
  }));
  family.erase(copy);
  host.kill();
  host.reap();
  EXPECT_EQ(survivors(family), "");
  EXPECT_NE(start_time_of(copy), "");
  ::kill(copy, SIGKILL);
}

}  // namespace
}  // namespace lair::test
