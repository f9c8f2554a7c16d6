// The launcher that sees to a warm parent, over a real keeper: who waits for it, and when there is another one.
#include <gtest/gtest.h>

#include <csignal>
#include <cstdlib>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "os/program.hpp"
#include "process/keeper_io.hpp"
#include "support/leak_check.hpp"
#include "support/paths.hpp"
#include "worker/keeper_launcher.hpp"
#include "worker/warm_launcher.hpp"

namespace lair {
namespace {

using test::descendants;
using test::eventually;
using worker::LaunchEvent;
using worker::Spawned;
using worker::SpawnFailed;
using worker::SpawnRequest;
using worker::StdioMode;

class WarmLauncher : public test::LeakChecked {
 protected:
  WarmLauncher() {
    auto keeper = worker::KeeperLauncher::start({.capacity = 16});
    EXPECT_TRUE(keeper);
    launcher_ = std::make_unique<worker::WarmLauncher>(*std::move(keeper));
    auto program = os::find_program("python3", std::getenv("PATH"), "");
    EXPECT_TRUE(program);
    python_ = *std::move(program);
  }
  void TearDown() override {
    kept_.clear();
    launcher_.reset();
    LeakChecked::TearDown();
  }

  std::vector<std::string> environment() const {
    return {"PYTHONPATH=" + test::in_source("python") + ":" + test::in_source("tests/workers"),
            std::string("PATH=") + std::getenv("PATH"), "OMP_NUM_THREADS=1"};
  }
  // To be forked from a parent that has imported `module`.
  SpawnRequest request(std::uint64_t revision, const std::string& module) {
    SpawnRequest parent;
    parent.key.generation = revision;
    parent.argv = {python_, "-m", "lair_worker", "--warm-parent", "sdk_echo", module};
    parent.env = environment();
    SpawnRequest request;
    request.key = {.slot = 1, .generation = ++generation_};
    request.argv = {python_, "-m", "lair_worker", "sdk_echo"};
    request.env = environment();
    request.warm = std::make_shared<const SpawnRequest>(std::move(parent));
    return request;
  }

  // The next event that is of a worker. Notes tell which parents there have been.
  std::optional<LaunchEvent> next() {
    const Deadline deadline = Deadline::after(test::kPatience);
    for (;;) {
      while (!events_.empty()) {
        LaunchEvent event = std::move(events_.front());
        events_.erase(events_.begin());
        if (const auto* note = std::get_if<worker::Note>(&event)) {
          if (note->text.ends_with("] ready")) parents_.push_back(std::stoi(note->text.substr(16)));
          continue;
        }
        return event;
      }
      if (os::wait_for_io({.in_fd = launcher_->poll_fd()}, deadline).timed_out) return std::nullopt;
      events_ = launcher_->take_events();
    }
  }
  // The pid of a worker that comes up.
  int spawned() {
    auto event = next();
    if (!event || !std::holds_alternative<Spawned>(*event)) {
      ADD_FAILURE() << (event ? "another event came: " + std::to_string(event->index()) : "no event came");
      return 0;
    }
    kept_.push_back(std::get<Spawned>(std::move(*event)));
    return kept_.back().process.pid;
  }

  std::unique_ptr<worker::WarmLauncher> launcher_;
  std::string python_;
  std::uint64_t generation_ = 0;
  std::vector<LaunchEvent> events_;
  std::vector<Spawned> kept_;
  std::vector<int> parents_;
};

TEST_F(WarmLauncher, OneParentServesAllAndComesFirst) {
  for (int i = 0; i < 3; ++i) launcher_->spawn(request(1, "json"));
  for (int i = 0; i < 3; ++i) EXPECT_GT(spawned(), 0);
  launcher_->spawn(request(1, "json"));
  EXPECT_GT(spawned(), 0);
  EXPECT_EQ(parents_.size(), 1u);
  EXPECT_EQ(descendants(::getpid()).size(), 1u + 1 + 4);
}

TEST_F(WarmLauncher, WhatIsNotToBeForkedIsExecuted) {
  SpawnRequest plain = request(1, "json");
  plain.warm.reset();
  launcher_->spawn(std::move(plain));
  EXPECT_GT(spawned(), 0);
  // An interpreter that is a shim has children of its own for a while.
  EXPECT_TRUE(eventually([&] { return descendants(::getpid()).size() == 1 + 1; }));
  EXPECT_TRUE(parents_.empty());
}

TEST_F(WarmLauncher, AParentOfAnotherRevisionTakesThePlaceOfTheFirst) {
  launcher_->spawn(request(1, "json"));
  const int first = spawned();
  launcher_->spawn(request(2, "json"));
  const int second = spawned();
  ASSERT_EQ(parents_.size(), 2u);
  EXPECT_NE(parents_[0], parents_[1]);
  // The keeper, the second parent, and both workers.
  EXPECT_TRUE(eventually([&] {
    const auto family = descendants(::getpid());
    return family.size() == 4 && family.count(parents_[1]) == 1 && family.count(first) == 1 &&
           family.count(second) == 1;
  }));
}

TEST_F(WarmLauncher, AWorkerThatIsGivenUpWhileItsParentImportsIsNeverMade) {
  SpawnRequest first = request(1, "warm_endless");
  SpawnRequest second = request(1, "warm_endless");
  const auto keys = {first.key, second.key};
  launcher_->spawn(std::move(first));
  launcher_->spawn(std::move(second));
  for (const worker::WorkerKey key : keys) {
    launcher_->signal(key, SIGCONT);  // no reason to give up
    launcher_->signal(key, SIGKILL);
    auto event = next();
    ASSERT_TRUE(event && std::holds_alternative<SpawnFailed>(*event));
    const auto& failed = std::get<SpawnFailed>(*event);
    EXPECT_EQ(failed.key, key);
    EXPECT_EQ(failed.stage, "environment");
    EXPECT_FALSE(failed.permanent);
  }
  // Nobody waits for that parent any more, so it is ended, and the next one begins afresh.
  launcher_->spawn(request(1, "json"));
  EXPECT_GT(spawned(), 0);
  EXPECT_EQ(parents_.size(), 1u);
}

}  // namespace
}  // namespace lair
