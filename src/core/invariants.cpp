// What must hold between any two steps. Tests, the simulator and the dev and sanitizer builds ask after each one.
#include <algorithm>

#include "core/core.hpp"

namespace lair::core {

namespace {
std::string in_slot(std::size_t slot, const char* what) {
  return "slot " + std::to_string(slot) + ": " + what;
}
}  // namespace

std::string Core::broken_invariant() const {
  std::size_t counts[kSlotStates] = {};
  std::size_t importing = 0;
  for (std::size_t i = 0; i < slots_.size(); ++i) {
    const Slot& slot = slots_[i];
    ++counts[static_cast<std::size_t>(slot.state())];
    const auto stacked = static_cast<std::size_t>(std::count(idle_.begin(), idle_.end(), i));
    if (!slot.row && slot.closed) --counts[static_cast<std::size_t>(SlotState::kVacant)];
    if (!slot.row) {
      if (stacked != 0) return in_slot(i, "on the idle stack without a worker");
      const bool rests = slot.rest == SlotState::kVacant || slot.rest == SlotState::kBackingOff ||
                         slot.rest == SlotState::kFailed;
      if (!rests) return in_slot(i, "empty, yet in a worker's state");
      continue;
    }
    const Row& row = *slot.row;
    // Less, if an heir has come and gone, or is there.
    if (row.ref.slot != i || row.ref.generation > slot.generation) return in_slot(i, "wrong generation");
    if (row.apart) return in_slot(i, "its worker is the surge");
    if (row.state == WorkerState::kDead) return in_slot(i, "a dead worker still holds it");
    if ((row.state == WorkerState::kIdle && open(row)) != (stacked == 1) || stacked > 1) {
      return in_slot(i, "idle and the idle stack disagree");
    }
    std::uint32_t taken = 0;
    for (const Hold& hold : row.holds) taken += hold.exclusive ? row.permits : 1;
    if (taken != row.taken || taken > row.permits) return in_slot(i, "permits and holds disagree");
    if (row.state == WorkerState::kIdle && taken != 0) return in_slot(i, "idle, but held");
    if (row.state == WorkerState::kBusy && taken == 0) return in_slot(i, "busy, but nobody holds it");
    if (row.state == WorkerState::kStarting && taken != 0) return in_slot(i, "held before it was ready");
    if (row.state == WorkerState::kStopping && row.reason == Reason::kNone)
      return in_slot(i, "stopping for no reason");
    importing += row.state == WorkerState::kStarting && row.importing ? 1 : 0;
  }
  if (surge_) {
    const Row& row = *surge_;
    if (!row.apart || row.ref.slot >= slots_.size()) return "the surge is in a slot";
    const Slot& slot = slots_[row.ref.slot];
    if (row.ref.generation > slot.generation || (slot.row && slot.row->ref == row.ref))
      return "the surge has its slot's generation";
    const bool at_rest = row.state == WorkerState::kIdle || row.state == WorkerState::kChecking;
    const bool stays = row.retire != Reason::kNone && row.homed.bound > 0;
    if ((at_rest && !stays) || row.state == WorkerState::kDead) return "the surge neither starts nor leaves";
    if (row.state == WorkerState::kBusy && (row.taken == 0 || row.retire == Reason::kNone))
      return "the surge is busy, but not leaving";
    if (row.state == WorkerState::kStarting && !slot.row) return "an heir of nobody";
    importing += row.state == WorkerState::kStarting && row.importing ? 1 : 0;
  }
  if (!std::equal(std::begin(counts), std::end(counts), std::begin(counts_)))
    return "slot counts do not add up";
  if (importing != importing_) return "count of importing workers is off";
  if (importing > config_.max_starting) return "more workers importing than allowed";
  for (const Row& row : lingering_) {
    if (row.state != WorkerState::kDead || row.holds.empty()) return "a lingering row is alive or free";
  }
  if (shutting_down_ && !queue_.empty()) return "waiters during shutdown";
  if (!shutting_down_ && !queue_.empty() && !can_serve()) return "waiters without hope";

  // No free permit while an eligible waiter sleeps unwoken, unless another woken one is to have it.
  std::size_t woken = 0;
  std::size_t asleep = 0;
  for (auto i = queue_.first(); i != WaitQueue::kNone; i = queue_.next(i)) {
    const Waiter& waiter = queue_.at(i);
    if (waiter.woken) {
      ++woken;
    } else if (seeks_any(waiter, served_at_) && !waiter.exclusive && waiter.deadline > now_) {
      ++asleep;
    }
  }
  if (admission_ != Admission::kPaused && !multiplexed_ && asleep > 0 && idle_.size() > woken)
    return "a free worker while a waiter sleeps";
  return broken_session_invariant();
}

}  // namespace lair::core
