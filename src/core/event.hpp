// What can happen to a pool. The shell turns syscalls, clocks and callers into these; the core sees nothing else.
//
// Thread-safety: values.
#pragma once

#include <optional>
#include <variant>

#include "core/types.hpp"

namespace lair::core {

// --- The pool's own life ---------------------------------------------------------------------------
struct Begin {};  // once, first: an eager pool starts its workers
struct Prewarm {
  std::size_t count;
};               // have at least this many base workers up or starting
struct Tick {};  // time has passed; see Core::next_timer
struct Shutdown {
  TimePoint grace_end;
};               // may come again with an earlier end
struct Reload {  // the workers' code has changed: all are replaced, one after another
};
struct Resize {
  std::size_t size;
};
struct Admit {
  Admission admission;
};

// --- Callers ---------------------------------------------------------------------------------------
struct Checkout {
  Token token;
  Eligibility who = {};
  bool exclusive = false;  // all of the worker's permits (a lease), or one (a call)
  TimePoint deadline = TimePoint::max();
  // For one that had a worker which died before anything was sent to it: when it first came. It keeps its place
  // in the queue and isn't refused for the queue's length.
  std::optional<TimePoint> since = {};
  bool patient = false;  // it asks for no deadline: it is not shed when the queue stands still
  // Whose call it is. It gets the session's worker; `who` must be anyone, and what it would rather have doesn't count.
  SessionKey session = 0;
  TimePoint spill_after =
      TimePoint::max();  // of a `prefer` session: when it stops waiting for the session's worker
};
struct Claim {
  Token token;
};  // a woken waiter comes for its worker
struct Abandon {
  Token token;
};  // a waiter gives up
struct Checkin {
  WorkerRef worker;
  Epoch epoch;
  bool clean = true;  // false: the worker must die, of `reason`
  // Not clean, but it may come to itself: it is asked to give up what it does, and dies only if it does not.
  bool may_recover = false;
  Reason reason = Reason::kNone;
  std::uint32_t completed = 0;  // calls it answered under this hold
};

// --- Sessions --------------------------------------------------------------------------------------
// Its key is greater than all before it. An exclusive one: only if Core::may_open_exclusive().
struct OpenSession {
  SessionKey key;
  Affinity affinity;
};
// Its waiters are refused; a call that is in flight goes on.
struct CloseSession {
  SessionKey key;
};

// It has answered a first call, under a hold that goes on (a lease): should it die now, it is no failed start.
struct Answered {
  WorkerRef worker;
};

// --- Workers ---------------------------------------------------------------------------------------
struct Spawned {
  WorkerRef worker;
};  // exec succeeded
struct Handshaken {
  WorkerRef worker;
};  // its interpreter and imports are loaded
struct Ready {
  WorkerRef worker;
  std::uint32_t permits = 1;
};
struct StartFailed {
  WorkerRef worker;
  bool permanent = false;   // another attempt with the same code would fail likewise
  bool has_process = true;  // false: spawning itself failed, so no Exited will follow
};
struct BeginCheck {
  WorkerRef worker;
};  // an idle worker is to be asked now, before its time
struct CheckPassed {
  WorkerRef worker;
};
struct CheckFailed {  // it has answered, with an error
  WorkerRef worker;
};
struct Condemn {
  WorkerRef worker;
  Reason reason;
};
// A planned end. One of the pool's `size` is replaced first, unless it is idle that nobody needs it; an overflow worker ends as
// soon as it is free.
struct Retire {
  WorkerRef worker;
  Reason reason;
};
struct Exited {
  WorkerRef worker;
};  // ended and reaped

using Event = std::variant<Begin, Prewarm, Tick, Shutdown, Reload, Resize, Admit, Checkout, Claim, Abandon,
                           Checkin, OpenSession, CloseSession, Answered, Spawned, Handshaken, Ready,
                           StartFailed, BeginCheck, CheckPassed, CheckFailed, Condemn, Retire, Exited>;

// What became of an event.
enum class Outcome : std::uint8_t {
  kDone,
  kStale,    // it names a worker or waiter that is gone, as may happen in a race: nothing changed
  kIllegal,  // no race explains it: the shell has a bug: nothing changed
};

}  // namespace lair::core
