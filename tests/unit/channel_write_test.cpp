// What the reactor writes: as much as there is room for, and how much that was although it broke then.
#ifdef LAIR_FAILPOINTS

#include <gtest/gtest.h>
#include <sys/socket.h>

#include <cerrno>
#include <optional>
#include <string>

#include "os/failpoint.hpp"
#include "worker/channel.hpp"

namespace lair::worker {
namespace {

using namespace os::failpoint;

class ChannelWrite : public ::testing::Test {
 protected:
  ChannelWrite() {
    int ends[2];
    EXPECT_EQ(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends), 0);
    channel.emplace(os::Stream::socket(os::Fd(ends[0])), 1u << 20);
    peer = os::Fd(ends[1]);
  }
  void TearDown() override { disarm_all(); }

  std::optional<Channel> channel;
  os::Fd peer;
};

TEST_F(ChannelWrite, StopsWhereThereIsNoMoreRoom) {
  const std::string bytes(8u << 20, 'x');
  const auto moved = channel->write_now(bytes);
  EXPECT_GT(moved.bytes, 0u);
  EXPECT_LT(moved.bytes, bytes.size());
  EXPECT_FALSE(moved.broken);
}

TEST_F(ChannelWrite, CountsWhatHadLeftWhenItBroke) {
  arm(os::failpoint::Process::kHost, Point::kStreamWrite, {.error = EPIPE, .nth = 2});
  const auto moved = channel->write_now(std::string(8u << 20, 'x'));
  EXPECT_GT(moved.bytes, 0u) << "the peer may have read this";
  EXPECT_TRUE(moved.broken);
}

}  // namespace
}  // namespace lair::worker

#endif
