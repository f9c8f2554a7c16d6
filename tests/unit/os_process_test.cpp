// Processes as the kernel shows them: by descriptor, after a fork, and on PATH.
#include <gtest/gtest.h>
#include <sched.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <csignal>
#include <filesystem>
#include <fstream>
#include <memory>
#include <string>
#include <thread>

#include "os/fork_sentinel.hpp"
#include "os/pidfd.hpp"
#include "os/proc.hpp"
#include "os/program.hpp"
#include "os/spawn.hpp"
#include "os/wait.hpp"
#include "support/leak_check.hpp"

namespace lair::os {
namespace {

namespace fs = std::filesystem;
using namespace std::chrono_literals;

class OsPidfd : public test::LeakChecked {};
class OsForkSentinel : public test::LeakChecked {};

// Runs `body` in a forked child and says what it returned.
template <class Body>
int in_forked_child(Body body) {
  const pid_t pid = ::fork();
  if (pid == 0) ::_exit(body());
  int status = 0;
  ::waitpid(pid, &status, 0);
  return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

pid_t fork_sleeper() {
  const pid_t pid = ::fork();
  if (pid == 0) {
    for (;;) ::pause();
  }
  return pid;
}

TEST_F(OsPidfd, BecomesReadableAtTheEndAndSignalsUntilThen) {
  const Fd pidfd = open_pidfd(fork_sleeper());
  ASSERT_TRUE(pidfd);
  EXPECT_TRUE(wait_for_io({.exit_fd = pidfd.get()}, Deadline::after(0ms)).timed_out);
  EXPECT_TRUE(signal_pidfd(pidfd.get(), 0));
  EXPECT_TRUE(signal_pidfd(pidfd.get(), SIGKILL));
  EXPECT_TRUE(wait_for_io({.exit_fd = pidfd.get()}, Deadline::after(10s)).exited);
  EXPECT_TRUE(reap_pidfd(pidfd.get()));
  EXPECT_FALSE(signal_pidfd(pidfd.get(), SIGKILL));
  EXPECT_FALSE(reap_pidfd(pidfd.get()));
  EXPECT_TRUE(wait_for_io({.exit_fd = pidfd.get()}, Deadline::after(0ms)).exited);  // still
}

TEST_F(OsPidfd, CannotBeOpenedForNobody) { EXPECT_FALSE(open_pidfd(-1)); }

TEST_F(OsPidfd, ReapingIsRefusedWhereTheHostIgnoresSigchld) {
  // Such a host never gets a status: ECHILD, not a hang.
  EXPECT_EQ(in_forked_child([] {
              ::signal(SIGCHLD, SIG_IGN);
              const Fd pidfd = open_pidfd(fork_sleeper());
              signal_pidfd(pidfd.get(), SIGKILL);
              return reap_pidfd(pidfd.get()) ? 1 : 0;
            }),
            0);
}

TEST_F(OsForkSentinel, KnowsAForkedChildAndItsChildren) {
  const ForkSentinel sentinel;
  EXPECT_FALSE(sentinel.in_child());
  EXPECT_EQ(in_forked_child([&sentinel] { return sentinel.in_child() ? 7 : 0; }), 7);
  EXPECT_EQ(in_forked_child([&] { return in_forked_child([&] { return sentinel.in_child() ? 7 : 0; }); }), 7);
  EXPECT_FALSE(sentinel.in_child());
}

TEST_F(OsForkSentinel, IsAtHomeWhereItWasMade) {
  EXPECT_EQ(in_forked_child([] {
              const ForkSentinel sentinel;
              return sentinel.in_child() ? 1 : 0;
            }),
            0);
}

TEST_F(OsForkSentinel, SaysTheSameToEveryThread) {
  const ForkSentinel sentinel;
  bool in_child = true;
  std::thread([&] { in_child = sentinel.in_child(); }).join();
  EXPECT_FALSE(in_child);
}

TEST(OsProc, CpusAreAtLeastOneAndNoMoreThanTheMachineHas) {
  EXPECT_GE(usable_cpus(), 1u);
  EXPECT_LE(usable_cpus(), static_cast<std::size_t>(::sysconf(_SC_NPROCESSORS_CONF)));
}

TEST(OsProc, AffinityLimitsTheCpus) {
  EXPECT_EQ(in_forked_child([] {
              cpu_set_t allowed;
              CPU_ZERO(&allowed);
              if (::sched_getaffinity(0, sizeof allowed, &allowed) != 0) return 100;
              int first = 0;
              while (!CPU_ISSET(first, &allowed)) ++first;
              CPU_ZERO(&allowed);
              CPU_SET(first, &allowed);
              if (::sched_setaffinity(0, sizeof allowed, &allowed) != 0) return 101;
              return static_cast<int>(usable_cpus());
            }),
            1);
}

TEST(OsProc, KnowsItsProgram) {
  EXPECT_EQ(program_path(), fs::canonical("/proc/self/exe").string());
  EXPECT_EQ(fs::path(library_path()).is_absolute(), true);
}

class FindProgram : public ::testing::Test {
 protected:
  FindProgram() {
    std::string pattern = (fs::temp_directory_path() / "lair-find-XXXXXX").string();
    root_ = ::mkdtemp(pattern.data());
    fs::create_directories(root_ / "one");
    fs::create_directories(root_ / "two" / "tool");  // a directory of that name
    make(root_ / "one" / "plain", fs::perms::owner_read);
    make(root_ / "one" / "tool", fs::perms::owner_all);
  }
  ~FindProgram() override { fs::remove_all(root_); }

  static void make(const fs::path& file, fs::perms perms) {
    std::ofstream(file) << "#!/bin/sh\n";
    fs::permissions(file, perms);
  }
  std::string in(const char* folder) const { return (root_ / folder).string(); }

  fs::path root_;
};

TEST_F(FindProgram, TakesTheFirstOnPathThatCanRun) {
  const auto found = find_program("tool", in("none") + ":" + in("two") + ":" + in("one"), "");
  ASSERT_TRUE(found);
  EXPECT_EQ(*found, in("one/tool"));
}

TEST_F(FindProgram, TellsNotExecutableFromNotThere) {
  const auto plain = find_program("plain", in("one"), "");
  ASSERT_FALSE(plain);
  EXPECT_NE(plain.error().message.find(in("one/plain") + " is not an executable file"), std::string::npos);
  const auto absent = find_program("absent", in("one"), "");
  ASSERT_FALSE(absent);
  EXPECT_NE(absent.error().message.find("not found on PATH (" + in("one")), std::string::npos);
  EXPECT_NE(find_program("./absent", "", in("one")).error().message.find("does not exist"),
            std::string::npos);
  EXPECT_FALSE(find_program("", "/bin", ""));
  EXPECT_FALSE(find_program("sh", "", ""));
}

TEST_F(FindProgram, ANameWithASlashIsTakenFromTheWorkersDirectory) {
  const auto found = find_program("./tool", "/bin", in("one"));
  ASSERT_TRUE(found);
  EXPECT_EQ(*found, in("one/tool"));
  EXPECT_EQ(*find_program(in("one/tool"), "", "/"), in("one/tool"));
}

TEST_F(FindProgram, KeepsSymbolicLinksAsTheyAre) {
  // A venv's python is a link: resolved, it would no longer be the venv's.
  fs::create_symlink(in("one/tool"), in("one/alias"));
  EXPECT_EQ(*find_program("alias", in("one"), ""), in("one/alias"));
}

TEST_F(FindProgram, RelativePlacesOnPathAreTheWorkersNotTheHosts) {
  const auto found = find_program("tool", "one", root_.string());
  ASSERT_TRUE(found) << found.error().message;
  EXPECT_EQ(*found, in("one/tool"));
}

TEST_F(FindProgram, AParentOfALinkedDirectoryIsTheLinksTarget) {
  // exec("two/link/../tool") finds one/tool's sibling: the kernel follows `link` before `..`.
  fs::create_directories(in("one/deep"));
  fs::create_directory_symlink(in("one/deep"), in("two/link"));
  const auto found = find_program(in("two/link/../tool"), "", "");
  ASSERT_TRUE(found) << found.error().message;
  EXPECT_TRUE(fs::equivalent(*found, in("one/tool")));
}

TEST_F(FindProgram, AHostWhoseDirectoryIsGoneGetsAnErrorNotAnException) {
  EXPECT_EQ(in_forked_child([] {
              std::string pattern = (fs::temp_directory_path() / "lair-gone-XXXXXX").string();
              const char* gone = ::mkdtemp(pattern.data());
              if (gone == nullptr || ::chdir(gone) != 0 || ::rmdir(gone) != 0) return 100;
              try {
                return find_program("./tool", "", "") ? 1 : 0;
              } catch (...) {
                return 2;
              }
            }),
            0);
}

}  // namespace
}  // namespace lair::os
