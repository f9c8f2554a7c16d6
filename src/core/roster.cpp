// The roster: how a worker moves from state to state, is granted and given back, ends, and is buried.
#include <algorithm>
#include <utility>

#include "base/assert.hpp"
#include "core/core.hpp"

namespace lair::core {

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

namespace {

// Whether the end of a worker that never completed a call speaks against starting another.
bool speaks_against_restart(Reason reason) {
  return reason == Reason::kCrash || reason == Reason::kProtocol || reason == Reason::kStartFailed;
}

}  // namespace

SlotState Core::Slot::state() const { return row ? slot_state(row->state) : rest; }

Core::Row* Core::live(WorkerRef ref) {
  if (ref.slot >= slots_.size()) return nullptr;
  Slot& slot = slots_[ref.slot];
  if (slot.row && slot.row->ref == ref) return &*slot.row;
  return surge_ && surge_->ref == ref ? &*surge_ : nullptr;
}

void Core::move(Row& row, WorkerState to, Reason reason) {
  const WorkerState from = row.state;
  LAIR_ASSERT(from != to && from != WorkerState::kDead);
  if (!row.apart) {
    --counts_[static_cast<std::size_t>(slot_state(from))];
    if (to != WorkerState::kDead) ++counts_[static_cast<std::size_t>(slot_state(to))];
  }
  row.state = to;
  const Duration took = now_ - std::exchange(row.since, now_);

  if (from == WorkerState::kIdle && open(row)) unstack(row);
  if (to == WorkerState::kIdle) {
    if (open(row)) idle_.push_back(row.ref.slot);
    row.well_since = now_;
    if (from != WorkerState::kChecking) row.idle_since = now_;  // a check is not a use
    if (slots_[row.ref.slot].overflow || config_.idle_ttl != kForever) effects_->push(Rearm{});
  }
  if (from == WorkerState::kStarting && row.importing) {
    row.importing = false;
    --importing_;
  }
  if (is_up(from) && is_up(to)) return;  // the daily round
  effects_->push(Moved{row.ref, from, to, reason, took});
  ready_changed_ = true;
  if (row.homed.all > 0) lose_sessions(row, reason);
}

void Core::unstack(const Row& row) {
  // Nearly always the top of the stack.
  const auto place = std::find(idle_.rbegin(), idle_.rend(), row.ref.slot);
  LAIR_ASSERT(place != idle_.rend());
  idle_.erase(std::next(place).base());
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
  row.stays_until = TimePoint::min();
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

void Core::bury(WorkerRef ref) {
  if (surge_ && surge_->ref == ref) {
    bury_surge();
  } else {
    bury_in(slots_[ref.slot]);
  }
}

void Core::bury_in(Slot& slot) {
  Row row = std::move(*slot.row);
  move(row, WorkerState::kDead, row.reason);
  slot.row.reset();
  slot.rest = SlotState::kVacant;
  if (!slot.closed) ++counts_[static_cast<std::size_t>(SlotState::kVacant)];

  const bool has_heir = surge_ && surge_->ref.slot == row.ref.slot && surge_->state == WorkerState::kStarting;
  if (!shutting_down_ && !slot.closed) {
    const bool unproductive = !row.productive && speaks_against_restart(row.reason);
    Duration wait{};
    if (unproductive) {
      wait = restarts_.unproductive_death(++slot.strikes, now_);
    } else {
      slot.strikes = 0;
    }
    if (has_heir) {  // which need not wait for anybody any more
      --counts_[static_cast<std::size_t>(SlotState::kVacant)];
      ++counts_[static_cast<std::size_t>(SlotState::kStarting)];
      slot.row = std::move(surge_);
      slot.row->apart = false;
      surge_.reset();
    } else if (unproductive) {
      slot.retry_at = now_ + wait;
      rest(slot, SlotState::kBackingOff);
      effects_->push(Rearm{});
    }
    if (restarts_.failed()) fail_resting_slots();
  }
  settle(std::move(row));
}

// What a dead worker leaves behind.
void Core::settle(Row row) {
  row.kill_at = TimePoint::max();
  row.reserved_for.reset();
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
  mean_service_ += (now_ - hold->since - mean_service_) / 16;
  row.taken -= hold->exclusive ? row.permits : 1;
  const SessionKey session = hold->session;
  row.holds.erase(hold);
  if (session != 0) call_ended(session, epoch);
  return true;
}

void Core::grant(Row& row, const Waiter& waiter) {
  SessionRow* session = waiter.session;
  const std::uint32_t permits = waiter.exclusive ? row.permits : 1;
  LAIR_ASSERT(row.taken + permits <= row.permits);
  row.taken += permits;
  row.holds.push_back(Hold{.epoch = ++last_epoch_,
                           .exclusive = waiter.exclusive,
                           .since = now_,
                           .session = session == nullptr ? 0 : session->key});
  if (row.state == WorkerState::kIdle) move(row, WorkerState::kBusy, Reason::kNone);
  const Met met = session == nullptr ? Met::kNone : meet(*session, row);
  const Grant granted{.token = waiter.token,
                      .worker = row.ref,
                      .epoch = last_epoch_,
                      .session = session == nullptr ? 0 : session->key,
                      .met = met};
  effects_->push(granted);
  if (session == nullptr) return;
  session->call = last_epoch_;
  next_in_line(*session);
}

}  // namespace lair::core
