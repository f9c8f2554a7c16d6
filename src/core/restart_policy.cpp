#include "core/restart_policy.hpp"

#include <algorithm>

namespace lair::core {

// The bucket starts full enough for the pool's own beginning.
RestartPolicy::RestartPolicy(std::size_t size, std::size_t overflow, std::uint64_t seed) : random_(seed) {
  resize(size, overflow);
  bucket_ = bucket_size_;
}

void RestartPolicy::resize(std::size_t size, std::size_t overflow) {
  most_deaths_ = std::max<std::size_t>(5, 2 * size);
  bucket_size_ = std::max(kStartsPerSecond, static_cast<double>(size + overflow));
}

Duration RestartPolicy::unproductive_death(unsigned strikes, TimePoint now) {
  deaths_.push_back(now);
  while (!deaths_.empty() && now - deaths_.front() > kTallyWindow) deaths_.pop_front();
  if (!failed_ && deaths_.size() > most_deaths_) {
    failed_ = true;
    probe_at_ = now + kProbeInterval;
  }
  return backoff_.delay(strikes, random_);
}

void RestartPolicy::worker_ready() {
  if (!failed_) return;
  failed_ = false;
  deaths_.clear();
}

void RestartPolicy::refill(TimePoint now) {
  if (now <= refilled_) return;
  const double seconds = std::chrono::duration<double>(now - refilled_).count();
  bucket_ = std::min(bucket_size_, bucket_ + seconds * kStartsPerSecond);
  refilled_ = now;
}

bool RestartPolicy::take_start(TimePoint now) {
  refill(now);
  if (bucket_ < 1) return false;
  bucket_ -= 1;
  return true;
}

TimePoint RestartPolicy::next_start(TimePoint now) const {
  if (bucket_ >= 1) return now;
  // One nanosecond more than the exact wait, so that rounding never wakes us just too early.
  const std::chrono::duration<double> wait((1 - bucket_) / kStartsPerSecond);
  return refilled_ + std::chrono::duration_cast<Duration>(wait) + Duration(1);
}

}  // namespace lair::core
