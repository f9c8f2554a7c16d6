// A channel whose worker looks: which requests are handed over to it, and what became of those that it has not taken.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <optional>
#include <string>
#include <thread>

#include "os/event_fd.hpp"
#include "worker/channel.hpp"

namespace lair::worker {
namespace {

using namespace std::chrono_literals;
using Failure = Channel::Failure;

std::string as_frame(std::string_view payload) {
  const auto header = wire::frame_header(payload.size());
  return std::string(header.data(), header.size()) + std::string(payload);
}

class ChannelHandover : public testing::Test {
 protected:
  ChannelHandover() {
    int ends[2];
    EXPECT_EQ(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends), 0);
    channel.emplace(os::Stream::socket(os::Fd(ends[0])), 1u << 20);
    peer = os::Fd(ends[1]);
    const os::Fd file(::memfd_create(os::Handover::kName, MFD_CLOEXEC | MFD_ALLOW_SEALING));
    EXPECT_EQ(::ftruncate(file.get(), sizeof(os::Handover::Page)), 0);
    EXPECT_EQ(::fcntl(file.get(), F_ADD_SEALS, F_SEAL_SHRINK), 0);
    worker = os::Handover::map(file, os::Handover::End::kWorker);
    channel->hand_over_at(os::Handover::map(file, os::Handover::End::kHost));
    page = static_cast<os::Handover::Page*>(
        ::mmap(nullptr, sizeof *page, PROT_READ | PROT_WRITE, MAP_SHARED, file.get(), 0));
  }
  ~ChannelHandover() override {
    ::shutdown(peer.get(), SHUT_RDWR);
    if (thread.joinable()) thread.join();
    ::munmap(page, sizeof *page);
  }

  static wire::CallFrame request(std::string_view arguments = "[]") {
    return wire::encode_call({.id = 1, .generation = 1, .command = "f"}, arguments);
  }
  // How the worker came by a request, while it looks, which it answers by the socket.
  enum class By : std::uint8_t { kHand, kSocket };
  By sent_by(const wire::CallFrame& frame, Channel::Turn turn = Channel::Turn::kFirst,
             Channel::Waits waits = Channel::Waits::kWatched) {
    By by = By::kSocket;
    worker.look();
    thread = std::thread([&] {
      std::string got(frame.size(), '\0');
      while (worker.take(room.data()) == 0) {
        if (::recv(peer.get(), got.data(), got.size(), MSG_DONTWAIT | MSG_PEEK) > 0) break;
        std::this_thread::yield();
      }
      if (::recv(peer.get(), got.data(), got.size(), MSG_DONTWAIT | MSG_PEEK) <= 0) {
        by = By::kHand;
      } else {
        worker.look_away(room.data());
        EXPECT_EQ(::recv(peer.get(), got.data(), got.size(), MSG_WAITALL), static_cast<ssize_t>(got.size()));
      }
      const std::string reply = as_frame("reply");
      EXPECT_EQ(::send(peer.get(), reply.data(), reply.size(), MSG_NOSIGNAL),
                static_cast<ssize_t>(reply.size()));
    });
    const auto reply = channel->exchange(frame, exit.fd(), Deadline::after(20s), waits, -1, turn);
    thread.join();
    EXPECT_EQ(std::get<std::string_view>(reply), "reply");
    return by;
  }

  // How a request ends whose worker looks, and dies when this is so.
  template <class Condition>
  Channel::NoReply end_when(Condition condition) {
    worker.look();
    thread = std::thread([&] {
      while (!condition()) std::this_thread::yield();
      exit.notify();
      channel->interrupt();  // as the supervisor does
    });
    const auto reply =
        channel->exchange(request(), exit.fd(), Deadline::after(20s), Channel::Waits::kWatched);
    thread.join();
    return std::get<Channel::NoReply>(reply);
  }

  std::optional<Channel> channel;
  os::Fd peer;
  os::EventFd exit;
  os::Handover worker;
  os::Handover::Page* page;
  std::array<char, os::Handover::kMost> room{};
  std::thread thread;
};

TEST_F(ChannelHandover, SmallFirstRequestsAreHandedOver) {
  EXPECT_EQ(sent_by(request()), By::kHand);
  EXPECT_EQ(sent_by(request()), By::kHand);
  EXPECT_EQ(sent_by(request('"' + std::string(4000, 'x') + '"')), By::kSocket) << "that has no room";
  EXPECT_EQ(sent_by(request()), By::kHand);
}

TEST_F(ChannelHandover, RequestsStayBehindWhatMayNotHaveBeenReadYet) {
  EXPECT_EQ(sent_by(request()), By::kHand);
  const std::string cancel = as_frame("cancel");
  char got[64];
  EXPECT_TRUE(channel->send_now(cancel));
  EXPECT_EQ(::recv(peer.get(), got, sizeof got, 0), static_cast<ssize_t>(cancel.size()));
  EXPECT_EQ(sent_by(request()), By::kSocket) << "after send_now";
  EXPECT_EQ(sent_by(request()), By::kHand) << "its reply shows that all before it has been read";
  EXPECT_EQ(channel->write_now(cancel).bytes, cancel.size());
  EXPECT_EQ(::recv(peer.get(), got, sizeof got, 0), static_cast<ssize_t>(cancel.size()));
  EXPECT_EQ(sent_by(request()), By::kSocket) << "after write_now";
  EXPECT_EQ(sent_by(request()), By::kHand);
  EXPECT_EQ(sent_by(request(), Channel::Turn::kMidway), By::kSocket);
  EXPECT_EQ(sent_by(request()), By::kSocket) << "after what was sent midway";
  EXPECT_EQ(sent_by(request()), By::kHand);
}

TEST_F(ChannelHandover, WhoHasOnlyWaitedMidwayHandsOverAgain) {
  EXPECT_EQ(sent_by(request()), By::kHand);
  const std::string more = as_frame("more");
  EXPECT_EQ(::send(peer.get(), more.data(), more.size(), MSG_NOSIGNAL), static_cast<ssize_t>(more.size()));
  const auto reply = channel->exchange({}, exit.fd(), Deadline::after(20s), Channel::Waits::kWatched, -1,
                                       Channel::Turn::kMidway);
  EXPECT_EQ(std::get<std::string_view>(reply), "more");
  EXPECT_EQ(sent_by(request()), By::kHand);
}

TEST_F(ChannelHandover, WhoPollsForTheReplySends) {
  EXPECT_EQ(sent_by(request(), Channel::Turn::kFirst, Channel::Waits::kItself), By::kSocket);
}

TEST_F(ChannelHandover, WhatADeadWorkerHasNotTakenWasNotSent) {
  const Channel::NoReply end = end_when([&] { return page->to_worker.state == os::Handover::Box::kFull; });
  EXPECT_EQ(end.failure, Failure::kExited);
  EXPECT_FALSE(end.sent);
}

TEST_F(ChannelHandover, WhatADeadWorkerHasTakenMayHaveRun) {
  const Channel::NoReply end = end_when([&] { return worker.take(room.data()) > 0; });
  EXPECT_EQ(end.failure, Failure::kExited);
  EXPECT_TRUE(end.sent);
}

}  // namespace
}  // namespace lair::worker
