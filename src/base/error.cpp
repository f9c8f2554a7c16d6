#include <lair/endpoint.hpp>
#include <lair/error.hpp>
#include <lair/result.hpp>

#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <cstring>

#include "base/assert.hpp"
#include "base/duration.hpp"
#include "base/json_text.hpp"

namespace lair {

namespace {

std::string_view in_words(Delivery delivery) noexcept {
  switch (delivery) {
    case Delivery::kNotSent:
      return "the command did not run";
    case Delivery::kMaybeExecuted:
      return "the command may have run";
    case Delivery::kExecuted:
      return "the command ran";
  }
  LAIR_ASSERT(false, "a Delivery that is none");
}

// Appends `text`, each line behind `indent`.
void append_block(std::string& out, std::string_view text, std::string_view indent) {
  while (!text.empty()) {
    const std::size_t end = text.find('\n');
    out.append("\n").append(indent).append(text.substr(0, end));
    text.remove_prefix(end == text.npos ? text.size() : end + 1);
  }
}

std::string describe(const WorkerIdentity& worker) {
  std::string text =
      "slot " + std::to_string(worker.slot) + ", generation " + std::to_string(worker.generation);
  if (worker.pid != 0) text += ", pid " + std::to_string(worker.pid);
  if (worker.exit) text += ": " + worker.exit->describe();
  return text;
}

}  // namespace

std::string_view to_string(ErrorKind kind) noexcept {
  switch (kind) {
    case ErrorKind::kInvalidArgument:
      return "invalid_argument";
    case ErrorKind::kOverloaded:
      return "overloaded";
    case ErrorKind::kUnavailable:
      return "unavailable";
    case ErrorKind::kDeadlineExceeded:
      return "deadline_exceeded";
    case ErrorKind::kCancelled:
      return "cancelled";
    case ErrorKind::kWorkerLost:
      return "worker_lost";
    case ErrorKind::kSessionLost:
      return "session_lost";
    case ErrorKind::kSessionBusy:
      return "session_busy";
    case ErrorKind::kRemote:
      return "remote";
    case ErrorKind::kUnknownCommand:
      return "unknown_command";
    case ErrorKind::kProtocol:
      return "protocol";
    case ErrorKind::kInternal:
      return "internal";
  }
  LAIR_ASSERT(false, "an ErrorKind that is none");
}

std::string_view to_string(Delivery delivery) noexcept {
  switch (delivery) {
    case Delivery::kNotSent:
      return "not_sent";
    case Delivery::kMaybeExecuted:
      return "maybe_executed";
    case Delivery::kExecuted:
      return "executed";
  }
  LAIR_ASSERT(false, "a Delivery that is none");
}

std::string ExitStatus::describe() const {
  switch (how) {
    case How::kUnknown:
      return "ended, status unknown";
    case How::kExited:
      return "exited with status " + std::to_string(code);
    case How::kSignalled: {
      // Real-time signals have no name; SIGRTMIN is a function call, not a constant.
      const char* const name = sigabbrev_np(code);
      const std::string number = std::to_string(code);
      return name ? "killed by SIG" + std::string(name) + " (" + number + ")" : "killed by signal " + number;
    }
  }
  LAIR_ASSERT(false, "an ExitStatus that is none");
}

// A message for the eye comes first; below it, indented, what the machine knows:
//
//   count_words raised ValueError: no text
//     remote: the command ran
//     worker: slot 1, generation 4, pid 4711: killed by SIGSEGV (11)
//     python: Traceback (most recent call last):
//       …
//     stderr: its last lines
//       …
std::string Error::report() const {
  std::string out = message.empty() ? "no message" : message;
  out.append("\n  ").append(to_string(kind)).append(": ").append(in_words(delivery));
  if (!stage.empty()) out += "; the start failed at stage " + stage;
  if (retry_after_ms) {
    out += "; try again after " + base::format_duration(std::chrono::milliseconds(*retry_after_ms));
  }
  if (worker) out += "\n  worker: " + describe(*worker);
  // A traceback of one line would only say again what the message has said.
  if (python && python->traceback.find("\n  ") != std::string::npos) {
    out += "\n  python:";
    append_block(out, python->traceback, "    ");
  }
  if (worker && !worker->stderr_tail.empty()) {
    out += "\n  stderr: its last lines";
    append_block(out, worker->stderr_tail, "    | ");
  }
  return out;
}

namespace detail {

void result_misused(const char* what) noexcept {
  std::fprintf(stderr, "lair: asked for %s\n", what);
  std::abort();
}

Error wrong_result_type(std::string_view command, const char* what, const Json& value) {
  // nlohmann's text starts with "[json.exception.type_error.302] ", which says nothing to a reader.
  std::string_view reason = what;
  if (const auto end = reason.find("] "); reason.starts_with('[') && end != reason.npos)
    reason.remove_prefix(end + 2);

  return {.kind = ErrorKind::kInvalidArgument,
          .delivery = Delivery::kExecuted,
          .message = "the result of '" + std::string(command) + "' is not of the type asked for: " +
                     std::string(reason) + "; it is " + base::shown(value)};
}

}  // namespace detail

}  // namespace lair
