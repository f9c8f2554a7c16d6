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

// --- One try -----------------------------------------------------------------------------------------

// What may follow is for `tried` to say, and to put into the books.
static bool left_open(const Retries& retries, const Result<Json>& result) {
  return retries.later ||
         (!result && retries.most > 0 && core::retry_can_mend(result.error(), retries.idempotent));
}

static EndedCall ended_call(const Course& course, Ending ending) {
  return {course.wanted.command, course.call.started, ending};
}

TimePoint Shell::time_of(const Course& course, const Hold& hold) {
  // A lease was taken long ago, and the fence of a session may have kept its call.
  return course.exclusive || course.session != nullptr ? SteadyClock::now() : hold.since;
}

std::optional<Try> Shell::took(Course& course, const Result<Hold>& hold) {
  Wanted& wanted = course.wanted;
  if (!hold) {
    Try ended{.result = hold.error()};
    const ErrorKind kind = hold.error().kind;
    if (kind == ErrorKind::kUnknownCommand) return ended;
    const Ending ending = kind == ErrorKind::kCancelled ? Ending::kCancelled : Ending::kShed;
    if (left_open(course.retries, ended.result)) {
      ended.open = ending;
    } else {
      book(ended_call(course, ending), std::nullopt);
    }
    return ended;
  }
  wanted.admitted = true;
  ++course.dispatches;
  if (course.session != nullptr) {
    // What the call before it may still have under way in the store, comes first.
    const std::lock_guard last_use(course.session->fence);
  }
  const bool stopped = wanted.stop.stop_requested();
  if (!stopped && !course.call.deadline.passed(time_of(course, *hold))) return std::nullopt;
  // Nothing starts after its deadline.
  const Ending ending = stopped ? Ending::kCancelled : Ending::kShed;
  const auto open = course.retries.later ? std::optional(ending) : std::nullopt;
  give_back(*hold, {}, open ? std::nullopt : std::optional(ended_call(course, ending)),
            Noted{.pass = course.pass, .command = wanted.command});
  if (stopped) {
    return Try{.result = Error{.kind = ErrorKind::kCancelled,
                               .delivery = Delivery::kNotSent,
                               .message = quoted(wanted.command) + " was cancelled before it was sent"},
               .open = open};
  }
  const TimePoint now = SteadyClock::now();
  const std::lock_guard lock(mutex_);
  (void)rejected(Rejection::kDeadline, now);
  return Try{.result = queue_wait_ended(true, now - course.call.started), .open = open};
}

std::optional<Try> Shell::attempted(Course& course, const Hold& hold, Attempt outcome, bool gives_back) {
  const bool again =
      outcome.dispatch_again && course.dispatches < kMostDispatches && !course.call.deadline.passed();
  const auto open = left_open(course.retries, outcome.result) ? std::optional(outcome.ending) : std::nullopt;
  const Noted noted{.pass = course.pass, .command = course.wanted.command, .outcome = outcome_of(outcome)};
  const bool crash = noted.outcome == core::TryOutcome::kCrash;
  const auto ended = again || open ? std::nullopt : std::optional(ended_call(course, outcome.ending));
  const auto told = crash ? std::nullopt : std::optional(noted);
  if (course.session != nullptr && outcome.verdict.clean) course.session->changes.heard();
  if (gives_back) {
    give_back(hold, outcome.verdict, ended, told);
  } else {
    shut_out(course.session.get(), hold.epoch);
    book(ended, told);
  }
  if (again) {
    course.wanted.since = course.call.started;
    return std::nullopt;
  }
  Try result{.result = std::move(outcome.result), .open = open};
  if (!result.result && !outcome.verdict.clean) {
    result.lost = hold.record;
    result.crash = crash;
  }
  return result;
}

// Adds how the worker ended and what it last said.
void Shell::describe(Course& course, Try& ended, Duration patience) {
  Error error = std::move(ended.result).error();
  const bool ended_itself = error.kind == ErrorKind::kWorkerLost;
  error.worker = identity(ended.lost, ended_itself ? patience : Duration::zero());
  if (ended_itself && error.worker->exit) {
    error.message += ": " + error.worker->exit->describe();
    const std::lock_guard lock(mutex_);
    if (!ended.lost->complaint.empty()) error.message += "; it " + ended.lost->complaint;
  }
  if (ended_itself) error.message += ". It is being replaced.";
  if (ended.crash) {
    note_crash({.pass = course.pass, .command = course.wanted.command, .outcome = core::TryOutcome::kCrash},
               error);
  }
  ended.result = std::move(error);
}

// --- Trying again ----------------------------------------------------------------------------------

static std::uint64_t seed_of(const Course& course) {
  const auto thread = std::hash<std::thread::id>{}(std::this_thread::get_id());
  return (static_cast<std::uint64_t>(course.call.started.time_since_epoch().count()) ^ thread) +
         course.failures;
}

bool Shell::take_retry() {
  if (core_.shutting_down()) return false;
  const bool taken = retry_budget_.take();
  ++(taken ? counters_.retries : counters_.retries_denied);
  return taken;
}

void Shell::tell_retry(const Course& course, Duration wait, const Error& error) {
  const std::string_view command = course.wanted.command;
  std::string message = quoted(command) + ": try " + std::to_string(course.failures + 1) + " of " +
                        std::to_string(course.retries.most + 1) + " after " + base::format_duration(wait) +
                        ", because of " + std::string(to_string(error.kind)) + ": " + error.message;
  const std::string text = "[" + options_.name + "] " + message;
  tell(base::LogLevel::kDebug, text,
       {.kind = PoolEventKind::kRetry,
        .took = wait,
        .reason = std::string(to_string(error.kind)),
        .message = std::move(message),
        .command = std::string(command)});
}

std::variant<Duration, Result<Json>> Shell::tried(Course& course, Try failed) {
  std::mt19937_64 random(seed_of(course));
  const Wanted& wanted = course.wanted;
  Error error = std::move(failed.result).error();
  course.retries.later = true;
  course.wanted.admitted = true;
  course.dispatches = 0;
  ++course.failures;
  course.reached_worker |= failed.open != Ending::kShed && failed.open != Ending::kCancelled;
  course.may_have_run |= error.delivery == Delivery::kMaybeExecuted;
  const Duration wait = core::retry_delay(course.failures, error, random);
  // A caller that has waited for a worker as long as it wanted to does not want to wait once more.
  const bool waited = error.kind == ErrorKind::kOverloaded && wanted.queue_deadline.passed();
  const bool worthwhile = course.failures <= course.retries.most && !waited &&
                          wait < course.call.deadline.remaining() && !wanted.stop.stop_requested() &&
                          core::retry_can_mend(error, course.retries.idempotent);
  bool tries_again = false;
  {
    const std::lock_guard lock(mutex_);
    tries_again = worthwhile && take_retry();
    if (!tries_again) {
      // `shed` is for calls that no try of which has reached a worker.
      const bool late = error.kind == ErrorKind::kDeadlineExceeded;
      const Ending lost = late ? Ending::kTimeout : Ending::kCrashed;
      const Ending ending = failed.open == Ending::kShed && course.reached_worker ? lost : *failed.open;
      close_books(ended_call(course, ending), SteadyClock::now());
    }
  }
  if (!tries_again) {
    if (course.failures > 1) error.message += " (This was try " + std::to_string(course.failures) + ".)";
    if (course.may_have_run && error.delivery == Delivery::kNotSent) {
      error.delivery = Delivery::kMaybeExecuted;
      error.message += " An earlier try may have run.";
    }
    return error;
  }
  tell_retry(course, wait, error);
  return wait;
}

void Shell::mended(const Course& course, Ending ending) {
  const std::lock_guard lock(mutex_);
  close_books(ended_call(course, ending), SteadyClock::now());
  ++counters_.retried_ok;
}

}  // namespace lair::pool
