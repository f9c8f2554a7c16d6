#include <lair/telemetry.hpp>

#include <array>

#include "base/assert.hpp"
#include "base/wall_time.hpp"

namespace lair {

namespace {

using K = PoolEventKind;

// In the order of the enumerators. A new kind is an enumerator, a row here and a row in docs/telemetry.md.
constexpr std::array kTable = {
    PoolEventInfo{K::kWorkerMoved, "worker_moved", "worker, from, to, took, reason"},
    PoolEventInfo{K::kStartFailed, "start_failed", "worker, stage, message"},
    PoolEventInfo{K::kReload, "reload", "reason, message"},
    PoolEventInfo{K::kAdmission, "admission", "reason"},
    PoolEventInfo{K::kLeaseLeaked, "lease_leaked", "worker, took, message"},
    PoolEventInfo{K::kAlertRaised, "alert_raised", "reason, message"},
    PoolEventInfo{K::kAlertCleared, "alert_cleared", "reason, message"},
    PoolEventInfo{K::kSlowCall, "slow_call", "worker, took, message, command, stack"},
    PoolEventInfo{K::kBreaker, "breaker", "command, message"},
    PoolEventInfo{K::kHealth, "health", "worker, took, reason, message"},
    PoolEventInfo{K::kRetry, "retry", "took, reason, message, command"},
    PoolEventInfo{K::kShed, "shed", "reason, message, count"},
    PoolEventInfo{K::kSessionLost, "session_lost", "worker, reason, message"},
    PoolEventInfo{K::kNotStored, "not_stored", "worker, reason, message, command"},
};

constexpr bool in_order() {
  for (std::size_t i = 0; i < kTable.size(); ++i) {
    if (kTable[i].kind != static_cast<K>(i)) return false;
  }
  return true;
}
static_assert(in_order());

}  // namespace

std::span<const PoolEventInfo> pool_event_table() noexcept { return kTable; }

std::string_view to_string(PoolEventKind kind) noexcept {
  LAIR_ASSERT(static_cast<std::size_t>(kind) < kTable.size());
  return kTable[static_cast<std::size_t>(kind)].name;
}

Json to_json_value(const PoolEvent& event) {
  Json value = {{"event", to_string(event.kind)}, {"time", base::utc_text(event.at)}, {"pool", event.pool}};
  if (event.worker) {
    value["slot"] = event.worker->slot;
    value["generation"] = event.worker->generation;
  }
  const auto text = [&](const char* name, const std::string& member) {
    if (!member.empty()) value[name] = member;
  };
  text("from", event.from);
  text("to", event.to);
  if (event.took) value["took_seconds"] = std::chrono::duration<double>(*event.took).count();
  text("reason", event.reason);
  text("stage", event.stage);
  text("message", event.message);
  text("command", event.command);
  text("stack", event.stack);
  if (event.count != 0) value["count"] = event.count;
  return value;
}

}  // namespace lair
