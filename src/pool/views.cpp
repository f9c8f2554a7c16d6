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
  stats.size = core_.size();
  stats.revision = core_.revision();
  stats.code_fails = core_.code_fails();
  stats.overflow = options_.overflow;
  for (std::size_t i = 0; i < kSlotStates; ++i) stats.slots[i] = core_.count(static_cast<SlotState>(i));
  stats.waiters = core_.waiters();
  stats.leases = leases_.held();
  const TimePoint now = SteadyClock::now();
  if (stats.waiters > 0) stats.oldest_wait = now - core_.oldest_waiter_since();
  ledger_.fill(stats, now);
  stats.inflight =
      stats.admitted - stats.ok - stats.error - stats.timeout - stats.crashed - stats.shed - stats.cancelled;
  notifier_.fill(stats);
  sessions_.fill(stats.sessions);
  stats.sessions.stored_bytes = store_->total_bytes();
  stats.breakers = breakers_.stats(now);
  stats.workers.reserve(core_.slots());
  for (std::uint32_t i = 0; i < core_.slots(); ++i) {
    const auto view = core_.slot(i);
    if (view.closed && view.state == SlotState::kVacant) continue;
    WorkerStats worker = worker_stats({i, view.generation}, view.state);
    worker.overflow = view.overflow;
    worker.revision = view.revision;
    worker.calls = view.calls;
    worker.failed_checks = view.failed_checks;
    stats.workers.push_back(std::move(worker));
  }
  if (const auto surge = core_.surge()) {
    WorkerStats worker = worker_stats(surge->worker, surge->state);
    worker.surge = true;
    worker.revision = surge->revision;
    worker.calls = surge->calls;
    stats.workers.push_back(std::move(worker));
  }
  return stats;
}

WorkerStats Shell::worker_stats(core::WorkerRef ref, SlotState state) const {
  WorkerStats worker{.slot = ref.slot, .generation = ref.generation, .state = state};
  if (const RecordPtr record = record_of(ref); record != nullptr && !record->exit) {
    worker.pid = record->process.pid;
    worker.memory = record->memory;
    worker.start = record->start;
  }
  return worker;
}

RecordPtr Shell::record_of(core::WorkerRef ref) const {
  if (ref.slot >= records_.size()) return nullptr;
  for (const RecordPtr& record : records_[ref.slot]) {
    if (record != nullptr && record->ref == ref) return record;
  }
  return nullptr;
}

// In the place of one that the core has buried: at most two of a slot's workers live at once.
void Shell::keep_record(RecordPtr record) {
  if (record->ref.slot >= records_.size()) records_.resize(core_.slots());
  auto& pair = records_[record->ref.slot];
  const bool first_is_free = pair[0] == nullptr || !core_.alive(pair[0]->ref);
  pair[first_is_free ? 0 : 1] = std::move(record);
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
