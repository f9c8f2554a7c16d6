// Planned changes of a running pool: new code, another size, one worker replaced, callers held back. The core does the work;
// this waits for it, and says how it ended.
#include "base/duration.hpp"
#include "pool/shell.hpp"
#include "pool/supervisor.hpp"

namespace lair::pool {

using core::Admission;

namespace {

std::string name_of(core::WorkerRef ref) {
  return std::to_string(ref.slot) + '.' + std::to_string(ref.generation);
}

}  // namespace

Error Shell::unfinished(const std::string& what, Duration timeout) const {
  if (core_.shutting_down()) {
    return {.kind = ErrorKind::kUnavailable,
            .delivery = Delivery::kMaybeExecuted,
            .message = what + ": pool \"" + options_.name + "\" is shutting down"};
  }
  std::string busy;
  if (const auto surge = core_.surge(); surge && surge->state == SlotState::kBusy) {
    busy = ". Worker " + name_of(surge->worker) + " is still busy with a call or a lease";
  }
  return {.kind = ErrorKind::kDeadlineExceeded,
          .delivery = Delivery::kMaybeExecuted,
          .message = what + " is not complete after " + base::format_duration(timeout) + " (" + situation() +
                     ")" + busy + ". It goes on."};
}

Result<void> Shell::reload(Duration timeout) {
  const Deadline deadline = Deadline::after(timeout);
  tell(base::LogLevel::kInfo, "[" + options_.name + "] a reload begins",
       {.kind = PoolEventKind::kReload, .reason = "begun"});
  (void)step(core::Reload{});
  std::unique_lock lock(mutex_);
  const core::Revision revision = core_.revision();
  while (core_.reloading() && !deadline.passed()) wait_changed(lock, deadline);
  const std::string what = "reload of pool \"" + options_.name + "\"";
  if (core_.shutting_down() || core_.reloading()) return unfinished(what, timeout);
  if (core_.complete_revision() >= revision) return {};
  Error error =
      last_start_error_.value_or(Error{.kind = ErrorKind::kUnavailable, .message = "no start succeeded"});
  error.message =
      what + " was given up, and the workers go on with the code that they have: " + error.message;
  return error;
}

Result<void> Shell::resize(std::size_t size, Duration timeout) {
  if (size == 0 || size > most_size()) {
    return Error{.kind = ErrorKind::kInvalidArgument,
                 .delivery = Delivery::kNotSent,
                 .message = "resize(" + std::to_string(size) + "): pool \"" + options_.name +
                            "\" can have 1 to " + std::to_string(most_size()) +
                            " workers (four times its first size, and 64 at least)"};
  }
  const Deadline deadline = Deadline::after(timeout);
  (void)step(core::Resize{size});
  std::unique_lock lock(mutex_);
  const auto complete = [&] {
    if (core_.size() != size) return true;  // somebody else has resized it since
    for (std::uint32_t i = 0; i < core_.slots(); ++i) {
      if (core_.slot(i).closed && core_.slot(i).state != SlotState::kVacant) return false;
    }
    return options_.lazy || core_.ready_count() >= size;
  };
  while (!core_.shutting_down() && !complete() && !deadline.passed()) {
    if (core_.failed()) {
      Error error = last_start_error_.value_or(Error{.kind = ErrorKind::kUnavailable});
      error.message = "resize of pool \"" + options_.name + "\" to " + std::to_string(size) +
                      ": starting workers has failed: " + error.message;
      return error;
    }
    wait_changed(lock, deadline);
  }
  if (!core_.shutting_down() && complete()) return {};
  return unfinished("resize of pool \"" + options_.name + "\" to " + std::to_string(size), timeout);
}

Result<void> Shell::recycle(std::uint32_t slot, Duration timeout) {
  const Deadline deadline = Deadline::after(timeout);
  core::WorkerRef old;
  {
    const std::lock_guard lock(mutex_);
    const bool there = slot < core_.slots() && core_.slot(slot).generation > 0;
    if (there) old = {slot, core_.slot(slot).generation};
    if (!there || !core_.alive(old)) {
      return Error{.kind = ErrorKind::kInvalidArgument,
                   .delivery = Delivery::kNotSent,
                   .message = "recycle(" + std::to_string(slot) + "): pool \"" + options_.name +
                              "\" has no worker in that slot now"};
    }
  }
  (void)step(core::Retire{.worker = old, .reason = core::Reason::kRecycled});
  std::unique_lock lock(mutex_);
  while (core_.alive(old) && core_.recycles(old) && !core_.shutting_down() && !deadline.passed()) {
    wait_changed(lock, deadline);
  }
  if (!core_.alive(old)) return {};
  const std::string what = "the replacement of worker " + name_of(old) + " of pool \"" + options_.name + "\"";
  if (core_.shutting_down() || core_.recycles(old)) return unfinished(what, timeout);
  Error error =
      last_start_error_.value_or(Error{.kind = ErrorKind::kUnavailable, .message = "it did not start"});
  error.message = what + " has failed, and the old one stays: " + error.message;
  return error;
}

void Shell::admit(Admission admission) {
  if (step(core::Admit{admission}) != core::Outcome::kDone) return;
  const char* state = admission == Admission::kOpen     ? "open"
                      : admission == Admission::kPaused ? "paused"
                                                        : "draining";
  tell(base::LogLevel::kInfo, "[" + options_.name + "] is " + state,
       {.kind = PoolEventKind::kAdmission, .reason = state});
}

Result<void> Shell::drain(Duration timeout) {
  const Deadline deadline = Deadline::after(timeout);
  admit(Admission::kDraining);
  std::unique_lock lock(mutex_);
  while (!core_.quiet() && !core_.shutting_down() && !deadline.passed()) wait_changed(lock, deadline);
  if (core_.quiet()) return {};
  return unfinished("draining pool \"" + options_.name + "\"", timeout);
}

// --- The supervisor's news -------------------------------------------------------------------------

void Supervisor::reloaded(const core::Reloaded& news) {
  const std::string revision = std::to_string(news.revision);
  const std::string message =
      news.complete ? "all workers have revision " + revision
                    : "the reload to revision " + revision + " was given up: the old workers stay";
  shell_.tell(
      news.complete ? base::LogLevel::kInfo : base::LogLevel::kWarn,
      "[" + shell_.options_.name + "] " + message,
      {.kind = PoolEventKind::kReload, .reason = news.complete ? "complete" : "failed", .message = message});
}

void Supervisor::succeeded(const core::Succeeded& news) {
  const std::string text = "[" + shell_.options_.name + "] worker " + name_of(news.worker) +
                           (news.replaced ? " is succeeded by " : " stays: its successor did not start, ") +
                           name_of(news.heir) + " (" + to_string(news.reason) + ")";
  shell_.log(news.replaced ? base::LogLevel::kDebug : base::LogLevel::kWarn, text);
}

}  // namespace lair::pool
