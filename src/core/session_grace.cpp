// Planned ends of workers that are home to strict or exclusive sessions: these have `session_grace`, from when the end is
// planned, to end first.
//
// Meanwhile a worker that is to be replaced serves on as before, and its heir is not even started: so the graces of
// several workers pass at the same time though they are replaced one by one, and code that does not start costs no session.
// Only new bound sessions avoid it. A worker that is to end without an heir is withdrawn, and so is one whose heir had been
// started before the session came.
#include "core/core.hpp"

namespace lair::core {

TimePoint Core::grace_ends(const Row& row) const {
  return Deadline::after(config_.session_grace, row.planned_at).when();
}

// Until when it is not to be replaced, for its sessions' sake.
TimePoint Core::kept_until(const Row& row) const {
  const bool kept = row.homed.bound > 0 && row.planned_at != TimePoint::max();
  return kept ? grace_ends(row) : TimePoint::min();
}

// Notes since when the ends of workers are planned. It matters to sessions only.
void Core::note_planned() {
  if (sessions_.empty()) return;
  for (Slot& slot : slots_) {
    if (!slot.row || slot.overflow || slot.closed || !is_up(slot.row->state)) continue;
    Row& row = *slot.row;
    if (row.retire != Reason::kNone) continue;
    if (due(row) == Reason::kNone) {
      row.planned_at = TimePoint::max();
    } else if (row.planned_at == TimePoint::max()) {
      row.planned_at = now_;
      if (row.homed.bound > 0) effects_->push(Rearm{});
    }
  }
}

// As soon as it is free, and its bound sessions have ended or had their time.
void Core::leave(Row& row, Reason reason) {
  if (row.planned_at == TimePoint::max()) row.planned_at = now_;
  const bool waits = row.homed.bound > 0 && !shutting_down_ && is_up(row.state) && grace_ends(row) > now_;
  if (!waits) return leave_now(row, reason);
  if (row.state == WorkerState::kIdle && open(row)) unstack(row);
  row.retire = reason;
  row.stays_until = grace_ends(row);
  withdraw(row);
  effects_->push(Rearm{});
}

void Core::leave_now(Row& row, Reason reason) {
  row.stays_until = TimePoint::min();
  if (row.state != WorkerState::kBusy) return end(row, reason, row.state != WorkerState::kStarting);
  row.retire = reason;
  withdraw(row);
}

// It stays no longer than its sessions.
void Core::no_more_bound(Row& row) {
  if (shutting_down_) return;
  if (row.retire != Reason::kNone) {
    if (row.stays_until != TimePoint::min()) leave_now(row, row.retire);
  } else if (due(row) != Reason::kNone) {
    start_workers();
  } else if (row.state == WorkerState::kIdle) {
    effects_->push(Rearm{});  // it may have been idle for long enough
  }
}

void Core::end_graces() {
  if (shutting_down_) return;
  const auto look_at = [this](Row& row) {
    const bool stayed = row.retire != Reason::kNone && row.stays_until != TimePoint::min();
    if (stayed && is_up(row.state) && row.stays_until <= now_) leave_now(row, row.retire);
  };
  for (Slot& slot : slots_) {
    if (slot.row) look_at(*slot.row);
  }
  if (surge_) look_at(*surge_);
}

}  // namespace lair::core
