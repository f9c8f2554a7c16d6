// An attempt: one call on one worker. What is sent, and what has come of it; who sends and waits is the business of others:
// the calling thread (call.cpp) or the reactor.
//
// Thread-safety: with the worker's channel in hand.
#pragma once

#include <lair/error.hpp>
#include <lair/result.hpp>
#include <lair/stats.hpp>
#include <optional>
#include <string>
#include <string_view>
#include <variant>

#include "core/breaker.hpp"
#include "pool/record.hpp"
#include "wire/message.hpp"

namespace lair::pool {

// How a call ended, for the books: each call is admitted once and ends as exactly one of these.
using Ending = CallOutcome;

// What the holder says about the worker when it gives it back.
struct Verdict {
  bool clean = true;
  core::Reason reason = core::Reason::kNone;
  std::uint32_t completed = 0;
  bool may_recover = false;  // not clean, but it can be asked to give up the call
};

struct Attempt {
  Result<Json> result;
  Verdict verdict = {};
  Ending ending = Ending::kError;
  bool dispatch_again = false;  // nothing was sent, and the worker is to blame
};

// What a call's bytes are in.
struct CallBytes {
  std::string arguments;  // encoded
  wire::CallFrame frame;  // as it goes out, of these arguments
};

// A call's arguments, encoded, and its one deadline.
struct Prepared {
  CallBytes own = {};
  CallBytes* lent = nullptr;  // in place of its own: see Scratch
  CallBytes& bytes() { return lent == nullptr ? own : *lent; }

  bool packed = false;  // as MessagePack
  bool positional = false;
  bool batch = false;  // many of them, in an array
  Deadline deadline = Deadline::never();
  TimePoint started;
};

// A call as one worker is asked it.
struct Asked {
  std::string_view command;
  Prepared& call;
  std::string_view traceparent = {};
  std::string_view chain = {};  // encoded
  std::optional<wire::CallHeader::Credit> stream = {};
  std::optional<wire::CallHeader::Session> session = {};
  CallArrays* arrays = nullptr;  // with `arena`, the pool's
  Arena* arena = nullptr;
  TimePoint now = SteadyClock::now();
};
// Makes the call's frame, and says what is in its header. `shared`: other calls are in flight on the channel. Nothing is sent; the
// error is for what speaks against it.
std::variant<wire::CallHeader, Attempt> address(Record& record, const Asked& asked, bool shared = false);

// A whole frame, with what a host function has come to, or why that cannot be sent.
std::string callback_frame(const wire::Announcement& announced, const wire::CallHeader& header,
                           std::uint64_t number, const Result<Json>& result);

// The worker's last word: a value, or an error that is not its fault, or what breaks the protocol.
Attempt answered(std::string_view command, wire::Reply reply, WorkerIdentity worker);
// It has none. `worker` without its exit status: that is not known yet. `recovers`: it will be asked to give up the call.
Attempt unanswered(std::string_view command, const worker::Channel::NoReply& end,
                   const WorkerIdentity& worker, Duration after, bool recovers);

// What it says about the command. Nothing, where the worker had not read the request, or the host is to blame.
core::TryOutcome outcome_of(const Attempt& attempt);

// A worker that has been idle for a while is looked at before it is used again.
worker::Channel::Look look_at(const Record& record, TimePoint now);

WorkerIdentity identity_of(const Record& record);
std::string on_worker(const WorkerIdentity& worker);  // "worker 0.1 (pid 4711)"
std::string quoted(std::string_view command);         // "command "f""

// Blocking calls are refused there.
Error on_own_thread(std::string_view command);

// No worker knows it: what they do know, and what was perhaps meant.
Error unknown_command(const wire::Announcement& announced, std::string_view command);

}  // namespace lair::pool
