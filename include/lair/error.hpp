// What went wrong with a call, in a form that a program can act on and a person can read.
//
// An Error has a `kind` (what the caller can do next), a `delivery` (may the command have run?) and a
// message that says what happened, where and why, ending with what to do about it. Where a worker was
// involved, `worker` identifies it and says how it ended; where Python raised, `python` carries the
// exception.
//
// Thread-safety: values; no shared state.
#pragma once

#include <cstdint>
#include <exception>
#include <optional>
#include <string>
#include <string_view>

namespace lair {

enum class ErrorKind : std::uint8_t {
  kInvalidArgument,   // the call or a setting is wrong; repeating it is useless
  kOverloaded,        // no worker came free, or the queue is full; try again after `retry_after`
  kUnavailable,       // no worker to offer, or the command is refused for a while
  kDeadlineExceeded,  // the call's own deadline passed
  kCancelled,         // the caller cancelled it
  kWorkerLost,        // the worker ended while it had the call
  kSessionLost,       // the session's worker ended
  kSessionBusy,       // the session's worker did not come free in time
  kRemote,            // Python raised; see Error::python
  kUnknownCommand,    // the worker has no such command
  kProtocol,          // the worker broke the protocol and was ended
  kInternal,          // a bug in Lair or an unexpected refusal by the system
};

// Whether the command may have taken effect.
enum class Delivery : std::uint8_t {
  kNotSent,        // the command did not run: it never left, or the worker refused it before running
  kMaybeExecuted,  // it was sent; whether it ran (wholly or in part) is not known
  kExecuted,       // it ran to its end, well or with an exception
};

// How a process ended. `kUnknown`: the status was collected by somebody else, or its parent died first.
struct ExitStatus {
  enum class How : std::uint8_t { kUnknown, kExited, kSignalled };
  How how = How::kUnknown;
  int code = 0;  // exit status for kExited, signal number for kSignalled

  std::string describe() const;  // "exited with status 3", "killed by SIGSEGV (11)", …
  friend bool operator==(const ExitStatus&, const ExitStatus&) = default;
};

// Which worker: its place in the pool and which of that place's successive workers it was.
struct WorkerIdentity {
  std::uint32_t slot = 0;
  std::uint64_t generation = 0;
  int pid = 0;                          // 0 if it never had one
  std::optional<ExitStatus> exit = {};  // present once the worker has ended
  std::string stderr_tail = {};         // its last lines on stderr, newline separated; may be empty
};

struct PythonError {
  std::string type;       // "ValueError", "mymodule.MyError"
  std::string message;    // str(exception)
  std::string traceback;  // as Python prints it, without Lair's own frames
};

struct Error {
  ErrorKind kind = ErrorKind::kInternal;
  Delivery delivery = Delivery::kNotSent;
  std::string message = {};
  std::optional<WorkerIdentity> worker = {};
  std::optional<PythonError> python = {};
  std::optional<std::int64_t> retry_after_ms = {};  // kOverloaded, kUnavailable: when to try again
  std::string stage = {};  // a failed start: environment, spawn, handshake, warm_up or verify

  // The whole story on several lines: message, Python traceback, the worker's end and last stderr lines.
  std::string report() const;
};

// Stable lower-case names: "deadline_exceeded", "not_sent". For logs, metrics and the command line.
std::string_view to_string(ErrorKind kind) noexcept;
std::string_view to_string(Delivery delivery) noexcept;

// What `call` and its kin throw. `what()` is `error().report()`.
class CallError : public std::exception {
 public:
  explicit CallError(Error error) : error_(std::move(error)), what_(error_.report()) {}
  const char* what() const noexcept override { return what_.c_str(); }
  const Error& error() const noexcept { return error_; }

 private:
  Error error_;
  std::string what_;
};

}  // namespace lair
