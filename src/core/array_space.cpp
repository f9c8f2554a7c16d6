#include "core/array_space.hpp"

#include <algorithm>

#include "base/assert.hpp"

namespace lair::core {

void ArraySpace::add(std::uint32_t segment, std::uint64_t size, TimePoint now) {
  LAIR_ASSERT(size > 0 && size % kAlignment == 0 && !has(segment));
  segments_[segment] = {.size = size, .used = 0, .free = {{0, size}}, .empty_since = now};
  capacity_ += size;
}

std::optional<ArraySpace::Place> ArraySpace::allocate(std::uint64_t bytes) {
  if (bytes > capacity_) return std::nullopt;
  const std::uint64_t size = rounded(bytes);
  for (auto& [number, segment] : segments_) {
    if (segment.size - segment.used < size) continue;
    for (auto hole = segment.free.begin(); hole != segment.free.end(); ++hole) {
      if (hole->second < size) continue;
      const Place place{.segment = number, .offset = hole->first, .size = size};
      const std::uint64_t left = hole->second - size;
      segment.free.erase(hole);
      if (left > 0) segment.free[place.offset + size] = left;
      segment.used += size;
      used_ += size;
      return place;
    }
  }
  return std::nullopt;
}

bool ArraySpace::release(const Place& place, TimePoint now) {
  const auto found = segments_.find(place.segment);
  LAIR_ASSERT(found != segments_.end());
  Segment& segment = found->second;
  const auto [hole, made] = segment.free.emplace(place.offset, place.size);
  LAIR_ASSERT(made);
  if (const auto next = std::next(hole); next != segment.free.end()) {
    LAIR_ASSERT(next->first >= place.offset + place.size);
    if (next->first == place.offset + place.size) {
      hole->second += next->second;
      segment.free.erase(next);
    }
  }
  if (hole != segment.free.begin()) {
    const auto before = std::prev(hole);
    LAIR_ASSERT(before->first + before->second <= place.offset);
    if (before->first + before->second == place.offset) {
      before->second += hole->second;
      segment.free.erase(hole);
    }
  }
  segment.used -= place.size;
  used_ -= place.size;
  if (segment.used > 0) return false;
  segment.empty_since = now;
  return true;
}

std::vector<std::uint32_t> ArraySpace::take_idle(TimePoint before) {
  std::vector<std::uint32_t> taken;
  for (auto at = segments_.begin(); at != segments_.end();) {
    if (at->second.used == 0 && at->second.empty_since <= before) {
      capacity_ -= at->second.size;
      taken.push_back(at->first);
      at = segments_.erase(at);
    } else {
      ++at;
    }
  }
  return taken;
}

std::optional<TimePoint> ArraySpace::idle_since() const {
  std::optional<TimePoint> since;
  for (const auto& [number, segment] : segments_) {
    if (segment.used == 0) since = std::min(since.value_or(segment.empty_since), segment.empty_since);
  }
  return since;
}

}  // namespace lair::core
