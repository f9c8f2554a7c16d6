// Deaths of workers and of the keeper, while the host lives.
#include <gtest/gtest.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <csignal>
#include <cstdlib>
#include <fstream>
#include <map>
#include <set>
#include <string>
#include <vector>

#include "process/keeper_driver.hpp"
#include "support/leak_check.hpp"
#include "support/paths.hpp"

namespace lair {
namespace {

using How = ExitStatus::How;
using namespace std::chrono_literals;
using test::eventually;
using test::KeeperDriver;
using test::read_line;
using worker::Exited;
using worker::Spawned;
using worker::SpawnFailed;

class KeeperDeath : public test::LeakChecked {
 protected:
  static std::string family() { return test::in_bin("keeper_family_main"); }
};

int parent_of(int pid) {
  std::ifstream status("/proc/" + std::to_string(pid) + "/status");
  for (std::string line; std::getline(status, line);) {
    if (line.rfind("PPid:", 0) == 0) return std::atoi(line.c_str() + 5);
  }
  return 0;
}

// The keeper's pid, from a worker it made.
int keeper_of(const Spawned& worker) { return parent_of(worker.process.pid); }

TEST_F(KeeperDeath, AWorkersGroupGoesWithIt) {
  KeeperDriver keeper;
  const Spawned spawned = keeper.spawn(keeper.shell("sleep 1000 & echo $!; read wait"));
  const int member = std::atoi(read_line(spawned.pipes.stdout_log.get()).c_str());
  const std::string started = test::start_time_of(member);
  (void)keeper.expect<Exited>();  // stdin is /dev/null: it ended by itself
  EXPECT_TRUE(eventually([&] { return test::start_time_of(member) != started || started.empty(); }, 1s));
}

TEST_F(KeeperDeath, RunawaysOfADeadWorkerAreSweptWhileTheHostAndOtherWorkersLive) {
  KeeperDriver keeper;
  const Spawned doomed = keeper.spawn(keeper.request({family(), "6"}));
  const Spawned other = keeper.spawn(keeper.request({family(), "2"}));
  ASSERT_EQ(read_line(doomed.pipes.stdout_log.get()), "ready");
  ASSERT_EQ(read_line(other.pipes.stdout_log.get()), "ready");
  // However detached, they hang on their worker: it is a subreaper.
  EXPECT_EQ(test::descendants(doomed.process.pid).size(), 6u);
  keeper->signal(doomed.key, SIGKILL);
  EXPECT_EQ(keeper.expect<Exited>().status.code, SIGKILL);
  const int keeper_pid = keeper_of(other);
  EXPECT_TRUE(eventually([&] { return test::descendants(keeper_pid).size() == 3; }, 1s));
  EXPECT_EQ(test::descendants(other.process.pid).size(), 2u);
}

TEST_F(KeeperDeath, ATreeOfRunawaysIsSweptToItsLeaves) {
  KeeperDriver keeper;
  const std::string nested = "setsid sh -c 'setsid sh -c \"setsid sleep 1000 & sleep 1000\" & sleep 1000' & ";
  const Spawned spawned = keeper.spawn(keeper.shell(nested + "sleep 1000"));
  ASSERT_TRUE(eventually([&] { return test::descendants(spawned.process.pid).size() >= 6; }));
  const int keeper_pid = keeper_of(spawned);
  keeper->signal(spawned.key, SIGKILL);
  (void)keeper.expect<Exited>();
  EXPECT_TRUE(eventually([&] { return test::descendants(keeper_pid).empty(); }, 1s));
}

TEST_F(KeeperDeath, SigtermAndOtherSignalsDoNotEndTheKeeper) {
  KeeperDriver keeper;
  const Spawned spawned = keeper.spawn(keeper.request({"/bin/sleep", "1000"}));
  const int keeper_pid = keeper_of(spawned);
  for (const int number : {SIGTERM, SIGINT, SIGHUP, SIGQUIT, SIGPIPE, SIGUSR1, SIGUSR2, SIGALRM, SIGTSTP}) {
    ASSERT_EQ(::kill(keeper_pid, number), 0);
  }
  EXPECT_EQ(keeper.run(keeper.shell("exit 4")).status.code, 4);
  EXPECT_EQ(keeper_of(spawned), keeper_pid);
}

TEST_F(KeeperDeath, WorkersDieWithAKilledKeeperAndTheNextSpawnStartsAnother) {
  KeeperDriver keeper;
  std::vector<Spawned> spawned;
  for (int i = 0; i < 4; ++i) spawned.push_back(keeper.spawn(keeper.request({"/bin/sleep", "1000"})));
  const int keeper_pid = keeper_of(spawned[0]);
  ASSERT_EQ(::kill(keeper_pid, SIGKILL), 0);
  std::set<worker::WorkerKey> ended;
  for (int i = 0; i < 4; ++i) {
    const Exited exited = keeper.expect<Exited>();
    EXPECT_NE(exited.status.how, How::kExited);
    ended.insert(exited.key);
  }
  EXPECT_EQ(ended.size(), 4u);
  // A keeper that dies young is not followed at once; each refusal is transient.
  std::optional<Spawned> next;
  EXPECT_TRUE(eventually([&] {
    keeper->spawn(keeper.shell("exit 6"));
    auto event = keeper.next();
    if (!event) return true;
    if (const auto* failed = std::get_if<SpawnFailed>(&*event)) {
      EXPECT_EQ(failed->step, "keeper");
      EXPECT_FALSE(failed->permanent);
      return false;
    }
    next = std::move(std::get<Spawned>(*event));
    return true;
  }));
  ASSERT_TRUE(next);
  EXPECT_EQ(keeper.expect<Exited>().status.code, 6);
}

TEST_F(KeeperDeath, OrdersThatAKilledKeeperDidNotCarryOutAreFailed) {
  KeeperDriver keeper;
  const Spawned spawned = keeper.spawn(keeper.request({"/bin/sleep", "1000"}));
  const int keeper_pid = keeper_of(spawned);
  ASSERT_EQ(::kill(keeper_pid, SIGSTOP), 0);
  for (int i = 0; i < 3; ++i) keeper->spawn(keeper.request({"/bin/true"}));
  ASSERT_EQ(::kill(keeper_pid, SIGKILL), 0);
  int failed = 0;
  int exited = 0;
  for (int i = 0; i < 4; ++i) {
    auto event = keeper.next();
    ASSERT_TRUE(event);
    (std::holds_alternative<SpawnFailed>(*event) ? failed : exited) += 1;
  }
  EXPECT_EQ(failed, 3);
  EXPECT_EQ(exited, 1);
}

TEST_F(KeeperDeath, NoEndIsLostWhileTheHostDoesNotListen) {
  // More reports than a socket's buffer takes: the keeper keeps what it could not say.
  constexpr int kWorkers = 600;
  KeeperDriver keeper(kWorkers);
  for (int round = 0; round < kWorkers / 100; ++round) {
    std::vector<worker::SpawnRequest> requests;
    for (int i = 0; i < 100; ++i) {
      auto request = keeper.request({"/bin/true"});
      request.key.slot = static_cast<std::uint32_t>(round * 100 + i);
      keeper->spawn(std::move(request));
    }
  }
  int spawned = 0;
  int exited = 0;
  int failed = 0;
  while (spawned + failed < kWorkers || exited < spawned) {
    auto event = keeper.next();
    ASSERT_TRUE(event) << spawned << " spawned, " << exited << " exited, " << failed << " failed";
    if (const auto* refused = std::get_if<SpawnFailed>(&*event)) {
      EXPECT_FALSE(refused->permanent) << refused->message;
      ++failed;
    } else {
      (std::holds_alternative<Spawned>(*event) ? spawned : exited) += 1;
    }
  }
  EXPECT_EQ(spawned, exited);
  EXPECT_GT(spawned, 0);
}

TEST_F(KeeperDeath, AnOrderlyEndTakesEverythingAlong) {
  int keeper_pid = 0;
  {
    KeeperDriver keeper;
    const Spawned spawned = keeper.spawn(keeper.request({family(), "5"}));
    ASSERT_EQ(read_line(spawned.pipes.stdout_log.get()), "ready");
    keeper_pid = keeper_of(spawned);
    ASSERT_EQ(test::descendants(keeper_pid).size(), 6u);
  }
  EXPECT_EQ(test::start_time_of(keeper_pid), "");
  EXPECT_EQ(::waitpid(keeper_pid, nullptr, WNOHANG), -1);  // reaped
}

TEST_F(KeeperDeath, AKeeperThatDoesNotMoveIsEndedWithEverythingThatHangsOnIt) {
  std::set<int> family_members;
  std::map<int, std::string> started;
  {
    KeeperDriver keeper;
    const Spawned spawned = keeper.spawn(keeper.request({family(), "5"}));
    ASSERT_EQ(read_line(spawned.pipes.stdout_log.get()), "ready");
    const int keeper_pid = keeper_of(spawned);
    family_members = test::descendants(keeper_pid);
    ASSERT_EQ(family_members.size(), 6u);
    for (const int pid : family_members) started[pid] = test::start_time_of(pid);
    ASSERT_EQ(::kill(keeper_pid, SIGSTOP), 0);
  }
  // They have been killed, which takes effect when they run again.
  for (const int pid : family_members)
    EXPECT_TRUE(eventually([&] { return test::start_time_of(pid) != started[pid]; })) << pid;
}

// --- Which program is the keeper -------------------------------------------------------------------------------------

class Variable {
 public:
  Variable(const char* name, const std::string& value) : name_(name) { ::setenv(name, value.c_str(), 1); }
  ~Variable() { ::unsetenv(name_); }
  Variable(const Variable&) = delete;
  Variable& operator=(const Variable&) = delete;

 private:
  const char* name_;
};

TEST_F(KeeperDeath, ABadLairKeeperIsAnErrorThatNamesIt) {
  const Variable bad("LAIR_KEEPER", "/nowhere/lair-keeper");
  const auto started = worker::KeeperLauncher::start({});
  ASSERT_FALSE(started);
  EXPECT_EQ(started.error().kind, ErrorKind::kUnavailable);
  EXPECT_NE(started.error().message.find("LAIR_KEEPER is set to /nowhere/lair-keeper"), std::string::npos);
}

TEST_F(KeeperDeath, AGoodLairKeeperIsTaken) {
  const Variable good("LAIR_KEEPER", test::in_bin("lair-keeper"));
  KeeperDriver keeper;
  EXPECT_EQ(keeper.run(keeper.shell("exit 8")).status.code, 8);
}

TEST_F(KeeperDeath, AProgramThatIsNoKeeperFailsItsSpawns) {
  const Variable wrong("LAIR_KEEPER", "/bin/true");
  auto started = worker::KeeperLauncher::start({});
  if (!started) return;  // as good
  worker::SpawnRequest request;
  request.argv = {"/bin/true"};
  (*started)->spawn(request);
  ASSERT_FALSE(os::wait_for_io({.in_fd = (*started)->poll_fd()}, Deadline::after(test::kPatience)).timed_out);
  const auto events = (*started)->take_events();
  ASSERT_EQ(events.size(), 1u);
  EXPECT_EQ(std::get<SpawnFailed>(events[0]).step, "keeper");
}

// --- Narrow escapes ----------------------------------------------------------------------------------------

TEST_F(KeeperDeath, AHostWithoutDescriptorsGetsAnErrorNotAnAbort) {
  rlimit saved{};
  ASSERT_EQ(::getrlimit(RLIMIT_NOFILE, &saved), 0);
  const pid_t child = ::fork();
  if (child == 0) {
    const rlimit none{.rlim_cur = 3, .rlim_max = saved.rlim_max};
    ::setrlimit(RLIMIT_NOFILE, &none);
    ::_exit(worker::KeeperLauncher::start({}) ? 1 : 0);
  }
  int status = 0;
  ASSERT_EQ(::waitpid(child, &status, 0), child);
  EXPECT_TRUE(WIFEXITED(status)) << "killed by signal " << WTERMSIG(status);
  EXPECT_EQ(WEXITSTATUS(status), 0);
}

}  // namespace
}  // namespace lair
