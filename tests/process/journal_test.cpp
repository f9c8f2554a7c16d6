// A worker's journal, read as its host reads it: through /proc, whatever it holds.
#include <gtest/gtest.h>
#include <sys/mman.h>
#include <unistd.h>

#include <array>
#include <string>

#include "os/journal.hpp"

namespace lair::os {
namespace {

class JournalTest : public testing::Test {
 protected:
  static Fd file(const char* name) { return Fd(::memfd_create(name, MFD_CLOEXEC)); }
  static void write(const Fd& fd, std::array<std::uint64_t, 4> head, const std::string& frames) {
    ASSERT_EQ(::pwrite(fd.get(), head.data(), sizeof head, 0), ssize_t{sizeof head});
    ASSERT_EQ(::pwrite(fd.get(), frames.data(), frames.size(), sizeof head),
              static_cast<ssize_t>(frames.size()));
  }
  static Journal open(const Fd& fd) { return Journal::open(::getpid(), fd.get()); }
};

TEST_F(JournalTest, SaysWhatItsWorkerNoted) {
  const Fd fd = file(Journal::kName);
  write(fd, {7, 2, 4, 3}, "abc and what an earlier batch has left");
  const Journal journal = open(fd);
  ASSERT_TRUE(journal);
  const auto state = journal.read();
  ASSERT_TRUE(state);
  EXPECT_EQ(state->batch, 7u);
  EXPECT_EQ(state->told, 2u);
  EXPECT_EQ(state->begun, 4u);
  EXPECT_EQ(state->frames, "abc");
}

TEST_F(JournalTest, IsReadAsItIsNow) {
  const Fd fd = file(Journal::kName);
  write(fd, {7, 0, 1, 0}, "");
  const Journal journal = open(fd);
  EXPECT_EQ(journal.read()->begun, 1u);
  write(fd, {8, 0, 3, 2}, "xy");
  EXPECT_EQ(journal.read()->batch, 8u);
  EXPECT_EQ(journal.read()->frames, "xy");
}

TEST_F(JournalTest, OutlivesItsWorkersDescriptor) {
  Fd fd = file(Journal::kName);
  write(fd, {1, 0, 1, 1}, "z");
  const Journal journal = open(fd);
  fd.reset();
  EXPECT_EQ(journal.read()->frames, "z");
}

TEST_F(JournalTest, AnotherFileIsNone) {
  EXPECT_FALSE(open(file("something-else")));
  std::array<int, 2> ends{};
  ASSERT_EQ(::pipe(ends.data()), 0);
  const Fd in(ends[0]);
  const Fd out(ends[1]);
  EXPECT_FALSE(open(in));
  EXPECT_FALSE(open(out));
  EXPECT_FALSE(Journal::open(::getpid(), 1 << 20));
  EXPECT_FALSE(Journal().read());
}

TEST_F(JournalTest, WhatCannotBeTrueIsNotRead) {
  const Fd fd = file(Journal::kName);
  const Journal journal = open(fd);
  EXPECT_FALSE(journal.read()) << "empty";
  write(fd, {1, 0, 1, 10}, "short");
  EXPECT_FALSE(journal.read()) << "fewer bytes than it says";
  write(fd, {1, 0, 1, std::uint64_t{1} << 60}, "short");
  EXPECT_FALSE(journal.read()) << "more than anything has";
}

}  // namespace
}  // namespace lair::os
