// Course: a call on its way from the queue through its tries to its one outcome, whoever drives it: the calling thread, which
// blocks (call.cpp), or the reactor, which doesn't (reactor.cpp). The steps are the shell's: waiting.cpp and tries.cpp.
//
// Thread-safety: its driver's.
#pragma once

#include <memory>
#include <mutex>
#include <optional>
#include <stop_token>
#include <string>
#include <string_view>
#include <variant>

#include "os/event_fd.hpp"
#include "pool/attempt.hpp"
#include "pool/held_worker.hpp"
#include "pool/host_functions.hpp"
#include "pool/parker.hpp"
#include "pool/session_book.hpp"

namespace lair::pool {

// Ends a blocking call when its stop is requested, wherever it waits.
class StopBell {
 public:
  int fd() const { return rung_.fd(); }  // readable from then on
  void ring() {
    rung_.notify();
    const std::lock_guard lock(mutex_);
    if (parker_ != nullptr) parker_->post(token_, {.stopped = true});
  }
  // Whom to tell; null: nobody.
  void tell(Parker* parker, core::Token token) {
    const std::lock_guard lock(mutex_);
    parker_ = parker;
    token_ = token;
  }

 private:
  os::EventFd rung_;
  std::mutex mutex_;
  Parker* parker_ = nullptr;
  core::Token token_ = 0;
};

// What is wanted of the queue.
struct Wanted {
  bool exclusive = false;
  Deadline deadline = Deadline::never();        // of the whole call
  Deadline queue_deadline = Deadline::never();  // of the wait
  std::optional<TimePoint> since = {};          // see Checkout
  std::string_view command = {};                // of a call; empty for a lease
  // The call is in the books; else it is put there, if a worker would know the command.
  bool admitted = false;
  // With `command`: its breaker is asked, and notes here what it said.
  core::Breakers::Pass* pass = nullptr;
  const CallContext* within = nullptr;  // the call that a host function serves, if one makes this call
  std::stop_token stop = {};
  StopBell* bell = nullptr;         // of a blocking call that can be stopped
  SessionEntry* session = nullptr;  // the call's
  bool ends_session = false;        // it is what the session's end consists of

  Deadline until() const { return std::min(deadline, queue_deadline); }
};

// One wait in the queue.
struct Wait {
  const Wanted* wanted = nullptr;
  TimePoint came;
  std::uint32_t index = 0;  // of its parker
  Parker* parker = nullptr;
  core::Token token = 0;
  core::SessionKey session = 0;
};

// What a call belongs to, besides its pool.
struct Bound {
  std::shared_ptr<HeldWorker> held = {};  // a lease's
  SessionPtr session = {};
  bool ends_session = false;
};

// How many workers a call, or a lease, takes where each turns out dead before anything was sent to it.
inline constexpr int kMostDispatches = 4;

struct Retries {
  std::size_t most = 0;
  bool idempotent = false;
  bool later = false;  // this is not the first try
};

struct Course {
  Prepared call;
  Wanted wanted;
  core::Breakers::Pass pass;
  Retries retries;
  Duration patience{};  // of each wait in the queue
  std::string traceparent;
  std::optional<wire::CallHeader::Credit> stream = {};
  CallArrays arrays = {};
  std::shared_ptr<const CallContext> within = {};
  SessionPtr session = {};

  // Where its value is to be read to; null: to a Json. `is_read`: it is there.
  detail::ResultSink* result = nullptr;
  bool is_read = false;

  bool blocks = true;      // a thread waits for it
  bool exclusive = false;  // its worker is a lease's

  int dispatches = 0;  // of this try
  unsigned failures = 0;
  bool reached_worker = false;
  bool may_have_run = false;
};

// One call is one try, or several.
struct Try {
  Result<Json> result;
  std::optional<Ending> open = {};  // not in the books yet: how the call ends if it is not tried again
  RecordPtr lost = {};              // the worker that ended: the error is to say how
  bool crash = false;               // and its command's breaker is to be told
};

}  // namespace lair::pool
