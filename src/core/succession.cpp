// Planned ends: a worker that has served long enough, grown too large, runs yesterday's code, or that somebody wants
// replaced. Its heir starts beside it, in the pool's one place beyond its slots (the surge), and takes the slot when
// it is ready; only then is the old worker told to leave, when it is free. So no planned end lowers what the pool can
// do, and one that cannot be carried out changes nothing.
#include <algorithm>
#include <tuple>
#include <utility>

#include "base/assert.hpp"
#include "core/core.hpp"

namespace lair::core {

// --- Whose turn it is ------------------------------------------------------------------------------

// Workers that came up together must not all leave together.
void Core::plan_ends(Row& row) {
  if (config_.max_calls > 0) {
    const std::uint64_t spread = config_.max_calls / 10;
    row.most_calls = config_.max_calls - spread + jitter_() % (2 * spread + 1);
  }
  if (config_.max_age != kForever) {
    row.oldest = now_ + config_.max_age - config_.max_age / 1000 * (jitter_() % 101);
  }
}

Reason Core::due(const Row& row) const {
  if (row.due == Reason::kRecycled) return row.due;
  if (reloading_ && row.revision < revision_) return Reason::kReload;
  if (code_fails_) return Reason::kNone;
  if (row.due != Reason::kNone) return row.due;
  if (row.most_calls > 0 && row.calls >= row.most_calls) return Reason::kMaxCalls;
  return row.oldest <= now_ ? Reason::kMaxAge : Reason::kNone;
}

TimePoint Core::due_at(const Row& row) const {
  if (due(row) != Reason::kNone) return TimePoint::min();
  return code_fails_ ? TimePoint::max() : row.oldest;
}

// What somebody waits for comes first; then idle workers before busy ones, which may take long to leave; then the one that is
// overdue for longest, and the one that has rested for longest.
Core::Slot* Core::next_to_replace() {
  Slot* best = nullptr;
  const auto rank = [&](const Slot& slot) {
    const Reason reason = due(*slot.row);
    const bool waited_for = reason == Reason::kRecycled || reason == Reason::kReload;
    return std::tuple(!waited_for, slot.row->state != WorkerState::kIdle, slot.row->oldest, slot.row->since);
  };
  for (Slot& slot : slots_) {
    const bool is_due = slot.row && !slot.overflow && !slot.closed && is_up(slot.row->state) &&
                        slot.row->retire == Reason::kNone && due(*slot.row) != Reason::kNone &&
                        kept_until(*slot.row) <= now_;
    if (is_due && (best == nullptr || rank(slot) < rank(*best))) best = &slot;
  }
  return best;
}

// --- From heir to worker ---------------------------------------------------------------------------

void Core::replace_the_due() {
  if (!begun_ || shutting_down_) return;
  note_planned();
  for (Slot& slot : slots_) {  // what is there for times of need needs no heir
    if (!slot.overflow || !slot.row || !is_up(slot.row->state) || slot.row->retire != Reason::kNone) continue;
    if (const Reason reason = due(*slot.row); reason != Reason::kNone) leave(*slot.row, reason);
  }
  if (surge_) return;
  finish_reload();
  if (restarts_.failed() || now_ < next_succession_) return;
  Slot* slot = next_to_replace();
  if (slot == nullptr || importing_ >= config_.max_starting) return;
  if (!restarts_.take_start(now_)) {
    awaiting_start_token_ = true;
    effects_->push(Rearm{});
    return;
  }
  surge_ = new_row(*slot);
  surge_->apart = true;
  surge_->inherits = due(*slot->row);
  effects_->push(Spawn{surge_->ref, revision_});
}

// The heir is ready: the slot is its own, and its predecessor becomes the surge until it has left.
void Core::take_over() {
  Slot& slot = slots_[surge_->ref.slot];
  LAIR_ASSERT(slot.row, "an heir whose predecessor has died has the slot already");
  --counts_[static_cast<std::size_t>(slot.state())];
  std::swap(*slot.row, *surge_);
  slot.row->apart = false;
  surge_->apart = true;
  ++counts_[static_cast<std::size_t>(SlotState::kStarting)];
  failed_successions_ = 0;
}

void Core::see_off_predecessor() {
  const Row& heir = *slots_[surge_->ref.slot].row;
  const Reason reason = heir.inherits;
  effects_->push(Succeeded{.worker = surge_->ref, .heir = heir.ref, .reason = reason, .replaced = true});
  if (is_up(surge_->state)) leave(*surge_, reason);
}

void Core::bury_surge() {
  Row row = *std::move(surge_);
  surge_.reset();
  const bool was_heir = !row.was_ready;
  move(row, WorkerState::kDead, row.reason);
  if (was_heir && !shutting_down_) succession_failed(row);
  settle(std::move(row));
}

// The old worker stays, and is tried again later, unless it was somebody's wish.
void Core::succession_failed(const Row& heir) {
  next_succession_ = now_ + succession_backoff_.delay(++failed_successions_, jitter_);
  effects_->push(Rearm{});
  Slot& slot = slots_[heir.ref.slot];
  if (!slot.row) return;
  if (slot.row->due == Reason::kRecycled) slot.row->due = Reason::kNone;
  ready_changed_ = true;
  effects_->push(
      Succeeded{.worker = slot.row->ref, .heir = heir.ref, .reason = heir.inherits, .replaced = false});
}

Outcome Core::on(const Retire& event) {
  Row* row = live(event.worker);
  const Outcome outcome = admit(row, WorkerEvent::kStop);
  if (outcome != Outcome::kDone) return outcome;
  const Slot& slot = slots_[row->ref.slot];
  if (row->apart || slot.closed) return Outcome::kStale;  // an heir, or on its way out
  if (slot.overflow || shutting_down_ || event.reason == Reason::kIdle) {
    leave(*row, event.reason);
  } else {
    row->due = event.reason;
    start_workers();
  }
  return outcome;
}

// --- New code --------------------------------------------------------------------------------------

Outcome Core::on(const Reload&) {
  if (shutting_down_) return Outcome::kStale;
  ++revision_;
  reloading_ = true;
  failed_successions_ = 0;
  next_succession_ = TimePoint::min();
  // What has failed with the old code need not fail with the new.
  restarts_.code_changed();
  for (Slot& slot : slots_) {
    if (slot.row || slot.closed) continue;
    slot.strikes = 0;
    rest(slot, SlotState::kVacant);
  }
  ready_changed_ = true;
  start_workers();
  return Outcome::kDone;
}

// A start with the newest code has failed: the reload, if there is one, ends here.
void Core::newest_code_failed(const Row& row, bool permanent) {
  if (row.revision < revision_ || shutting_down_) return;
  code_fails_ = code_fails_ || reloading_ || permanent;
  if (!std::exchange(reloading_, false)) return;
  effects_->push(Reloaded{.revision = revision_, .complete = false});
  ready_changed_ = true;
}

// Complete when every worker is one of the newest revision, and (unless the pool is lazy) all are up.
void Core::finish_reload() {
  if (!reloading_ || starting_count() > 0) return;
  for (const Slot& slot : slots_) {
    if (slot.row ? slot.row->revision < revision_ : !config_.lazy && !slot.overflow && !slot.closed) return;
  }
  reloading_ = false;
  code_fails_ = false;
  complete_revision_ = revision_;
  effects_->push(Reloaded{.revision = revision_, .complete = true});
  ready_changed_ = true;
}

// --- Another size ----------------------------------------------------------------------------------

Outcome Core::on(const Resize& event) {
  if (shutting_down_) return Outcome::kStale;
  LAIR_ASSERT(event.size > 0);
  std::size_t open = 0;
  for (const Slot& slot : slots_) open += !slot.overflow && !slot.closed ? 1 : 0;
  for (Slot& slot : slots_) {
    if (open >= event.size || !slot.closed) continue;
    slot.closed = false;
    ++open;
    if (!slot.row) {
      ++counts_[static_cast<std::size_t>(SlotState::kVacant)];
    } else if (slot.row->retire == Reason::kResize) {
      slot.row->retire = Reason::kNone;
      slot.row->stays_until = TimePoint::min();
      slot.row->planned_at = TimePoint::max();
      restore(*slot.row);
    }
  }
  for (; open < event.size; ++open) {
    slots_.emplace_back();
    ++counts_[static_cast<std::size_t>(SlotState::kVacant)];
  }
  // Slots without a worker go first, then the last ones.
  for (const bool with_worker : {false, true}) {
    for (auto slot = slots_.rbegin(); slot != slots_.rend() && open > event.size; ++slot) {
      if (slot->overflow || slot->closed || slot->row.has_value() != with_worker) continue;
      close(*slot);
      --open;
    }
  }
  config_.size = event.size;
  prewarm_ = std::min(prewarm_, event.size);
  restarts_.resize(config_.size, config_.overflow);
  ready_changed_ = true;
  effects_->push(Rearm{});
  serve();
  start_workers();
  return Outcome::kDone;
}

void Core::close(Slot& slot) {
  slot.closed = true;
  if (!slot.row) {
    --counts_[static_cast<std::size_t>(slot.rest)];
    slot.rest = SlotState::kVacant;
    return;
  }
  if (surge_ && surge_->ref.slot == slot.row->ref.slot && surge_->state == WorkerState::kStarting) {
    end(*surge_, Reason::kResize, false);
  }
  if (slot.row->state != WorkerState::kStopping) leave(*slot.row, Reason::kResize);
}

}  // namespace lair::core
