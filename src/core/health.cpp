// Checks: an idle worker that has rested for `health_interval` is asked whether it is well. One that does not answer in time
// is ended; one that answers with an error is degraded, and ended at the third such answer in a row. A busy worker
// is not asked: its call's deadline governs it.
#include <algorithm>

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

void Core::check_health() {
  looked_at_health_ = now_;
  if (shutting_down_) return;
  for (Slot& slot : slots_) {
    if (!slot.row) continue;
    Row& row = *slot.row;
    if (row.state == WorkerState::kIdle && check_due(row) <= now_) {
      begin_check(row);
    } else if (row.state == WorkerState::kChecking && row.check_ends <= now_) {
      end(row, Reason::kUnhealthy, false);
    }
  }
}

Outcome Core::answered(Row* row, bool well) {
  const Outcome outcome = admit(row, WorkerEvent::kCheckPassed);
  if (outcome != Outcome::kDone) return outcome;
  row->failed_checks = well ? 0 : row->failed_checks + 1;
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
  begin_check(*row);
  effects_->push(Rearm{});
  return outcome;
}

Outcome Core::on(const CheckPassed& event) { return answered(live(event.worker), true); }
Outcome Core::on(const CheckFailed& event) { return answered(live(event.worker), false); }

}  // namespace lair::core
