// What the shell must do after a step, once it has left the lock.
//
// Thread-safety: values.
#pragma once

#include <array>
#include <variant>
#include <vector>

#include "core/types.hpp"

namespace lair::core {

// --- For callers -----------------------------------------------------------------------------------
struct Grant {  // the waiter (or the caller that just asked) holds the worker
  Token token;
  WorkerRef worker;
  Epoch epoch;
  SessionKey session = 0;  // whose call it is, and how the worker stands to it
  Met met = Met::kNone;
};
struct Wake {
  Token token;
};  // a worker may be free for it: Claim
struct Refuse {
  Token token;
  RefuseReason why;
  Duration retry_after{};  // for kQueueFull: when a place is likely to be free
};
// A strict or exclusive session's worker ends, for `reason`, and its state with it. Once; all its waiters are refused, and so is
// whoever comes for it until it is closed.
struct SessionLost {
  SessionKey key;
  WorkerRef worker;
  Reason reason;
};

// --- For the supervisor ----------------------------------------------------------------------------
struct Spawn {
  WorkerRef worker;
  Revision revision;
};
struct Stop {  // gently: the shutdown command and SIGTERM; a Kill follows if it takes too long
  WorkerRef worker;
  Reason reason;
};
struct Check {  // ask it whether it is well: CheckPassed, CheckFailed, or nothing
  WorkerRef worker;
};
struct Cancel {  // have it give up its call, and prove it: CheckPassed, or nothing
  WorkerRef worker;
};
struct Kill {
  WorkerRef worker;
  Reason reason;
};
struct Forget {
  WorkerRef worker;
};              // reaped, and every hold returned: its descriptors may be closed
struct Moved {  // for logs; not sent for idle ↔ busy and idle ↔ checking
  WorkerRef worker;
  WorkerState from;
  WorkerState to;
  Reason reason;
  Duration took{};  // how long it was in `from`
};
// A planned replacement has come to its end: `heir` serves instead of `worker`, or it did not start and `worker` stays.
struct Succeeded {
  WorkerRef worker;
  WorkerRef heir;
  Reason reason;
  bool replaced;
};
struct Reloaded {  // or not: then the reload is over at its first failure
  Revision revision;
  bool complete;
};
struct Rearm {};         // next_timer() may have come nearer
struct ReadyChanged {};  // workers became or ceased to be ready, or hope of that changed
struct Drained {};       // shutting down, and no process is left

using Effect = std::variant<Grant, Wake, Refuse, SessionLost, Spawn, Stop, Check, Cancel, Kill, Forget, Moved,
                            Succeeded, Reloaded, Rearm, ReadyChanged, Drained>;

// A list that doesn't allocate for the one or two effects of a checkout or a check-in.
class Effects {
 public:
  void push(const Effect& effect) {
    if (size_ < inline_.size()) {
      inline_[size_] = effect;
    } else {
      rest_.push_back(effect);
    }
    ++size_;
  }
  std::size_t size() const { return size_; }
  bool empty() const { return size_ == 0; }
  const Effect& operator[](std::size_t i) const {
    return i < inline_.size() ? inline_[i] : rest_[i - inline_.size()];
  }
  void clear() {
    size_ = 0;
    rest_.clear();
  }

 private:
  std::array<Effect, 4> inline_{};
  std::vector<Effect> rest_;
  std::size_t size_ = 0;
};

}  // namespace lair::core
