// A line: what it does when its frame has left, and when the system does not let it write.
#ifdef LAIR_FAILPOINTS

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <future>
#include <string>
#include <utility>
#include <vector>

#include "os/failpoint.hpp"
#include "pool/line.hpp"
#include "support/shell_fixture.hpp"

namespace lair::pool {
namespace {

namespace failpoint = os::failpoint;

constexpr std::uint64_t kTag = 7;

RecordPtr record_of(os::Stream stream) {
  auto record = std::make_shared<Record>(core::WorkerRef{.slot = 0, .generation = 1}, 1);
  record->channel.emplace(std::move(stream), 1u << 20);
  return record;
}

class LineTest : public ::testing::Test {
 protected:
  void TearDown() override { failpoint::disarm_all(); }

  os::Poller poller;
  std::vector<std::uint64_t> refused;
};

// The "worker" sleeps until the signal comes, and ends well if it then finds the whole frame.
[[noreturn]] void find_the_frame(int channel, int signal_number, const std::string& frame) {
  sigset_t wanted;
  sigemptyset(&wanted);
  sigaddset(&wanted, signal_number);
  siginfo_t info;
  if (::sigwaitinfo(&wanted, &info) != signal_number) ::_exit(2);
  static char buffer[1 << 20];
  std::size_t size = 0;
  for (ssize_t n = 0; (n = ::recv(channel, buffer + size, sizeof buffer - size, MSG_DONTWAIT)) > 0;)
    size += static_cast<std::size_t>(n);
  const bool there =
      size >= frame.size() && frame.compare(0, frame.size(), buffer + size - frame.size(), frame.size()) == 0;
  ::_exit(there ? 0 : 1);
}

// Somebody else waits for what comes on it.
TEST_F(LineTest, IsNotToldOfWhileItIsLent) {
  int ends[2];
  ASSERT_EQ(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends), 0);
  os::Fd peer(ends[1]);
  Line line(record_of(os::Stream::socket(os::Fd(ends[0]))), poller, kTag, refused);
  const auto told = [&] {
    std::vector<os::Poller::Event> events;
    poller.wait(Deadline::at(SteadyClock::now()), events);
    return !events.empty();
  };
  ASSERT_TRUE(line.watch());
  EXPECT_FALSE(line.can_be_lent()) << "it has no call";
  line.calls[1] = 1;
  ASSERT_TRUE(line.can_be_lent());
  line.lend();
  EXPECT_FALSE(line.can_be_lent());
  ASSERT_EQ(::write(peer.get(), "x", 1), 1);
  EXPECT_FALSE(told());
  line.take_back();
  EXPECT_TRUE(told());

  line.lend();
  line.write(std::string(1u << 20, 'x'));
  EXPECT_FALSE(line.lent()) << "whoever waits does not wait for room";
  EXPECT_TRUE(told());

  line.lend();
  EXPECT_FALSE(told());
  peer = {};
  EXPECT_TRUE(told()) << "its end is told of in any case";
}

TEST_F(LineTest, SignalsWhenTheFrameHasLeft) {
  const int signal_number = SIGRTMIN + 3;
  const std::string frame = "the end";
  int ends[2];
  ASSERT_EQ(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends), 0);
  const os::Fd peer(ends[1]);
  const RecordPtr record = record_of(os::Stream::socket(os::Fd(ends[0])));
  sigset_t blocked;
  sigset_t before;
  sigemptyset(&blocked);
  sigaddset(&blocked, signal_number);
  ASSERT_EQ(::pthread_sigmask(SIG_BLOCK, &blocked, &before), 0);
  const pid_t child = ::fork();
  if (child == 0) find_the_frame(peer.get(), signal_number, frame);
  ASSERT_EQ(::pthread_sigmask(SIG_SETMASK, &before, nullptr), 0);
  ASSERT_GT(child, 0);
  record->process.exit_fd = os::Fd(static_cast<int>(::syscall(SYS_pidfd_open, child, 0)));

  Line line(record, poller, kTag, refused);
  ASSERT_TRUE(line.watch());
  line.write(std::string(512u << 10, 'x'));
  ASSERT_GT(line.unsent(), 0u) << "the socket is full";
  line.signal_when_written(line.write(frame), signal_number);
  while (line.unsent() > 0) {
    std::string bytes(16u << 10, '\0');
    ASSERT_GT(::recv(peer.get(), bytes.data(), bytes.size(), MSG_DONTWAIT), 0);
    line.flush();
  }
  int status = -1;
  ASSERT_EQ(::waitpid(child, &status, 0), child);
  EXPECT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) == 0) << "it was signalled before the frame was there";
  EXPECT_TRUE(refused.empty());
}

TEST_F(LineTest, SaysWhenAFullPipeCannotBeWatched) {
  int in[2];
  int out[2];
  ASSERT_EQ(::pipe2(in, O_CLOEXEC | O_NONBLOCK), 0);
  ASSERT_EQ(::pipe2(out, O_CLOEXEC | O_NONBLOCK), 0);
  const os::Fd answers(in[1]);
  const RecordPtr record = record_of(os::Stream::pipes(os::Fd(in[0]), os::Fd(out[1]), os::Fd(out[0])));
  Line line(record, poller, kTag, refused);
  ASSERT_TRUE(line.watch());
  failpoint::arm(failpoint::Process::kHost, failpoint::Point::kEpollAdd, {.error = ENOSPC});
  line.write(std::string(1u << 20, 'x'));
  EXPECT_GT(line.unsent(), 0u);
  EXPECT_EQ(line.refusal(), ENOSPC);
  EXPECT_EQ(refused, std::vector<std::uint64_t>{kTag});
}

TEST_F(LineTest, SaysWhenTheSystemRefusesToWriteButNotThatThePeerIsGone) {
  int ends[2];
  ASSERT_EQ(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends), 0);
  os::Fd peer(ends[1]);
  const RecordPtr record = record_of(os::Stream::socket(os::Fd(ends[0])));
  {
    Line line(record, poller, kTag, refused);
    ASSERT_TRUE(line.watch());
    failpoint::arm(failpoint::Process::kHost, failpoint::Point::kStreamWrite, {.error = ENOMEM});
    line.write("frame");
    EXPECT_EQ(line.refusal(), ENOMEM);
    EXPECT_EQ(refused.size(), 1u);
  }
  peer.reset();
  Line line(record, poller, kTag, refused);
  ASSERT_TRUE(line.watch());
  line.write("frame");
  EXPECT_EQ(line.refusal(), 0);
  EXPECT_EQ(refused.size(), 1u) << "reading tells";
}

using RefusedWrite = test::ShellTest;

TEST_F(RefusedWrite, EndsNoCallButIsAWorkersEnd) {
  start({});
  ASSERT_TRUE(call().has_value());
  failpoint::arm(failpoint::Process::kHost, failpoint::Point::kStreamWrite, {.error = ENOMEM});
  std::promise<Result<Json>> told;
  shell->start({.timeout = kForever}, "echo", Json::array({3}),
               [&](Result<Json> reply) { told.set_value(std::move(reply)); });
  EXPECT_EQ(told.get_future().get().value(), Json::array({3})) << "from another worker";
  failpoint::disarm_all();
  EXPECT_EQ(generation(), 2u);
  expect_books_add_up();
}

}  // namespace
}  // namespace lair::pool

#endif
