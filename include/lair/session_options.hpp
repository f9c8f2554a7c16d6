// How a session is bound to a worker, and what is known of one.
//
// Thread-safety: values.
#pragma once

#include <chrono>
#include <cstdint>
#include <lair/deadline.hpp>
#include <lair/json.hpp>
#include <map>
#include <optional>
#include <string>
#include <string_view>

namespace lair {

enum class Affinity : std::uint8_t {
  kPrefer,     // the worker that it had last if that is free; its state is in the store only
  kStrict,     // one worker, where it may keep live Python objects; waits for it, and is lost with it
  kExclusive,  // the same, and nobody else has that worker
};
const char* to_string(Affinity affinity) noexcept;  // "prefer", "strict", "exclusive"
std::optional<Affinity> parse_affinity(std::string_view text) noexcept;

struct SessionOptions {
  // Absent: that of the session with this id, or kPrefer for a new one. Another than it has is kInvalidArgument.
  std::optional<Affinity> affinity = {};
  // Since its last call, before it is ended. Absent: the pool's `session_ttl`. `kForever`: never.
  std::optional<Duration> ttl = {};
};

struct SessionInfo {
  std::string id = {};
  std::uint64_t number = 0;  // counts the sessions that its pool has opened
  Affinity affinity = Affinity::kPrefer;
  bool open = true;        // not lost, ended or expired
  bool lost = false;       // until it is reopened
  std::string cause = {};  // why: a reason as in docs/telemetry.md, or `expired`
  std::chrono::system_clock::time_point created = {};
  std::chrono::system_clock::time_point last_used = {};
  std::uint64_t calls = 0;   // that got a worker
  std::uint64_t hits = 0;    // of these, the worker that it had before
  std::uint64_t spills = 0;  // that one was busy, and another was taken (kPrefer)
  std::uint64_t moves = 0;   // that one had ended (kPrefer)
  std::uint64_t stored_bytes = 0;
  struct Worker {
    std::uint32_t slot = 0;
    std::uint64_t generation = 0;
  };
  std::optional<Worker> worker = {};  // where it is at home now
};
Json to_json_value(const SessionInfo& session);

// Since the pool's start, all its sessions together.
struct SessionStats {
  std::uint64_t open = 0;  // now, with those that were lost and may be reopened
  std::uint64_t opened = 0;
  std::uint64_t ended = 0;
  std::uint64_t expired = 0;
  std::map<std::string, std::uint64_t> lost = {};  // by cause
  std::uint64_t hits = 0;
  std::uint64_t spills = 0;
  std::uint64_t moves = 0;
  std::uint64_t stored_bytes = 0;  // now
};

}  // namespace lair
