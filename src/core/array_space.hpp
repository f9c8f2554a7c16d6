// Which parts of some segments of memory are free: first fit, at multiples of 64 bytes, neighbours that are free become one.
// It knows numbers only, and no memory: nothing that it keeps lies where a worker could write.
//
// Thread-safety: one thread at a time.
#pragma once

#include <cstdint>
#include <lair/deadline.hpp>
#include <map>
#include <optional>
#include <vector>

namespace lair::core {

class ArraySpace {
 public:
  static constexpr std::uint64_t kAlignment = 64;
  static constexpr std::uint64_t rounded(std::uint64_t bytes) {
    return bytes == 0 ? kAlignment : (bytes + kAlignment - 1) / kAlignment * kAlignment;
  }

  struct Place {
    std::uint32_t segment = 0;
    std::uint64_t offset = 0;
    std::uint64_t size = 0;  // a multiple of the alignment
    friend bool operator==(const Place&, const Place&) = default;
  };

  // A new one, all free. `size`: a multiple of the alignment.
  void add(std::uint32_t segment, std::uint64_t size, TimePoint now);
  // Nothing: no segment has so much in one piece.
  std::optional<Place> allocate(std::uint64_t bytes);
  // True: the segment is empty by it.
  bool release(const Place& place, TimePoint now);

  // Takes out the segments that have been empty since `before` or longer.
  std::vector<std::uint32_t> take_idle(TimePoint before);
  // Since when the one has been empty that has been so for longest; nothing: none is.
  std::optional<TimePoint> idle_since() const;

  std::uint64_t capacity() const { return capacity_; }  // bytes of all segments
  std::uint64_t used() const { return used_; }
  bool has(std::uint32_t segment) const { return segments_.contains(segment); }

 private:
  struct Segment {
    std::uint64_t size = 0;
    std::uint64_t used = 0;
    std::map<std::uint64_t, std::uint64_t> free;  // where, and how much
    TimePoint empty_since;
  };
  std::map<std::uint32_t, Segment> segments_;
  std::uint64_t capacity_ = 0;
  std::uint64_t used_ = 0;
};

}  // namespace lair::core
