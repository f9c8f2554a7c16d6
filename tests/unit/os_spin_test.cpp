// Spin: when it is worth looking before sleeping; and a stream that does so reads, ends and waits as one that does not.
#include <gtest/gtest.h>
#include <sys/socket.h>

#include <array>
#include <string_view>

#include "os/stream.hpp"
#include "os/wait.hpp"

namespace lair::os {
namespace {

using namespace std::chrono_literals;

constexpr Duration kMost = 100us;
constexpr TimePoint kStart = TimePoint(1h);

Spin warm() {
  Spin spin(kMost);
  spin.slept(kMost / 2);
  return spin;
}

TEST(Spin, LooksOnlyAfterAWaitThatWasShortEnough) {
  Spin spin(kMost);
  EXPECT_FALSE(spin.pays(kStart)) << "nothing is known yet";
  spin.slept(kMost - 1ns);
  EXPECT_TRUE(spin.pays(kStart));
  spin.slept(kMost);
  EXPECT_FALSE(spin.pays(kStart));
}

TEST(Spin, LooksForAWhileAndNoLonger) {
  Spin spin = warm();
  EXPECT_TRUE(spin.goes_on(kStart, kStart, kStart + 2us));
  EXPECT_TRUE(spin.goes_on(kStart, kStart + 2us, kStart + kMost - 1ns));
  EXPECT_FALSE(spin.goes_on(kStart, kStart + 2us, kStart + kMost));
  EXPECT_TRUE(spin.pays(kStart + kMost)) << "that is for the time of the whole wait to say";
}

TEST(Spin, RestsWhereAnotherThreadHasTakenTheCore) {
  Spin spin(1h);
  spin.slept(0s);
  const TimePoint lost = kStart + Spin::kLost;
  EXPECT_TRUE(spin.goes_on(kStart, kStart + 1ns, lost));
  EXPECT_FALSE(spin.goes_on(kStart, kStart, lost));
  EXPECT_FALSE(spin.pays(lost));
  EXPECT_FALSE(spin.pays(lost + Spin::kRest - 1ns));
  EXPECT_TRUE(spin.pays(lost + Spin::kRest));
}

TEST(Spin, MayTryBeforeAnythingIsKnown) {
  Spin spin(kMost, true);
  EXPECT_TRUE(spin.pays(kStart));
  spin.slept(kMost);
  EXPECT_FALSE(spin.pays(kStart));
}

TEST(Spin, SleepsUnlessItHasFoundSomething) {
  Spin spin(1h, true);
  int looks = 0;
  bool slept = false;
  const auto wait = [&](int found_by) {
    spin.wait([&] { return ++looks >= found_by; }, [&] { slept = true; });
  };
  wait(1);
  EXPECT_EQ(looks, 1);
  EXPECT_FALSE(slept);
  spin.slept(1h);  // too long a wait, so it sleeps at once
  wait(1);
  EXPECT_EQ(looks, 1);
  EXPECT_TRUE(slept);
}

TEST(Spin, RestsEvenIfItHasFoundSomethingSoLate) {
  Spin spin(1h, true);
  const auto late = [] {
    for (const TimePoint began = SteadyClock::now(); SteadyClock::now() - began < Spin::kLost;) {
    }
    return true;
  };
  const TimePoint before = SteadyClock::now();
  EXPECT_TRUE(spin.pays(before + Spin::kRest));
  spin.wait(late, [] { FAIL() << "it has been found"; });
  EXPECT_FALSE(spin.pays(before + Spin::kRest));
}

// A wait for descriptors that looks first ends as one that does not.
TEST(Spin, WaitsForDescriptorsOrTheDeadline) {
  int ends[2];
  ASSERT_EQ(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends), 0);
  const Fd one(ends[0]);
  const Fd other(ends[1]);
  Spin spin(10ms, true);
  EXPECT_TRUE(wait_for_io({.in_fd = one.get()}, Deadline::after(20ms), spin).timed_out);
  EXPECT_EQ(::send(other.get(), "x", 1, MSG_NOSIGNAL), 1);
  EXPECT_TRUE(wait_for_io({.in_fd = one.get()}, Deadline::never(), spin).readable) << "it slept";
  EXPECT_TRUE(wait_for_io({.in_fd = one.get()}, Deadline::never(), spin).readable) << "it looked";
}

// Of a stream that looks: its last wait was short.
class SpinningStream : public testing::Test {
 protected:
  SpinningStream() {
    int ends[2];
    EXPECT_EQ(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends), 0);
    stream = Stream::socket(Fd(ends[0]));
    peer = Fd(ends[1]);
    stream.spin(10ms);  // no wait is longer when what it is for is there
    say("once");
    EXPECT_EQ(heard(), "once");
  }
  void say(std::string_view text) {
    EXPECT_EQ(::send(peer.get(), text.data(), text.size(), MSG_NOSIGNAL), static_cast<ssize_t>(text.size()));
  }
  std::string_view heard() {
    last = stream.wait_read(buffer.data(), buffer.size());
    return {buffer.data(), last.bytes};
  }

  Stream stream;
  Fd peer;
  std::array<char, 64> buffer{};
  IoResult last;
};

TEST_F(SpinningStream, ReadsWhatIsThere) {
  say("twice");
  EXPECT_EQ(heard(), "twice");
}

TEST_F(SpinningStream, SleepsWhenNothingComes) {
  const TimePoint began = SteadyClock::now();
  heard();
  EXPECT_EQ(last.status, IoStatus::kWouldBlock);
  EXPECT_GE(SteadyClock::now() - began, Stream::kPatience / 2) << "it has not slept, but given up";
  say("late");
  EXPECT_EQ(heard(), "late");
}

TEST_F(SpinningStream, EndsWhenItIsInterrupted) {
  say("before");
  stream.interrupt();
  EXPECT_EQ(heard(), "before");
  heard();
  EXPECT_EQ(last.status, IoStatus::kClosed);
}

TEST_F(SpinningStream, SeesThatThePeerHasGone) {
  peer.reset();
  heard();
  EXPECT_EQ(last.status, IoStatus::kClosed);
}

}  // namespace
}  // namespace lair::os
