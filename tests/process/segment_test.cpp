// Segments as the kernel keeps them: sealed, wholly there or refused, given back.
#include "os/segment.hpp"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <lair/array.hpp>

#include "pool/arena.hpp"

namespace lair::test {
namespace {

using os::Segment;

std::uint64_t pages_of(const Segment& segment) {
  struct stat about {};
  EXPECT_EQ(::fstat(segment.fd(), &about), 0);
  return static_cast<std::uint64_t>(about.st_blocks) * 512;
}

TEST(Segment, CanBeNeitherCutNorGrown) {
  const Segment segment = Segment::make(1 << 16);
  ASSERT_TRUE(segment);
  EXPECT_EQ(pages_of(segment), 1u << 16);
  EXPECT_NE(::ftruncate(segment.fd(), 0), 0);
  EXPECT_EQ(errno, EPERM);
  EXPECT_NE(::ftruncate(segment.fd(), 1 << 17), 0);
  EXPECT_NE(::fcntl(segment.fd(), F_ADD_SEALS, F_SEAL_WRITE), 0);  // nor may others be added
  EXPECT_EQ(::fcntl(segment.fd(), F_GETFD) & FD_CLOEXEC, FD_CLOEXEC);
  std::memset(segment.data(), 1, segment.size());
}

TEST(Segment, IsRefusedWithoutASignalWhereFilesMayNotBeAsLarge) {
  const pid_t child = ::fork();
  if (child == 0) {  // a limit that cannot be raised again
    const rlimit limit{.rlim_cur = 1 << 16, .rlim_max = 1 << 16};
    if (::setrlimit(RLIMIT_FSIZE, &limit) != 0) ::_exit(2);
    const Segment large = Segment::make((1 << 16) + 4096);
    const bool refused = !large && errno == EFBIG;
    ::_exit(refused && Segment::make(1 << 16) ? 0 : 1);
  }
  int status = 0;
  ASSERT_EQ(::waitpid(child, &status, 0), child);
  EXPECT_TRUE(WIFEXITED(status)) << status;
  EXPECT_EQ(WEXITSTATUS(status), 0);
}

TEST(Segment, IsRefusedWhereThereAreNoDescriptors) {
  rlimit before{};
  ASSERT_EQ(::getrlimit(RLIMIT_NOFILE, &before), 0);
  const rlimit none{.rlim_cur = 0, .rlim_max = before.rlim_max};
  ASSERT_EQ(::setrlimit(RLIMIT_NOFILE, &none), 0);
  const Segment segment = Segment::make(4096);
  const int error = errno;
  const auto arena = std::make_shared<pool::Arena>(1 << 20);
  const auto block = arena->allocate(1);
  ASSERT_EQ(::setrlimit(RLIMIT_NOFILE, &before), 0);
  EXPECT_FALSE(segment);
  EXPECT_EQ(error, EMFILE);
  ASSERT_FALSE(block);
  EXPECT_EQ(block.error().kind, ErrorKind::kUnavailable);
  EXPECT_NE(block.error().message.find("ulimit -n"), std::string::npos) << block.error().message;
  EXPECT_TRUE(arena->allocate(1));  // and is not so for ever
}

TEST(Segment, GivesItsPagesBackWhoeverMapsIt) {
  Segment segment = Segment::make(1 << 20);
  ASSERT_TRUE(segment);
  void* const other = ::mmap(nullptr, segment.size(), PROT_READ | PROT_WRITE, MAP_SHARED, segment.fd(), 0);
  ASSERT_NE(other, MAP_FAILED);
  std::memset(other, 1, segment.size());
  segment.discard();
  EXPECT_EQ(pages_of(segment), 0u);
  EXPECT_EQ(*static_cast<const char*>(other), 0);
  ::munmap(other, segment.size());
}

TEST(Arena, ReusesWhatIsFreeAndGivesBackWhatIsIdle) {
  const auto arena = std::make_shared<pool::Arena>(64u << 20);
  int wakes = 0;
  arena->on_idle([&] { ++wakes; });
  auto block = arena->allocate(100).value();
  const auto place = block->at();
  const auto segment = arena->segment(place.segment);
  EXPECT_EQ(reinterpret_cast<std::uintptr_t>(block->data()) % 64, 0u);
  block.reset();
  EXPECT_EQ(wakes, 1);
  block = arena->allocate(100).value();
  EXPECT_EQ(block->at(), place);
  block.reset();
  EXPECT_EQ(wakes, 1);  // somebody looks already
  const TimePoint now = SteadyClock::now();
  EXPECT_LT(arena->shrink(now), TimePoint::max());
  EXPECT_GT(arena->size().capacity, 0u);
  EXPECT_EQ(arena->shrink(now + pool::Arena::kIdle + std::chrono::seconds(1)), TimePoint::max());
  EXPECT_EQ(arena->size().capacity, 0u);
  EXPECT_EQ(pages_of(*segment), 0u);
  EXPECT_EQ(arena->segment(place.segment), nullptr);
  EXPECT_EQ(arena->gone({place.segment}), std::vector<std::uint32_t>{place.segment});
  arena->allocate(100).value().reset();
  EXPECT_EQ(wakes, 2);
}

TEST(Arena, MakesRoomForLargeArraysOfSmallEmptySegments) {
  const auto arena = std::make_shared<pool::Arena>(16u << 20);
  arena->allocate(1).value().reset();
  EXPECT_TRUE(arena->allocate(16u << 20));
  EXPECT_FALSE(arena->allocate((16u << 20) + 1));
  const auto all = arena->allocate(16u << 20).value();
  EXPECT_FALSE(arena->allocate(1));
}

TEST(Arena, LivesAsLongAsItsBlocks) {
  auto arena = std::make_shared<pool::Arena>(16u << 20);
  auto block = arena->allocate(4096).value();
  arena.reset();
  std::memset(block->data(), 1, 4096);
  block.reset();
}

}  // namespace
}  // namespace lair::test
