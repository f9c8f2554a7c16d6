// Handover: both ends of a page, in one process. What is given comes once, whole and in order, or is not given.
#include "os/handover.hpp"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <cstring>
#include <random>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

#include "os/stream.hpp"

namespace lair::os {
namespace {

using namespace std::chrono_literals;

Fd page_of(std::size_t size, unsigned seals, const char* name = Handover::kName) {
  Fd fd(::memfd_create(name, MFD_CLOEXEC | MFD_ALLOW_SEALING));
  EXPECT_EQ(::ftruncate(fd.get(), static_cast<off_t>(size)), 0);
  EXPECT_EQ(::fcntl(fd.get(), F_ADD_SEALS, seals), 0);
  return fd;
}
Fd page() { return page_of(sizeof(Handover::Page), F_SEAL_SHRINK); }

bool give(Handover& end, std::string_view text) {
  const Piece piece{.data = text.data(), .size = text.size()};
  return end.give(&piece, 1);
}

class HandoverPair : public testing::Test {
 protected:
  HandoverPair() : file(page()) {
    host = Handover::map(file, Handover::End::kHost);
    worker = Handover::map(file, Handover::End::kWorker);
    raw = static_cast<Handover::Page*>(
        ::mmap(nullptr, sizeof(Handover::Page), PROT_READ | PROT_WRITE, MAP_SHARED, file.get(), 0));
  }
  ~HandoverPair() override { ::munmap(raw, sizeof(Handover::Page)); }

  std::string taken(Handover& end) { return {room.data(), end.take(room.data())}; }
  std::string at_last(Handover& end) { return {room.data(), end.look_away(room.data())}; }

  Fd file;
  Handover host;
  Handover worker;
  Handover::Page* raw;
  std::array<char, Handover::kMost> room{};
};

TEST_F(HandoverPair, NothingIsGivenToOneWhoDoesNotLook) {
  EXPECT_FALSE(give(host, "now"));
  worker.look();
  EXPECT_EQ(at_last(worker), "");
  EXPECT_FALSE(give(host, "too late"));
  EXPECT_EQ(taken(worker), "");
}

TEST_F(HandoverPair, WhoLooksIsGivenOneFrame) {
  for (auto [giver, taker] : {std::pair(&host, &worker), std::pair(&worker, &host)}) {
    taker->look();
    EXPECT_EQ(taken(*taker), "");
    EXPECT_FALSE(giver->untaken());
    const std::array<Piece, 3> pieces = {Piece{"he", 2}, Piece{nullptr, 0}, Piece{"llo", 3}};
    EXPECT_TRUE(giver->give(pieces.data(), pieces.size()));
    EXPECT_TRUE(giver->untaken());
    EXPECT_FALSE(give(*giver, "another"));
    EXPECT_EQ(taken(*taker), "hello");
    EXPECT_FALSE(giver->untaken());
    EXPECT_FALSE(give(*giver, "another")) << "it has what it looked for";
  }
}

TEST_F(HandoverPair, WhatWasGivenBeforeTheLookEndedIsTaken) {
  worker.look();
  EXPECT_TRUE(give(host, "just in time"));
  EXPECT_EQ(at_last(worker), "just in time");
  EXPECT_EQ(at_last(worker), "");
}

TEST_F(HandoverPair, WhatIsTooLongIsNotGiven) {
  worker.look();
  EXPECT_FALSE(give(host, std::string(Handover::kMost + 1, 'x')));
  EXPECT_TRUE(give(host, std::string(Handover::kMost, 'y')));
  EXPECT_EQ(taken(worker), std::string(Handover::kMost, 'y'));
}

// A worker's box may hold anything. Nothing is read beyond it.
TEST_F(HandoverPair, NonsenseInTheBoxIsOnlyNonsense) {
  host.look();
  raw->to_host.state = 77;
  EXPECT_EQ(taken(host), "");
  EXPECT_EQ(at_last(host), "");
  host.look();
  raw->to_host.size = 0xffffffff;
  raw->to_host.state = Handover::Box::kFull;
  EXPECT_EQ(host.take(room.data()), Handover::kMost);
  raw->to_worker.state = 77;
  EXPECT_FALSE(give(host, "hello"));
}

TEST(Handover, IsOnlyWhatStaysAsLongAsItIs) {
  EXPECT_FALSE(Handover::map(Fd(), Handover::End::kHost));
  EXPECT_FALSE(Handover::map(page_of(sizeof(Handover::Page), 0), Handover::End::kHost)) << "it may be cut";
  EXPECT_FALSE(Handover::map(page_of(sizeof(Handover::Page) - 1, F_SEAL_SHRINK), Handover::End::kHost));
  int ends[2];
  ASSERT_EQ(::pipe(ends), 0);
  const Fd one(ends[0]);
  const Fd other(ends[1]);
  EXPECT_FALSE(Handover::map(one, Handover::End::kHost));
}

TEST(Handover, IsOpenedThroughProcIfItIsOne) {
  const Fd good = page();
  EXPECT_TRUE(Handover::open(::getpid(), good.get()));
  const Fd other = page_of(sizeof(Handover::Page), F_SEAL_SHRINK, "another");
  EXPECT_FALSE(Handover::open(::getpid(), other.get()));
  EXPECT_FALSE(Handover::open(::getpid(), 100'000));
  EXPECT_FALSE(Handover::open(0, good.get()));
}

// --- Two threads -----------------------------------------------------------------------------------

// One sends numbers by a socket, or hands them over while the other looks, which stops at any time.
TEST(Handover, LosesNothingHoweverTheEndsMeet) {
  constexpr int kMessages = 20'000;
  const Fd file = page();
  int ends[2];
  ASSERT_EQ(::socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends), 0);
  const Fd near(ends[0]);
  const Fd far(ends[1]);
  int handed = 0;
  std::thread giver([&] {
    Handover end = Handover::map(file, Handover::End::kWorker);
    for (int i = 0; i < kMessages; ++i) {
      const std::string text = std::to_string(i);
      if (give(end, text)) {
        ++handed;
      } else {
        EXPECT_EQ(::send(far.get(), text.data(), text.size(), 0), static_cast<ssize_t>(text.size()));
      }
      char heard = 0;  // the other has had it: what comes next cannot overtake it
      EXPECT_EQ(::recv(far.get(), &heard, 1, 0), 1);
    }
  });
  Handover end = Handover::map(file, Handover::End::kHost);
  std::mt19937 random(1);
  std::array<char, Handover::kMost> room{};
  for (int i = 0; i < kMessages; ++i) {
    std::size_t size = 0;
    end.look();
    for (auto looks = random() % 50; looks > 0 && size == 0; --looks) {
      std::this_thread::yield();
      size = end.take(room.data());
    }
    if (size == 0) size = end.look_away(room.data());
    if (size == 0) size = static_cast<std::size_t>(::recv(near.get(), room.data(), room.size(), 0));
    ASSERT_EQ(std::string_view(room.data(), size), std::to_string(i));
    ASSERT_EQ(::send(near.get(), "", 1, 0), 1);
  }
  giver.join();
  EXPECT_GT(handed, 0);
}

// --- A stream --------------------------------------------------------------------------------------

// One that looks, for its last wait was short.
class HandedStream : public testing::Test {
 protected:
  HandedStream() {
    int ends[2];
    EXPECT_EQ(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends), 0);
    stream = Stream::socket(Fd(ends[0]));
    peer = Fd(ends[1]);
    const Fd file = page();
    worker = Handover::map(file, Handover::End::kWorker);
    stream.hand_over_at(Handover::map(file, Handover::End::kHost));
    stream.spin(1h);
    send("once");
    EXPECT_EQ(heard(), "once");
  }
  ~HandedStream() override {
    if (thread.joinable()) thread.join();
  }
  void send(std::string_view text) {
    EXPECT_EQ(::send(peer.get(), text.data(), text.size(), MSG_NOSIGNAL), static_cast<ssize_t>(text.size()));
  }
  void give_when_it_looks(std::string_view text) {
    while (!give(worker, text)) std::this_thread::yield();
  }
  std::string heard(std::size_t size = 8192) {
    do {  // it looks no more for a while where it has lost its core for long, and then a wait in vain ends
      last = stream.wait_read(buffer.data(), size);
    } while (last.status == IoStatus::kWouldBlock);
    return {buffer.data(), last.bytes};
  }

  Stream stream;
  Fd peer;
  Handover worker;
  std::thread thread;
  std::array<char, 8192> buffer{};
  IoResult last;
};

TEST_F(HandedStream, ReadsWhatIsHandedOver) {
  thread = std::thread([&] { give_when_it_looks("twice"); });
  EXPECT_EQ(heard(), "twice");
  EXPECT_FALSE(give(worker, "again")) << "it looks only while it waits";
}

TEST_F(HandedStream, ReadsWhatIsSentWhileItLooks) {
  thread = std::thread([&] {
    give_when_it_looks("a");
    while (worker.untaken()) std::this_thread::yield();
    send("b");
  });
  EXPECT_EQ(heard(), "a");
  EXPECT_EQ(heard(), "b");
}

TEST_F(HandedStream, ReadsWhatWasHandedOverBeforeWhatWasSentAfterIt) {
  for (int i = 0; i < 200; ++i) {
    thread = std::thread([&] {
      give_when_it_looks("first");
      send("second");
    });
    std::string both;
    while (both.size() < 11) both += heard();
    EXPECT_EQ(both, "firstsecond");
    thread.join();
  }
}

TEST_F(HandedStream, ReadsWhatWasHandedOverBeforeItsEnd) {
  thread = std::thread([&] {
    give_when_it_looks("the last");
    peer.reset();
  });
  EXPECT_EQ(heard(), "the last");
  thread.join();
  heard();
  EXPECT_EQ(last.status, IoStatus::kClosed);
}

TEST_F(HandedStream, LooksAtTheSocketAloneWhereThereIsNoRoomForBoth) {
  thread = std::thread([&] {
    EXPECT_FALSE(give(worker, "not now"));
    send("by the socket");
  });
  EXPECT_EQ(heard(2 * Handover::kMost - 1), "by the socket");
}

TEST_F(HandedStream, IsNotLookingWhenItSleeps) {
  stream.spin(0s);  // it does not look at all
  thread = std::thread([&] {
    EXPECT_FALSE(give(worker, "not now"));
    send("by the socket");
  });
  EXPECT_EQ(heard(), "by the socket");
}

}  // namespace
}  // namespace lair::os
