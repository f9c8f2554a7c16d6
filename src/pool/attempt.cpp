#include "pool/attempt.hpp"

#include <algorithm>

#include "base/assert.hpp"
#include "base/duration.hpp"
#include "base/nearest.hpp"
#include "base/overloaded.hpp"
#include "wire/json_codec.hpp"
#include "wire/msgpack.hpp"

namespace lair::pool {

using base::Overloaded;
using core::Reason;
using worker::Channel;

namespace {

// A worker that has been idle for longer is looked at before it is used again.
constexpr Duration kShortRest = std::chrono::microseconds(100);

Error error_of(ErrorKind kind, Delivery delivery, std::string message) {
  return {.kind = kind, .delivery = delivery, .message = std::move(message)};
}

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

// The arguments as every worker reads them: the one that has been found for the call knows no MessagePack.
void write_as_json(Prepared& call) {
  std::string problem;
  const auto value = wire::decode_msgpack(call.bytes().arguments, problem);
  auto text = wire::encode_json(value.value_or(Json::array()), "arguments");
  LAIR_ASSERT(value && text);  // its own work
  call.bytes().arguments = *std::move(text);
  call.packed = false;
}

}  // namespace

// What a worker says out of turn it mostly says at once or much later. Between calls that follow each other closely a look
// would cost more than it finds: then the reply to the next call is what shows it, by its number.
Channel::Look look_at(const Record& record, TimePoint now) {
  return now - record.rests_since > kShortRest ? Channel::Look::kAsk : Channel::Look::kGlance;
}

// What it says about the command. Nothing, where the worker had not read the request, or the host is to blame.
core::TryOutcome outcome_of(const Attempt& attempt) {
  if (attempt.result || attempt.result.error().delivery != Delivery::kMaybeExecuted) {
    return attempt.verdict.completed > 0 ? core::TryOutcome::kAnswered : core::TryOutcome::kNothing;
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

WorkerIdentity identity_of(const Record& record) {
  return {.slot = record.ref.slot, .generation = record.ref.generation, .pid = record.process.pid};
}

std::string on_worker(const WorkerIdentity& worker) {
  return "worker " + std::to_string(worker.slot) + '.' + std::to_string(worker.generation) + " (pid " +
         std::to_string(worker.pid) + ')';
}

std::string quoted(std::string_view command) { return "command \"" + std::string(command) + '"'; }

Error unknown_command(const wire::Announcement& announced, std::string_view command) {
  return error_of(ErrorKind::kUnknownCommand, Delivery::kNotSent,
                  "unknown " + quoted(command) + known_commands(announced, command));
}

// The worker answered: with a value, or with an error that is not its fault.
Attempt answered(std::string_view command, wire::Reply reply, WorkerIdentity worker) {
  const auto broke = [&](const std::string& problem) {
    Error error = error_of(ErrorKind::kProtocol, Delivery::kMaybeExecuted,
                           on_worker(worker) + " broke the protocol in answer to " + quoted(command) + ": " +
                               problem + ". It was killed.");
    error.worker = std::move(worker);
    return Attempt{.result = std::move(error),
                   .verdict = {.clean = false, .reason = Reason::kProtocol},
                   .ending = Ending::kCrashed};
  };
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
          [&](wire::Complete&) {
            return Attempt{.result = Json(), .verdict = {.completed = 1}, .ending = Ending::kOk};
          },
          [&](wire::Malformed& malformed) { return broke(malformed.problem); },
          [&](wire::Cancelled&) {
            return broke("it says that the call was cancelled, which nobody had asked for");
          },
          [&](auto&) { return broke("its end has not come"); },
      },
      reply);
}
Attempt unanswered(std::string_view command, const Channel::NoReply& end, const WorkerIdentity& worker,
                   Duration after, bool recovers) {
  const Delivery delivery = sent_or_not(end.sent);
  switch (end.failure) {
    case Channel::Failure::kDeadline:
    case Channel::Failure::kStopped: {
      const bool stopped = end.failure == Channel::Failure::kStopped;
      const std::string what = stopped ? " was cancelled after " : " missed its deadline after ";
      const std::string then = recovers ? ". The worker was told to give it up; it is killed if it does not."
                                        : ". The worker was killed and is being replaced.";
      return {.result = error_of(stopped ? ErrorKind::kCancelled : ErrorKind::kDeadlineExceeded, delivery,
                                 quoted(command) + what + base::format_duration(after) + " on " +
                                     on_worker(worker) +
                                     (end.sent ? "" : ", which had not read all of the request") + then),
              .verdict = {.clean = false,
                          .reason = stopped ? Reason::kCancelled : Reason::kTimeout,
                          .may_recover = recovers},
              .ending = stopped ? Ending::kCancelled : Ending::kTimeout};
    }
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

std::string callback_frame(const wire::Announcement& announced, const wire::CallHeader& header,
                           std::uint64_t number, const Result<Json>& result) {
  std::string frame = wire::encode_callback_result(header.id, header.generation, number, result);
  if (frame.size() - wire::kHeaderBytes <= announced.max_frame) return frame;
  const Error too_long =
      error_of(ErrorKind::kRemote, Delivery::kExecuted,
               "its result makes a message of " + std::to_string(frame.size()) +
                   " bytes; the limit is max_frame = " + std::to_string(announced.max_frame));
  return wire::encode_callback_result(header.id, header.generation, number, too_long);
}

std::variant<wire::CallHeader, Attempt> address(Record& record, const Asked& asked, bool shared) {
  const wire::Announcement& announced = *record.announcement;
  const std::string_view command = asked.command;
  const auto refuse = [&](ErrorKind kind, std::string why) {
    return Attempt{.result = error_of(kind, Delivery::kNotSent, quoted(command) + why)};
  };
  if (!announced.knows(command)) return Attempt{.result = unknown_command(announced, command)};
  if (asked.call.packed && !announced.packs) write_as_json(asked.call);
  std::string_view arguments = asked.call.bytes().arguments;
  if (announced.protocol == wire::Protocol::kOne && asked.call.positional) {
    if (arguments != "[]") {
      return refuse(ErrorKind::kInvalidArgument,
                    ": this worker speaks protocol 1, which has keyword arguments only; give an object "
                    "(lair::kwargs{{\"name\", value}})");
    }
    arguments = "{}";
  }
  if (asked.stream && !announced.streams) {
    return refuse(ErrorKind::kInvalidArgument,
                  ": this worker knows no streams (protocol 1, or an older SDK); call it");
  }
  if (asked.arrays != nullptr && announced.arrays) {
    write_arrays(record, *asked.arena, *asked.arrays, command, asked.call.packed);
  } else if (asked.arrays != nullptr && !asked.arrays->blocks.empty()) {
    return refuse(
        ErrorKind::kInvalidArgument,
        ": this worker takes no arrays (protocol 1, an older SDK, or several calls at a time); give "
        "it lists");
  }
  Channel& channel = *record.channel;
  const WorkerIdentity worker = identity_of(record);
  switch (shared ? Channel::Quiet::kYes : channel.quiet(look_at(record, asked.call.started))) {
    case Channel::Quiet::kYes:
      break;
    case Channel::Quiet::kStrayBytes:
      return Attempt{.result = error_of(ErrorKind::kProtocol, Delivery::kNotSent,
                                        on_worker(worker) + " had written bytes that nobody asked for: " +
                                            channel.stray_bytes() + ". It was killed."),
                     .verdict = {.clean = false, .reason = Reason::kProtocol},
                     .ending = Ending::kCrashed,
                     .dispatch_again = true};
    case Channel::Quiet::kClosed:
      return unanswered(command, {.failure = Channel::Failure::kExited}, worker,
                        SteadyClock::now() - asked.call.started, false);
  }
  const wire::CallHeader header{
      .protocol = announced.protocol,
      .id = channel.next_id(),
      .generation = record.ref.generation,
      .command = command,
      .remaining = asked.call.deadline.remaining(asked.now),
      .traceparent = asked.traceparent,
      .chain = asked.chain,
      .stream = asked.stream,
      .session = asked.session,
      .arrays = asked.arrays == nullptr ? std::string_view() : asked.arrays->encoded,
      .takes_arrays = asked.arrays != nullptr && asked.arrays->taken != nullptr,
      .batch = asked.call.batch,
      .packed = asked.call.packed};
  wire::CallFrame& frame = asked.call.bytes().frame;
  wire::encode_call(frame, header, arguments);
  if (frame.payload_size() > announced.max_frame) {
    return refuse(ErrorKind::kInvalidArgument,
                  ": its arguments make a message of " + std::to_string(frame.payload_size()) +
                      " bytes; the limit is max_frame = " + std::to_string(announced.max_frame));
  }
  if (asked.arrays != nullptr && announced.arrays) lend(record, *asked.arrays);
  return header;
}

}  // namespace lair::pool
