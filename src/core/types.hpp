// The pure pool's vocabulary: who is who, and why something ended.
//
// Thread-safety: values.
#pragma once

#include <cstddef>
#include <cstdint>
#include <lair/deadline.hpp>
#include <lair/session_options.hpp>
#include <lair/stats.hpp>
#include <optional>

namespace lair::core {

using Generation = std::uint64_t;
using Revision = std::uint32_t;
// A waiter's name, chosen by the shell; the core never looks into it.
using Token = std::uint64_t;
// Names one hold on a permit. Grows with every grant of the pool, so a late or doubled check-in is seen.
using Epoch = std::uint64_t;
// A session's number: another at each opening, and always a greater one. 0: none.
using SessionKey = std::uint64_t;

// One worker: a slot and which of its successive occupants.
struct WorkerRef {
  std::uint32_t slot = 0;
  Generation generation = 0;
  friend auto operator<=>(const WorkerRef&, const WorkerRef&) = default;
};

enum class WorkerState : std::uint8_t { kStarting, kIdle, kBusy, kChecking, kStopping, kDead };
inline constexpr std::size_t kWorkerStates = 6;

// Why a worker was ended, or ended by itself.
enum class Reason : std::uint8_t {
  kNone,
  kCrash,        // it ended, or closed its channel, unasked
  kTimeout,      // it had a call whose deadline passed
  kCancelled,    // it had a call that was cancelled, and did not give it up
  kProtocol,     // it broke the protocol
  kUnhealthy,    // it did not answer a check in time, or only with errors
  kStartFailed,  // it did not become ready
  kIdle,         // nobody needed it for a while
  kMaxCalls,     // it has served as many calls as one worker may
  kMaxAge,       // it has lived as long as one worker may
  kMaxMemory,    // it uses more memory than it should
  kMemoryLimit,  // it uses more memory than it may: killed
  kRecycled,     // somebody asked for another in its place
  kReload,       // its code is of an earlier revision
  kResize,       // the pool has become smaller
  kAbandoned,    // its holder gave it back in mid-call
  kShutdown,
};
const char* to_string(Reason reason) noexcept;
const char* to_string(WorkerState state) noexcept;

constexpr bool is_up(WorkerState state) {
  return state == WorkerState::kIdle || state == WorkerState::kBusy || state == WorkerState::kChecking;
}
// The state of a slot that has such a worker: a living one.
SlotState slot_state(WorkerState state);

// Which workers will do for a waiter: any, or exactly one.
struct Eligibility {
  bool any = true;
  WorkerRef only = {};
  std::optional<std::uint32_t> rather = {};  // of any, the one in this slot if it is idle

  static Eligibility anyone() { return {}; }
  static Eligibility just(WorkerRef worker) { return {.any = false, .only = worker}; }
  bool admits(WorkerRef worker) const { return any || only == worker; }
};

// Why a waiter, or a caller that wanted to be one, gets no worker.
enum class RefuseReason : std::uint8_t {
  kQueueFull,
  kShuttingDown,
  kNoWorkers,     // none is up, and none will be soon: starting them has failed
  kWorkerGone,    // the one worker that would have done has ended
  kExpired,       // its deadline had passed when its turn came
  kDraining,      // the pool takes no new calls for now
  kShed,          // the queue stands still
  kSessionEnded,  // its session is closed, or never was open
  kSessionLost,   // the one worker that had its session's state has ended
};

// How the worker that a session's call was granted stands to the session.
enum class Met : std::uint8_t {
  kNone,     // it is no session's call
  kFirst,    // the session had no worker before
  kHome,     // it is the session's own
  kSpilled,  // another, for its own was not free in time: now this one is its own
  kMoved,    // another, for its own has ended or takes no more calls
};

// Whether callers get workers.
enum class Admission : std::uint8_t {
  kOpen,
  kPaused,    // they wait until the pool is open again
  kDraining,  // they are refused; those that already wait are served
};

struct CoreConfig {
  std::size_t size = 1;
  std::size_t overflow = 0;
  bool lazy = false;
  std::size_t max_starting = 4;
  std::size_t max_waiters = 8;
  Duration barging_window = std::chrono::milliseconds(5);
  Duration overflow_after = std::chrono::milliseconds(250);
  Duration overflow_idle = std::chrono::seconds(60);
  Duration terminate_grace = std::chrono::seconds(5);
  Duration cancel_grace = std::chrono::milliseconds(250);
  Duration health_interval = kForever;  // of rest, after which an idle worker is checked
  Duration health_timeout = std::chrono::seconds(5);
  // When a worker is replaced though nothing is wrong with it. 0 and kForever: never.
  std::uint64_t max_calls = 0;
  Duration max_age = kForever;
  Duration idle_ttl = kForever;  // of a lazy pool's workers, which are not replaced then
  // The queue is shed when its oldest waiter has waited longer than `queue_target` for all of `queue_interval`.
  Duration queue_target = kForever;
  Duration queue_interval = std::chrono::seconds(10);
  // How long a worker whose end is planned stays for the strict and exclusive sessions that it is home to.
  Duration session_grace = std::chrono::seconds(30);
  std::uint64_t seed = 1;  // of all jitter
};

}  // namespace lair::core
