// A session store in a file, whose program is killed in the middle of its writes: again and again, always the same file.
// LAIR_LONG=1 kills it 200 times.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cstdio>
#include <random>
#include <string>
#include <vector>

#include "process/store_script.hpp"
#include "support/leak_check.hpp"
#include "support/paths.hpp"
#include "support/store_files.hpp"

extern "C" char** environ;

namespace lair::test {
namespace {

using namespace std::chrono_literals;
using Steps = std::array<int, kStoreThreads>;  // the next one of each thread

// The program, and what it says.
class StoreHost {
 public:
  StoreHost(const std::string& file, const Steps& steps) {
    std::vector<std::string> arguments = {in_bin("store_host_main"), file};
    for (const int step : steps) arguments.push_back(std::to_string(step));
    std::vector<char*> argv;
    for (auto& argument : arguments) argv.push_back(argument.data());
    argv.push_back(nullptr);
    int out[2];
    EXPECT_EQ(::pipe2(out, O_CLOEXEC), 0);
    posix_spawn_file_actions_t actions;
    ::posix_spawn_file_actions_init(&actions);
    ::posix_spawn_file_actions_adddup2(&actions, out[1], 1);
    EXPECT_EQ(::posix_spawn(&pid_, argv[0], &actions, nullptr, argv.data(), environ), 0);
    ::posix_spawn_file_actions_destroy(&actions);
    ::close(out[1]);
    out_ = ::fdopen(out[0], "r");
  }
  ~StoreHost() {
    kill();
    std::fclose(out_);
  }
  StoreHost(const StoreHost&) = delete;
  StoreHost& operator=(const StoreHost&) = delete;

  // Empty at its end. A line that was cut off by its end is not one.
  std::string line() {
    char text[64];
    if (std::fgets(text, sizeof text, out_) == nullptr) return {};
    const std::string found = text;
    return found.ends_with('\n') ? found : std::string();
  }
  // SIGKILL, if it has not ended by itself; its wait status.
  int kill() {
    if (pid_ == 0) return status_;
    ::kill(pid_, SIGKILL);
    ::waitpid(std::exchange(pid_, 0), &status_, 0);
    return status_;
  }

 private:
  pid_t pid_ = 0;
  int status_ = 0;
  std::FILE* out_ = nullptr;
};

class StoreKill : public LeakChecked {
 protected:
  // Takes the host's word for what was acknowledged.
  void hear(const std::string& line) {
    int thread = 0, step = 0;
    ASSERT_EQ(std::sscanf(line.c_str(), "%d %d", &thread, &step), 2) << line;
    ASSERT_EQ(step, next_.at(static_cast<std::size_t>(thread)));
    take_step(expected_, store_step(thread, step));
    ++next_.at(static_cast<std::size_t>(thread));
    ++heard_;
  }

  static StoreContents contents_of(store::SessionStore& store) {
    StoreContents found;
    for (const std::string& session : store.sessions()) {
      std::uint64_t bytes = 0;
      const std::vector<std::string> keys = store.keys(session, "").value();
      for (const std::string& key : keys) {
        const Json value = store.get(session, key).value().value();
        bytes += key.size() + value.dump().size();
        found[{session, key}] = value;
      }
      EXPECT_EQ(store.bytes(session), bytes) << session;
    }
    return found;
  }

  // All that was acknowledged is there. Each thread's next step may be as well: it was under way.
  void check(store::SessionStore& store) {
    const StoreContents found = contents_of(store);
    for (int thread = 0; thread < kStoreThreads; ++thread) {
      const StoreStep step = store_step(thread, next_[static_cast<std::size_t>(thread)]);
      const auto at = found.find({step.session, step.key});
      const bool done = step.value ? at != found.end() && at->second == *step.value
                                   : at == found.end() && expected_.contains({step.session, step.key});
      if (!done) continue;
      take_step(expected_, step);
      ++next_[static_cast<std::size_t>(thread)];
      ++unheard_;
    }
    ASSERT_EQ(found.size(), expected_.size());
    for (const auto& [place, value] : expected_) {
      ASSERT_TRUE(found.contains(place)) << place.first << " " << place.second;
      ASSERT_EQ(found.at(place), value) << place.first << " " << place.second;
    }
  }

  StoreFolder folder_;
  StoreContents expected_;
  Steps next_ = {};
  int heard_ = 0;
  int unheard_ = 0;  // done, but not yet acknowledged
};

TEST_F(StoreKill, WhatWasAcknowledgedIsThereWhenItsProgramIsKilledInMidWrite) {
  const int rounds = std::getenv("LAIR_LONG") != nullptr ? 200 : 20;
  std::mt19937 random(20250301);
  for (int round = 0; round < rounds; ++round) {
    SCOPED_TRACE("round " + std::to_string(round));
    StoreHost host(folder_.file(), next_);
    // Some while they still open, and so recover the file; the others after some writes.
    const auto acknowledgements = round % 5 == 4 ? 0 : random() % 60;
    if (acknowledgements > 0) {
      ASSERT_EQ(host.line(), "open\n");
    }
    for (auto i = acknowledgements; i > 0; --i) hear(host.line());
    const int status = host.kill();
    ASSERT_TRUE(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL) << status;
    // What it said before its end, and nobody had listened to.
    for (std::string line = host.line(); !line.empty(); line = host.line()) {
      if (line != "open\n") hear(line);
    }
    const auto store = store::open_store(folder_.file(), {});
    ASSERT_TRUE(store) << store.error().message;
    check(**store);
    if (HasFatalFailure()) return;
  }
  EXPECT_GT(heard_, rounds * 10);
  RecordProperty("acknowledged", heard_);
  RecordProperty("unacknowledged", unheard_);
}

TEST_F(StoreKill, AFileThatAnotherProgramHasOpenIsRefusedAndLetGoWhenThatIsKilled) {
  StoreHost host(folder_.file(), next_);
  ASSERT_EQ(host.line(), "open\n");
  const auto refused = store::SqliteStore::open(folder_.file(), {.opening = {.busy_timeout = 0ms}});
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().kind, ErrorKind::kUnavailable);
  EXPECT_NE(
      refused.error().message.find(folder_.file() + " cannot be opened: it is in use by another program"),
      std::string::npos)
      << refused.error().message;
  host.kill();
  EXPECT_TRUE(store::SqliteStore::open(folder_.file(), {.opening = {.busy_timeout = 0ms}}));
}

}  // namespace
}  // namespace lair::test
