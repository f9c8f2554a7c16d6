// What a pool must always see to, whatever has just happened: serve waiters, start workers, retire spare
// ones, refuse the hopeless.
#include <algorithm>

#include "base/assert.hpp"
#include "core/core.hpp"

namespace lair::core {

// --- Serving waiters -------------------------------------------------------------------------------

std::size_t Core::free_permits() const {
  if (!multiplexed_) return idle_.size();
  std::size_t free = 0;
  for (const Slot& slot : slots_) {
    if (!slot.row) continue;
    const bool serving = slot.row->state == WorkerState::kIdle || slot.row->state == WorkerState::kBusy;
    if (serving && open(*slot.row)) {
      free += slot.row->permits - slot.row->taken;
    }
  }
  return free;
}

Core::Row* Core::pick(const Waiter& waiter) {
  if (waiter.session != nullptr) return pick_for_session(waiter);
  const auto open_to_it = [&](const Row& row) { return open_to(row, waiter); };
  if (!waiter.who.any) {
    Row* row = live(waiter.who.only);
    if (row == nullptr || !open_to_it(*row)) return nullptr;
    if (row->state == WorkerState::kIdle) return row;
    const bool shares = row->state == WorkerState::kBusy && row->taken < row->permits;
    if (shares && !waiter.exclusive) return row;
    if (waiter.exclusive && row->state == WorkerState::kBusy && row->permits > 1) reserve(*row, waiter);
    return nullptr;
  }
  if (waiter.who.rather && *waiter.who.rather < slots_.size()) {
    Slot& slot = slots_[*waiter.who.rather];
    if (slot.row && slot.row->state == WorkerState::kIdle && open_to_it(*slot.row)) return &*slot.row;
  }
  const auto open = std::find_if(idle_.rbegin(), idle_.rend(),
                                 [&](std::uint32_t slot) { return open_to_it(*slots_[slot].row); });
  if (open != idle_.rend()) return &*slots_[*open].row;
  if (!multiplexed_) return nullptr;

  // All are busy: share the least loaded, or (exclusive) have it drained for us.
  Row* best = nullptr;
  for (Slot& slot : slots_) {
    if (!slot.row || slot.row->state != WorkerState::kBusy) continue;
    Row& row = *slot.row;
    if (waiter.exclusive && row.reserved_for == waiter.token) return nullptr;  // already draining one
    if (!open_to_it(row) || (!waiter.exclusive && row.taken == row.permits)) continue;
    if (best == nullptr || row.taken < best->taken) best = &row;
  }
  if (waiter.exclusive) {
    if (best != nullptr) reserve(*best, waiter);
    return nullptr;
  }
  return best;
}

void Core::reserve(Row& row, const Waiter& waiter) {
  row.reserved_for = waiter.token;
  row.reserved_since = waiter.since;
}

// As pick, but not past an elder whose turn it is.
Core::Row* Core::pick_in_turn(const Waiter& waiter) {
  if (admission_ == Admission::kPaused) return nullptr;
  Row* row = pick(waiter);
  if (row == nullptr) return nullptr;
  for (auto i = queue_.first(); i != WaitQueue::kNone; i = queue_.next(i)) {
    const Waiter& elder = queue_.at(i);
    if (elder.token == waiter.token || !aged(elder)) break;
    if (elder.deadline > now_ && elder.woken && would_take(elder, *row)) return nullptr;
  }
  return row;
}

void Core::forget_reservation(Token token) {
  if (!multiplexed_) return;
  for (Slot& slot : slots_) {
    if (slot.row && slot.row->reserved_for == token) slot.row->reserved_for.reset();
  }
}

// Gives free workers to waiters that have waited long enough, and wakes as many others as could be served.
void Core::serve() {
  served_at_ = now_;
  if (admission_ == Admission::kPaused) return;
  std::size_t budget = free_permits();
  std::size_t kept = kept_permits();
  bool lease_expired = false;
  for (auto i = queue_.first(); i != WaitQueue::kNone && budget + kept > 0;) {
    auto next = queue_.next(i);
    Waiter& waiter = queue_.at(i);
    if (waiter.deadline <= now_) {
      const Token token = waiter.token;
      lease_expired |= waiter.exclusive;
      const auto follower = leave_line(token);
      if (next == WaitQueue::kNone) next = follower;
      refuse(token, RefuseReason::kExpired);
    } else if (Row* row = pick(waiter); row != nullptr && (open(*row) ? budget : kept) > 0) {
      const std::size_t permits = waiter.exclusive ? row->permits : 1;
      std::size_t& left = open(*row) ? budget : kept;
      left -= std::min(left, permits);
      if (aged(waiter)) {
        const Waiter served = waiter;
        queue_.take(served.token);
        forget_reservation(served.token);
        grant(*row, served);
      } else if (!waiter.woken) {
        waiter.woken = true;
        effects_->push(Wake{waiter.token});
      }
    }
    i = next;
  }
  if (lease_expired && multiplexed_) serve();  // others of the same instant may have been passed over for it
}

bool Core::can_serve() const {
  if (shutting_down_) return false;
  if (ready_count() > 0) return true;
  if (restarts_.permanent()) return starting_count() > 0;  // those under way may have seen the code before
  return !restarts_.failed();
}

void Core::refuse(Token token, RefuseReason why) {
  const bool overloaded = why == RefuseReason::kQueueFull || why == RefuseReason::kShed;
  const Duration later = overloaded ? retry_after() : Duration::zero();
  effects_->push(Refuse{.token = token, .why = why, .retry_after = later});
}

void Core::refuse_all(RefuseReason why) {
  while (!queue_.empty()) {
    const Token token = queue_.at(queue_.first()).token;
    leave_line(token);
    refuse(token, why);
  }
}

void Core::refuse_pinned(WorkerRef ref) {
  for (auto i = queue_.first(); i != WaitQueue::kNone;) {
    const auto next = queue_.next(i);
    const Waiter waiter = queue_.at(i);
    if (!waiter.who.any && waiter.who.only == ref) {
      queue_.take(waiter.token);
      refuse(waiter.token, RefuseReason::kWorkerGone);
    }
    i = next;
  }
}

void Core::refuse_hopeless() {
  if (shutting_down_ || can_serve()) return;
  refuse_all(RefuseReason::kNoWorkers);
  ready_changed_ = true;
}

Duration Core::retry_after() const {
  const auto workers = static_cast<Duration::rep>(std::max<std::size_t>(1, ready_count()));
  const auto ahead = static_cast<Duration::rep>(queue_.size() + 1);
  const Duration guess =
      mean_service_ > Duration::zero() ? mean_service_ : Duration(std::chrono::milliseconds(50));
  return std::clamp<Duration>(guess * ahead / workers, std::chrono::milliseconds(1),
                              std::chrono::seconds(30));
}

// --- Starting and retiring -------------------------------------------------------------------------

std::size_t Core::wanted_base_starts() const {
  if (!config_.lazy) return config_.size;
  std::size_t up = 0;
  for (const Slot& slot : slots_) {
    up += !slot.overflow && slot.row && slot.row->state != WorkerState::kStopping ? 1 : 0;
  }
  return std::max(short_of_workers(Duration::zero()), prewarm_ > up ? prewarm_ - up : 0);
}

std::size_t Core::wanted_overflow_starts() const {
  return config_.overflow == 0 ? 0 : short_of_workers(config_.overflow_after);
}

void Core::start_workers() {
  fill_slots();
  replace_the_due();
}

void Core::fill_slots() {
  awaiting_start_token_ = false;
  looked_at_starts_ = now_;
  if (!begun_ || shutting_down_) return;
  if (restarts_.failed()) {
    if (now_ < restarts_.probe_at() || starting_count() > 0) return;
    const auto probe = std::find_if(slots_.begin(), slots_.end(),
                                    [](const Slot& slot) { return !slot.row && !slot.closed; });
    if (probe == slots_.end()) return;
    restarts_.probe_started(now_);
    start(*probe);
    return;
  }
  for (Slot& slot : slots_) {
    if (slot.rest == SlotState::kBackingOff && !slot.row && slot.retry_at <= now_)
      rest(slot, SlotState::kVacant);
  }
  std::size_t base = wanted_base_starts();
  std::size_t extra = wanted_overflow_starts();
  for (Slot& slot : slots_) {
    std::size_t& wanted = slot.overflow ? extra : base;
    if (wanted == 0 || slot.row || slot.closed || slot.rest != SlotState::kVacant) continue;
    if (!start(slot)) return;
    --wanted;
  }
}

// false: not now, and no other slot either.
bool Core::start(Slot& slot) {
  if (importing_ >= config_.max_starting) return false;
  const bool replacement = slot.generation > 0;
  if (replacement && !restarts_.take_start(now_)) {
    awaiting_start_token_ = true;
    effects_->push(Rearm{});
    return false;
  }
  --counts_[static_cast<std::size_t>(slot.rest)];
  ++counts_[static_cast<std::size_t>(SlotState::kStarting)];
  slot.rest = SlotState::kVacant;
  slot.row = new_row(slot);
  effects_->push(Spawn{slot.row->ref, revision_});
  return true;
}

Core::Row Core::new_row(Slot& slot) {
  Row row;
  row.ref = {static_cast<std::uint32_t>(&slot - slots_.data()), ++slot.generation};
  row.revision = revision_;
  row.since = now_;
  ++importing_;
  return row;
}

void Core::fail_resting_slots() {
  for (Slot& slot : slots_) {
    if (!slot.row && !slot.closed && slot.rest != SlotState::kFailed) rest(slot, SlotState::kFailed);
  }
  effects_->push(Rearm{});
  ready_changed_ = true;
}

void Core::retire_idle() {
  if (shutting_down_) return;
  for (Slot& slot : slots_) {
    if (!slot.row || slot.row->state != WorkerState::kIdle || idle_ends(slot) > now_) continue;
    if (!slot.overflow) prewarm_ = 0;  // nobody has needed them so far
    end(*slot.row, Reason::kIdle, true);
  }
}

// When an idle worker that nobody uses is ended.
TimePoint Core::idle_ends(const Slot& slot) const {
  const bool ends = slot.overflow || (config_.lazy && config_.idle_ttl != kForever);
  if (!ends) return TimePoint::max();
  const TimePoint at = slot.row->idle_since + (slot.overflow ? config_.overflow_idle : config_.idle_ttl);
  return slot.row->homed.bound > 0 ? Deadline::after(config_.session_grace, at).when() : at;
}

void Core::check_drained() {
  if (!shutting_down_ || drained_) return;
  const bool empty =
      std::none_of(slots_.begin(), slots_.end(), [](const Slot& slot) { return slot.row.has_value(); });
  if (!empty || surge_) return;
  drained_ = true;
  effects_->push(Drained{});
}

TimePoint Core::next_timer(TimePoint now) const {
  TimePoint next = TimePoint::max();
  const auto at = [&next](TimePoint when) { next = std::min(next, when); };
  std::size_t spare_overflow = 0;
  for (const Slot& slot : slots_) {
    if (slot.row) {
      at(slot.row->kill_at);
      if (shutting_down_) continue;
      if (slot.row->retire != Reason::kNone && slot.row->stays_until != TimePoint::min())
        at(slot.row->stays_until);
      if (slot.row->state == WorkerState::kIdle) at(idle_ends(slot));
      if (!surge_ && !slot.overflow && slot.row->was_ready && slot.row->retire == Reason::kNone) {
        // What was due when we last looked waits for something else than time.
        const TimePoint due = std::max({due_at(*slot.row), kept_until(*slot.row), next_succession_});
        if (due > looked_at_starts_) at(due);
      }
      if (slot.row->state == WorkerState::kIdle) at(check_due(*slot.row));
      if (slot.row->state == WorkerState::kChecking) at(slot.row->check_ends);
      // No check-in wakes the supervisor: it looks by itself when this one might be due if it came back now.
      if (slot.row->state == WorkerState::kBusy && config_.health_interval != kForever)
        at(looked_at_health_ + config_.health_interval);
    } else {
      if (slot.rest == SlotState::kBackingOff) at(slot.retry_at);
      spare_overflow += slot.overflow ? 1 : 0;
    }
  }
  if (surge_) at(surge_->kill_at);
  if (surge_ && !shutting_down_) {
    if (surge_->stays_until != TimePoint::min()) at(surge_->stays_until);
    if (surge_->state == WorkerState::kChecking) at(surge_->check_ends);
  }
  if (shutting_down_) {
    if (count(SlotState::kBusy) > 0 || (surge_ && surge_->state == WorkerState::kBusy)) at(grace_end_);
    return next;
  }
  at(std::min({shed_at(), shed_armed_, spill_at_}));
  if (restarts_.failed()) {
    const bool room =
        std::any_of(slots_.begin(), slots_.end(), [](const Slot& slot) { return !slot.row && !slot.closed; });
    if (starting_count() == 0 && room) at(restarts_.probe_at());
  } else if (awaiting_start_token_) {
    at(restarts_.next_start(now));
  }
  if (spare_overflow > 0) {
    for (auto i = queue_.first(); i != WaitQueue::kNone; i = queue_.next(i)) {
      const TimePoint patience_ends = queue_.at(i).since + config_.overflow_after;
      // Those that were patient enough when we last looked have been counted then.
      if (!seeks_any(queue_.at(i), now) || patience_ends <= looked_at_starts_) continue;
      at(patience_ends);
      break;
    }
  }
  return next;
}

// --- Looking in ------------------------------------------------------------------------------------

TimePoint Core::oldest_waiter_since() const {
  return queue_.empty() ? TimePoint::max() : queue_.at(queue_.first()).since;
}

bool Core::held(WorkerRef ref) const {
  const auto holds = [&](const Row& row) { return row.ref == ref && !row.holds.empty(); };
  return (ref.slot < slots_.size() && slots_[ref.slot].row && holds(*slots_[ref.slot].row)) ||
         (surge_ && holds(*surge_)) || std::any_of(lingering_.begin(), lingering_.end(), holds);
}

bool Core::alive(WorkerRef ref) const {
  if (surge_ && surge_->ref == ref) return true;
  return ref.slot < slots_.size() && slots_[ref.slot].row && slots_[ref.slot].row->ref == ref;
}

bool Core::recycles(WorkerRef ref) const {
  if (surge_ && surge_->ref == ref) return true;  // it has been succeeded, and leaves
  const Slot* slot = ref.slot < slots_.size() ? &slots_[ref.slot] : nullptr;
  if (slot == nullptr || !slot->row || slot->row->ref != ref) return false;
  return slot->row->due == Reason::kRecycled || slot->row->retire != Reason::kNone ||
         slot->row->state == WorkerState::kStopping;
}

bool Core::quiet() const {
  return queue_.empty() && count(SlotState::kBusy) == 0 && !(surge_ && surge_->state == WorkerState::kBusy);
}

std::optional<Core::SurgeView> Core::surge() const {
  if (!surge_) return std::nullopt;
  return SurgeView{.worker = surge_->ref,
                   .state = slot_state(surge_->state),
                   .calls = surge_->calls,
                   .revision = surge_->revision};
}

Core::SlotView Core::slot(std::uint32_t index) const {
  const Slot& slot = slots_.at(index);
  return {.state = slot.state(),
          .generation = slot.row ? slot.row->ref.generation : slot.generation,
          .overflow = slot.overflow,
          .calls = slot.row ? slot.row->calls : 0,
          .failed_checks = slot.row ? slot.row->failed_checks : 0,
          .revision = slot.row ? slot.row->revision : 0,
          .closed = slot.closed,
          .withdrawn = slot.row && !open(*slot.row)};
}

}  // namespace lair::core
