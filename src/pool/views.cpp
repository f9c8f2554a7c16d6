// What a pool shows of itself: statistics, commands, and who a worker is.
#include "pool/shell.hpp"

namespace lair::pool {

WorkerIdentity Shell::identity(const RecordPtr& record, Duration patience) {
  WorkerIdentity identity{
      .slot = record->ref.slot, .generation = record->ref.generation, .pid = record->process.pid};
  {
    std::unique_lock lock(mutex_);
    if (patience > Duration::zero()) {
      exited_.wait_for(lock, patience, [&] { return record->exit.has_value(); });
    }
    identity.exit = record->exit;
  }
  identity.stderr_tail = record->stderr_tail.text();
  return identity;
}

PoolStats Shell::stats() const {
  const std::lock_guard lock(mutex_);
  PoolStats stats = counters_;
  stats.name = options_.name;
  stats.size = options_.size;
  stats.overflow = options_.overflow;
  for (std::size_t i = 0; i < kSlotStates; ++i) stats.slots[i] = core_.count(static_cast<SlotState>(i));
  stats.waiters = core_.waiters();
  stats.leases = leases_.held();
  const TimePoint now = SteadyClock::now();
  if (stats.waiters > 0) stats.oldest_wait = now - core_.oldest_waiter_since();
  ledger_.fill(stats, now);
  stats.inflight = stats.admitted - stats.ok - stats.error - stats.timeout - stats.crashed - stats.shed;
  notifier_.fill(stats);
  stats.breakers = breakers_.stats(now);
  stats.workers.reserve(core_.slots());
  for (std::uint32_t i = 0; i < core_.slots(); ++i) {
    const auto view = core_.slot(i);
    const RecordPtr& record = records_[i];
    const bool current = record != nullptr && record->ref.generation == view.generation && !record->exit;
    stats.workers.push_back({.slot = i,
                             .generation = view.generation,
                             .state = view.state,
                             .overflow = view.overflow,
                             .pid = current ? record->process.pid : 0,
                             .calls = view.calls,
                             .failed_checks = view.failed_checks,
                             .start = current ? record->start : StartTimes{}});
  }
  return stats;
}

std::vector<CommandInfo> Shell::commands() const {
  std::shared_ptr<const wire::Announcement> announced;
  {
    const std::lock_guard lock(mutex_);
    announced = announced_;
  }
  std::vector<CommandInfo> commands;
  if (announced == nullptr) return commands;
  for (const wire::Command& command : announced->commands) {
    commands.push_back(
        {.name = command.name, .kind = command.kind, .doc = command.doc, .params = command.params});
  }
  return commands;
}

}  // namespace lair::pool
