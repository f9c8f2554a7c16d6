// Leases that are held for long are reported once, with the place where they were taken.
#include "pool/lease_watch.hpp"

#include <gtest/gtest.h>

#include "support/start.hpp"

namespace lair::pool {
namespace {

using namespace std::chrono_literals;
using test::kStart;

struct LeaseWatchTest : testing::Test {
  LeaseWatch watch{"text", 10s};
  bool wake = false;
  LeaseWatch::Ticket take(int line, TimePoint now) {
    wake = false;
    return watch.taken({.slot = 1, .generation = 2, .pid = 33}, "main.cpp", line, now, wake);
  }
};

TEST_F(LeaseWatchTest, AnOverdueLeaseIsReportedOnceWithItsPlace) {
  take(7, kStart);
  EXPECT_TRUE(watch.overdue(kStart + 9s).empty());
  const auto lines = watch.overdue(kStart + 10s);
  ASSERT_EQ(lines.size(), 1u);
  EXPECT_EQ(lines[0].held, Duration(10s));
  EXPECT_EQ(lines[0].worker.generation, 2u);
  EXPECT_EQ(lines[0].text,
            "[text] the lease on worker 1.2 (pid 33) that was taken at main.cpp:7 has been held for 10 s "
            "(lease_warning). Nobody else can use its worker until it is released.");
  EXPECT_TRUE(watch.overdue(kStart + 20s).empty());
  EXPECT_EQ(watch.next_look(), TimePoint::max());
}

TEST_F(LeaseWatchTest, AReturnedLeaseIsNotReported) {
  watch.returned(take(7, kStart));
  EXPECT_EQ(watch.held(), 0u);
  EXPECT_TRUE(watch.overdue(kStart + 11s).empty());
}

TEST_F(LeaseWatchTest, TheWatcherIsWokenOncePerLookNotPerLease) {
  const auto first = take(1, kStart);
  EXPECT_TRUE(wake);
  EXPECT_EQ(watch.next_look(), kStart + 10s);
  watch.returned(first);
  take(2, kStart + 3s);
  EXPECT_FALSE(wake);
  EXPECT_TRUE(watch.overdue(kStart + 10s).empty());
  EXPECT_EQ(watch.next_look(), kStart + 13s);
  EXPECT_EQ(watch.overdue(kStart + 13s).size(), 1u);
  take(3, kStart + 14s);
  EXPECT_TRUE(wake);
}

TEST_F(LeaseWatchTest, ForEverIsNever) {
  LeaseWatch silent{"text", kForever};
  (void)silent.taken({}, "main.cpp", 1, kStart, wake);
  EXPECT_FALSE(wake);
  EXPECT_EQ(silent.next_look(), TimePoint::max());
}

}  // namespace
}  // namespace lair::pool
