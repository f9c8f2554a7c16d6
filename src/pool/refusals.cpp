// Why a caller gets no worker, in words: what state the pool is in, and what to do about it.
#include "base/duration.hpp"
#include "pool/shell.hpp"

namespace lair::pool {

std::string Shell::situation() const {
  std::string text;
  const auto add = [&](std::size_t count, const char* what) {
    if (count == 0) return;
    if (!text.empty()) text += ", ";
    text += std::to_string(count) + ' ' + what;
  };
  for (std::size_t i = 0; i < kSlotStates; ++i) {
    add(core_.count(static_cast<SlotState>(i)), to_string(static_cast<SlotState>(i)));
  }
  for (std::uint32_t i = 0; i < core_.slots(); ++i) {
    const auto view = core_.slot(i);
    const RecordPtr record = view.state == SlotState::kStarting ? record_of({i, view.generation}) : nullptr;
    if (record == nullptr) continue;
    return text + " (at stage " + record->stage + ")";
  }
  return text;
}

Error Shell::refused(const core::Refuse& refusal) const {
  Error error{.kind = ErrorKind::kUnavailable,
              .delivery = Delivery::kNotSent,
              .message = "pool \"" + options_.name + "\" "};
  switch (refusal.why) {
    case core::RefuseReason::kQueueFull:
      error.kind = ErrorKind::kOverloaded;
      error.retry_after_ms = std::chrono::ceil<std::chrono::milliseconds>(refusal.retry_after).count();
      error.message +=
          "is overloaded: " + std::to_string(core_.waiters()) +
          " callers already wait for a worker (max_waiters = " + std::to_string(options_.max_waiters) + "; " +
          situation() + "). Try again in about " + std::to_string(*error.retry_after_ms) + " ms.";
      break;
    case core::RefuseReason::kShuttingDown:
      error.message += "is shutting down";
      break;
    case core::RefuseReason::kNoWorkers:
      if (last_start_error_) {
        error = *last_start_error_;
        error.message = "pool \"" + options_.name + "\" has no worker: " + error.message;
      } else {
        error.message += "has no worker, and starting them has failed (" + situation() + ")";
      }
      break;
    case core::RefuseReason::kWorkerGone:
      error.message += "has lost the one worker that would have done";
      break;
    case core::RefuseReason::kSessionEnded:
      error.kind = ErrorKind::kInvalidArgument;
      error.message += "has no such session: it has ended. Open it anew";
      break;
    case core::RefuseReason::kSessionLost:
      error.kind = ErrorKind::kSessionLost;
      error.message += "has lost the worker that had the session's state. Reopen the session";
      break;
    case core::RefuseReason::kExpired:
      error.message += "had no worker before the deadline";
      break;
    case core::RefuseReason::kDraining:
      error.message += "is draining: it takes no new calls until resume()";
      break;
    case core::RefuseReason::kShed:
      error.kind = ErrorKind::kOverloaded;
      error.retry_after_ms = std::chrono::ceil<std::chrono::milliseconds>(refusal.retry_after).count();
      error.message += "is overloaded: its queue has stood still for " +
                       base::format_duration(options_.queue_interval) +
                       " (queue_interval), with waits of more than " +
                       base::format_duration(options_.queue_target) + " (queue_target; " + situation() +
                       "). Try again in about " + std::to_string(*error.retry_after_ms) + " ms.";
      break;
  }
  return error;
}

Error Shell::breaker_open(std::string_view command, const core::Breakers::Refusal& why) const {
  const auto kind_of = [](core::TryOutcome outcome) -> std::string {
    switch (outcome) {
      case core::TryOutcome::kCrash:
        return "a crash of its worker";
      case core::TryOutcome::kTimeout:
        return "a missed deadline";
      case core::TryOutcome::kProtocol:
        return "an answer that breaks the protocol";
      case core::TryOutcome::kNothing:
      case core::TryOutcome::kAnswered:
        break;
    }
    return "unknown";
  };
  Error error{.kind = ErrorKind::kUnavailable,
              .delivery = Delivery::kNotSent,
              .message = "command \"" + std::string(command) + "\" of pool \"" + options_.name + "\" is "};
  if (why.quarantined) {
    error.message += "quarantined: it crashed " + std::to_string(why.failed) + " workers within " +
                     base::format_duration(options_.breaker.crash_window);
  } else {
    error.message += "not called for a while: " + std::to_string(why.failed) + " of " +
                     std::to_string(why.calls) + " calls within " +
                     base::format_duration(options_.breaker.window) + " failed";
  }
  error.message += "; the last failure was " + kind_of(why.last) + ". ";
  const auto later = std::chrono::ceil<std::chrono::milliseconds>(why.retry_after);
  error.retry_after_ms = later.count();
  error.message += why.trials_under_way ? "Trial calls are under way; what they find will be known later."
                                        : "It will be tried again in " + base::format_duration(later) + ".";
  return error;
}

bool Shell::rejected(Rejection why, TimePoint now) {
  ledger_.rejected(why);
  return shed_report_.refused(why, now);
}

Error Shell::queue_wait_ended(bool call_deadline, Duration waited) const {
  Error error{.delivery = Delivery::kNotSent};
  const bool none_up = core_.ready_count() == 0;
  const std::string after = " after " + base::format_duration(waited);
  if (call_deadline) {
    error.kind = ErrorKind::kDeadlineExceeded;
    error.message = "the call's deadline passed" + after + " while it waited for a worker of pool \"" +
                    options_.name + "\" (" + situation() + ")";
  } else if (none_up) {
    error.kind = ErrorKind::kUnavailable;
    error.message =
        "no worker of pool \"" + options_.name + "\" was ready" + after + " (" + situation() + ")";
  } else {
    error.kind = ErrorKind::kOverloaded;
    error.retry_after_ms = 1000;
    error.message = "no worker of pool \"" + options_.name + "\" came free within the checkout timeout," +
                    after + " (" + situation() + "). Raise size, overflow or checkout_timeout, or call less.";
  }
  if (none_up && last_start_error_) error.message += "\nThe last failed start: " + last_start_error_->message;
  return error;
}

}  // namespace lair::pool
