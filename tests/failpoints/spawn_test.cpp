// Starts that the system refuses, at each of their steps: in the library, in lair-keeper, and in its child before exec.
#include <gtest/gtest.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <set>
#include <string>

#include "os/failpoint.hpp"
#include "process/keeper_driver.hpp"
#include "support/leak_check.hpp"
#include "support/pools.hpp"
#include "support/sanitized.hpp"

namespace lair::test {
namespace {

namespace fs = std::filesystem;
using namespace os::failpoint;

class Refusals : public LeakChecked {
 protected:
  static void SetUpTestSuite() { ::setenv(kVariable, share().c_str(), 1); }
  static void TearDownTestSuite() { ::unsetenv(kVariable); }
  void SetUp() override { disarm_all(); }
  void TearDown() override {
    disarm_all();
    LeakChecked::TearDown();
  }
};

struct Refusal {
  Process process;
  Point point;
  int error;
};
const Refusal kRefusals[] = {
    {Process::kHost, Point::kMemfdCreate, EMFILE},
    {Process::kHost, Point::kMemfdWrite, ENOMEM},
    {Process::kHost, Point::kPipe, EMFILE},
    {Process::kHost, Point::kPipe, ENOMEM},
    {Process::kHost, Point::kMessageSend, EAGAIN},
    {Process::kHost, Point::kMessageSend, ENOMEM},
    {Process::kHost, Point::kDuplicate, EMFILE},
    {Process::kKeeper, Point::kKeeperPipe, EMFILE},
    {Process::kKeeper, Point::kKeeperPipe, ENOMEM},
    {Process::kKeeper, Point::kFork, EAGAIN},
    {Process::kKeeper, Point::kFork, ENOMEM},
    {Process::kKeeper, Point::kPidfdOpen, EMFILE},
    {Process::kKeeper, Point::kPidfdOpen, ENOMEM},
    {Process::kKeeper, Point::kChildMap, ENOMEM},
    {Process::kKeeper, Point::kChildMap, EAGAIN},
    {Process::kKeeper, Point::kChildNull, EMFILE},
    {Process::kKeeper, Point::kChildDuplicate, EMFILE},
    {Process::kKeeper, Point::kChildExec, ENOMEM},
    {Process::kKeeper, Point::kChildExec, EAGAIN},
    {Process::kKeeper, Point::kChildExec, EMFILE},
};

TEST_F(Refusals, R34_TenThousandRefusedSpawnsLeaveNothingBehind) {
  KeeperDriver keeper;
  (void)keeper.run(keeper.request({"/bin/true"}));
  const auto before = open_descriptors();
  const std::set<int> family = descendants(::getpid());
  ASSERT_EQ(family.size(), 1u);
  const std::string keeper_fds = "/proc/" + std::to_string(*family.begin()) + "/fd";
  const auto in_keeper = [&] {
    return std::distance(fs::directory_iterator(keeper_fds), fs::directory_iterator());
  };
  const auto keeper_before = in_keeper();
  const int rounds = kSanitized && std::getenv("LAIR_LONG") == nullptr ? 1'000 : 10'000;
  for (int i = 0; i < rounds; ++i) {
    const Refusal& refusal = kRefusals[static_cast<std::size_t>(i) % std::size(kRefusals)];
    arm(refusal.process, refusal.point, {.error = refusal.error});
    const worker::SpawnFailed refused = keeper.spawn_failing(keeper.request({"/bin/true"}));
    ASSERT_EQ(hits(refusal.process, refusal.point), 1u) << "refusal " << i << " was not met";
    ASSERT_FALSE(refused.permanent) << refused.step << ": " << refused.message;
    ASSERT_FALSE(refused.message.empty());
    disarm_all();
  }
  EXPECT_EQ(open_descriptors(), before);
  EXPECT_TRUE(eventually([&] { return in_keeper() == keeper_before; }));  // it reports first, and closes then
  EXPECT_EQ(descendants(::getpid()), family);
  EXPECT_EQ(keeper.run(keeper.request({"/bin/true"})).status.code, 0);
}

// A worker whose interpreter is a script: it is asked for the Python behind it, by a process of its own.
WorkerSpec scripted_worker(const Note& script, const std::string& does) {
  std::ofstream(script.path()) << "#!/bin/sh\n" << does << '\n';
  fs::permissions(script.path(), fs::perms::owner_all);
  WorkerSpec worker = python_worker("sdk_echo");
  worker.interpreter = script.path();
  return worker;
}

TEST_F(Refusals, AnInterpreterThatCouldNotBeAskedOnceIsAskedAgain) {
  const Note script;
  const WorkerSpec worker = scripted_worker(script, "exec python3 \"$@\"");
  const Refusal unheard[] = {{Process::kKeeper, Point::kFork, EAGAIN},
                             {Process::kHost, Point::kStreamRead, EAGAIN},
                             {Process::kHost, Point::kStreamRead, ENOMEM}};
  for (const Refusal& refusal : unheard) {
    disarm_all();
    arm(refusal.process, refusal.point, {.error = refusal.error});
    Pool pool(options_for(worker, 2));
    pool.wait_ready();
    EXPECT_EQ(hits(refusal.process, refusal.point), 1u);
    EXPECT_EQ(pool.call<int>("echo", 1), 1);
    EXPECT_GT(pool.stats().workers_started, 2u);
  }
}

TEST_F(Refusals, AnInterpreterThatSaysSomethingElseIsNotAskedAgain) {
  const Note script;
  Pool pool(options_for(scripted_worker(script, "echo no Python here"), 1));
  const auto ready = pool.try_wait_ready();
  ASSERT_FALSE(ready);
  EXPECT_NE(ready.error().message.find("it said \"no Python here\""), std::string::npos)
      << ready.error().message;
  EXPECT_EQ(pool.stats().workers_started, 1u);
}

TEST_F(Refusals, AChildWithNoDescriptorLeftSaysSo) {
  KeeperDriver keeper;
  arm(Process::kKeeper, Point::kChildDuplicate, {.error = EMFILE});
  const worker::SpawnFailed refused = keeper.spawn_failing(keeper.request({"/bin/true"}));
  EXPECT_EQ(refused.step, "descriptors");
  EXPECT_EQ(refused.error, EMFILE);
}

// The keeper has no descriptor to look for its children with, yet what a worker has left behind must go.
TEST_F(Refusals, AKeeperOutOfDescriptorsStillSweeps) {
  const Note note;
  {
    KeeperDriver keeper;
    (void)keeper.run(keeper.request({"/bin/true"}));
    arm(Process::kKeeper, Point::kSweepOpen, {.error = EMFILE, .times = 1u << 30});
    (void)keeper.spawn(keeper.shell("setsid sleep 1000 & echo $! > " + note.path() + "; sleep 1000"));
    ASSERT_TRUE(eventually([&] {
      int pid = 0;
      return static_cast<bool>(std::ifstream(note.path()) >> pid);
    }));
  }
  int pid = 0;
  std::ifstream(note.path()) >> pid;
  EXPECT_TRUE(eventually([&] { return start_time_of(pid).empty(); })) << "process " << pid;
}

}  // namespace
}  // namespace lair::test
