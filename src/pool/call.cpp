// One call, from its arguments to its one outcome: encode, take a worker, talk to it on this thread, give it back.
#include <algorithm>

#include "base/duration.hpp"
#include "base/nearest.hpp"
#include "base/overloaded.hpp"
#include "pool/shell.hpp"
#include "wire/json_codec.hpp"

namespace lair::pool {

using base::Overloaded;
using core::Reason;
using worker::Channel;

namespace {

// How often a call whose worker turned out dead before anything was sent takes another.
constexpr int kMostDispatches = 4;
// A dead worker's exit status is collected by the keeper and comes through the supervisor, within a millisecond or two:
// how long an error message waits for it on a machine that has other things to do.
constexpr Duration kExitPatience = std::chrono::milliseconds(500);

// A worker that has been idle for longer is looked at before it is used again.
constexpr Duration kShortRest = std::chrono::microseconds(100);

// What a worker says out of turn it mostly says at once or much later. Between calls that follow each other closely a look
// would cost more than it finds: then the reply to the next call is what shows it, by its number.
Channel::Look look_at(const Record& record, TimePoint now) {
  return now - record.rests_since > kShortRest ? Channel::Look::kAsk : Channel::Look::kGlance;
}

// What one attempt on one worker came to.
struct Attempt {
  Result<Json> result;
  Verdict verdict = {};
  Ending ending = Ending::kError;
  bool dispatch_again = false;  // nothing was sent, and the worker is to blame
};

// What it says about the command. Nothing, where the worker had not read the request, or the host is to blame.
core::TryOutcome outcome_of(const Attempt& attempt) {
  if (attempt.verdict.completed > 0) return core::TryOutcome::kAnswered;
  if (attempt.result || attempt.result.error().delivery != Delivery::kMaybeExecuted) {
    return core::TryOutcome::kNothing;
  }
  switch (attempt.result.error().kind) {
    case ErrorKind::kWorkerLost:
      return core::TryOutcome::kCrash;
    case ErrorKind::kDeadlineExceeded:
      return core::TryOutcome::kTimeout;
    case ErrorKind::kProtocol:
      return core::TryOutcome::kProtocol;
    default:
      return core::TryOutcome::kNothing;
  }
}

Error error_of(ErrorKind kind, Delivery delivery, std::string message) {
  return {.kind = kind, .delivery = delivery, .message = std::move(message)};
}

std::string on_worker(const WorkerIdentity& worker) {
  return "worker " + std::to_string(worker.slot) + '.' + std::to_string(worker.generation) + " (pid " +
         std::to_string(worker.pid) + ')';
}

std::string quoted(std::string_view command) { return "command \"" + std::string(command) + '"'; }

std::string known_commands(const wire::Announcement& announced, std::string_view command) {
  std::vector<std::string_view> names;
  names.reserve(announced.commands.size());
  for (const wire::Command& known : announced.commands) names.push_back(known.name);
  if (const auto guess = base::nearest(command, names))
    return "; did you mean \"" + std::string(*guess) + "\"?";
  if (names.empty()) return "; the worker has none but the standard ones";
  std::string text = "; it has: ";
  for (std::size_t i = 0; i < std::min<std::size_t>(names.size(), 12); ++i) {
    text += i == 0 ? "" : ", ";
    text += names[i];
  }
  return text + (names.size() > 12 ? ", …" : "");
}

Delivery sent_or_not(bool sent) { return sent ? Delivery::kMaybeExecuted : Delivery::kNotSent; }

}  // namespace

Error unknown_command(const wire::Announcement& announced, std::string_view command) {
  return error_of(ErrorKind::kUnknownCommand, Delivery::kNotSent,
                  "unknown " + quoted(command) + known_commands(announced, command));
}

// The worker answered: with a value, or with an error that is not its fault.
static Attempt answered(std::string_view command, wire::Reply reply, WorkerIdentity worker) {
  return std::visit(
      Overloaded{
          [&](wire::Value& value) {
            return Attempt{
                .result = std::move(value.value), .verdict = {.completed = 1}, .ending = Ending::kOk};
          },
          [&](wire::Raised& raised) {
            Error error{
                .kind = ErrorKind::kRemote, .delivery = Delivery::kExecuted, .message = quoted(command)};
            switch (raised.kind) {
              case wire::Raised::Kind::kRemote:
                error.message +=
                    " raised " + (raised.type.empty() ? "an error: " : raised.type + ": ") + raised.message;
                break;
              case wire::Raised::Kind::kUnencodable:
                error.message += " returned what cannot be sent: " + raised.message;
                break;
              case wire::Raised::Kind::kUnknownCommand:
                error.kind = ErrorKind::kUnknownCommand;
                error.delivery = Delivery::kNotSent;
                error.message = raised.message;
                break;
              case wire::Raised::Kind::kInvalidArgument:
                error.kind = ErrorKind::kInvalidArgument;
                error.delivery = Delivery::kNotSent;
                error.message += ": " + raised.message;
                break;
            }
            error.python = PythonError{raised.type, raised.message, raised.traceback};
            error.worker = std::move(worker);
            return Attempt{.result = std::move(error), .verdict = {.completed = 1}, .ending = Ending::kError};
          },
          [&](wire::Malformed& malformed) {
            Error error = error_of(ErrorKind::kProtocol, Delivery::kMaybeExecuted,
                                   on_worker(worker) + " broke the protocol in answer to " + quoted(command) +
                                       ": " + malformed.problem + ". It was killed.");
            error.worker = std::move(worker);
            return Attempt{.result = std::move(error),
                           .verdict = {.clean = false, .reason = Reason::kProtocol},
                           .ending = Ending::kCrashed};
          },
      },
      reply);
}

// No answer came. `worker` without its exit status: that is not known yet.
static Attempt unanswered(std::string_view command, const Channel::NoReply& end, const WorkerIdentity& worker,
                          Duration after) {
  const Delivery delivery = sent_or_not(end.sent);
  switch (end.failure) {
    case Channel::Failure::kDeadline:
      return {.result = error_of(ErrorKind::kDeadlineExceeded, delivery,
                                 quoted(command) + " missed its deadline after " +
                                     base::format_duration(after) + " on " + on_worker(worker) +
                                     (end.sent ? "" : ", which had not read all of the request") +
                                     ". The worker was killed and is being replaced."),
              .verdict = {.clean = false, .reason = Reason::kTimeout},
              .ending = Ending::kTimeout};
    case Channel::Failure::kExited:
    case Channel::Failure::kClosed:
      return {.result = error_of(
                  ErrorKind::kWorkerLost, delivery,
                  on_worker(worker) +
                      (end.failure == Channel::Failure::kExited ? " ended" : " closed its channel") +
                      (end.sent ? " during " : " before it had read the request for ") + quoted(command)),
              .verdict = {.clean = false, .reason = Reason::kCrash},
              .ending = Ending::kCrashed,
              .dispatch_again = !end.sent};
    case Channel::Failure::kTooLong:
      return {.result = error_of(
                  ErrorKind::kProtocol, delivery,
                  on_worker(worker) + " broke the protocol in answer to " + quoted(command) + ": " +
                      end.detail + ". It was killed. (If the reply is really that large, raise max_frame.)"),
              .verdict = {.clean = false, .reason = Reason::kProtocol},
              .ending = Ending::kCrashed};
    case Channel::Failure::kEarlyReply:
      return {.result = error_of(ErrorKind::kProtocol, Delivery::kMaybeExecuted,
                                 on_worker(worker) + " answered " + quoted(command) +
                                     " before it had read the request: " + end.detail + ". It was killed."),
              .verdict = {.clean = false, .reason = Reason::kProtocol},
              .ending = Ending::kCrashed};
    case Channel::Failure::kSystem:
      break;
  }
  return {.result = error_of(ErrorKind::kInternal, delivery,
                             "talking to " + on_worker(worker) + " failed: " + end.detail),
          .verdict = {.clean = false, .reason = Reason::kCrash},
          .ending = Ending::kCrashed,
          .dispatch_again = !end.sent};
}

// Runs on the caller's thread, which owns the channel for the time being.
static Attempt attempt(Record& record, std::string_view command, std::string_view arguments, bool positional,
                       Deadline deadline, TimePoint started) {
  const wire::Announcement& announced = *record.announcement;
  WorkerIdentity worker{
      .slot = record.ref.slot, .generation = record.ref.generation, .pid = record.process.pid};

  if (!announced.knows(command)) return {.result = unknown_command(announced, command)};
  if (announced.protocol == wire::Protocol::kOne && positional) {
    if (arguments != "[]") {
      return {.result = error_of(ErrorKind::kInvalidArgument, Delivery::kNotSent,
                                 quoted(command) +
                                     ": this worker speaks protocol 1, which has keyword arguments only; "
                                     "give an object (lair::kwargs{{\"name\", value}})")};
    }
    arguments = "{}";
  }
  Channel& channel = *record.channel;
  switch (channel.quiet(look_at(record, started))) {
    case Channel::Quiet::kYes:
      break;
    case Channel::Quiet::kStrayBytes:
      return {.result = error_of(ErrorKind::kProtocol, Delivery::kNotSent,
                                 on_worker(worker) + " had written bytes that nobody asked for: " +
                                     channel.stray_bytes() + ". It was killed."),
              .verdict = {.clean = false, .reason = Reason::kProtocol},
              .ending = Ending::kCrashed,
              .dispatch_again = true};
    case Channel::Quiet::kClosed: {
      const auto failure = deadline.passed() ? Channel::Failure::kDeadline : Channel::Failure::kExited;
      return unanswered(command, {.failure = failure}, worker, SteadyClock::now() - started);
    }
  }
  const wire::CallHeader header{.protocol = announced.protocol,
                                .id = channel.next_id(),
                                .generation = record.ref.generation,
                                .command = command,
                                .remaining = deadline.remaining()};
  const wire::CallFrame frame = wire::encode_call(header, arguments);
  if (frame.payload_size() > announced.max_frame) {
    return {.result =
                error_of(ErrorKind::kInvalidArgument, Delivery::kNotSent,
                         "the arguments of " + quoted(command) + " make a message of " +
                             std::to_string(frame.payload_size()) +
                             " bytes; the limit is max_frame = " + std::to_string(announced.max_frame))};
  }
  const auto reply =
      channel.exchange(frame, record.process.exit_fd.get(), deadline, Channel::Waits::kWatched);
  if (const auto* payload = std::get_if<std::string_view>(&reply)) {
    return answered(command, wire::decode_reply(header, *payload), std::move(worker));
  }
  return unanswered(command, std::get<Channel::NoReply>(reply), worker, SteadyClock::now() - started);
}

namespace {

Result<Prepared> prepare(const PoolOptions& pool, const CallOptions& options, std::string_view command,
                         const Json& arguments) {
  const TimePoint now = SteadyClock::now();
  if (!arguments.is_object() && !arguments.is_array()) {
    return error_of(ErrorKind::kInvalidArgument, Delivery::kNotSent,
                    quoted(command) +
                        ": arguments must be an object (keywords) or an array (positions), not " +
                        arguments.type_name());
  }
  auto encoded = wire::encode_json(arguments, arguments.is_array() ? "argument " : "argument");
  if (!encoded) {
    Error error = std::move(encoded).error();
    error.message = quoted(command) + ": " + error.message;
    return error;
  }
  return Prepared{.arguments = *std::move(encoded),
                  .positional = arguments.is_array(),
                  .deadline = Deadline::after(options.timeout.value_or(pool.timeout), now),
                  .started = now};
}

}  // namespace

Result<Json> Shell::call(const CallOptions& options, std::string_view command, const Json& arguments) {
  auto prepared = prepare(options_, options, command, arguments);
  if (!prepared) return std::move(prepared).error();

  const Duration patience = options.checkout_timeout.value_or(options_.checkout_timeout);
  core::Breakers::Pass pass;
  Wanted wanted{.deadline = prepared->deadline,
                .queue_deadline = Deadline::after(patience, prepared->started),
                .command = command,
                .pass = &pass};
  const Retries retries{.most = options.retries.value_or(options.idempotent ? options_.retries : 0),
                        .idempotent = options.idempotent};
  Try first = try_once(*prepared, wanted, retries);
  if (!first.open) return std::move(first.result);
  return try_again(*prepared, wanted, retries, patience, std::move(first));
}

Shell::Try Shell::try_once(const Prepared& call, Wanted& wanted, const Retries& retries) {
  // What may follow is for try_again to say, and to put into the books.
  const auto left_open = [&](const Result<Json>& result) {
    return retries.later ||
           (!result && retries.most > 0 && core::retry_can_mend(result.error(), retries.idempotent));
  };
  const auto ended = [&](Ending ending) { return EndedCall{wanted.command, call.started, ending}; };
  for (int dispatch = 1;; ++dispatch) {
    Result<Hold> hold = take(wanted);
    if (!hold) {
      Result<Json> refused = std::move(hold).error();
      if (refused.error().kind == ErrorKind::kUnknownCommand) return {.result = std::move(refused)};
      if (left_open(refused)) return {.result = std::move(refused), .open = Ending::kShed};
      const TimePoint now = SteadyClock::now();
      const std::lock_guard lock(mutex_);
      close_books(ended(Ending::kShed), now);
      return {.result = std::move(refused)};
    }
    wanted.admitted = true;
    Noted noted{.pass = *wanted.pass, .command = wanted.command};
    if (call.deadline.passed()) {  // nothing starts after its deadline
      const auto open = retries.later ? std::optional(Ending::kShed) : std::nullopt;
      give_back(*hold, {}, open ? std::nullopt : std::optional(ended(Ending::kShed)), noted);
      const TimePoint now = SteadyClock::now();
      const std::lock_guard lock(mutex_);
      (void)rejected(Rejection::kDeadline, now);
      return {.result = queue_wait_ended(true, now - call.started), .open = open};
    }
    Attempt outcome =
        attempt(*hold->record, wanted.command, call.arguments, call.positional, call.deadline, call.started);
    const bool again = outcome.dispatch_again && dispatch < kMostDispatches && !call.deadline.passed();
    const auto open = left_open(outcome.result) ? std::optional(outcome.ending) : std::nullopt;
    noted.outcome = outcome_of(outcome);
    const bool crash = noted.outcome == core::TryOutcome::kCrash;
    give_back(*hold, outcome.verdict, again || open ? std::nullopt : std::optional(ended(outcome.ending)),
              crash ? std::nullopt : std::optional(noted));
    if (again) {
      wanted.since = call.started;
      continue;
    }
    if (!outcome.result && !outcome.verdict.clean) {
      Error error = std::move(outcome.result).error();
      describe_end(error, hold->record, call.deadline);
      if (crash) note_crash(noted, error);
      return {.result = std::move(error), .open = open};
    }
    return {.result = std::move(outcome.result), .open = open};
  }
}

Result<Hold> Shell::take_lease(Deadline deadline) {
  std::optional<TimePoint> since;
  for (int dispatch = 1;; ++dispatch) {
    const TimePoint began = SteadyClock::now();
    Result<Hold> hold = take({.exclusive = true, .queue_deadline = deadline, .since = since});
    if (!hold || dispatch == kMostDispatches) return hold;
    const Channel::Quiet quiet = hold->record->channel->quiet(look_at(*hold->record, began));
    if (quiet == Channel::Quiet::kYes) return hold;
    give_back(*hold, {.clean = false,
                      .reason = quiet == Channel::Quiet::kClosed ? Reason::kCrash : Reason::kProtocol});
    if (!since) since = began;
  }
}

Result<Json> Shell::call_on(Hold& hold, const CallOptions& options, std::string_view command,
                            const Json& arguments) {
  auto prepared = prepare(options_, options, command, arguments);
  if (!prepared) return std::move(prepared).error();
  core::Breakers::Pass pass;
  Noted noted{.pass = pass, .command = command};
  const auto ended = [&](Ending ending) { return EndedCall{command, prepared->started, ending}; };
  bool wake = false;
  {
    const std::lock_guard lock(mutex_);
    ++counters_.admitted;
    retry_budget_.call();
    if (prepared->deadline.passed()) {  // nothing starts after its deadline
      close_books(ended(Ending::kShed), prepared->started);
      return error_of(ErrorKind::kDeadlineExceeded, Delivery::kNotSent,
                      quoted(command) + ": its deadline passed before it was sent");
    }
    if (auto refusal = refused_on_dispatch(pass, command)) {
      close_books(ended(Ending::kShed), prepared->started);
      return *std::move(refusal);
    }
    wake = watch_call(*hold.record, prepared->deadline, command, prepared->started);
  }
  if (wake) wake_.notify();
  Attempt outcome = attempt(*hold.record, command, prepared->arguments, prepared->positional,
                            prepared->deadline, prepared->started);
  noted.outcome = outcome_of(outcome);
  const bool crash = noted.outcome == core::TryOutcome::kCrash;
  hold.record->rests_since = SteadyClock::now();
  if (outcome.verdict.clean) {
    std::unique_lock lock(mutex_);
    if (call_ended(*hold.record)) {
      close_books(ended(outcome.ending), hold.record->rests_since);
      std::string news = note(noted, hold.record->rests_since);
      lock.unlock();
      if (hold.completed == 0 && outcome.verdict.completed > 0) (void)step(core::Answered{hold.record->ref});
      if (!news.empty()) tell_breaker(noted.command, std::move(news));
      hold.completed += outcome.verdict.completed;
      return std::move(outcome.result);
    }
    outcome.verdict = {.clean = false, .reason = Reason::kTimeout, .completed = outcome.verdict.completed};
  }
  outcome.verdict.completed += hold.completed;
  give_back(hold, outcome.verdict, ended(outcome.ending), crash ? std::nullopt : std::optional(noted));
  hold.epoch = 0;
  if (outcome.result) return std::move(outcome.result);  // it came in the very moment of its deadline
  Error error = std::move(outcome.result).error();
  describe_end(error, hold.record, prepared->deadline);
  if (crash) note_crash(noted, error);
  return error;
}

bool Shell::watch_call(Record& record, Deadline deadline, std::string_view command, TimePoint now) {
  record.running = Record::Running{.command = command, .since = now};
  record.call_due = deadline.when();
  const bool to_watch = slow_calls_.began(now);
  if (record.call_due >= next_call_due_) return to_watch;
  next_call_due_ = record.call_due;
  return true;
}

bool Shell::call_ended(Record& record) {
  record.call_due = TimePoint::max();
  record.running.reset();
  return !record.interrupted;
}

std::vector<RecordPtr> Shell::overdue_calls(TimePoint now) {
  std::vector<RecordPtr> overdue;
  next_call_due_ = TimePoint::max();
  for (const auto& pair : records_) {
    for (const RecordPtr& record : pair) {
      if (record == nullptr || record->call_due == TimePoint::max()) continue;
      if (record->call_due > now) {
        next_call_due_ = std::min(next_call_due_, record->call_due);
      } else if (!record->interrupted) {
        record->interrupted = true;
        overdue.push_back(record);
      }
    }
  }
  return overdue;
}

// Adds how the worker ended and what it last said. Waits a moment for that if the caller has it to spare.
void Shell::describe_end(Error& error, const RecordPtr& record, Deadline deadline) {
  const bool ended_itself = error.kind == ErrorKind::kWorkerLost;
  const Duration patience = ended_itself ? std::min(kExitPatience, deadline.remaining()) : Duration::zero();
  error.worker = identity(record, patience);
  if (ended_itself && error.worker->exit) error.message += ": " + error.worker->exit->describe();
  if (ended_itself && error.worker->exit) {
    const std::lock_guard lock(mutex_);
    if (!record->complaint.empty()) error.message += "; it " + record->complaint;
  }
  if (ended_itself) error.message += ". It is being replaced.";
}

}  // namespace lair::pool
