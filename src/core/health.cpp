// Checks: an idle worker that has rested for `health_interval` is asked whether it is well. One that does not answer in time
// is ended; one that answers with an error is degraded, and ended at the third such answer in a row. A busy worker
// is not asked: its call's deadline governs it.
//
// A worker whose call missed its deadline, or was cancelled, is in the same state while it is asked to give the call up: it has
// `cancel_grace` for that.
#include <algorithm>
#include <utility>

#include "core/core.hpp"

namespace lair::core {

namespace {
constexpr unsigned kMostFailedChecks = 3;
}

// Workers that came up together are spread over the last tenth of the interval, by their slot.
TimePoint Core::check_due(const Row& row) const {
  if (config_.health_interval == kForever) return TimePoint::max();
  return row.well_since + config_.health_interval - config_.health_interval / 160 * (row.ref.slot % 16);
}

void Core::begin_check(Row& row) {
  move(row, WorkerState::kChecking, Reason::kNone);
  row.check_ends = now_ + config_.health_timeout;
  effects_->push(Check{row.ref});
}

// One that is to leave anyway need not.
bool Core::can_recover(const Row& row) const {
  return config_.cancel_grace > Duration::zero() && row.taken == 0 &&
         (row.retire == Reason::kNone || stays(row)) && !row.apart && !shutting_down_;
}

void Core::begin_recovery(Row& row, Reason reason) {
  move(row, WorkerState::kChecking, Reason::kNone);
  row.check_ends = now_ + config_.cancel_grace;
  row.recovers_from = reason;
  effects_->push(Cancel{row.ref});
  effects_->push(Rearm{});
}

void Core::check_health() {
  looked_at_health_ = now_;
  if (shutting_down_) return;
  const auto look_at = [this](Row& row) {
    if (row.state == WorkerState::kIdle && check_due(row) <= now_ && !row.apart) {
      begin_check(row);
    } else if (row.state == WorkerState::kChecking && row.check_ends <= now_) {
      end(row, row.recovers_from == Reason::kNone ? Reason::kUnhealthy : row.recovers_from, false);
    }
  };
  for (Slot& slot : slots_) {
    if (slot.row) look_at(*slot.row);
  }
  if (surge_) look_at(*surge_);  // it was being asked when its heir became ready, and stays for its sessions
}

Outcome Core::answered(Row* row, bool well) {
  const Outcome outcome = admit(row, WorkerEvent::kCheckPassed);
  if (outcome != Outcome::kDone) return outcome;
  const bool recovered = std::exchange(row->recovers_from, Reason::kNone) != Reason::kNone;
  if (!recovered) row->failed_checks = well ? 0 : row->failed_checks + 1;
  if (row->failed_checks >= kMostFailedChecks) {
    end(*row, Reason::kUnhealthy, true);
    return outcome;
  }
  move(*row, WorkerState::kIdle, Reason::kNone);
  serve();
  return outcome;
}

Outcome Core::on(const BeginCheck& event) {
  Row* row = live(event.worker);
  const Outcome outcome = admit(row, WorkerEvent::kBeginCheck);
  if (outcome != Outcome::kDone) return outcome;
  if (row->apart) return Outcome::kStale;  // it leaves, when its sessions have had their time
  begin_check(*row);
  effects_->push(Rearm{});
  return outcome;
}

Outcome Core::on(const CheckPassed& event) { return answered(live(event.worker), true); }
Outcome Core::on(const CheckFailed& event) { return answered(live(event.worker), false); }

}  // namespace lair::core
