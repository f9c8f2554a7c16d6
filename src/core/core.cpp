// The events. What follows from them, whoever they come from, is in duties.cpp; how workers come and go in roster.cpp.
#include "core/core.hpp"

#include <algorithm>
#include <utility>

#include "base/assert.hpp"

namespace lair::core {

Core::Core(const CoreConfig& config)
    : config_(config),
      slots_(config.size + config.overflow),
      restarts_(config.size, config.overflow, config.seed),
      jitter_(config.seed) {
  LAIR_ASSERT(config.size > 0 && config.max_starting > 0);
  for (std::size_t i = config.size; i < slots_.size(); ++i) slots_[i].overflow = true;
  counts_[static_cast<std::size_t>(SlotState::kVacant)] = slots_.size();
  idle_.reserve(slots_.size());
}

Outcome Core::step(const Event& event, TimePoint now, Effects& effects) {
  now_ = std::max(now_, now);
  effects_ = &effects;
  const Outcome outcome = std::visit([this](const auto& e) { return on(e); }, event);
  if (sessions_changed_) settle_sessions();
  watch_queue();
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
  if (surge_ && surge_->kill_at <= now_) {
    surge_->kill_at = TimePoint::max();
    effects_->push(Kill{surge_->ref, surge_->reason});
  }
  if (shutting_down_ && now_ >= grace_end_) {
    for (Slot& slot : slots_) {
      if (slot.row && slot.row->state == WorkerState::kBusy) end(*slot.row, Reason::kShutdown, true);
    }
    if (surge_ && surge_->state == WorkerState::kBusy) end(*surge_, Reason::kShutdown, true);
  }
  if (shed_armed_ <= now_) shed_armed_ = TimePoint::max();
  shed();
  end_graces();
  spill();
  retire_idle();
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
  if (std::exchange(reloading_, false)) effects_->push(Reloaded{.revision = revision_, .complete = false});
  if (surge_ && surge_->state == WorkerState::kStarting) {
    end(*surge_, Reason::kShutdown, false);
  } else if (surge_ && is_up(surge_->state) && surge_->state != WorkerState::kBusy) {
    end(*surge_, Reason::kShutdown, true);
  }
  for (Slot& slot : slots_) {
    if (!slot.row) {
      if (!slot.closed) rest(slot, SlotState::kVacant);
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

Outcome Core::on(const Admit& event) {
  if (shutting_down_) return Outcome::kStale;
  admission_ = event.admission;
  ready_changed_ = true;
  effects_->push(Rearm{});
  serve();
  return Outcome::kDone;
}

// --- Callers ---------------------------------------------------------------------------------------

Outcome Core::on(const Checkout& event) {
  const auto refused = [&](RefuseReason why) {
    refuse(event.token, why);
    return Outcome::kDone;
  };
  if (event.session != 0 && !event.who.any) return Outcome::kIllegal;
  if (shutting_down_) return refused(RefuseReason::kShuttingDown);
  if (event.deadline <= now_) return refused(RefuseReason::kExpired);
  if (!event.who.any) {
    const Row* row = live(event.who.only);
    if (row == nullptr || row->state == WorkerState::kStopping) return refused(RefuseReason::kWorkerGone);
  }
  SessionRow* session = nullptr;
  if (event.session != 0) {
    session = sessions_.find(event.session);
    if (session == nullptr) return refused(RefuseReason::kSessionEnded);
    if (session->lost != Reason::kNone) return refused(RefuseReason::kSessionLost);
  }
  if (admission_ == Admission::kDraining && !event.since) return refused(RefuseReason::kDraining);
  if (!can_serve()) return refused(RefuseReason::kNoWorkers);

  const Waiter waiter{
      .token = event.token,
      .who = event.who,
      .exclusive = event.exclusive || (session != nullptr && session->affinity == Affinity::kExclusive),
      .deadline = event.deadline,
      .since = event.since.value_or(now_),
      .came = event.since.value_or(now_),
      .patient = event.patient,
      .session = session,
      .spill_after = event.spill_after};
  if (session != nullptr) return come_in_session(waiter, event.since.has_value());
  if (Row* row = pick_in_turn(waiter)) {
    grant(*row, waiter);
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
  arm_shedding();
  return Outcome::kDone;
}

Outcome Core::on(const Claim& event) {
  Waiter* waiter = queue_.find(event.token);
  if (waiter == nullptr) return Outcome::kStale;
  waiter->woken = false;
  const bool parked = waiter->session != nullptr && waiter->session->first != event.token;
  Row* row = parked ? nullptr : pick_in_turn(*waiter);
  if (row != nullptr) {
    const Waiter served = *queue_.take(event.token);
    forget_reservation(event.token);
    grant(*row, served);
  }
  // What it was woken for may be left over, or more than it took.
  if (anything_free()) serve();
  return Outcome::kDone;
}

Outcome Core::on(const Abandon& event) {
  if (queue_.find(event.token) == nullptr) return Outcome::kStale;
  leave_line(event.token);
  // It may have been the one that a free worker was kept for.
  if (anything_free()) serve();
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
    proves_its_worth(*row);
    row->calls += event.completed;
  }
  if (row->state != WorkerState::kBusy) return Outcome::kDone;  // it is already being ended
  if (!event.clean && event.may_recover && can_recover(*row)) {
    begin_recovery(*row, event.reason);
  } else if (!event.clean) {
    end(*row, event.reason, false);
  } else if (row->taken == 0 && shutting_down_) {
    end(*row, Reason::kShutdown, true);
  } else if (row->taken == 0 && row->retire != Reason::kNone && !stays(*row)) {
    end(*row, row->retire, true);
  } else {
    const bool plan = (!surge_ || !sessions_.empty()) && due(*row) != Reason::kNone;
    if (row->taken == 0) move(*row, WorkerState::kIdle, Reason::kNone);
    serve();
    if (plan) start_workers();
  }
  if (admission_ == Admission::kDraining && quiet()) ready_changed_ = true;
  return Outcome::kDone;
}

Outcome Core::on(const Answered& event) {
  Row* row = live(event.worker);
  if (row == nullptr) return Outcome::kStale;
  proves_its_worth(*row);
  return Outcome::kDone;
}

void Core::proves_its_worth(Row& row) {
  if (!row.productive) restarts_.worker_productive();
  row.productive = true;
  slots_[row.ref.slot].strikes = 0;
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
  plan_ends(*row);
  const bool succeeds = row->apart;
  if (succeeds) {
    take_over();
    row = live(event.worker);
  }
  if (row->revision == revision_) code_fails_ = code_fails_ && reloading_;
  move(*row, WorkerState::kIdle, Reason::kNone);
  if (succeeds) see_off_predecessor();
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
  if (!was_stopping) newest_code_failed(*row, event.permanent);
  // An heir's failure is not held against the pool, for its predecessor serves; nor is that of older code.
  if (event.permanent && !row->apart && row->revision == revision_) {
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
  if (!event.has_process) bury(event.worker);
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

Outcome Core::on(const Exited& event) {
  Row* row = live(event.worker);
  if (row == nullptr) {
    const bool died_before =
        event.worker.slot < slots_.size() && slots_[event.worker.slot].generation >= event.worker.generation;
    return died_before ? Outcome::kIllegal : Outcome::kStale;
  }
  if (row->reason == Reason::kNone) {
    if (row->state == WorkerState::kStarting) newest_code_failed(*row, false);
    row->reason = row->state == WorkerState::kStarting ? Reason::kStartFailed : Reason::kCrash;
  }
  bury(event.worker);
  return Outcome::kDone;
}

}  // namespace lair::core
