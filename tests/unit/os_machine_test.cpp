// Limits, cgroups and system calls, as this machine has them.
#include "os/machine.hpp"

#include <gtest/gtest.h>
#include <sys/resource.h>
#include <unistd.h>

#include <filesystem>

namespace lair::os {
namespace {

TEST(OsMachine, KnowsTheLimits) {
  rlimit files{};
  ASSERT_EQ(::getrlimit(RLIMIT_NOFILE, &files), 0);
  const Limit limit = open_files_limit();
  EXPECT_EQ(limit.soft, files.rlim_cur == RLIM_INFINITY ? kUnlimited : files.rlim_cur);
  EXPECT_EQ(limit.hard, files.rlim_max == RLIM_INFINITY ? kUnlimited : files.rlim_max);
  rlimit lower = files;
  lower.rlim_cur = 100;
  ASSERT_EQ(::setrlimit(RLIMIT_NOFILE, &lower), 0);
  EXPECT_EQ(open_files_limit().soft, 100u);
  ASSERT_EQ(::setrlimit(RLIMIT_NOFILE, &files), 0);
  EXPECT_LE(processes_limit().soft, processes_limit().hard);
}

TEST(OsMachine, CountsTheUsersThreads) {
  EXPECT_GE(tasks_of_user(), 1u);
  EXPECT_EQ(is_root(), ::geteuid() == 0);
}

TEST(OsMachine, FindsItsCgroups) {
  const Cgroups groups = own_cgroups();
  if (!groups.folder.empty()) {
    EXPECT_TRUE(std::filesystem::exists(groups.folder + "/cgroup.procs")) << groups.folder;
  }
  EXPECT_FALSE(groups.folder.empty() && groups.writable);
  for (const Budget& budget : {groups.memory, groups.tasks}) EXPECT_LE(budget.used, budget.most);
}

TEST(OsMachine, TheCallsThatTheKeeperLivesByWorkHere) {
  EXPECT_EQ(try_pidfd(), 0);
  EXPECT_EQ(try_subreaper(), 0);
}

TEST(OsMachine, KnowsItsMachine) {
  EXPECT_NE(kernel_release().find('.'), std::string::npos);
  EXPECT_GT(available_memory(), 0u);
  EXPECT_FALSE(name_of_pid_1().empty());
  if (const auto space = shared_memory()) {
    EXPECT_LE(space->free, space->total);
  }
}

}  // namespace
}  // namespace lair::os
