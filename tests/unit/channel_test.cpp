// A channel over real sockets and pipes: one exchange, and everything that can come in its way.
#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/socket.h>
#include <unistd.h>

#include <string>
#include <thread>

#include "os/event_fd.hpp"
#include "os/wait.hpp"
#include "worker/channel.hpp"

namespace lair::worker {
namespace {

using namespace std::chrono_literals;
using testing::HasSubstr;
using Failure = Channel::Failure;

constexpr std::size_t kLimit = 64u << 20;

std::string framed(std::string_view payload) {
  const auto header = wire::frame_header(payload.size());
  return std::string(header.data(), header.size()) + std::string(payload);
}

// A channel, the other end of it, and what stands for the worker's pidfd. Once with a channel that waits itself, once
// with somebody who interrupts it.
class ChannelTest : public testing::TestWithParam<Channel::Waits> {
 protected:
  ChannelTest() {
    int ends[2];
    EXPECT_EQ(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends), 0);
    channel.emplace(os::Stream::socket(os::Fd(ends[0])), kLimit);
    peer = os::Fd(ends[1]);
  }
  ~ChannelTest() override {
    ::shutdown(peer.get(), SHUT_RDWR);  // whatever the thread is doing ends
    if (thread.joinable()) thread.join();
  }

  void peer_writes(std::string_view bytes) {
    while (!bytes.empty()) {
      const ssize_t n = ::send(peer.get(), bytes.data(), bytes.size(), MSG_NOSIGNAL);
      if (n <= 0) return;
      bytes.remove_prefix(static_cast<std::size_t>(n));
    }
  }
  // Reads `bytes` bytes, or to the end.
  std::string peer_reads(std::size_t bytes) {
    std::string got(bytes, '\0');
    std::size_t have = 0;
    while (have < bytes) {
      const ssize_t n = ::read(peer.get(), got.data() + have, bytes - have);
      if (n <= 0) break;
      have += static_cast<std::size_t>(n);
    }
    got.resize(have);
    return got;
  }

  wire::CallFrame request(std::string_view arguments = "[]") {
    return wire::encode_call({.id = 1, .generation = 1, .command = "f"}, arguments);
  }
  // The reply, or nothing with `failure` set.
  std::string exchange(const wire::CallFrame& frame, Deadline deadline = Deadline::after(20s),
                       Channel::Turn turn = Channel::Turn::kFirst) {
    os::EventFd ended;
    std::thread watcher;
    if (GetParam() == Channel::Waits::kWatched) {
      watcher = std::thread([&] {
        if (!os::wait_for_io({.in_fd = ended.fd(), .exit_fd = exit.fd()}, Deadline::never()).readable)
          channel->interrupt();
      });
    }
    const auto reply = channel->exchange(frame, exit.fd(), deadline, GetParam(), -1, turn);
    ended.notify();
    if (watcher.joinable()) watcher.join();
    if (const auto* payload = std::get_if<std::string_view>(&reply)) return std::string(*payload);
    failure = std::get<Channel::NoReply>(reply);
    return {};
  }

  std::optional<Channel> channel;
  os::Fd peer;
  os::EventFd exit;
  std::thread thread;
  std::optional<Channel::NoReply> failure;
};

INSTANTIATE_TEST_SUITE_P(, ChannelTest, testing::Values(Channel::Waits::kItself, Channel::Waits::kWatched),
                         [](const auto& parameter) {
                           return parameter.param == Channel::Waits::kItself ? "Itself" : "Watched";
                         });

TEST_P(ChannelTest, ARequestIsAnswered) {
  const auto frame = request("[1,2]");
  thread = std::thread([&] {
    const std::string got = peer_reads(frame.size());
    peer_writes(framed("got " + got.substr(4)));
  });
  EXPECT_EQ(exchange(frame), R"(got [1,1,1,"f",[1,2],{}])");
  EXPECT_EQ(channel->quiet(), Channel::Quiet::kYes);
}

TEST_P(ChannelTest, ManyExchangesFollowEachOther) {
  thread = std::thread([&] {
    for (int i = 0; i < 100; ++i) {
      peer_reads(request().size());
      peer_writes(framed(std::to_string(i)));
    }
  });
  for (int i = 0; i < 100; ++i) EXPECT_EQ(exchange(request()), std::to_string(i));
}

TEST_P(ChannelTest, AReplyInSingleBytesIsPutTogether) {
  thread = std::thread([&] {
    peer_reads(request().size());
    for (const char c : framed("a reply")) peer_writes({&c, 1});
  });
  EXPECT_EQ(exchange(request()), "a reply");
}

TEST_P(ChannelTest, LargeRequestsAndRepliesPassWhole) {
  const std::string large = '"' + std::string(8u << 20, 'x') + '"';
  const auto frame = request(large);
  thread = std::thread([&] { peer_writes(peer_reads(frame.size())); });
  EXPECT_EQ(exchange(frame).size(), frame.payload_size());
}

TEST_P(ChannelTest, AnEmptyFrameIsAFrame) {
  peer_writes(framed(""));
  EXPECT_EQ(exchange(request()), "");
  EXPECT_FALSE(failure);
}

// --- The deadline -----------------------------------------------------------------------------------

TEST_P(ChannelTest, APeerThatDoesNotReadCostsTheDeadlineAndTheRequestIsNotSent) {
  const std::string large(kLimit, ' ');
  exchange(request(large), Deadline::after(20ms));
  ASSERT_TRUE(failure);
  EXPECT_EQ(failure->failure, Failure::kDeadline);
  EXPECT_FALSE(failure->sent);
}

TEST_P(ChannelTest, APeerThatDoesNotAnswerCostsTheDeadlineAndTheRequestIsSent) {
  exchange(request(), Deadline::after(5ms));
  ASSERT_TRUE(failure);
  EXPECT_EQ(failure->failure, Failure::kDeadline);
  EXPECT_TRUE(failure->sent);
}

TEST_P(ChannelTest, HalfALengthAndThenSilenceCostsTheDeadline) {
  peer_writes(std::string_view("\0\0", 2));
  exchange(request(), Deadline::after(5ms));
  EXPECT_EQ(failure->failure, Failure::kDeadline);
}

TEST_P(ChannelTest, HalfAFrameAndThenSilenceCostsTheDeadline) {
  peer_writes(framed("never finished").substr(0, 9));
  exchange(request(), Deadline::after(5ms));
  EXPECT_EQ(failure->failure, Failure::kDeadline);
}

TEST_P(ChannelTest, APeerThatReadsALittleStillCostsOnlyTheDeadline) {
  const std::string large(kLimit, ' ');
  thread = std::thread([&] { peer_reads(1u << 20); });
  exchange(request(large), Deadline::after(50ms));
  EXPECT_EQ(failure->failure, Failure::kDeadline);
  EXPECT_FALSE(failure->sent);
}

// --- The end of the worker --------------------------------------------------------------------------

TEST_P(ChannelTest, AClosedChannelIsSeenBeforeAnythingIsSent) {
  peer.reset();
  EXPECT_EQ(channel->quiet(), Channel::Quiet::kClosed);
  exchange(request());
  EXPECT_EQ(failure->failure, Failure::kClosed);
  EXPECT_FALSE(failure->sent);
}

TEST_P(ChannelTest, AChannelClosedInPlaceOfAReplyIsSeen) {
  thread = std::thread([&] {
    peer_reads(request().size());
    ::shutdown(peer.get(), SHUT_RDWR);
  });
  exchange(request());
  EXPECT_EQ(failure->failure, Failure::kClosed);
  EXPECT_TRUE(failure->sent);
}

TEST_P(ChannelTest, AChannelClosedInMidRequestMeansItWasNotSent) {
  const std::string large(kLimit, ' ');
  thread = std::thread([&] {
    peer_reads(100'000);
    ::shutdown(peer.get(), SHUT_RDWR);
  });
  exchange(request(large));
  EXPECT_FALSE(failure->sent);
  EXPECT_TRUE(failure->failure == Failure::kClosed) << static_cast<int>(failure->failure);
}

TEST_P(ChannelTest, AReplyAlreadyWrittenCountsThoughTheWorkerIsDead) {
  const std::string reply(100'000, 'r');
  peer_writes(framed(reply));
  exit.notify();
  EXPECT_EQ(exchange(request()), reply);
  EXPECT_FALSE(failure);
}

TEST_P(ChannelTest, AReplyHalfWrittenByADeadWorkerDoesNotCount) {
  peer_writes(framed("a reply").substr(0, 8));
  exit.notify();
  exchange(request(), Deadline::never());
  EXPECT_EQ(failure->failure, Failure::kExited);
  EXPECT_TRUE(failure->sent);
}

TEST_P(ChannelTest, DeathIsSeenWhileAGrandchildHoldsTheOtherEnd) {
  const os::Fd grandchild = os::duplicate(peer.get());
  thread = std::thread([&] {
    peer_reads(request().size());
    peer.reset();
    exit.notify();
  });
  exchange(request(), Deadline::never());
  EXPECT_EQ(failure->failure, Failure::kExited);
  EXPECT_TRUE(failure->sent);
  thread.join();
}

TEST_P(ChannelTest, DeathIsSeenWhileALargeRequestIsBeingWritten) {
  const std::string large(kLimit, ' ');
  const os::Fd grandchild = os::duplicate(peer.get());
  thread = std::thread([&] {
    peer_reads(100'000);
    exit.notify();
  });
  exchange(request(large), Deadline::never());
  EXPECT_EQ(failure->failure, Failure::kExited);
  EXPECT_FALSE(failure->sent);
}

// --- What a worker should not say -------------------------------------------------------------------

TEST_P(ChannelTest, StrayBytesAreSeenBetweenCallsAndShown) {
  EXPECT_EQ(channel->quiet(), Channel::Quiet::kYes);
  peer_writes("debug: hello\n");
  EXPECT_EQ(channel->quiet(), Channel::Quiet::kStrayBytes);
  EXPECT_EQ(channel->stray_bytes(), "debug: hello\\n");
  EXPECT_EQ(channel->quiet(), Channel::Quiet::kStrayBytes) << "reading them does not make it fit again";
}

TEST_P(ChannelTest, ASecondReplyIsStrayBeforeTheNextCall) {
  peer_writes(framed("one") + framed("two"));
  EXPECT_EQ(exchange(request()), "one");
  EXPECT_EQ(channel->quiet(), Channel::Quiet::kStrayBytes);
  EXPECT_EQ(channel->quiet(Channel::Look::kGlance), Channel::Quiet::kStrayBytes);
  EXPECT_THAT(channel->stray_bytes(), HasSubstr("two"));
}

TEST_P(ChannelTest, AnOverlongSecondReplyIsStrayToo) {
  peer_writes(framed("one") + "\xff\xff\xff\xff");
  EXPECT_EQ(exchange(request()), "one");
  EXPECT_EQ(channel->quiet(), Channel::Quiet::kStrayBytes);
  EXPECT_EQ(channel->stray_bytes(), "\\xff\\xff\\xff\\xff");
}

TEST_P(ChannelTest, AReplyBeforeTheRequestIsWholeIsNoReply) {
  const std::string large(kLimit, ' ');
  peer_writes(framed("too early"));
  exchange(request(large));
  EXPECT_EQ(failure->failure, Failure::kEarlyReply);
  EXPECT_FALSE(failure->sent);
  EXPECT_EQ(failure->detail, "too early");
}

TEST_P(ChannelTest, AnOverlongReplyIsRefusedAndItsBytesShown) {
  peer_writes("Traceback (most recent call last)");
  exchange(request());
  EXPECT_EQ(failure->failure, Failure::kTooLong);
  EXPECT_TRUE(failure->sent);
  EXPECT_THAT(failure->detail, HasSubstr("Traceback"));
}

// --- In the middle of a call ------------------------------------------------------------------------

// An answer to what the worker has asked for in the middle of its call, as long as it is wanted.
wire::CallFrame answer(std::size_t size = 1) { return {.head = framed(std::string(size, 'a'))}; }

TEST_P(ChannelTest, WhatAWorkerAsksForIsTakenOneByOneHoweverItComes) {
  const std::string said = framed("ask 1") + framed("ask 2") + framed("ask 3") + framed("done");
  for (std::size_t cut = 0; cut <= said.size(); ++cut) {
    thread = std::thread([&] {
      peer_reads(request().size());
      peer_writes(said.substr(0, cut));
      // The rest when what was whole so far has been answered: the other side waits for it by then, or will.
      peer_reads(std::min<std::size_t>(cut / 9, 3) * answer().size());
      peer_writes(said.substr(cut));
      peer_reads((3 - std::min<std::size_t>(cut / 9, 3)) * answer().size());
    });
    ASSERT_EQ(exchange(request()), "ask 1") << cut;
    for (const char* next : {"ask 2", "ask 3", "done"})
      ASSERT_EQ(exchange(answer(), Deadline::after(20s), Channel::Turn::kMidway), next) << cut;
    thread.join();
    EXPECT_EQ(channel->quiet(), Channel::Quiet::kYes);
  }
}

TEST_P(ChannelTest, WhatAWorkerAsksForWhileItIsAnsweredWaitsUntilTheAnswerHasLeft) {
  const auto large = answer(8u << 20);
  thread = std::thread([&] {
    peer_reads(request().size());
    peer_writes(framed("ask 1") + framed("ask 2").substr(0, 3));
    peer_reads(100'000);
    peer_writes(framed("ask 2").substr(3) + framed("done"));
    peer_reads(large.size() - 100'000);
  });
  EXPECT_EQ(exchange(request()), "ask 1");
  EXPECT_EQ(exchange(large, Deadline::after(20s), Channel::Turn::kMidway), "ask 2");
  EXPECT_EQ(exchange(answer(), Deadline::after(20s), Channel::Turn::kMidway), "done");
}

TEST_P(ChannelTest, AnOverlongFrameBehindWhatAWorkerAsksForIsRefusedBeforeTheAnswerHasLeft) {
  peer_writes(framed("ask 1") + "\xff\xff\xff\xff");
  EXPECT_EQ(exchange(request()), "ask 1");
  peer_writes("and more");
  exchange(answer(kLimit), Deadline::after(20s), Channel::Turn::kMidway);
  ASSERT_TRUE(failure);
  EXPECT_EQ(failure->failure, Failure::kTooLong);
  EXPECT_FALSE(failure->sent);
}

// --- For the supervisor -----------------------------------------------------------------------------

TEST_P(ChannelTest, ReceiveNowNeverBlocks) {
  EXPECT_TRUE(std::holds_alternative<std::nullopt_t>(channel->receive_now()));
  peer_writes(framed("first") + framed("second").substr(0, 6));
  const auto first = channel->receive_now();
  ASSERT_TRUE(std::holds_alternative<std::string_view>(first));
  EXPECT_EQ(std::get<std::string_view>(first), "first");
  EXPECT_TRUE(std::holds_alternative<std::nullopt_t>(channel->receive_now()));
  peer_writes(framed("second").substr(6));
  EXPECT_EQ(std::get<std::string_view>(channel->receive_now()), "second");
  peer.reset();
  const auto end = channel->receive_now();
  ASSERT_TRUE(std::holds_alternative<Channel::NoReply>(end));
  EXPECT_EQ(std::get<Channel::NoReply>(end).failure, Failure::kClosed);
}

TEST_P(ChannelTest, ReceiveNowRefusesAnOverlongFrame) {
  peer_writes("HTTP/1.1 200 OK");
  const auto end = channel->receive_now();
  ASSERT_TRUE(std::holds_alternative<Channel::NoReply>(end));
  EXPECT_EQ(std::get<Channel::NoReply>(end).failure, Failure::kTooLong);
}

TEST_P(ChannelTest, SendNowSaysWhetherAllOfItWent) {
  EXPECT_TRUE(channel->send_now(framed("short")));
  EXPECT_EQ(peer_reads(9), framed("short"));
  EXPECT_FALSE(channel->send_now(std::string(kLimit, ' ')));
  peer.reset();
  EXPECT_FALSE(channel->send_now(framed("short"))) << "and no SIGPIPE";
}

TEST_P(ChannelTest, IdsCountFromOne) {
  EXPECT_EQ(channel->next_id(), 1u);
  EXPECT_EQ(channel->next_id(), 2u);
}

// --- Pipes ------------------------------------------------------------------------------------------

struct Pipes {
  Pipes() {
    int to[2];
    int from[2];
    EXPECT_EQ(::pipe2(to, O_CLOEXEC | O_NONBLOCK), 0);
    EXPECT_EQ(::pipe2(from, O_CLOEXEC | O_NONBLOCK), 0);
    worker_in = os::Fd(to[0]);
    worker_out = os::Fd(from[1]);
    channel.emplace(os::Stream::pipes(os::Fd(from[0]), os::Fd(to[1]), os::duplicate(to[0])), kLimit);
  }
  os::Fd worker_in;
  os::Fd worker_out;
  std::optional<Channel> channel;
  os::EventFd exit;
};

TEST(PipeChannel, ARequestIsAnswered) {
  Pipes pipes;
  EXPECT_EQ(pipes.channel->quiet(), Channel::Quiet::kYes);
  const std::string reply = framed("a reply");
  ASSERT_EQ(::write(pipes.worker_out.get(), reply.data(), reply.size()), static_cast<ssize_t>(reply.size()));
  EXPECT_EQ(pipes.channel->quiet(), Channel::Quiet::kStrayBytes);
  const auto frame = wire::encode_call({.id = 1, .generation = 1, .command = "f"}, "[]");
  const auto got = pipes.channel->exchange(frame, pipes.exit.fd(), Deadline::after(20s));
  ASSERT_TRUE(std::holds_alternative<std::string_view>(got));
  EXPECT_EQ(std::get<std::string_view>(got), "a reply");
}

TEST(PipeChannel, AWriteToADeadWorkerRaisesNoSignal) {
  Pipes pipes;
  pipes.worker_in.reset();
  pipes.worker_out.reset();
  pipes.exit.notify();
  EXPECT_EQ(pipes.channel->quiet(), Channel::Quiet::kClosed);
  const std::string large(1u << 20, ' ');
  const auto frame = wire::encode_call({.id = 1, .generation = 1, .command = "f"}, large);
  const auto got = pipes.channel->exchange(frame, pipes.exit.fd(), Deadline::after(20s));
  ASSERT_TRUE(std::holds_alternative<Channel::NoReply>(got));
  EXPECT_FALSE(std::get<Channel::NoReply>(got).sent);
}

}  // namespace
}  // namespace lair::worker
