// Ledger: what a pool's statistics add up over its life: how long calls, waits and starts took, who was refused and why,
// of what workers ended, and for how long the pool was busy, exhausted or short of workers. Pure: time is a parameter.
//
// A call costs one look-up of its command and a few additions; memory is taken when a command is seen for the first time,
// and for 200 commands at most: beyond them all are `other`, because a caller may make up names without end.
//
// Thread-safety: none; the shell's mutex guards it.
#pragma once

#include <array>
#include <cstdint>
#include <lair/stats.hpp>
#include <map>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "core/types.hpp"

namespace lair::pool {

// Why a caller got no worker.
enum class Rejection : std::uint8_t {
  kQueueFull,
  kShuttingDown,
  kNoWorkers,
  kWorkerGone,
  kDeadline,
  kCheckoutTimeout,
  kBreakerOpen,
  kDraining,
  kShed,
  kSessionBusy,
  kSessionLost,
  kSessionEnded,
};
inline constexpr std::size_t kRejections = 12;
const char* to_string(Rejection why) noexcept;
Rejection rejection_of(core::RefuseReason why);

class Ledger {
 public:
  static constexpr std::size_t kMostCommands = 200;

  Ledger();

  void call_ended(std::string_view command, CallOutcome outcome, Duration took, std::uint64_t times = 1);
  void got_worker(Duration waited) { checkout_wait_.add(waited); }
  void rejected(Rejection why) { ++rejected_[static_cast<std::size_t>(why)]; }
  void worker_ready(Duration start) { worker_start_.add(start); }
  // True: it ended unasked, and too many of that kind are a storm.
  bool worker_ended(core::Reason reason);

  // How the pool stands from `now` on.
  struct Standing {
    std::size_t busy = 0;    // workers with a call or a lease
    bool exhausted = false;  // somebody waits, and no worker is idle
    bool short_of_workers = false;
  };
  void stands(const Standing& standing, TimePoint now);

  // What alerts look at, added up until `now`.
  struct Troubles {
    Duration exhausted{};
    Duration below_size{};
    std::uint64_t bad_exits = 0;  // of workers that ended unasked
  };
  Troubles troubles(TimePoint now) const;

  // Sets the fields of `stats` that are kept here, as they are at `now`.
  void fill(PoolStats& stats, TimePoint now) const;

 private:
  struct Hash {
    using is_transparent = void;
    std::size_t operator()(std::string_view text) const noexcept {
      return std::hash<std::string_view>{}(text);
    }
  };
  struct Spent {
    Duration busy{};
    Duration exhausted{};
    Duration short_of_workers{};
  };
  CommandStats& entry(std::string_view command);
  Spent spent(TimePoint now) const;

  std::vector<CommandStats> commands_;
  std::unordered_map<std::string, std::size_t, Hash, std::equal_to<>> places_;  // in commands_
  DurationHistogram checkout_wait_;
  DurationHistogram worker_start_;
  std::array<std::uint64_t, kRejections> rejected_{};
  std::map<std::string_view, std::uint64_t> exits_;  // by the reason's name
  std::uint64_t bad_exits_ = 0;
  Standing standing_;
  TimePoint since_ = TimePoint::min();  // when standing_ was last looked at
  Spent spent_;                         // up to then
};

}  // namespace lair::pool
