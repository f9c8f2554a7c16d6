// Frames out of a byte stream that arrives in pieces of any size.
#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>
#include <string>
#include <vector>

#include "wire/frame.hpp"

namespace lair::wire {
namespace {

using namespace std::string_literals;

std::string framed(std::string_view payload) {
  const auto header = frame_header(payload.size());
  return std::string(header.data(), header.size()) + std::string(payload);
}

// Feeds all of `bytes` in reads of at most `step`, taking frames as they come.
std::vector<std::string> feed(FrameReader& reader, std::string_view bytes, std::size_t step) {
  std::vector<std::string> frames;
  while (!bytes.empty() && !reader.refused_length()) {
    const auto space = reader.space();
    EXPECT_GT(space.size, 0u);
    const std::size_t n = std::min({step, bytes.size(), space.size});
    std::memcpy(space.data, bytes.data(), n);
    reader.advance(n);
    bytes.remove_prefix(n);
    while (const auto frame = reader.next()) frames.emplace_back(*frame);
  }
  return frames;
}

TEST(FrameHeader, IsTheLengthInBigEndian) {
  EXPECT_EQ(std::string(frame_header(0x01020304).data(), 4), "\x01\x02\x03\x04"s);
  EXPECT_EQ(std::string(frame_header(0).data(), 4), "\0\0\0\0"s);
  EXPECT_EQ(std::string(frame_header(0xffffffff).data(), 4), "\xff\xff\xff\xff"s);
}

TEST(FrameHeaderDeathTest, ALengthBeyond32BitsIsAProgrammersError) {
  EXPECT_DEATH((void)frame_header(0x100000000ull), "0xffffffff");
}

TEST(FrameReader, GivesTheSameFramesHoweverTheStreamIsCut) {
  const std::vector<std::string> payloads = {"hello", "", "x", std::string(300, 'y'), "", "end"};
  std::string stream;
  for (const std::string& payload : payloads) stream += framed(payload);
  for (std::size_t step = 1; step <= stream.size(); ++step) {
    FrameReader reader(1000);
    EXPECT_EQ(feed(reader, stream, step), payloads) << "in reads of " << step;
    EXPECT_TRUE(reader.empty());
  }
}

TEST(FrameReader, GivesTheSameFramesWhereverTheOneCutIs) {
  const std::string stream = framed("first") + framed("") + framed("third");
  for (std::size_t cut = 0; cut <= stream.size(); ++cut) {
    FrameReader reader(1000);
    auto frames = feed(reader, stream.substr(0, cut), 1000);
    const auto rest = feed(reader, stream.substr(cut), 1000);
    frames.insert(frames.end(), rest.begin(), rest.end());
    EXPECT_EQ(frames, (std::vector<std::string>{"first", "", "third"})) << "cut at " << cut;
  }
}

TEST(FrameReader, FramesThatAreLeftForLaterAreNotLost) {
  FrameReader reader(1000);
  const std::string stream = framed("one") + framed("two") + framed("three");
  const auto space = reader.space();
  ASSERT_GE(space.size, stream.size());
  std::memcpy(space.data, stream.data(), stream.size());
  reader.advance(stream.size());
  EXPECT_EQ(reader.next(), "one");
  (void)reader.space();  // may move what is held
  EXPECT_FALSE(reader.empty());
  EXPECT_EQ(reader.next(), "two");
  EXPECT_EQ(reader.next(), "three");
  EXPECT_EQ(reader.next(), std::nullopt);
  EXPECT_TRUE(reader.empty());
}

TEST(FrameReader, AFrameOfExactlyTheLimitPassesAndOneByteMoreIsRefused) {
  for (const std::size_t limit : {std::size_t{0}, std::size_t{1}, std::size_t{1000}, std::size_t{1} << 20}) {
    FrameReader good(limit);
    EXPECT_EQ(feed(good, framed(std::string(limit, 'a')), 4096).size(), 1u);
    FrameReader bad(limit);
    EXPECT_TRUE(feed(bad, framed(std::string(limit + 1, 'a')), 4096).empty());
    EXPECT_EQ(bad.refused_length(), limit + 1);
    EXPECT_EQ(bad.next(), std::nullopt);
  }
}

TEST(FrameReader, TheLongestLengthIsRefusedWithoutAllocatingForIt) {
  FrameReader reader(64u << 20);
  const auto space = reader.space();
  EXPECT_LT(space.size, 1u << 20);
  std::memcpy(space.data, "\xff\xff\xff\xff", 4);
  reader.advance(4);
  EXPECT_EQ(reader.refused_length(), 0xffffffffu);
  EXPECT_LT(reader.held().size(), 5u);
}

TEST(FrameReader, ALengthIsRefusedWithItsLastByteAndNotBefore) {
  FrameReader reader(10);
  EXPECT_TRUE(feed(reader, "\xff\xff\xff", 1).empty());
  EXPECT_FALSE(reader.refused_length());
  feed(reader, "\xff", 1);
  EXPECT_TRUE(reader.refused_length());
}

TEST(FrameReader, AGoodFrameBeforeAnOverlongOneIsStillGiven) {
  FrameReader reader(10);
  EXPECT_EQ(feed(reader, framed("good") + "\0\0\0\x0b"s, 1000), (std::vector<std::string>{"good"}));
  EXPECT_EQ(reader.refused_length(), 11u);
}

TEST(FrameReader, TheFrameGivenStaysValidWhenTheNextOneIsRefused) {
  FrameReader reader(10);
  const std::string stream = framed("good") + "\0\0\0\x0b"s;
  std::memcpy(reader.space().data, stream.data(), stream.size());
  reader.advance(stream.size());
  EXPECT_EQ(reader.next(), "good");
}

TEST(FrameReader, AHeaderAloneCostsFarLessThanWhatItAnnounces) {
  FrameReader reader(1u << 30);
  feed(reader, "\x3f\xff\xff\xff", 4);  // just under 1 GiB
  EXPECT_FALSE(reader.refused_length());
  EXPECT_LE(reader.space().size, 1u << 20);
}

TEST(FrameReader, SpaceForALargeFrameGrowsWithWhatHasCome) {
  const std::size_t size = 20u << 20;
  FrameReader reader(size);
  std::string stream = framed(std::string(size, 'z'));
  std::string_view rest = stream;
  std::size_t reads = 0;
  std::optional<std::string_view> frame;
  while (!(frame = reader.next())) {
    const auto space = reader.space();
    const std::size_t come = stream.size() - rest.size();
    EXPECT_LE(space.size, std::max<std::size_t>(1u << 20, come) + (16u << 10)) << "after " << come;
    const std::size_t n = std::min(rest.size(), space.size);
    ASSERT_GT(n, 0u);
    std::memcpy(space.data, rest.data(), n);
    reader.advance(n);
    rest.remove_prefix(n);
    ++reads;
  }
  EXPECT_EQ(frame->size(), size);
  EXPECT_EQ(frame->find_first_not_of('z'), std::string_view::npos);
  EXPECT_LT(reads, 20u) << "and not by a little each time";
}

TEST(FrameReader, GivesBackTheMemoryOfALargeFrame) {
  FrameReader reader(64u << 20);
  EXPECT_EQ(feed(reader, framed(std::string(4u << 20, 'z')), 1u << 20).size(), 1u);
  EXPECT_LE(reader.space().size, 256u << 10);
}

TEST(FrameReader, ManySmallFramesNeedNoMoreSpaceThanOne) {
  FrameReader reader(1000);
  std::string stream;
  for (int i = 0; i < 20'000; ++i) stream += framed("12345678");
  EXPECT_EQ(feed(reader, stream, 1000).size(), 20'000u);
  EXPECT_LE(reader.space().size, 64u << 10);
}

TEST(FrameReader, HeldShowsWhatHasNotBeenTaken) {
  FrameReader reader(1000);
  EXPECT_TRUE(reader.empty());
  feed(reader, "\0\0"s, 2);
  EXPECT_FALSE(reader.empty());
  EXPECT_EQ(reader.held(), "\0\0"s);
}

TEST(FrameReaderDeathTest, ReadingOnAfterARefusalIsAProgrammersError) {
  FrameReader reader(1);
  feed(reader, "\0\0\0\x02", 4);
  feed(reader, "\0\0\0\x02"s, 4);
  ASSERT_TRUE(reader.refused_length());
  EXPECT_DEATH((void)reader.space(), "refused_length_");
}

}  // namespace
}  // namespace lair::wire
