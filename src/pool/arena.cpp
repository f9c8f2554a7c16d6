#include "pool/arena.hpp"

#include <algorithm>
#include <cerrno>
#include <cstring>

namespace lair::pool {

namespace {

constexpr std::uint64_t kPage = 4096;
constexpr std::uint64_t kSmallestSegment = 4u << 20;
constexpr std::uint64_t kUsualSegment = 64u << 20;
// Commands whose results' size is remembered.
constexpr std::size_t kMostExpected = 256;

std::uint64_t pages(std::uint64_t bytes) { return (bytes + kPage - 1) / kPage * kPage; }

}  // namespace

Block::Block(std::shared_ptr<Arena> arena, std::shared_ptr<const os::Segment> segment,
             core::ArraySpace::Place place)
    : ArrayMemory(segment->data() + place.offset, place.size),
      arena_(std::move(arena)),
      segment_(std::move(segment)),
      place_(place) {}

Block::~Block() { arena_->release(place_); }

BlockPtr Arena::block_at(const core::ArraySpace::Place& place, std::shared_ptr<const os::Segment> segment) {
  auto block = std::make_shared<Block>(shared_from_this(), std::move(segment), place);
  detail::ArrayMemory::track(block);
  return block;
}

BlockPtr Arena::find(std::size_t bytes) {
  std::unique_lock lock(mutex_);
  const auto place = space_.allocate(bytes);
  if (!place) return nullptr;
  auto segment = segments_.at(place->segment);
  lock.unlock();
  return block_at(*place, std::move(segment));
}

Result<BlockPtr> Arena::allocate(std::size_t bytes) {
  if (auto block = find(bytes)) return block;
  std::uint64_t size = 0;
  Segments dropped;
  {
    const std::lock_guard lock(mutex_);
    const std::uint64_t wanted = pages(std::max<std::uint64_t>(bytes, 1));
    const auto left = [&] {
      const std::uint64_t capacity = space_.capacity() + being_made_;
      return most_ > capacity ? (most_ - capacity) / kPage * kPage : 0;
    };
    // Segments that nothing is in, and that are too small, make room for a larger one.
    if (wanted > left()) dropped = take_idle(TimePoint::max());
    if (wanted > left() || wanted < bytes) return refused(bytes, 0);
    // As much again as there is, so that there are few of them; a large array has one for itself.
    const std::uint64_t usual =
        std::clamp<std::uint64_t>(space_.capacity() + being_made_, kSmallestSegment, kUsualSegment);
    size = std::min(std::max(wanted, usual), left());
    being_made_ += size;
  }
  for (const auto& segment : dropped) segment->discard();
  // Not under the lock: the system zeroes all of it now.
  os::Segment fresh = os::Segment::make(size);
  const int error = errno;
  std::unique_lock lock(mutex_);
  being_made_ -= size;
  if (!fresh) return refused(bytes, error);
  const std::uint32_t number = ++last_segment_;
  auto segment = std::make_shared<os::Segment>(std::move(fresh));
  segments_[number] = segment;
  space_.add(number, size, SteadyClock::now());
  // Others may have come in between, but none has been told of this one.
  auto place = space_.allocate(bytes);
  segment = segments_.at(place->segment);
  lock.unlock();
  return block_at(*place, std::move(segment));
}

// Under the mutex.
Error Arena::refused(std::size_t bytes, int error) const {
  std::string message = "no memory for an array of " + std::to_string(bytes) + " bytes: ";
  if (error == 0) {
    message += "the pool's arrays have " + std::to_string(space_.capacity()) +
               " of array_memory = " + std::to_string(most_) +
               " bytes, and no gap is as large. Let go of arrays, or raise it.";
  } else {
    message += std::strerror(error);
    message += error == EMFILE || error == ENFILE ? " (raise ulimit -n)."
               : error == EFBIG
                   ? " (raise ulimit -f)."
                   : ". Let go of arrays, or give the machine (or its control group) more memory.";
  }
  return {.kind = ErrorKind::kUnavailable, .delivery = Delivery::kNotSent, .message = std::move(message)};
}

std::shared_ptr<const os::Segment> Arena::segment(std::uint32_t number) const {
  const std::lock_guard lock(mutex_);
  const auto found = segments_.find(number);
  return found == segments_.end() ? nullptr : found->second;
}

std::vector<std::uint32_t> Arena::gone(const std::vector<std::uint32_t>& numbers) const {
  std::vector<std::uint32_t> gone;
  const std::lock_guard lock(mutex_);
  for (const std::uint32_t number : numbers) {
    if (!segments_.contains(number)) gone.push_back(number);
  }
  return gone;
}

std::size_t Arena::expected(std::string_view command) const {
  const std::lock_guard lock(mutex_);
  const auto found = expected_.find(command);
  return found == expected_.end() ? 0 : found->second;
}

void Arena::expect(std::string_view command, std::size_t bytes) {
  const std::lock_guard lock(mutex_);
  const auto found = expected_.find(command);
  if (found != expected_.end()) {
    found->second = bytes;
  } else if (expected_.size() < kMostExpected) {
    expected_.emplace(command, bytes);
  }
}

void Arena::release(const core::ArraySpace::Place& place) noexcept {
  bool wakes = false;
  {
    const std::lock_guard lock(mutex_);
    wakes = space_.release(place, SteadyClock::now()) && !looks_;
    looks_ |= wakes;
  }
  if (!wakes) return;
  const std::lock_guard lock(wake_mutex_);
  if (wake_) wake_();
}

Arena::Segments Arena::take_idle(TimePoint before) {
  Segments taken;
  for (const std::uint32_t number : space_.take_idle(before)) {
    taken.push_back(std::move(segments_.at(number)));
    segments_.erase(number);
  }
  return taken;
}

TimePoint Arena::shrink(TimePoint now, Duration idle) {
  Segments dropped;
  TimePoint next = TimePoint::max();
  {
    const std::lock_guard lock(mutex_);
    dropped = take_idle(now - idle);
    const auto since = space_.idle_since();
    looks_ = since.has_value();
    if (since) next = *since + idle;
  }
  // Workers may still map them, and would keep the pages.
  for (const auto& segment : dropped) segment->discard();
  return next;
}

void Arena::on_idle(std::function<void()> wake) {
  const std::lock_guard lock(wake_mutex_);
  wake_ = std::move(wake);
}

Arena::Size Arena::size() const {
  const std::lock_guard lock(mutex_);
  return {.capacity = space_.capacity(), .used = space_.used()};
}

}  // namespace lair::pool
