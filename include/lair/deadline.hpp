// Time in Lair: timeouts are relative and live in options; a Deadline is absolute, monotonic and fixed
// once, at API entry. Everything below the API sees only the Deadline.
//
// Thread-safety: values.
#pragma once

#include <chrono>

namespace lair {

using SteadyClock = std::chrono::steady_clock;
using Duration = std::chrono::nanoseconds;
using TimePoint = std::chrono::time_point<SteadyClock, Duration>;

// "No deadline" must be said by name: `{.timeout = lair::kForever}`.
inline constexpr Duration kForever = Duration::max();

class Deadline {
 public:
  static Deadline at(TimePoint when) noexcept { return Deadline(when); }
  static Deadline never() noexcept { return Deadline(TimePoint::max()); }
  // Saturates: a timeout beyond the clock's range is `never`; a negative one has already passed.
  static Deadline after(Duration timeout, TimePoint now = SteadyClock::now()) noexcept {
    if (timeout >= TimePoint::max() - now) return never();
    return Deadline(now + timeout);
  }

  bool is_never() const noexcept { return when_ == TimePoint::max(); }
  bool passed(TimePoint now = SteadyClock::now()) const noexcept { return !is_never() && now >= when_; }
  TimePoint when() const noexcept { return when_; }
  // Never negative; kForever for `never`.
  Duration remaining(TimePoint now = SteadyClock::now()) const noexcept {
    if (is_never()) return kForever;
    return now >= when_ ? Duration::zero() : when_ - now;
  }

  friend auto operator<=>(const Deadline&, const Deadline&) = default;

 private:
  explicit Deadline(TimePoint when) noexcept : when_(when) {}
  TimePoint when_;
};

}  // namespace lair
