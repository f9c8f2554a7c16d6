// The events. What follows from them, whoever they come from, is in duties.cpp.
#include "core/core.hpp"

#include <algorithm>
#include <utility>

#include "base/assert.hpp"

namespace lair::core {

namespace {

SlotState slot_state(WorkerState state) {
  switch (state) {
    case WorkerState::kStarting:
      return SlotState::kStarting;
    case WorkerState::kIdle:
      return SlotState::kIdle;
    case WorkerState::kBusy:
      return SlotState::kBusy;
    case WorkerState::kChecking:
      return SlotState::kChecking;
    case WorkerState::kStopping:
      return SlotState::kStopping;
    case WorkerState::kDead:
      break;
  }
  LAIR_ASSERT(false, "a dead worker has left its slot");
  return SlotState::kVacant;
}

bool is_up(WorkerState state) {
  return state == WorkerState::kIdle || state == WorkerState::kBusy || state == WorkerState::kChecking;
}

// Whether the end of a worker that never completed a call speaks against starting another.
bool speaks_against_restart(Reason reason) {
  return reason == Reason::kCrash || reason == Reason::kProtocol || reason == Reason::kStartFailed;
}

}  // namespace

SlotState Core::Slot::state() const { return row ? slot_state(row->state) : rest; }

Core::Core(const CoreConfig& config)
    : config_(config),
      slots_(config.size + config.overflow),
      restarts_(config.size, config.overflow, config.seed) {
  LAIR_ASSERT(config.size > 0 && config.max_starting > 0);
  for (std::size_t i = config.size; i < slots_.size(); ++i) slots_[i].overflow = true;
  counts_[static_cast<std::size_t>(SlotState::kVacant)] = slots_.size();
  idle_.reserve(slots_.size());
}

Outcome Core::step(const Event& event, TimePoint now, Effects& effects) {
  now_ = std::max(now_, now);
  effects_ = &effects;
  const Outcome outcome = std::visit([this](const auto& e) { return on(e); }, event);
  if (ready_changed_) effects.push(ReadyChanged{});
  ready_changed_ = false;
  effects_ = nullptr;
  return outcome;
}

// --- The pool's own life ---------------------------------------------------------------------------

Outcome Core::on(const Begin&) {
  if (begun_) return Outcome::kIllegal;
  begun_ = true;
  looked_at_health_ = now_;
  start_workers();
  return Outcome::kDone;
}

Outcome Core::on(const Prewarm& event) {
  prewarm_ = std::max(prewarm_, std::min(event.count, config_.size));
  start_workers();
  return Outcome::kDone;
}

Outcome Core::on(const Tick&) {
  for (Slot& slot : slots_) {
    if (!slot.row || slot.row->kill_at > now_) continue;
    slot.row->kill_at = TimePoint::max();
    effects_->push(Kill{slot.row->ref, slot.row->reason});
  }
  if (shutting_down_ && now_ >= grace_end_) {
    for (Slot& slot : slots_) {
      if (slot.row && slot.row->state == WorkerState::kBusy) end(*slot.row, Reason::kShutdown, true);
    }
  }
  retire_idle_overflow();
  check_health();
  start_workers();
  return Outcome::kDone;
}

Outcome Core::on(const Shutdown& event) {
  grace_end_ = shutting_down_ ? std::min(grace_end_, event.grace_end) : event.grace_end;
  effects_->push(Rearm{});
  if (shutting_down_) return Outcome::kDone;
  shutting_down_ = true;
  ready_changed_ = true;
  refuse_all(RefuseReason::kShuttingDown);
  for (Slot& slot : slots_) {
    if (!slot.row) {
      rest(slot, SlotState::kVacant);
      continue;
    }
    switch (slot.row->state) {
      case WorkerState::kStarting:
        end(*slot.row, Reason::kShutdown, false);
        break;
      case WorkerState::kIdle:
      case WorkerState::kChecking:
        end(*slot.row, Reason::kShutdown, true);
        break;
      case WorkerState::kBusy:  // until the grace ends, or its holder brings it back
      case WorkerState::kStopping:
      case WorkerState::kDead:
        break;
    }
  }
  check_drained();
  return Outcome::kDone;
}

// --- Callers ---------------------------------------------------------------------------------------

Outcome Core::on(const Checkout& event) {
  const auto refused = [&](RefuseReason why) {
    refuse(event.token, why);
    return Outcome::kDone;
  };
  if (shutting_down_) return refused(RefuseReason::kShuttingDown);
  if (event.deadline <= now_) return refused(RefuseReason::kExpired);
  if (!event.who.any) {
    const Row* row = live(event.who.only);
    if (row == nullptr || row->state == WorkerState::kStopping) return refused(RefuseReason::kWorkerGone);
  }
  if (!can_serve()) return refused(RefuseReason::kNoWorkers);

  const Waiter waiter{.token = event.token,
                      .who = event.who,
                      .exclusive = event.exclusive,
                      .deadline = event.deadline,
                      .since = event.since.value_or(now_)};
  if (Row* row = pick_in_turn(waiter)) {
    grant(*row, event.token, event.exclusive);
    return Outcome::kDone;
  }
  if (!event.since && queue_.size() >= config_.max_waiters) {
    forget_reservation(event.token);
    return refused(RefuseReason::kQueueFull);
  }
  queue_.push(waiter);
  if (free_permits() > 0) serve();
  start_workers();
  if (config_.overflow > 0) effects_->push(Rearm{});
  return Outcome::kDone;
}

Outcome Core::on(const Claim& event) {
  Waiter* waiter = queue_.find(event.token);
  if (waiter == nullptr) return Outcome::kStale;
  Row* row = pick_in_turn(*waiter);
  waiter->woken = false;
  if (row != nullptr) {
    const bool exclusive = waiter->exclusive;
    queue_.take(event.token);
    forget_reservation(event.token);
    grant(*row, event.token, exclusive);
  }
  // What it was woken for may be left over, or more than it took.
  if (free_permits() > 0) serve();
  return Outcome::kDone;
}

Outcome Core::on(const Abandon& event) {
  if (!queue_.take(event.token)) return Outcome::kStale;
  forget_reservation(event.token);
  // It may have been the one that a free worker was kept for.
  if (free_permits() > 0) serve();
  return Outcome::kDone;
}

Outcome Core::on(const Checkin& event) {
  Row* row = live(event.worker);
  if (row == nullptr) {
    const auto lingering = std::find_if(lingering_.begin(), lingering_.end(),
                                        [&](const Row& dead) { return dead.ref == event.worker; });
    if (lingering == lingering_.end()) return Outcome::kStale;
    if (!give_back(*lingering, event.epoch)) return Outcome::kIllegal;
    if (lingering->holds.empty()) {
      effects_->push(Forget{event.worker});
      lingering_.erase(lingering);
    }
    return Outcome::kDone;
  }
  if (!give_back(*row, event.epoch)) return Outcome::kIllegal;
  if (event.completed > 0) {
    if (row->calls == 0) restarts_.worker_productive();
    row->calls += event.completed;
    slots_[row->ref.slot].strikes = 0;
  }
  if (row->state != WorkerState::kBusy) return Outcome::kDone;  // it is already being ended
  if (!event.clean) {
    end(*row, event.reason, false);
  } else if (row->taken == 0 && shutting_down_) {
    end(*row, Reason::kShutdown, true);
  } else if (row->taken == 0 && row->retire != Reason::kNone) {
    end(*row, row->retire, true);
  } else {
    if (row->taken == 0) move(*row, WorkerState::kIdle, Reason::kNone);
    serve();
  }
  return Outcome::kDone;
}

// --- Workers ---------------------------------------------------------------------------------------

Outcome Core::admit(const Row* row, WorkerEvent event) const {
  if (row == nullptr) return Outcome::kStale;
  const Rule found = rule(row->state, event);
  if (found == Rule::kIllegal) return Outcome::kIllegal;
  return found == Rule::kIgnore ? Outcome::kStale : Outcome::kDone;
}

Outcome Core::on(const Spawned& event) { return admit(live(event.worker), WorkerEvent::kSpawned); }

Outcome Core::on(const Handshaken& event) {
  Row* row = live(event.worker);
  const Outcome outcome = admit(row, WorkerEvent::kHandshaken);
  if (outcome != Outcome::kDone || !row->importing) return outcome;
  row->importing = false;
  --importing_;
  start_workers();
  return outcome;
}

Outcome Core::on(const Ready& event) {
  Row* row = live(event.worker);
  const Outcome outcome = admit(row, WorkerEvent::kReady);
  if (outcome != Outcome::kDone) return outcome;
  LAIR_ASSERT(event.permits >= 1);
  row->permits = event.permits;
  multiplexed_ = multiplexed_ || event.permits > 1;
  row->was_ready = true;
  move(*row, WorkerState::kIdle, Reason::kNone);
  restarts_.worker_ready();
  if (!restarts_.failed()) {
    for (Slot& slot : slots_) {
      if (!slot.row && slot.rest == SlotState::kFailed) rest(slot, SlotState::kVacant);
    }
  }
  serve();
  start_workers();
  return outcome;
}

Outcome Core::on(const StartFailed& event) {
  Row* row = live(event.worker);
  const bool was_stopping = row != nullptr && row->state == WorkerState::kStopping;
  const Outcome outcome = admit(row, WorkerEvent::kStartFailed);
  if (outcome != Outcome::kDone && !(was_stopping && !event.has_process)) return outcome;
  if (event.permanent) {
    restarts_.permanent_failure();
    fail_resting_slots();
  }
  if (!was_stopping) {
    if (event.has_process) {
      end(*row, Reason::kStartFailed, false);
    } else {
      row->reason = Reason::kStartFailed;
    }
  }
  if (!event.has_process) bury(slots_[event.worker.slot]);
  refuse_hopeless();
  ready_changed_ = true;
  return Outcome::kDone;
}

Outcome Core::on(const Condemn& event) {
  Row* row = live(event.worker);
  const Outcome outcome = admit(row, WorkerEvent::kCondemn);
  if (outcome == Outcome::kDone) end(*row, event.reason, false);
  return outcome;
}

Outcome Core::on(const Retire& event) {
  Row* row = live(event.worker);
  const Outcome outcome = admit(row, WorkerEvent::kStop);
  if (outcome != Outcome::kDone) return outcome;
  if (row->state == WorkerState::kBusy) {
    row->retire = event.reason;  // at check-in
  } else {
    end(*row, event.reason, row->state != WorkerState::kStarting);
  }
  return outcome;
}

Outcome Core::on(const Exited& event) {
  Row* row = live(event.worker);
  if (row == nullptr) {
    const bool died_before =
        event.worker.slot < slots_.size() && slots_[event.worker.slot].generation >= event.worker.generation;
    return died_before ? Outcome::kIllegal : Outcome::kStale;
  }
  if (row->reason == Reason::kNone) {
    row->reason = row->state == WorkerState::kStarting ? Reason::kStartFailed : Reason::kCrash;
  }
  bury(slots_[event.worker.slot]);
  return Outcome::kDone;
}

// --- The roster ------------------------------------------------------------------------------------

Core::Row* Core::live(WorkerRef ref) {
  if (ref.slot >= slots_.size()) return nullptr;
  Slot& slot = slots_[ref.slot];
  return slot.row && slot.row->ref == ref ? &*slot.row : nullptr;
}

void Core::move(Row& row, WorkerState to, Reason reason) {
  const WorkerState from = row.state;
  LAIR_ASSERT(from != to && from != WorkerState::kDead);
  --counts_[static_cast<std::size_t>(slot_state(from))];
  if (to != WorkerState::kDead) ++counts_[static_cast<std::size_t>(slot_state(to))];
  row.state = to;
  const Duration took = now_ - std::exchange(row.since, now_);

  if (from == WorkerState::kIdle) {
    // Nearly always the top of the stack.
    const auto place = std::find(idle_.rbegin(), idle_.rend(), row.ref.slot);
    LAIR_ASSERT(place != idle_.rend());
    idle_.erase(std::next(place).base());
  }
  if (to == WorkerState::kIdle) {
    idle_.push_back(row.ref.slot);
    row.well_since = now_;
    if (from != WorkerState::kChecking) row.idle_since = now_;  // a check is not a use
    if (slots_[row.ref.slot].overflow) effects_->push(Rearm{});
  }
  if (from == WorkerState::kStarting && row.importing) {
    row.importing = false;
    --importing_;
  }
  if (is_up(from) && is_up(to)) return;  // the daily round
  effects_->push(Moved{row.ref, from, to, reason, took});
  ready_changed_ = true;
}

void Core::rest(Slot& slot, SlotState state) {
  LAIR_ASSERT(!slot.row);
  --counts_[static_cast<std::size_t>(slot.rest)];
  slot.rest = state;
  ++counts_[static_cast<std::size_t>(state)];
}

void Core::end(Row& row, Reason reason, bool gently) {
  row.reason = reason;
  row.reserved_for.reset();
  move(row, WorkerState::kStopping, reason);
  if (gently) {
    row.kill_at = now_ + config_.terminate_grace;
    effects_->push(Stop{row.ref, reason});
    effects_->push(Rearm{});
  } else {
    effects_->push(Kill{row.ref, reason});
  }
  refuse_pinned(row.ref);
  refuse_hopeless();
  start_workers();  // it no longer counts as importing
}

void Core::bury(Slot& slot) {
  Row row = std::move(*slot.row);
  move(row, WorkerState::kDead, row.reason);
  row.kill_at = TimePoint::max();
  row.reserved_for.reset();
  slot.row.reset();
  slot.rest = SlotState::kVacant;
  ++counts_[static_cast<std::size_t>(SlotState::kVacant)];

  if (!shutting_down_) {
    if (row.calls == 0 && speaks_against_restart(row.reason)) {
      const Duration wait = restarts_.unproductive_death(++slot.strikes, now_);
      slot.retry_at = now_ + wait;
      rest(slot, SlotState::kBackingOff);
      effects_->push(Rearm{});
    } else {
      slot.strikes = 0;
    }
    if (restarts_.failed()) fail_resting_slots();
  }
  const WorkerRef ref = row.ref;
  if (row.holds.empty()) {
    effects_->push(Forget{ref});
  } else {
    lingering_.push_back(std::move(row));
  }
  refuse_pinned(ref);
  start_workers();
  refuse_hopeless();
  check_drained();
}

bool Core::give_back(Row& row, Epoch epoch) {
  const auto hold =
      std::find_if(row.holds.begin(), row.holds.end(), [&](const Hold& h) { return h.epoch == epoch; });
  if (hold == row.holds.end()) return false;
  // A moving average over about 16 holds, for retry_after.
  mean_service_ += (now_ - hold->since - mean_service_) / 16;
  row.taken -= hold->exclusive ? row.permits : 1;
  row.holds.erase(hold);
  return true;
}

void Core::grant(Row& row, Token token, bool exclusive) {
  const std::uint32_t permits = exclusive ? row.permits : 1;
  LAIR_ASSERT(row.taken + permits <= row.permits);
  row.taken += permits;
  row.holds.push_back(Hold{.epoch = ++last_epoch_, .exclusive = exclusive, .since = now_});
  if (row.state == WorkerState::kIdle) move(row, WorkerState::kBusy, Reason::kNone);
  effects_->push(Grant{.token = token, .worker = row.ref, .epoch = last_epoch_});
}

}  // namespace lair::core
