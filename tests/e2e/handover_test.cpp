// Small frames that change hands in memory (ADR 24), between calls of all other kinds: nothing is lost, twice, or out of order.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>
#include <lair/async.hpp>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include "os/handover.hpp"
#include "support/leak_check.hpp"
#include "support/pools.hpp"

namespace lair {
namespace {

using namespace std::chrono_literals;
using test::eventually;
using test::options_for;

// A worker's page, to look at. None: it hands nothing over, for it has no accelerator.
os::Fd page_of(int pid) {
  for (const auto& entry : std::filesystem::directory_iterator("/proc/" + std::to_string(pid) + "/fd")) {
    std::error_code gone;
    if (std::filesystem::read_symlink(entry, gone).string().rfind("/memfd:lair-handover", 0) == 0)
      return os::Fd(::open(entry.path().c_str(), O_RDONLY | O_CLOEXEC));
  }
  return {};
}

// The size of the frame that was left last in a box; 0: none ever was.
std::uint32_t last_size(const os::Fd& page, std::size_t box) {
  std::uint32_t size = 0;
  const std::size_t place = box + offsetof(os::Handover::Box, size);
  EXPECT_EQ(::pread(page.get(), &size, sizeof size, static_cast<off_t>(place)), ssize_t{sizeof size});
  return size;
}

class HandoverCalls : public test::LeakChecked {
 protected:
  static PoolOptions options(std::size_t size, Duration spin = 1ms) {
    PoolOptions options = options_for("callbacks", size);
    options.spin = spin;
    return options;
  }
};

TEST_F(HandoverCalls, LeaveSmallFramesInMemoryWhereBothEndsLook) {
  Pool pool(options(1));
  pool.wait_ready();
  const os::Fd page = page_of(pool.stats().workers.front().pid);
  if (!page) GTEST_SKIP() << "workers without the accelerator hand nothing over";
  EXPECT_TRUE(eventually([&] {
    for (int i = 0; i < 100; ++i) EXPECT_EQ(pool.call<int>("echo", i), i);
    return last_size(page, offsetof(os::Handover::Page, to_worker)) > 0 &&
           last_size(page, offsetof(os::Handover::Page, to_host)) > 0;
  }));
}

TEST_F(HandoverCalls, HaveNoPageWhereNobodyLooks) {
  Pool pool(options(1, 0s));
  pool.wait_ready();
  EXPECT_EQ(pool.call<int>("echo", 1), 1);
  EXPECT_FALSE(page_of(pool.stats().workers.front().pid));
}

TEST_F(HandoverCalls, AlternateWithEverythingElse) {
  PoolOptions wanted = options(2);
  wanted.cancel_grace = 60s;
  Pool pool(wanted);
  pool.expose("double", [](int x) { return 2 * x; });
  pool.wait_ready();
  std::vector<std::thread> callers;
  for (unsigned seed = 1; seed <= 4; ++seed) {
    callers.emplace_back([&, seed] {
      std::mt19937 random(seed);
      Session session = pool.session("caller-" + std::to_string(seed));
      for (int i = 0; i < 400; ++i) {
        // Runs of the same kind: only those that follow one another quickly are handed over.
        const auto kind = random() % 7;
        for (int repeat = 0; repeat < 5; ++repeat) {
          const int value = static_cast<int>(random() % 1000);
          switch (kind) {
            case 0:
              EXPECT_EQ(pool.call<int>("twice", value), 4 * value);
              break;
            case 1: {
              const std::string text(random() % 5000, 'x');  // a box takes about 2,000
              EXPECT_EQ(pool.call<std::string>("echo", text), text);
              break;
            }
            case 2: {
              int next = 0;
              for (const int item : pool.stream<int>("numbers", 5)) EXPECT_EQ(item, 2 * next++);
              EXPECT_EQ(next, 5);
              break;
            }
            case 3:
              EXPECT_EQ(pool.try_call("no_such_command").error().kind, ErrorKind::kUnknownCommand);
              break;
            case 4:
              EXPECT_EQ(session.call<int>("echo", value), value);
              break;
            case 5:
              EXPECT_EQ(pool.future_call<int>("echo", value).get(), value);
              break;
            default:
              EXPECT_EQ(pool.call<int>("echo", value), value);
          }
        }
      }
    });
  }
  for (std::thread& caller : callers) caller.join();
  EXPECT_EQ(pool.stats().workers_started, 2u) << "one was replaced";
}

// Calls that are cancelled at any moment: in the box, in the worker, or when they are over.
TEST_F(HandoverCalls, EndWhenTheyAreCancelledAndTheNextIsServed) {
  PoolOptions wanted = options(1);
  wanted.cancel_grace = 60s;
  Pool pool(wanted);
  pool.wait_ready();
  std::mt19937 random(1);
  int cancelled = 0;
  for (int i = 0; i < 2000; ++i) {
    for (int warm = 0; warm < 3; ++warm) ASSERT_EQ(pool.call<int>("echo", warm), warm);
    const auto patience = std::chrono::microseconds(random() % 40);
    const auto result = pool.try_call(CallOptions{.timeout = patience}, "echo", i);
    if (result) {
      EXPECT_EQ(*result, i);
    } else {
      EXPECT_EQ(result.error().kind, ErrorKind::kDeadlineExceeded) << result.error().report();
      ++cancelled;
    }
  }
  EXPECT_GT(cancelled, 0);
  EXPECT_EQ(pool.stats().workers_started, 1u);
}

}  // namespace
}  // namespace lair
