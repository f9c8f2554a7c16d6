// What lair-keeper and its host do when there is too much to do, or too little room to do it in.
#include <gtest/gtest.h>
#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <csignal>
#include <filesystem>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "process/keeper_driver.hpp"
#include "support/leak_check.hpp"
#include "support/sanitized.hpp"

namespace lair {
namespace {

namespace fs = std::filesystem;
using namespace std::chrono_literals;
using test::KeeperDriver;
using worker::Exited;
using worker::Spawned;
using worker::SpawnFailed;

class KeeperLimits : public test::LeakChecked {};

TEST_F(KeeperLimits, ManyOrdersAtOnceAreAllAnswered) {
  KeeperDriver keeper(200);
  for (int i = 0; i < 150; ++i) keeper->spawn(keeper.request({"/bin/true"}));
  int spawned = 0;
  int exited = 0;
  while (spawned + exited < 300) {
    auto event = keeper.next();
    ASSERT_TRUE(event);
    if (const auto* failed = std::get_if<SpawnFailed>(&*event)) FAIL() << failed->message;
    (std::holds_alternative<Spawned>(*event) ? spawned : exited) += 1;
  }
  EXPECT_EQ(spawned, 150);
  EXPECT_EQ(exited, 150);
}

TEST_F(KeeperLimits, BeyondItsCapacityTheKeeperRefuses) {
  KeeperDriver keeper(2);
  for (int i = 0; i < 2; ++i) (void)keeper.spawn(keeper.request({"/bin/sleep", "1000"}));
  const SpawnFailed refused = keeper.spawn_failing(keeper.request({"/bin/true"}));
  EXPECT_EQ(refused.step, "table");
  EXPECT_FALSE(refused.permanent);
}

TEST_F(KeeperLimits, ThousandsOfWorkersLeaveNoDescriptorBehind) {
  KeeperDriver keeper;
  (void)keeper.run(keeper.request({"/bin/true"}));
  const std::size_t before = test::open_descriptors().size();
  const std::set<int> family = test::descendants(::getpid());
  ASSERT_EQ(family.size(), 1u);
  const std::string keeper_fds = "/proc/" + std::to_string(*family.begin()) + "/fd";
  const auto in_keeper = [&] {
    return std::distance(fs::directory_iterator(keeper_fds), fs::directory_iterator());
  };
  const auto keeper_before = in_keeper();
  for (int i = 0; i < (test::kSanitized ? 200 : 2000); ++i) {
    ASSERT_EQ(keeper.run(keeper.request({"/bin/true"})).status.code, 0);
  }
  EXPECT_EQ(test::open_descriptors().size(), before);
  EXPECT_EQ(in_keeper(), keeper_before);
}

// Spends descriptors until only `spare` are left, and gives them back.
class Scarcity {
 public:
  explicit Scarcity(int spare) {
    ::getrlimit(RLIMIT_NOFILE, &saved_);
    int highest = 0;
    for (const auto& [fd, what] : test::open_descriptors()) highest = std::max(highest, fd);
    rlimit limit = saved_;
    limit.rlim_cur = static_cast<rlim_t>(highest + 1 + spare);
    ::setrlimit(RLIMIT_NOFILE, &limit);
    for (int fd = ::dup(0); fd >= 0 && fd <= highest; fd = ::dup(0)) fillers_.emplace_back(fd);
    // The last one is beyond `highest`, or there was none.
    for (int fd = highest + 1; fd < static_cast<int>(limit.rlim_cur); ++fd) ::close(fd);
  }
  ~Scarcity() { ::setrlimit(RLIMIT_NOFILE, &saved_); }

 private:
  rlimit saved_{};
  std::vector<os::Fd> fillers_;
};

TEST_F(KeeperLimits, AHostOutOfDescriptorsGetsAFailureAndLeaksNone) {
  KeeperDriver keeper;
  (void)keeper.run(keeper.request({"/bin/true"}));
  for (int spare = 0; spare <= 4; ++spare) {  // kNoChannel takes five at once
    const Scarcity scarcity(spare);
    const std::size_t before = test::open_descriptors().size();
    for (int i = 0; i < 50; ++i) {
      const SpawnFailed refused = keeper.spawn_failing(keeper.request({"/bin/true"}));
      EXPECT_EQ(refused.error, EMFILE);
      EXPECT_FALSE(refused.permanent);
    }
    EXPECT_EQ(test::open_descriptors().size(), before);
  }
  EXPECT_EQ(keeper.run(keeper.request({"/bin/true"})).status.code, 0);
}

TEST_F(KeeperLimits, AKeeperOutOfDescriptorsRefusesAndRecovers) {
  KeeperDriver keeper;
  (void)keeper.run(keeper.request({"/bin/true"}));
  const int keeper_pid = *test::descendants(::getpid()).begin();
  rlimit saved{};
  ASSERT_EQ(::prlimit(keeper_pid, RLIMIT_NOFILE, nullptr, &saved), 0);
  int refusals = 0;
  for (rlim_t most = 6; most < 12; ++most) {
    const rlimit limit{.rlim_cur = most, .rlim_max = saved.rlim_max};
    ASSERT_EQ(::prlimit(keeper_pid, RLIMIT_NOFILE, &limit, nullptr), 0);
    keeper->spawn(keeper.request({"/bin/true"}));
    const auto event = keeper.next();
    ASSERT_TRUE(event) << "no answer with " << most << " descriptors";
    const auto* refused = std::get_if<SpawnFailed>(&*event);
    if (refused == nullptr) {
      keeper.expect<Exited>();
    } else {
      EXPECT_FALSE(refused->permanent) << refused->step << ": " << refused->message;
      ++refusals;
    }
  }
  EXPECT_GT(refusals, 0);
  ASSERT_EQ(::prlimit(keeper_pid, RLIMIT_NOFILE, &saved, nullptr), 0);
  EXPECT_EQ(keeper.run(keeper.request({"/bin/true"})).status.code, 0);
}

TEST_F(KeeperLimits, AWorkerWhosePidfdFoundNoPlaceIsNotLostSightOf) {
  // The host runs out between the order and the report: the descriptor is dropped by the kernel. The worker must be
  // killed, or be reported as failed; not be handed over without an exit_fd and out of reach of signal().
  KeeperDriver keeper;
  const auto request = keeper.request({"/bin/sleep", "1000"});
  keeper->spawn(request);
  std::optional<worker::LaunchEvent> event;
  ASSERT_FALSE(os::wait_for_io({.in_fd = keeper->poll_fd()}, Deadline::after(test::kPatience)).timed_out);
  // The hello is taken first, so that what is next is the report.
  {
    const Scarcity scarcity(0);
    event = keeper.next();
  }
  ASSERT_TRUE(event);
  if (const auto* spawned = std::get_if<Spawned>(&*event)) {
    EXPECT_TRUE(spawned->process.exit_fd);
    keeper->signal(request.key, SIGKILL);
    const auto end = keeper.next(2s);
    EXPECT_TRUE(end && std::holds_alternative<Exited>(*end)) << "the worker is out of reach";
  }
}

}  // namespace
}  // namespace lair
