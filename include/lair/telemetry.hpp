// What happens in a pool, as events for a program: set `PoolOptions::on_event`, or have them in the log as JSON lines
// (`log_format = "json"`). docs/telemetry.md lists them; a test keeps it equal to the table.
//
// Events are delivered on the pool's notifier thread, in order, through the bounded queue that the log uses: a slow
// callback delays nobody, and beyond the queue events are dropped and counted (PoolStats::events_dropped).
//
// Thread-safety: values; the table is constant.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <lair/deadline.hpp>
#include <lair/json.hpp>
#include <optional>
#include <span>
#include <string>
#include <string_view>

namespace lair {

enum class PoolEventKind : std::uint8_t {
  kWorkerMoved,
  kStartFailed,
  kReload,
  kAdmission,
  kLeaseLeaked,
  kAlertRaised,
  kAlertCleared,
  kSlowCall,
  kBreaker,
  kHealth,
  kRetry,
  kShed,
  kSessionLost,
  kNotStored,
};

struct PoolEvent {
  PoolEventKind kind = PoolEventKind::kWorkerMoved;
  std::chrono::system_clock::time_point at = {};
  std::string pool = {};

  // The worker that it is about, if it is about one.
  struct Worker {
    std::uint32_t slot = 0;
    std::uint64_t generation = 0;
  };
  std::optional<Worker> worker = {};

  // Which of these a kind sets is in the table; the others are empty.
  std::string from = {};              // states, as in docs/telemetry.md
  std::string to = {};                //
  std::optional<Duration> took = {};  // how long it was in `from`; the lease has been held; the call has run
  std::string reason = {};            // why a worker ended; which alert; how a reload stands
  std::string stage = {};             // of a start
  std::string message = {};           // for people
  std::string command = {};           // of a call
  std::string stack = {};             // of the worker's threads, on several lines
  std::uint64_t count = 0;            // of callers
};

// The kinds by number: name and the members that each sets besides `at` and `pool`.
struct PoolEventInfo {
  PoolEventKind kind;
  std::string_view name;  // "worker_moved"
  std::string_view sets;  // "worker, from, to, took, reason"
};
std::span<const PoolEventInfo> pool_event_table() noexcept;
std::string_view to_string(PoolEventKind kind) noexcept;

// What a program does with one. What it throws is caught and counted (PoolStats::event_errors). It may call the pool,
// though each call that it waits for holds up the events behind it; it must not destroy the pool.
using PoolEventCallback = std::function<void(const PoolEvent&)>;

// {"event": "worker_moved", "time": "2026-01-31T12:00:00.000Z", "pool": "text", "slot": 0, …}: what is empty is left out,
// durations are seconds.
Json to_json_value(const PoolEvent& event);

}  // namespace lair
