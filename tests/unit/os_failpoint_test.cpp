// Failpoints themselves: which of the calls they hit. What the calls make of it is in tests/failpoints.
#ifdef LAIR_FAILPOINTS

#include <gtest/gtest.h>

#include <atomic>
#include <cerrno>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include "os/failpoint.hpp"
#include "os/stream_pair.hpp"

namespace lair::os::failpoint {
namespace {

class Failpoint : public ::testing::Test {
 protected:
  void TearDown() override { disarm_all(); }

  // Which of the next calls are refused, as a row of 0 and 1.
  static std::string refused(Point point, int calls) {
    std::string row;
    for (int i = 0; i < calls; ++i) row += refuses(point) ? '1' : '0';
    return row;
  }
};

TEST_F(Failpoint, EveryPointIsInTheTableInItsPlaceAndHasAName) {
  std::set<std::string> names;
  for (std::size_t i = 0; i < all().size(); ++i) {
    EXPECT_EQ(static_cast<std::size_t>(all()[i].point), i);
    EXPECT_GT(all()[i].errors.size(), 0u);
    names.insert(all()[i].name);
  }
  EXPECT_EQ(all().back().point, Point::kChildExec);
  EXPECT_EQ(names.size(), all().size());
}

TEST_F(Failpoint, HitsTheNthCallAndEveryKthThenForAsLongAsItIsTold) {
  EXPECT_EQ(refused(Point::kPipe, 3), "000");
  arm(Process::kHost, Point::kPipe, {.error = EMFILE, .nth = 2, .every = 3, .times = 2});
  EXPECT_EQ(refused(Point::kPipe, 10), "0100100000");
  EXPECT_EQ(passes(Process::kHost, Point::kPipe), 10u);
  EXPECT_EQ(hits(Process::kHost, Point::kPipe), 2u);
  EXPECT_EQ(refused(Point::kEventfd, 3), "000");
}

TEST_F(Failpoint, GivesItsErrno) {
  arm(Process::kHost, Point::kPipe, {.error = ENFILE});
  errno = 0;
  EXPECT_FALSE(make_pipe().read_end);
  EXPECT_EQ(errno, ENFILE);
  EXPECT_TRUE(make_pipe().read_end);
}

TEST_F(Failpoint, CutsATransferAndTheGatheredPartsOfOne) {
  arm(Process::kHost, Point::kStreamWrite, {.most = 5, .times = 2});
  EXPECT_FALSE(refuses(Point::kStreamWrite));
  EXPECT_EQ(most(Point::kStreamWrite, 100), 5u);
  std::vector<iovec> parts = {{nullptr, 3}, {nullptr, 4}, {nullptr, 5}};
  shorten(Point::kStreamWrite, parts.data(), parts.size());
  EXPECT_EQ(parts[0].iov_len, 3u);
  EXPECT_EQ(parts[1].iov_len, 2u);
  EXPECT_EQ(parts[2].iov_len, 0u);
  EXPECT_EQ(most(Point::kStreamWrite, 100), 100u);
}

TEST_F(Failpoint, OfManyThreadsCallsExactlyAsManyAreHitAsItIsTold) {
  arm(Process::kHost, Point::kPipe, {.error = EMFILE, .nth = 10, .times = 100});
  std::atomic<int> refusals = 0;
  std::vector<std::thread> threads;
  for (int i = 0; i < 4; ++i) {
    threads.emplace_back([&] {
      for (int n = 0; n < 500; ++n) refusals += refuses(Point::kPipe) ? 1 : 0;
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(refusals, 100);
}

}  // namespace
}  // namespace lair::os::failpoint

#endif
