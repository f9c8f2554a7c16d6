// Shedding: a queue whose oldest waiter has waited longer than `queue_target` for all of `queue_interval` stands still.
// Then those that have waited for twice the target are refused, by a timer: workers that all hang never come back to
// look at the queue. Spared are callers that workers now starting will serve, and those that asked for no deadline.
//
// The rule is CoDel's, as adapted for requests in "Fail at Scale" (ACM Queue 13:8, 2015), with the waiting time of
// those that are still waiting in place of that of those just served.
#include <algorithm>

#include "core/core.hpp"

namespace lair::core {

// Any worker would do for it. How long it waits thus tells of the queue, and not of what it asks for.
bool Core::waits_for_any(const Waiter& waiter) const {
  return seeks_any(waiter, now_) && !needs_unbound(waiter);
}

const Waiter* Core::oldest_in_line() const {
  for (auto i = queue_.first(); i != WaitQueue::kNone; i = queue_.next(i)) {
    if (waits_for_any(queue_.at(i))) return &queue_.at(i);
  }
  return nullptr;
}

// After each step.
void Core::watch_queue() {
  if (config_.queue_target == kForever) return;
  const Waiter* oldest = oldest_in_line();
  const bool stands =
      oldest != nullptr && now_ - oldest->since >= config_.queue_target && admission_ != Admission::kPaused;
  if (!stands) {
    stands_since_ = TimePoint::max();
  } else if (stands_since_ == TimePoint::max()) {
    stands_since_ = oldest->since + config_.queue_target;
  }
}

TimePoint Core::shed_at() const {
  if (config_.queue_target == kForever || admission_ == Admission::kPaused || ready_count() == 0)
    return TimePoint::max();
  const Waiter* oldest = oldest_in_line();
  if (oldest == nullptr) return TimePoint::max();
  const Waiter* first = next_to_shed();
  if (first == nullptr) return TimePoint::max();
  const TimePoint stands_since = std::min(stands_since_, oldest->since + config_.queue_target);
  return std::max(stands_since + config_.queue_interval, first->since + 2 * config_.queue_target);
}

// A waiter that comes and goes must not wake the supervisor each time: an alarm that is set stays set, and whoever comes
// later is looked at when it goes off.
void Core::arm_shedding() {
  const TimePoint at = shed_at();
  if (at >= shed_armed_) return;
  shed_armed_ = at;
  effects_->push(Rearm{});
}

const Waiter* Core::next_to_shed() const {
  std::size_t spared = starting_count();
  for (auto i = queue_.first(); i != WaitQueue::kNone; i = queue_.next(i)) {
    const Waiter& waiter = queue_.at(i);
    if (!waits_for_any(waiter)) continue;
    if (spared > 0) {
      --spared;
    } else if (!waiter.patient) {
      return &waiter;
    }
  }
  return nullptr;
}

void Core::shed() {
  if (shed_at() > now_) return;
  do {
    const Token token = next_to_shed()->token;
    leave_line(token);
    refuse(token, RefuseReason::kShed);
  } while (shed_at() <= now_);
  // Among them may have been one that a free worker was kept for.
  if (anything_free()) serve();
}

}  // namespace lair::core
