// Every system call that passes a failpoint fails in turn: in each process, with each error that it may really give,
// the first time, the second, and so on. LAIR_LONG=1 takes every call of the scenario; else those further on are thinned.
#include <gtest/gtest.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <ostream>
#include <set>
#include <vector>

#include "failpoints/scenario.hpp"

namespace lair::test {
namespace {

using namespace os::failpoint;

struct Case {
  Kind kind;
  Process process;
  const char* name;
  bool always = true;  // fails once and for ever also outside the long run

  friend void PrintTo(const Case& one, std::ostream* out) { *out << one.name; }
};

class Sweep : public ::testing::TestWithParam<Case> {
 protected:
  static void SetUpTestSuite() { ::setenv(kVariable, share().c_str(), 1); }
  static void TearDownTestSuite() { ::unsetenv(kVariable); }
  void TearDown() override { disarm_all(); }

  // How often the scenario passes each point when nothing fails.
  std::vector<std::uint64_t> counts() {
    EXPECT_EQ(scenario_.run(std::nullopt, Demand::kUnnoticed), "");
    std::vector<std::uint64_t> found;
    for (const Info& info : all()) found.push_back(passes(GetParam().process, info.point));
    return found;
  }

  Scenario scenario_{GetParam().kind};
};

const bool kLong = std::getenv("LAIR_LONG") != nullptr;
constexpr std::uint64_t kAlways = 1u << 30;

std::uint64_t next_after(std::uint64_t nth) {
  if (kLong) return nth + 1;
  return nth + std::max<std::uint64_t>(1, nth * 2 / 3);
}

TEST_P(Sweep, ACallThatFailsOnceIsGotOver) {
  if (!kLong && !GetParam().always) GTEST_SKIP() << "in the long run only";
  const auto scenario_passes = counts();
  int runs = 0;
  for (const Info& info : all()) {
    for (const int error : info.errors) {
      for (std::uint64_t nth = 1; nth <= scenario_passes[static_cast<std::size_t>(info.point)];
           nth = next_after(nth)) {
        const Armed armed{GetParam().process, info.point, {.error = error, .nth = nth}};
        EXPECT_EQ(scenario_.run(armed, error == EINTR ? Demand::kUnnoticed : Demand::kGotOver), "");
        ++runs;
      }
    }
  }
  EXPECT_GT(runs, 50);
}

TEST_P(Sweep, InterruptionsAndShortTransfersAreNotNoticed) {
  const auto scenario_passes = counts();
  int runs = 0;
  for (const Info& info : all()) {
    if (scenario_passes[static_cast<std::size_t>(info.point)] == 0) continue;
    std::vector<Fault> faults;
    if (std::count(info.errors.begin(), info.errors.end(), EINTR) != 0)
      faults.push_back({.error = EINTR, .every = 2, .times = kAlways});
    for (const std::size_t most : {1, 3, 1000}) {
      // A byte at a time, for a while: hundreds of thousands would tell no more, and of writes that nobody reads a socket holds
      // fewer than 300, as each costs it hundreds of bytes. The offer to a new worker is longer.
      if (info.short_transfers) faults.push_back({.most = most, .times = most == 1000 ? kAlways : 200});
    }
    for (const Fault& fault : faults) {
      const Armed armed{GetParam().process, info.point, fault};
      EXPECT_EQ(scenario_.run(armed, Demand::kUnnoticed), "");
      EXPECT_GT(hits(GetParam().process, info.point), 0u) << describe(armed);
      ++runs;
    }
  }
  EXPECT_GT(runs, 0);
}

// What is asked for again until it succeeds, and without which nothing at all can be said or heard: these end by the
// patience of a shutdown, which is more than ten seconds.
bool outlasts_only_patience(Point point) {
  return point == Point::kWait || point == Point::kKeeperPoll || point == Point::kMessageSend ||
         point == Point::kMessageReceive || point == Point::kSweepRead;
}

// From the start, and from the middle of the pool's life.
TEST_P(Sweep, ACallThatFailsForEverHoldsUpNothing) {
  if (!kLong && !GetParam().always) GTEST_SKIP() << "in the long run only";
  const auto scenario_passes = counts();
  int runs = 0;
  for (const Info& info : all()) {
    const bool slow = outlasts_only_patience(info.point);
    if (slow && !kLong) continue;
    const std::uint64_t total = scenario_passes[static_cast<std::size_t>(info.point)];
    for (const int error : info.errors) {
      // One that is to be repeated for ever, to a descriptor that is ready: no kernel does that.
      if (error == EINTR || error == EAGAIN) continue;
      for (const std::uint64_t nth : {std::uint64_t{1}, total / 2 + 1}) {
        if (nth > total) continue;
        EXPECT_EQ(scenario_.run(
                      Armed{GetParam().process, info.point, {.error = error, .nth = nth, .times = kAlways}},
                      Demand::kEnded),
                  "");
        ++runs;
      }
      if (!kLong) break;
    }
  }
  EXPECT_GT(runs, 0);
}

// A point that no scenario passes would be swept by nobody.
TEST(FailpointCoverage, EveryPointIsPassedByAScenario) {
  ::setenv(kVariable, share().c_str(), 1);
  std::set<Point> passed;
  for (const Kind kind : {Kind::kSocket, Kind::kPipe, Kind::kPython}) {
    EXPECT_EQ(Scenario(kind).run(std::nullopt, Demand::kUnnoticed), "");
    for (const Info& info : all()) {
      if (passes(Process::kHost, info.point) + passes(Process::kKeeper, info.point) > 0)
        passed.insert(info.point);
    }
  }
  ::unsetenv(kVariable);
  disarm_all();
  for (const Info& info : all()) EXPECT_EQ(passed.count(info.point), 1u) << info.name;
}

INSTANTIATE_TEST_SUITE_P(Workers, Sweep,
                         ::testing::Values(Case{Kind::kSocket, Process::kHost, "SocketLibrary"},
                                           Case{Kind::kSocket, Process::kKeeper, "SocketKeeper"},
                                           Case{Kind::kPipe, Process::kHost, "PipeLibrary", false},
                                           Case{Kind::kPipe, Process::kKeeper, "PipeKeeper", false},
                                           Case{Kind::kPython, Process::kHost, "PythonLibrary", false},
                                           Case{Kind::kPython, Process::kKeeper, "PythonKeeper", false},
                                           Case{Kind::kForked, Process::kHost, "ForkedLibrary", false},
                                           Case{Kind::kForked, Process::kKeeper, "ForkedKeeper", false}),
                         [](const auto& parameter) { return parameter.param.name; });

}  // namespace
}  // namespace lair::test
