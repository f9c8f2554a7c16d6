#include "core/array_space.hpp"

#include <gtest/gtest.h>

#include <map>
#include <random>

namespace lair::test {
namespace {

using core::ArraySpace;

constexpr TimePoint kThen{};

ArraySpace of_one(std::uint64_t size) {
  ArraySpace space;
  space.add(1, size, kThen);
  return space;
}

TEST(ArraySpace, GivesOutMultiplesOf64FromTheFirstGap) {
  ArraySpace space = of_one(1024);
  EXPECT_EQ(space.allocate(1), (ArraySpace::Place{1, 0, 64}));
  EXPECT_EQ(space.allocate(65), (ArraySpace::Place{1, 64, 128}));
  EXPECT_EQ(space.allocate(0), (ArraySpace::Place{1, 192, 64}));
  space.release({1, 64, 128}, kThen);
  EXPECT_EQ(space.allocate(64), (ArraySpace::Place{1, 64, 64}));
  EXPECT_EQ(space.used(), 192u);
  EXPECT_FALSE(space.allocate(1024));
  EXPECT_FALSE(space.allocate(UINT64_MAX));
}

TEST(ArraySpace, JoinsGapsOnBothSides) {
  ArraySpace space = of_one(192);
  for (int i = 0; i < 3; ++i) ASSERT_TRUE(space.allocate(64));
  EXPECT_FALSE(space.allocate(1));
  EXPECT_FALSE(space.release({1, 0, 64}, kThen));
  EXPECT_FALSE(space.release({1, 128, 64}, kThen));
  EXPECT_FALSE(space.allocate(128));
  EXPECT_TRUE(space.release({1, 64, 64}, kThen));
  EXPECT_EQ(space.allocate(192), (ArraySpace::Place{1, 0, 192}));
}

TEST(ArraySpace, KnowsWhichSegmentsAreEmptyAndForHowLong) {
  ArraySpace space = of_one(64);
  space.add(2, 64, kThen + std::chrono::seconds(1));
  EXPECT_EQ(space.idle_since(), kThen);
  ASSERT_EQ(space.allocate(64)->segment, 1u);
  EXPECT_EQ(space.idle_since(), kThen + std::chrono::seconds(1));
  EXPECT_TRUE(space.take_idle(kThen).empty());
  EXPECT_TRUE(space.release({1, 0, 64}, kThen + std::chrono::seconds(2)));
  EXPECT_EQ(space.take_idle(kThen + std::chrono::seconds(1)), std::vector<std::uint32_t>{2});
  EXPECT_EQ(space.capacity(), 64u);
  EXPECT_TRUE(space.has(1));
  EXPECT_FALSE(space.has(2));
  EXPECT_EQ(space.take_idle(kThen + std::chrono::seconds(2)), std::vector<std::uint32_t>{1});
  EXPECT_FALSE(space.idle_since());
  EXPECT_FALSE(space.allocate(1));
}

TEST(ArraySpace, NeverGivesTheSameBytesTwice) {
  ArraySpace space = of_one(1 << 16);
  space.add(2, 1 << 14, kThen);
  std::mt19937 random(4711);
  std::vector<ArraySpace::Place> held;
  std::uint64_t sum = 0;
  for (int i = 0; i < 20'000; ++i) {
    if (random() % 2 == 0) {
      const auto place = space.allocate(random() % 5000);
      if (!place) continue;
      for (const ArraySpace::Place& other : held) {
        ASSERT_TRUE(other.segment != place->segment || other.offset + other.size <= place->offset ||
                    place->offset + place->size <= other.offset);
      }
      held.push_back(*place);
      sum += place->size;
    } else if (!held.empty()) {
      std::swap(held[random() % held.size()], held.back());
      sum -= held.back().size;
      space.release(held.back(), kThen);
      held.pop_back();
    }
    ASSERT_EQ(space.used(), sum);
  }
  for (const ArraySpace::Place& place : held) space.release(place, kThen);
  EXPECT_EQ(space.allocate(1 << 16), (ArraySpace::Place{1, 0, 1 << 16}));
  EXPECT_EQ(space.allocate(1 << 14), (ArraySpace::Place{2, 0, 1 << 14}));
}

}  // namespace
}  // namespace lair::test
