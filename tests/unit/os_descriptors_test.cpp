// Descriptors: owned once, CLOEXEC from birth, and passed between processes.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <chrono>
#include <string>
#include <thread>
#include <vector>

#include "os/event_fd.hpp"
#include "os/fd.hpp"
#include "os/memfd.hpp"
#include "os/message_socket.hpp"
#include "os/poller.hpp"
#include "os/stream_pair.hpp"
#include "os/wait.hpp"
#include "support/leak_check.hpp"

namespace lair::os {
namespace {

using namespace std::chrono_literals;

bool is_open(int fd) { return ::fcntl(fd, F_GETFD) >= 0; }
bool is_cloexec(const Fd& fd) { return (::fcntl(fd.get(), F_GETFD) & FD_CLOEXEC) != 0; }
bool is_nonblocking(const Fd& fd) { return (::fcntl(fd.get(), F_GETFL) & O_NONBLOCK) != 0; }

class OsFd : public test::LeakChecked {};
class OsSocket : public test::LeakChecked {};
class OsPoller : public test::LeakChecked {};

TEST_F(OsFd, ClosesWhatItOwnsExactlyOnce) {
  int number = -1;
  {
    const Fd fd = duplicate(1);
    number = fd.get();
    ASSERT_TRUE(is_open(number));
  }
  EXPECT_FALSE(is_open(number));
}

TEST_F(OsFd, MovesLeaveNothingBehind) {
  Fd first = duplicate(1);
  const int number = first.get();
  Fd second = std::move(first);
  EXPECT_FALSE(first);  // NOLINT: what a moved-from Fd is, is the point
  EXPECT_EQ(second.get(), number);
  Fd third = duplicate(1);
  const int replaced = third.get();
  third = std::move(second);
  EXPECT_FALSE(is_open(replaced));
  EXPECT_EQ(third.get(), number);
}

TEST_F(OsFd, SurvivesBeingMovedToItself) {
  Fd fd = duplicate(1);
  Fd& same = fd;
  fd = std::move(same);
  EXPECT_TRUE(is_open(fd.get()));
}

TEST_F(OsFd, ReleaseGivesUpOwnershipWithoutClosing) {
  Fd fd = duplicate(1);
  const int number = fd.release();
  EXPECT_FALSE(fd);
  EXPECT_TRUE(is_open(number));
  fd.reset(number);
}

TEST_F(OsFd, ClosingKeepsErrno) {
  Fd bad(1 << 20);  // close fails with EBADF
  errno = EAGAIN;
  bad.reset();
  EXPECT_EQ(errno, EAGAIN);
}

TEST_F(OsFd, ADuplicateIsCloexecAndNeverAStandardStream) {
  const Fd fd = duplicate(0);
  EXPECT_TRUE(is_cloexec(fd));
  EXPECT_GT(fd.get(), 2);
  EXPECT_FALSE(duplicate(-1));
}

TEST_F(OsFd, MemoryHoldsWhatItWasGiven) {
  const std::string content(300'000, 'x');
  const Fd fd = make_memfd("lair-test", content);
  ASSERT_TRUE(fd);
  EXPECT_TRUE(is_cloexec(fd));
  std::string read(content.size() + 1, '\0');
  EXPECT_EQ(::pread(fd.get(), read.data(), read.size(), 0), static_cast<ssize_t>(content.size()));
  read.resize(content.size());
  EXPECT_EQ(read, content);
  EXPECT_TRUE(make_memfd("lair-test", ""));
}

TEST_F(OsSocket, BothEndsOfAChannelBlockAndOneEndOfAPipeNeedNot) {
  const StreamPair pair = make_stream_pair();
  EXPECT_FALSE(is_nonblocking(pair.ours));
  EXPECT_FALSE(is_nonblocking(pair.theirs));
  EXPECT_TRUE(is_cloexec(pair.ours) && is_cloexec(pair.theirs));
  const Pipe pipe = make_pipe();
  set_nonblocking(pipe.read_end.get());
  EXPECT_TRUE(is_nonblocking(pipe.read_end));
  EXPECT_FALSE(is_nonblocking(pipe.write_end));
  EXPECT_TRUE(is_cloexec(pipe.read_end) && is_cloexec(pipe.write_end));
}

TEST_F(OsSocket, MessagesKeepTheirBoundsAndOrder) {
  const SocketPair pair = make_message_pair();
  ASSERT_EQ(send_message(pair.ours.get(), "one", 3, nullptr, 0), MessageStatus::kOk);
  ASSERT_EQ(send_message(pair.ours.get(), "three", 5, nullptr, 0), MessageStatus::kOk);
  std::array<char, 64> text{};
  EXPECT_EQ(receive_message(pair.theirs.get(), text.data(), text.size()).size, 3u);
  EXPECT_EQ(receive_message(pair.theirs.get(), text.data(), text.size()).size, 5u);
  EXPECT_EQ(std::string(text.data(), 5), "three");
  EXPECT_EQ(receive_message(pair.theirs.get(), text.data(), text.size()).status, MessageStatus::kWouldBlock);
}

TEST_F(OsSocket, DescriptorsArriveCloexecAndAreTheSameFiles) {
  const SocketPair pair = make_message_pair();
  const Pipe pipe = make_pipe();
  ::fcntl(pipe.write_end.get(), F_SETFD, 0);
  const std::array<int, 2> fds = {pipe.read_end.get(), pipe.write_end.get()};
  ASSERT_EQ(send_message(pair.ours.get(), "x", 1, fds.data(), fds.size()), MessageStatus::kOk);
  char byte = 0;
  const Received received = receive_message(pair.theirs.get(), &byte, 1);
  ASSERT_EQ(received.fd_count, 2u);
  EXPECT_TRUE(is_cloexec(received.fds[0]) && is_cloexec(received.fds[1]));
  ASSERT_EQ(::write(received.fds[1].get(), "y", 1), 1);
  ASSERT_EQ(::read(pipe.read_end.get(), &byte, 1), 1);
  EXPECT_EQ(byte, 'y');
}

TEST_F(OsSocket, DescriptorsThatNobodyTakesAreClosed) {
  const SocketPair pair = make_message_pair();
  const Pipe pipe = make_pipe();
  const int fd = pipe.read_end.get();
  ASSERT_EQ(send_message(pair.ours.get(), "x", 1, &fd, 1), MessageStatus::kOk);
  char byte = 0;
  (void)receive_message(pair.theirs.get(), &byte, 1);  // the fixture counts
}

TEST_F(OsSocket, AFullSocketWouldBlockAndADeadOneIsClosedWithoutSigpipe) {
  SocketPair pair = make_message_pair();
  const std::vector<char> block(4096);
  MessageStatus status = MessageStatus::kOk;
  for (int i = 0; i < 10'000 && status == MessageStatus::kOk; ++i) {
    status = send_message(pair.ours.get(), block.data(), block.size(), nullptr, 0);
  }
  EXPECT_EQ(status, MessageStatus::kWouldBlock);
  pair.theirs.reset();
  EXPECT_EQ(send_message(pair.ours.get(), "x", 1, nullptr, 0), MessageStatus::kClosed);
  char byte = 0;
  EXPECT_EQ(receive_message(pair.ours.get(), &byte, 1).status, MessageStatus::kClosed);
}

TEST_F(OsPoller, SaysWhichDescriptorsAreReadable) {
  Poller poller;
  EventFd first;
  EventFd second;
  ASSERT_TRUE(poller.add(first.fd(), 1));
  ASSERT_TRUE(poller.add(second.fd(), 2));
  std::vector<Poller::Event> events;
  poller.wait(Deadline::after(0ms), events);
  EXPECT_TRUE(events.empty());
  second.notify();
  poller.wait(Deadline::after(10s), events);
  ASSERT_EQ(events.size(), 1u);
  EXPECT_EQ(events[0].tag, 2u);
  second.drain();
  first.notify();
  poller.remove(first.fd());
  poller.wait(Deadline::after(0ms), events);
  EXPECT_TRUE(events.empty());
}

TEST_F(OsPoller, CanBeWaitedForByAnother) {
  Poller inner;
  Poller outer;
  EventFd event;
  ASSERT_TRUE(inner.add(event.fd(), 1));
  ASSERT_TRUE(outer.add(inner.fd(), 7));
  event.notify();
  std::vector<Poller::Event> events;
  outer.wait(Deadline::after(10s), events);
  ASSERT_EQ(events.size(), 1u);
  EXPECT_EQ(events[0].tag, 7u);
}

TEST_F(OsPoller, IgnoresDescriptorsThatAreNotThere) {
  Poller poller;
  ASSERT_TRUE(poller.add(-1, 1));
  poller.remove(-1);
  const EventFd never_added;
  poller.remove(never_added.fd());
}

TEST_F(OsPoller, AnEventIsSeenFromAnotherThreadAndNotificationsAddUp) {
  EventFd event;
  std::thread notifier([&event] {
    event.notify();
    event.notify();
  });
  EXPECT_FALSE(wait_for_io({.in_fd = event.fd()}, Deadline::after(10s)).timed_out);
  notifier.join();
  event.drain();
  EXPECT_TRUE(wait_for_io({.in_fd = event.fd()}, Deadline::after(0ms)).timed_out);
  event.drain();  // of nothing does not block
}

TEST_F(OsPoller, AWaitEndsNotBeforeItsDeadline) {
  Poller poller;
  std::vector<Poller::Event> events;
  const auto begin = SteadyClock::now();
  poller.wait(Deadline::after(3ms), events);
  EXPECT_GE(SteadyClock::now() - begin, 3ms);
  EXPECT_TRUE(wait_for_io({}, Deadline::after(1ms)).timed_out);
}

}  // namespace
}  // namespace lair::os
