// What a call's tries have to do with each other: its command's breaker, and trying again.
#include <functional>
#include <random>
#include <thread>

#include "base/duration.hpp"
#include "pool/shell.hpp"

namespace lair::pool {

// --- The breaker -----------------------------------------------------------------------------------

std::optional<Error> Shell::refused_before_wait(const Wanted& wanted) {
  *wanted.pass = breakers_.find(wanted.command);
  if (breakers_.closed(*wanted.pass)) return std::nullopt;
  const auto refusal = breakers_.look(*wanted.pass, SteadyClock::now());
  if (!refusal) return std::nullopt;
  ledger_.rejected(Rejection::kBreakerOpen);
  return breaker_open(wanted.command, *refusal);
}

std::optional<Error> Shell::refused_on_dispatch(core::Breakers::Pass& pass, std::string_view command) {
  // Meanwhile other calls of it may have had the first outcomes.
  if (pass.command == core::Breakers::kUnknown) pass = breakers_.find(command);
  if (breakers_.closed(pass)) return std::nullopt;
  const auto refusal = breakers_.enter(pass, SteadyClock::now());
  if (!refusal) return std::nullopt;
  ledger_.rejected(Rejection::kBreakerOpen);
  return breaker_open(command, *refusal);
}

std::string Shell::note(const Noted& noted, TimePoint now) {
  switch (breakers_.leave(noted.pass, noted.command, noted.outcome, now)) {
    case core::Breakers::Change::kNone:
      break;
    case core::Breakers::Change::kOpened:
      return breaker_open(noted.command, breakers_.refusal(noted.pass, now)).message;
    case core::Breakers::Change::kClosed:
      return "command \"" + std::string(noted.command) + "\" of pool \"" + options_.name +
             "\" is called again: its trial calls succeeded";
  }
  return {};
}

// A worker may have died with its keeper, or because the pool is being shut down: not for what it was doing. That is
// known only when its exit status is (kUnknown: nobody was left to collect it), a moment after the call's end.
void Shell::note_crash(Noted noted, const Error& error) {
  const auto& exit = error.worker->exit;
  const bool keeper_lost = exit && exit->how == ExitStatus::How::kUnknown;
  std::string news;
  {
    const std::lock_guard lock(mutex_);
    if (keeper_lost || core_.shutting_down()) noted.outcome = core::TryOutcome::kNothing;
    news = note(noted, SteadyClock::now());
  }
  if (!news.empty()) tell_breaker(noted.command, std::move(news));
}

// What `note` has returned. The supervisor looks whether that is an alert.
void Shell::tell_breaker(std::string_view command, std::string news) {
  tell(base::LogLevel::kWarn, news,
       {.kind = PoolEventKind::kBreaker, .message = news, .command = std::string(command)});
  wake_.notify();
}

// --- Trying again ----------------------------------------------------------------------------------

static std::uint64_t seed_of(const Prepared& call) {
  const auto thread = std::hash<std::thread::id>{}(std::this_thread::get_id());
  return static_cast<std::uint64_t>(call.started.time_since_epoch().count()) ^ thread;
}

void Shell::tell_retry(std::string_view command, unsigned failures, const Retries& retries, Duration wait,
                       const Error& error) {
  std::string message = "command \"" + std::string(command) + "\": try " + std::to_string(failures + 1) +
                        " of " + std::to_string(retries.most + 1) + " after " + base::format_duration(wait) +
                        ", because of " + std::string(to_string(error.kind)) + ": " + error.message;
  const std::string text = "[" + options_.name + "] " + message;
  tell(base::LogLevel::kDebug, text,
       {.kind = PoolEventKind::kRetry,
        .took = wait,
        .reason = std::string(to_string(error.kind)),
        .message = std::move(message),
        .command = std::string(command)});
}

Result<Json> Shell::try_again(const Prepared& call, Wanted& wanted, Retries retries, Duration patience,
                              Try failed) {
  std::mt19937_64 random(seed_of(call));
  retries.later = true;
  wanted.admitted = true;
  bool reached = false;
  bool may_have_run = false;
  for (unsigned failures = 1;; ++failures) {
    Error error = std::move(failed.result).error();
    reached |= failed.open != Ending::kShed;
    may_have_run |= error.delivery == Delivery::kMaybeExecuted;
    const Duration wait = core::retry_delay(failures, error, random);
    // A caller that has waited for a worker as long as it wanted to does not want to wait once more.
    const bool waited = error.kind == ErrorKind::kOverloaded && wanted.queue_deadline.passed();
    const bool worthwhile = failures <= retries.most && !waited && wait < call.deadline.remaining() &&
                            core::retry_can_mend(error, retries.idempotent);
    {
      std::unique_lock lock(mutex_);
      const bool wanted_one = worthwhile && !core_.shutting_down();
      if (!wanted_one || !retry_budget_.take()) {
        if (wanted_one) ++counters_.retries_denied;
        // `shed` is for calls that no try of which has reached a worker.
        const bool late = error.kind == ErrorKind::kDeadlineExceeded;
        const Ending lost = late ? Ending::kTimeout : Ending::kCrashed;
        const Ending ending = failed.open == Ending::kShed && reached ? lost : *failed.open;
        close_books({wanted.command, call.started, ending}, SteadyClock::now());
        lock.unlock();
        if (failures > 1) error.message += " (This was try " + std::to_string(failures) + ".)";
        if (may_have_run && error.delivery == Delivery::kNotSent) {
          error.delivery = Delivery::kMaybeExecuted;
          error.message += " An earlier try may have run.";
        }
        return error;
      }
      ++counters_.retries;
    }
    tell_retry(wanted.command, failures, retries, wait, error);
    {
      std::unique_lock lock(mutex_);
      stopped_changed_.wait_for(lock, wait, [this] { return stopped_; });
    }
    wanted.queue_deadline = Deadline::after(patience);
    failed = try_once(call, wanted, retries);
    if (failed.result) {
      const std::lock_guard lock(mutex_);
      close_books({wanted.command, call.started, *failed.open}, SteadyClock::now());
      ++counters_.retried_ok;
      return std::move(failed.result);
    }
  }
}

}  // namespace lair::pool
