// How workers are made: every way it can go well, or be refused, with real programs.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <sched.h>
#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include "process/keeper_driver.hpp"
#include "support/leak_check.hpp"
#include "support/paths.hpp"

namespace lair {
namespace {

namespace fs = std::filesystem;
using How = ExitStatus::How;
using namespace std::chrono_literals;
using test::KeeperDriver;
using test::read_all;
using test::read_line;
using worker::Exited;
using worker::Spawned;
using worker::SpawnFailed;
using worker::StdioMode;

class KeeperSpawn : public test::LeakChecked {
 protected:
  KeeperSpawn() {
    std::string pattern = (fs::temp_directory_path() / "lair-spawn-XXXXXX").string();
    folder_ = ::mkdtemp(pattern.data());
  }
  ~KeeperSpawn() override { fs::remove_all(folder_); }

  std::string script(const std::string& name, const std::string& text,
                     fs::perms perms = fs::perms::owner_all) {
    const fs::path file = folder_ / name;
    std::ofstream(file) << text;
    fs::permissions(file, perms);
    return file.string();
  }

  fs::path folder_;
};

std::set<std::string> descriptors_of(int pid) {
  std::set<std::string> numbers;
  std::error_code gone;
  for (const auto& entry : fs::directory_iterator("/proc/" + std::to_string(pid) + "/fd", gone)) {
    numbers.insert(entry.path().filename().string());
  }
  return numbers;
}

TEST_F(KeeperSpawn, AProgramRunsAndItsEndIsReported) {
  KeeperDriver keeper;
  const Spawned spawned = keeper.spawn(keeper.shell("echo out; echo err >&2; exit 3"));
  EXPECT_GT(spawned.process.pid, 0);
  EXPECT_EQ(read_all(spawned.pipes.stdout_log.get()), "out\n");
  EXPECT_EQ(read_all(spawned.pipes.stderr_log.get()), "err\n");
  EXPECT_TRUE(
      os::wait_for_io({.exit_fd = spawned.process.exit_fd.get()}, Deadline::after(test::kPatience)).exited);
  const Exited exited = keeper.expect<Exited>();
  EXPECT_EQ(exited.key, spawned.key);
  EXPECT_EQ(exited.status, (ExitStatus{.how = How::kExited, .code = 3}));
}

TEST_F(KeeperSpawn, ASignalledEndIsReportedAsSuch) {
  KeeperDriver keeper;
  EXPECT_EQ(keeper.run(keeper.shell("kill -SEGV $$")).status,
            (ExitStatus{.how = How::kSignalled, .code = SIGSEGV}));
}

TEST_F(KeeperSpawn, WhatItUsedIsReported) {
  KeeperDriver keeper;
  const Exited exited = keeper.run(keeper.shell("i=0; while [ $i -lt 100000 ]; do i=$((i+1)); done"));
  ASSERT_TRUE(exited.usage);
  EXPECT_GT(exited.usage->user_cpu + exited.usage->system_cpu, 1ms);
  EXPECT_GT(exited.usage->max_rss_bytes, 100 << 10);
}

TEST_F(KeeperSpawn, AProgramThatEndsAtOnceIsSpawnedAndThenExited) {
  KeeperDriver keeper;
  for (int i = 0; i < 50; ++i) {
    EXPECT_EQ(keeper.run(keeper.request({"/bin/true"})).status, (ExitStatus{.how = How::kExited, .code = 0}));
  }
}

TEST_F(KeeperSpawn, RefusalsSayWhatWasRefusedAndWhetherItIsForGood) {
  KeeperDriver keeper;
  const SpawnFailed absent = keeper.spawn_failing(keeper.request({"/nowhere/nope"}));
  EXPECT_EQ(absent.step, "exec");
  EXPECT_EQ(absent.error, ENOENT);
  EXPECT_TRUE(absent.permanent);
  EXPECT_NE(absent.message.find("/nowhere/nope: No such file"), std::string::npos) << absent.message;

  const SpawnFailed plain =
      keeper.spawn_failing(keeper.request({script("plain", "x", fs::perms::owner_read)}));
  EXPECT_EQ(plain.error, EACCES);
  EXPECT_TRUE(plain.permanent);

  const SpawnFailed orphaned =
      keeper.spawn_failing(keeper.request({script("s", "#!/no/such/interpreter\n")}));
  EXPECT_EQ(orphaned.error, ENOENT);
  EXPECT_NE(orphaned.message.find("interpreter"), std::string::npos) << orphaned.message;

  EXPECT_EQ(keeper.spawn_failing(keeper.request({script("b", "not a program\n")})).error, ENOEXEC);

  auto lost = keeper.request({"/bin/true"});
  lost.cwd = "/no/such/directory";
  const SpawnFailed nowhere = keeper.spawn_failing(lost);
  EXPECT_EQ(nowhere.step, "cwd");
  EXPECT_EQ(nowhere.error, ENOENT);
  EXPECT_TRUE(nowhere.permanent);

  auto longest = keeper.request({"/bin/true", std::string(256 << 10, 'x')});  // beyond MAX_ARG_STRLEN
  EXPECT_EQ(keeper.spawn_failing(longest).error, E2BIG);

  EXPECT_EQ(keeper.run(keeper.request({"/bin/true"})).status.code, 0);  // and all is well
}

TEST_F(KeeperSpawn, AMegabyteOfEnvironmentArrives) {
  KeeperDriver keeper;
  auto request = keeper.shell("set | grep -c '^LAIR_BIG_'; echo ${#LAIR_BIG_15}");
  for (int i = 0; i < 16; ++i)
    request.env.push_back("LAIR_BIG_" + std::to_string(i) + "=" + std::string(64 << 10, 'v'));
  const Spawned spawned = keeper.spawn(std::move(request));
  EXPECT_EQ(read_all(spawned.pipes.stdout_log.get()), "16\n65536\n");
  EXPECT_EQ(keeper.expect<Exited>().status.code, 0);
}

TEST_F(KeeperSpawn, ArgumentsAndEnvironmentArriveExactly) {
  KeeperDriver keeper;
  auto request = keeper.request(
      {"/bin/sh", "-c", "printf '%s|' \"$@\"; printf '%s' \"$EMPTY,$ODD\"", "sh", "", "a b", "\n", "é"});
  request.env = {"EMPTY=", "ODD==x="};
  const Spawned spawned = keeper.spawn(std::move(request));
  EXPECT_EQ(read_all(spawned.pipes.stdout_log.get()), "|a b|\n|é|,=x=");
  keeper.expect<Exited>();
}

TEST_F(KeeperSpawn, ItStartsInItsDirectoryAndARelativeProgramIsTakenFromThere) {
  KeeperDriver keeper;
  script("here.sh", "#!/bin/sh\npwd\n");
  auto request = keeper.request({"./here.sh"});
  request.cwd = folder_.string();
  const Spawned spawned = keeper.spawn(std::move(request));
  EXPECT_EQ(read_line(spawned.pipes.stdout_log.get()), fs::canonical(folder_).string());
  keeper.expect<Exited>();
}

TEST_F(KeeperSpawn, ItInheritsNothingButWhatItIsGiven) {
  KeeperDriver keeper;
  const os::Fd careless(::open("/dev/null", O_RDONLY));  // not CLOEXEC, as a host's own may be
  for (const StdioMode mode :
       {StdioMode::kChannelFd, StdioMode::kStdioSocket, StdioMode::kStdioPipe, StdioMode::kNoChannel}) {
    auto request = keeper.request({test::in_bin("keeper_family_main"), "0"});
    request.stdio = mode;
    const Spawned spawned = keeper.spawn(request);
    // Looked at from here: a shell that looks sees what it looks with. Its loader may still have a library open.
    const std::set<std::string> wanted = mode == StdioMode::kChannelFd
                                             ? std::set<std::string>{"0", "1", "2", "3"}
                                             : std::set<std::string>{"0", "1", "2"};
    std::set<std::string> open;
    EXPECT_TRUE(test::eventually([&] { return (open = descriptors_of(spawned.process.pid)) == wanted; }))
        << ::testing::PrintToString(open);
    keeper->signal(request.key, SIGKILL);
    keeper.expect<Exited>();
  }
}

TEST_F(KeeperSpawn, TheChannelIsWhereTheModeSays) {
  KeeperDriver keeper;
  struct Case {
    StdioMode mode;
    const char* echo;
  };
  for (const Case& one :
       {Case{StdioMode::kChannelFd, "read line <&$LAIR_CHANNEL_FD; echo \"got $line\" >&$LAIR_CHANNEL_FD"},
        Case{StdioMode::kStdioSocket, "read line; echo \"got $line\""},
        Case{StdioMode::kStdioPipe, "read line; echo \"got $line\""}}) {
    auto request = keeper.shell(one.echo);
    request.stdio = one.mode;
    const Spawned spawned = keeper.spawn(std::move(request));
    const worker::WorkerPipes& pipes = spawned.pipes;
    const int out = pipes.channel_out ? pipes.channel_out.get() : pipes.channel.get();
    const bool pipe = one.mode == StdioMode::kStdioPipe;
    for (const int fd : {pipes.channel.get(), out, pipes.stderr_log.get()}) {
      const bool blocks = !pipe && fd != pipes.stderr_log.get();
      EXPECT_EQ((::fcntl(fd, F_GETFL) & O_NONBLOCK) == 0, blocks);
      EXPECT_TRUE(::fcntl(fd, F_GETFD) & FD_CLOEXEC);
    }
    ASSERT_EQ(::write(out, "this\n", 5), 5);
    EXPECT_EQ(read_line(pipes.channel.get()), "got this");
    EXPECT_EQ(keeper.expect<Exited>().status.code, 0);
  }
}

TEST_F(KeeperSpawn, TheOutgoingPipeOfADeadWorkerRaisesNoSigpipe) {
  KeeperDriver keeper;
  auto request = keeper.request({"/bin/true"});
  request.stdio = StdioMode::kStdioPipe;
  const Spawned spawned = keeper.spawn(std::move(request));
  keeper.expect<Exited>();
  EXPECT_EQ(::write(spawned.pipes.channel_out.get(), "x", 1), 1);
}

TEST_F(KeeperSpawn, ItStartsWithDefaultSignalsInAGroupOfItsOwn) {
  KeeperDriver keeper;
  const Spawned spawned =
      keeper.spawn(keeper.request({"/bin/grep", "-E", "^Sig(Blk|Ign)|^NSpgid", "/proc/self/status"}));
  const std::string text = read_all(spawned.pipes.stdout_log.get());
  const auto mask = [&text](const char* name) {
    const std::size_t at = text.find(name);
    return at == std::string::npos ? ~0ull : std::stoull(text.substr(at + 8), nullptr, 16);
  };
  // 32 and 33 are glibc's own: posix_spawn leaves them ignored, and glibc sets them again before it uses them.
  constexpr unsigned long long kOfGlibc = 3ull << 31;
  EXPECT_EQ(mask("SigBlk:\t"), 0u) << text;
  EXPECT_EQ(mask("SigIgn:\t") & ~kOfGlibc, 0u) << text;
  EXPECT_NE(text.find("NSpgid:\t" + std::to_string(spawned.process.pid)), std::string::npos) << text;
  keeper.expect<Exited>();
}

TEST_F(KeeperSpawn, AffinityIsSetAndABadOneIsRefused) {
  cpu_set_t allowed;
  ASSERT_EQ(::sched_getaffinity(0, sizeof allowed, &allowed), 0);
  int last = CPU_SETSIZE - 1;
  while (!CPU_ISSET(last, &allowed)) --last;
  KeeperDriver keeper;
  auto request = keeper.shell("grep Cpus_allowed_list /proc/self/status");
  request.cpus = {last};
  const Spawned spawned = keeper.spawn(request);
  EXPECT_EQ(read_line(spawned.pipes.stdout_log.get()), "Cpus_allowed_list:\t" + std::to_string(last));
  keeper.expect<Exited>();
  request.key.generation = 1000;
  request.cpus = {1000};  // which this machine has not
  const SpawnFailed refused = keeper.spawn_failing(request);
  EXPECT_EQ(refused.step, "affinity");
  EXPECT_TRUE(refused.permanent);
}

TEST_F(KeeperSpawn, ASignalAskedForBeforeItWasSpawnedIsNotLost) {
  KeeperDriver keeper;
  for (int i = 0; i < 20; ++i) {
    const auto request = keeper.request({"/bin/sleep", "1000"});
    keeper->spawn(request);
    keeper->signal(request.key, SIGKILL);
    keeper->signal(request.key, SIGTERM);  // does not weaken it
    const Spawned spawned = keeper.expect<Spawned>();
    EXPECT_EQ(keeper.expect<Exited>().status, (ExitStatus{.how = How::kSignalled, .code = SIGKILL}));
  }
}

TEST_F(KeeperSpawn, SignalsToNobodyAreDropped) {
  KeeperDriver keeper;
  keeper->signal({.slot = 9, .generation = 9}, SIGKILL);
  const auto request = keeper.request({"/bin/true"});
  (void)keeper.run(request);
  keeper->signal(request.key, SIGKILL);
}

TEST_F(KeeperSpawn, WorkersOutliveTheThreadThatOrderedThem) {
  // PDEATHSIG follows the parent's thread; the keeper has only one, which stays.
  std::unique_ptr<KeeperDriver> keeper;
  std::vector<Spawned> spawned;
  std::thread([&] {
    keeper = std::make_unique<KeeperDriver>();
    for (int i = 0; i < 4; ++i) spawned.push_back(keeper->spawn(keeper->request({"/bin/sleep", "1000"})));
  }).join();
  EXPECT_EQ(keeper->run(keeper->shell("exit 5")).status.code,
            5);  // the keeper has gone on after that thread's end
  for (const Spawned& one : spawned) {
    EXPECT_TRUE(os::wait_for_io({.exit_fd = one.process.exit_fd.get()}, Deadline::after(0ms)).timed_out);
  }
}

TEST_F(KeeperSpawn, ANulInAnEnvironmentIsRefusedAndDoesNotShiftTheRest) {
  KeeperDriver keeper;
  auto request = keeper.shell("env");
  request.env = {std::string("A=1\0INJECTED=1", 14), "B=2"};
  keeper->spawn(request);
  auto event = keeper.next();
  ASSERT_TRUE(event);
  ASSERT_TRUE(std::holds_alternative<SpawnFailed>(*event));
  EXPECT_EQ(std::get<SpawnFailed>(*event).error, EINVAL);
}

TEST_F(KeeperSpawn, AnEmptyDirectoryIsTheHostsAtTheTimeOfTheSpawn) {
  const fs::path home = fs::current_path();
  KeeperDriver keeper;
  fs::current_path(folder_);
  const Spawned spawned = keeper.spawn(keeper.shell("pwd"));
  fs::current_path(home);
  EXPECT_EQ(read_line(spawned.pipes.stdout_log.get()), fs::canonical(folder_).string());
  keeper.expect<Exited>();
}

TEST_F(KeeperSpawn, CpusBeyondTheTableAreRefusedNotForgotten) {
  KeeperDriver keeper;
  auto request = keeper.request({"/bin/true"});
  request.cpus = {5000};
  EXPECT_EQ(keeper.spawn_failing(request).step, "affinity");
}

}  // namespace
}  // namespace lair
