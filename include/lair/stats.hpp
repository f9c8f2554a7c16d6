// Numbers about a pool at one instant, taken under its lock: they add up.
//
// Thread-safety: values.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <lair/deadline.hpp>
#include <lair/duration_histogram.hpp>
#include <lair/json.hpp>
#include <lair/session_options.hpp>
#include <map>
#include <string>
#include <vector>

namespace lair {

// Where a slot of the pool is. Every slot is in exactly one of these.
enum class SlotState : std::uint8_t {
  kVacant,      // no worker, and none wanted yet (lazy, overflow, or waiting for its turn to start)
  kStarting,    // from spawn to ready
  kIdle,        // ready, free
  kBusy,        // at least one call or lease on it
  kChecking,    // being asked whether it is well
  kStopping,    // asked to end, or killed and not yet reaped
  kBackingOff,  // its last worker failed to start; the next attempt is timed
  kFailed,      // given up on, but for a probe now and then
};
inline constexpr std::size_t kSlotStates = 8;
const char* to_string(SlotState state) noexcept;

// How long each stage of a worker's start took. All zero until it is ready; `warm_up` stays zero for protocol 1.
struct StartTimes {
  Duration environment{};  // the pool's first worker waits for it; for the others it is there already
  Duration spawn{};
  Duration handshake{};  // a Python worker's interpreter and imports
  Duration warm_up{};    // its on_start functions
  Duration verify{};     // the smoke call, if there is one

  Duration whole() const { return environment + spawn + handshake + warm_up + verify; }
};

struct WorkerStats {
  std::uint32_t slot = 0;
  std::uint64_t generation = 0;  // 0: the slot never had a worker
  SlotState state = SlotState::kVacant;
  bool overflow = false;
  bool surge = false;          // beyond all slots: it is to succeed the slot's worker, or has been succeeded
  std::uint32_t revision = 0;  // of its code: 1, and one more for each reload
  int pid = 0;
  std::uint64_t memory = 0;    // private bytes when they were last looked at; 0: they are not
  std::uint64_t calls = 0;     // completed by this generation
  unsigned failed_checks = 0;  // health checks in a row that it answered with an error
  StartTimes start = {};
};

// Whether calls of a command are let through: docs/reliability.md.
enum class BreakerState : std::uint8_t {
  kClosed,    // all of them
  kOpen,      // none, for a while
  kHalfOpen,  // a few at once, to try
};
const char* to_string(BreakerState state) noexcept;

// One command's calls on workers, since the pool's start; each try of a call that is tried again counts.
struct BreakerStats {
  std::string command = {};  // beyond 200 commands, "other" stands for the rest
  BreakerState state = BreakerState::kClosed;
  bool quarantined = false;    // it crashed too many workers (while not closed)
  std::uint64_t calls = 0;     // answered or failed
  std::uint64_t failures = 0;  // of these: workers crashed, deadlines missed, protocol broken
  std::uint64_t opened = 0;    // how often its breaker opened
  std::uint64_t refused = 0;   // calls that it refused
  Duration retry_after = {};   // until a call would be let through; zero: now
};

// How a call that was admitted ended.
enum class CallOutcome : std::uint8_t {
  kOk,         // a value
  kError,      // a Python exception, or a request that the worker or the library refused
  kTimeout,    // its deadline passed while a worker had it
  kCrashed,    // its worker was lost, or broke the protocol
  kShed,       // it ended before it reached a worker
  kCancelled,  // its caller did not want it any longer
};
inline constexpr std::size_t kCallOutcomes = 6;
const char* to_string(CallOutcome outcome) noexcept;

// The calls of one command that have ended. Durations are those of whole calls: wait and service.
struct CommandStats {
  std::string name = {};
  std::array<DurationHistogram, kCallOutcomes> calls = {};  // by CallOutcome
};

struct PoolStats {
  std::string name = {};
  std::size_t size = 0;
  std::size_t overflow = 0;
  // By SlotState. The sum is size + overflow, and after a resize those that have still to go.
  std::size_t slots[kSlotStates] = {};
  std::uint32_t revision = 1;  // of the code that workers start with
  bool code_fails =
      false;  // no worker of that revision has started: the others go on with the code that they have
  std::size_t waiters = 0;
  Duration oldest_wait = {};

  // Since the pool's start. admitted = ok + error + timeout + crashed + shed + cancelled + inflight: `ok` and `error`
  // are replies (a value, a Python exception), `timeout` deadlines, `crashed` workers lost or babbling, `shed`
  // calls that ended before they reached a worker, `cancelled` stop requests.
  std::uint64_t admitted = 0;
  std::uint64_t ok = 0;
  std::uint64_t error = 0;
  std::uint64_t timeout = 0;
  std::uint64_t crashed = 0;
  std::uint64_t shed = 0;
  std::uint64_t cancelled = 0;
  std::uint64_t inflight = 0;
  std::uint64_t retries = 0;         // tries beyond the first of a call
  std::uint64_t retries_denied = 0;  // the budget was used up
  std::uint64_t retried_ok = 0;      // calls of `ok` that had failed at first
  std::uint64_t leases = 0;          // held now
  std::uint64_t leases_leaked = 0;   // were held longer than `lease_warning`
  std::uint64_t slow_calls = 0;      // a worker was at them for longer than `slow_call`

  std::uint64_t workers_started = 0;  // spawned
  std::uint64_t workers_ready = 0;    // of these, became ready
  std::uint64_t workers_exited = 0;
  std::uint64_t log_lines_dropped = 0;  // lines and events that found the notifier's queue full
  std::uint64_t events_dropped = 0;     // of these, events
  std::uint64_t event_errors = 0;       // exceptions that `on_event` has thrown

  // Likewise since the pool's start; docs/telemetry.md says what each means to whoever watches the pool.
  std::vector<CommandStats> commands = {};  // the first 200 whose calls ended, then `other` for all the rest
  DurationHistogram checkout_wait = {};     // of callers that got a worker, calls and leases
  DurationHistogram worker_start = {};      // of workers that became ready
  std::map<std::string, std::uint64_t> rejected = {};  // callers that got no worker, by reason
  std::map<std::string, std::uint64_t> exits = {};     // workers that ended, or were never spawned, by reason
  Duration busy_time = {};        // of all workers together: ÷ (time × size) is the utilisation
  Duration exhausted_time = {};   // somebody waited, and no worker was idle
  Duration below_size_time = {};  // fewer than `size` workers were ready; zero for lazy pools

  SessionStats sessions = {};

  std::vector<WorkerStats> workers = {};    // one per slot, and the surge if there is one
  std::vector<BreakerStats> breakers = {};  // those that have reached a worker

  std::size_t count(SlotState state) const noexcept { return slots[static_cast<std::size_t>(state)]; }
  // Up: free, taken, or just being checked.
  std::size_t ready() const noexcept {
    return count(SlotState::kIdle) + count(SlotState::kBusy) + count(SlotState::kChecking);
  }
};

Json to_json_value(const PoolStats& stats);

}  // namespace lair
