#include "pool/ledger.hpp"

#include <algorithm>

#include "base/assert.hpp"

namespace lair::pool {

const char* to_string(Rejection why) noexcept {
  static constexpr const char* kNames[] = {"queue_full", "shutting_down",    "no_workers",   "worker_gone",
                                           "deadline",   "checkout_timeout", "breaker_open", "draining",
                                           "shed",       "session_busy",     "session_lost", "session_ended"};
  static_assert(std::size(kNames) == kRejections);
  LAIR_ASSERT(static_cast<std::size_t>(why) < kRejections);
  return kNames[static_cast<std::size_t>(why)];
}

Rejection rejection_of(core::RefuseReason why) {
  switch (why) {
    case core::RefuseReason::kQueueFull:
      return Rejection::kQueueFull;
    case core::RefuseReason::kShuttingDown:
      return Rejection::kShuttingDown;
    case core::RefuseReason::kNoWorkers:
      return Rejection::kNoWorkers;
    case core::RefuseReason::kWorkerGone:
      return Rejection::kWorkerGone;
    case core::RefuseReason::kDraining:
      return Rejection::kDraining;
    case core::RefuseReason::kShed:
      return Rejection::kShed;
    case core::RefuseReason::kSessionLost:
      return Rejection::kSessionLost;
    case core::RefuseReason::kSessionEnded:
      return Rejection::kSessionEnded;
    case core::RefuseReason::kExpired:
      break;
  }
  return Rejection::kDeadline;
}

// All reasons are there from the beginning: a counter that appears with its first event hides that event from whoever
// computes a rate.
Ledger::Ledger() {
  for (unsigned i = 1;; ++i) {
    const std::string_view name = core::to_string(static_cast<core::Reason>(i));
    if (name == "?") break;
    exits_[name] = 0;
  }
}

CommandStats& Ledger::entry(std::string_view command) {
  if (const auto found = places_.find(command); found != places_.end()) return commands_[found->second];
  if (places_.size() < kMostCommands) {
    places_.emplace(command, commands_.size());
    return commands_.emplace_back(CommandStats{.name = std::string(command)});
  }
  // `other` may be the name of a command, too: then they share a row, as they would in a graph.
  const auto [other, added] = places_.emplace("other", commands_.size());
  return added ? commands_.emplace_back(CommandStats{.name = "other"}) : commands_[other->second];
}

void Ledger::call_ended(std::string_view command, CallOutcome outcome, Duration took, std::uint64_t times) {
  entry(command).calls[static_cast<std::size_t>(outcome)].add(took, times);
}

bool Ledger::worker_ended(core::Reason reason) {
  ++exits_[core::to_string(reason)];
  const bool bad = reason == core::Reason::kCrash || reason == core::Reason::kTimeout ||
                   reason == core::Reason::kProtocol || reason == core::Reason::kUnhealthy ||
                   reason == core::Reason::kStartFailed;
  if (bad) ++bad_exits_;
  return bad;
}

Ledger::Spent Ledger::spent(TimePoint now) const {
  if (since_ == TimePoint::min() || now <= since_) return spent_;
  const Duration passed = now - since_;
  Spent sum = spent_;
  sum.busy += passed * static_cast<Duration::rep>(standing_.busy);
  if (standing_.exhausted) sum.exhausted += passed;
  if (standing_.short_of_workers) sum.short_of_workers += passed;
  return sum;
}

void Ledger::stands(const Standing& standing, TimePoint now) {
  spent_ = spent(now);
  since_ = std::max(since_, now);
  standing_ = standing;
}

Ledger::Troubles Ledger::troubles(TimePoint now) const {
  const Spent sum = spent(now);
  return {.exhausted = sum.exhausted, .below_size = sum.short_of_workers, .bad_exits = bad_exits_};
}

void Ledger::fill(PoolStats& stats, TimePoint now) const {
  stats.commands = commands_;
  stats.checkout_wait = checkout_wait_;
  stats.worker_start = worker_start_;
  for (std::size_t i = 0; i < kRejections; ++i) {
    stats.rejected[to_string(static_cast<Rejection>(i))] = rejected_[i];
  }
  for (const auto& [reason, count] : exits_) stats.exits[std::string(reason)] = count;
  const Spent sum = spent(now);
  stats.busy_time = sum.busy;
  stats.exhausted_time = sum.exhausted;
  stats.below_size_time = sum.short_of_workers;
}

}  // namespace lair::pool
