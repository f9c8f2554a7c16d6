#include <lair/health.hpp>
#include <lair/stats.hpp>

#include "base/assert.hpp"

namespace lair {

const char* to_string(SlotState state) noexcept {
  static constexpr const char* kNames[] = {"vacant",   "starting", "idle",        "busy",
                                           "checking", "stopping", "backing_off", "failed"};
  static_assert(std::size(kNames) == kSlotStates);
  LAIR_ASSERT(static_cast<std::size_t>(state) < kSlotStates);
  return kNames[static_cast<std::size_t>(state)];
}

const char* to_string(BreakerState state) noexcept {
  static constexpr const char* kNames[] = {"closed", "open", "half_open"};
  LAIR_ASSERT(static_cast<std::size_t>(state) < std::size(kNames));
  return kNames[static_cast<std::size_t>(state)];
}

const char* to_string(CallOutcome outcome) noexcept {
  static constexpr const char* kNames[] = {"ok", "error", "timeout", "crashed", "shed", "cancelled"};
  static_assert(std::size(kNames) == kCallOutcomes);
  LAIR_ASSERT(static_cast<std::size_t>(outcome) < kCallOutcomes);
  return kNames[static_cast<std::size_t>(outcome)];
}

Json to_json_value(const PoolStats& stats) {
  Json slots = Json::object();
  for (std::size_t i = 0; i < kSlotStates; ++i) slots[to_string(static_cast<SlotState>(i))] = stats.slots[i];

  const auto seconds = [](Duration duration) { return std::chrono::duration<double>(duration).count(); };
  Json workers = Json::array();
  for (const WorkerStats& worker : stats.workers) {
    workers.push_back({{"slot", worker.slot},
                       {"generation", worker.generation},
                       {"state", to_string(worker.state)},
                       {"overflow", worker.overflow},
                       {"surge", worker.surge},
                       {"revision", worker.revision},
                       {"pid", worker.pid},
                       {"calls", worker.calls},
                       {"memory_bytes", worker.memory},
                       {"failed_checks", worker.failed_checks},
                       {"start_seconds",
                        {{"environment", seconds(worker.start.environment)},
                         {"spawn", seconds(worker.start.spawn)},
                         {"handshake", seconds(worker.start.handshake)},
                         {"warm_up", seconds(worker.start.warm_up)},
                         {"verify", seconds(worker.start.verify)}}}});
  }

  Json breakers = Json::array();
  for (const BreakerStats& command : stats.breakers) {
    breakers.push_back({{"command", command.command},
                        {"state", to_string(command.state)},
                        {"quarantined", command.quarantined},
                        {"calls", command.calls},
                        {"failures", command.failures},
                        {"opened", command.opened},
                        {"refused", command.refused},
                        {"retry_after_seconds", seconds(command.retry_after)}});
  }
  const auto summary = [&](const DurationHistogram& histogram) {
    return Json{{"count", histogram.count}, {"sum_seconds", seconds(histogram.sum)}};
  };
  Json commands = Json::object();
  for (const CommandStats& command : stats.commands) {
    Json& outcomes = commands[command.name] = Json::object();
    for (std::size_t i = 0; i < kCallOutcomes; ++i) {
      if (command.calls[i].count > 0)
        outcomes[to_string(static_cast<CallOutcome>(i))] = summary(command.calls[i]);
    }
  }

  return {{"name", stats.name},
          {"size", stats.size},
          {"overflow", stats.overflow},
          {"revision", stats.revision},
          {"code_fails", stats.code_fails},
          {"ready", stats.ready()},
          {"slots", std::move(slots)},
          {"waiters", stats.waiters},
          {"oldest_wait_seconds", seconds(stats.oldest_wait)},
          {"admitted", stats.admitted},
          {"ok", stats.ok},
          {"error", stats.error},
          {"timeout", stats.timeout},
          {"crashed", stats.crashed},
          {"shed", stats.shed},
          {"cancelled", stats.cancelled},
          {"inflight", stats.inflight},
          {"retries", stats.retries},
          {"retries_denied", stats.retries_denied},
          {"retried_ok", stats.retried_ok},
          {"leases", stats.leases},
          {"leases_leaked", stats.leases_leaked},
          {"slow_calls", stats.slow_calls},
          {"workers_started", stats.workers_started},
          {"workers_ready", stats.workers_ready},
          {"workers_exited", stats.workers_exited},
          {"log_lines_dropped", stats.log_lines_dropped},
          {"events_dropped", stats.events_dropped},
          {"event_errors", stats.event_errors},
          {"commands", std::move(commands)},
          {"checkout_wait", summary(stats.checkout_wait)},
          {"worker_start", summary(stats.worker_start)},
          {"rejected", stats.rejected},
          {"exits", stats.exits},
          {"busy_seconds", seconds(stats.busy_time)},
          {"exhausted_seconds", seconds(stats.exhausted_time)},
          {"below_size_seconds", seconds(stats.below_size_time)},
          {"sessions",
           {{"open", stats.sessions.open},
            {"opened", stats.sessions.opened},
            {"ended", stats.sessions.ended},
            {"expired", stats.sessions.expired},
            {"lost", stats.sessions.lost},
            {"hits", stats.sessions.hits},
            {"spills", stats.sessions.spills},
            {"moves", stats.sessions.moves},
            {"stored_bytes", stats.sessions.stored_bytes}}},
          {"workers", std::move(workers)},
          {"breakers", std::move(breakers)}};
}

Json to_json_value(const PoolHealth& health) {
  Json workers = Json::array();
  for (const WorkerHealth& worker : health.workers) {
    const auto ago =
        worker.last_check ? Json(std::chrono::duration<double>(*worker.last_check).count()) : Json();
    workers.push_back({{"slot", worker.slot},
                       {"generation", worker.generation},
                       {"pid", worker.pid},
                       {"live", worker.live},
                       {"serving", worker.serving},
                       {"failed_checks", worker.failed_checks},
                       {"last_check_seconds_ago", ago},
                       {"reason", worker.reason}});
  }
  return {{"live", health.live},
          {"serving", health.serving},
          {"degraded", health.degraded},
          {"reasons", health.reasons},
          {"workers", std::move(workers)}};
}

}  // namespace lair
