// Sessions: calls that belong together. A session has a home, the worker that serves it, from its first grant on.
//
//   · Its calls run one after another, in order of arrival. So one waiter of it at most is in the line: the others are
//     parked behind that one, and when a call has ended the next is at the end of the line. Thus a session with a
//     hundred callers gets no more turns than one with a single caller.
//   · `strict` and `exclusive` sessions stay with their home, and are lost when it ends. `prefer` sessions wait for
//     their home for a moment only, and then change it; at once where another free worker is home to fewer.
//   · A worker may be withdrawn: then it serves only the sessions that are bound to it, because one of them is exclusive,
//     or because its end is planned and they have a while (`session_grace`) to end first. It is not on the idle stack.
//
// How planned ends wait for sessions is in session_grace.cpp.
#include <algorithm>
#include <tuple>
#include <utility>

#include "base/assert.hpp"
#include "core/core.hpp"

namespace lair::core {

// --- Opening and closing ---------------------------------------------------------------------------

// So many that workers are left for the others; a pool of one may be had whole.
bool Core::may_open_exclusive() const {
  return sessions_.exclusive() < std::max<std::size_t>(1, config_.size * 3 / 4);
}

Outcome Core::on(const OpenSession& event) {
  if (event.key <= sessions_.last_key()) return Outcome::kIllegal;
  if (event.affinity == Affinity::kExclusive && !may_open_exclusive()) return Outcome::kIllegal;
  sessions_.open(event.key, event.affinity);
  return Outcome::kDone;
}

Outcome Core::on(const CloseSession& event) {
  SessionRow* session = sessions_.find(event.key);
  if (session == nullptr) return Outcome::kStale;
  refuse_waiters(*session, RefuseReason::kSessionEnded);
  Row* home = session->has_home() ? live(session->home) : nullptr;
  if (home != nullptr) home->homed.remove(*session);
  sessions_.close(*session);
  if (home == nullptr) return Outcome::kDone;
  if (home->owner == event.key) {
    home->owner = 0;
    restore(*home);
  }
  if (home->homed.bound == 0) no_more_bound(*home);
  if (anything_free()) serve();
  return Outcome::kDone;
}

std::optional<Core::SessionView> Core::session(SessionKey key) const {
  const SessionRow* session = sessions_.find(key);
  if (session == nullptr) return std::nullopt;
  return SessionView{.affinity = session->affinity,
                     .home = session->home,
                     .lost = session->lost,
                     .waiting = session->behind.count + (session->waits ? std::size_t{1} : 0),
                     .in_call = session->call != 0};
}

// --- Waiting ---------------------------------------------------------------------------------------

// A checkout that nothing speaks against, of a session. `again`: it has been here before, and has a right to be.
Outcome Core::come_in_session(const Waiter& waiter, bool again) {
  SessionRow& session = *waiter.session;
  const bool full = !again && queue_.size() >= config_.max_waiters;
  const auto refused = [&] {
    forget_reservation(waiter.token);
    refuse(waiter.token, RefuseReason::kQueueFull);
    return Outcome::kDone;
  };
  if (session.waits) {
    if (!again || queue_.find(session.first)->since <= waiter.since) {
      if (full || (!again && queue_.parked() >= config_.max_waiters / 2)) return refused();
      queue_.park(waiter, session.behind);
      return Outcome::kDone;
    }
    forget_reservation(session.first);  // it came later than the one that is back
    queue_.demote(session.first, session.behind);
  } else {
    if (Row* row = pick_in_turn(waiter)) {
      if (waiter.exclusive) forget_reservation(waiter.token);  // of its home, which it leaves
      grant(*row, waiter);
      return Outcome::kDone;
    }
    if (full) return refused();
  }
  in_line(queue_.push(waiter));
  if (anything_free()) serve();
  start_workers();
  if (config_.overflow > 0) effects_->push(Rearm{});
  arm_shedding();
  return Outcome::kDone;
}

// A waiter of a session has come into the line.
void Core::in_line(WaitQueue::Index index) {
  const Waiter& waiter = queue_.at(index);
  SessionRow& session = *waiter.session;
  session.waits = true;
  session.first = waiter.token;
  const bool may_spill = !session.bound() && session.has_home() && waiter.spill_after > now_;
  if (!may_spill || waiter.spill_after >= spill_at_) return;
  spill_at_ = waiter.spill_after;  // it stays set though this waiter may go
  effects_->push(Rearm{});
}

// Takes a waiter out. The next of its session, which has come into the line for it; kNone: there is none.
WaitQueue::Index Core::leave_line(Token token) {
  const auto waiter = queue_.take(token);
  LAIR_ASSERT(waiter);
  forget_reservation(token);
  SessionRow* session = waiter->session;
  if (session == nullptr || !session->waits || session->first != token) return WaitQueue::kNone;
  sessions_changed_ = true;
  return next_in_line(*session);
}

WaitQueue::Index Core::next_in_line(SessionRow& session) {
  session.waits = false;
  if (session.behind.count == 0) return WaitQueue::kNone;
  const auto index = queue_.promote(session.behind, now_);
  in_line(index);
  return index;
}

void Core::refuse_waiters(SessionRow& session, RefuseReason why) {
  while (session.waits) {
    const Token token = session.first;
    leave_line(token);
    refuse(token, why);
  }
}

// Those whose time to wait for their home has passed: others will do for them now.
void Core::spill() {
  if (spill_at_ > now_) return;
  spill_at_ = TimePoint::max();
  for (auto i = queue_.first(); i != WaitQueue::kNone; i = queue_.next(i)) {
    const Waiter& waiter = queue_.at(i);
    if (waiter.session == nullptr || waiter.session->bound() || !waiter.session->has_home()) continue;
    if (waiter.spill_after > now_) spill_at_ = std::min(spill_at_, waiter.spill_after);
  }
  serve();
}

// After a step in which a session has become able to go on, or has lost its home: others may be served.
void Core::settle_sessions() {
  if (!queue_.empty()) {
    serve();
    start_workers();
    if (config_.overflow > 0) effects_->push(Rearm{});
    arm_shedding();
  }
  sessions_changed_ = false;
}

// --- Which worker ----------------------------------------------------------------------------------

// Any free worker may do for it, as far as its session is concerned.
bool Core::seeks_any(const Waiter& waiter, TimePoint now) const {
  if (waiter.session == nullptr) return waiter.who.any;
  const SessionRow& session = *waiter.session;
  if (session.call != 0) return false;
  return !session.has_home() || (!session.bound() && waiter.spill_after <= now);
}

bool Core::needs_unbound(const Waiter& waiter) {
  return waiter.session != nullptr && waiter.session->affinity == Affinity::kExclusive;
}

bool Core::would_take(const Waiter& waiter, const Row& row) const {
  if (waiter.session == nullptr) return waiter.who.admits(row.ref);
  if (waiter.session->call != 0) return false;
  if (waiter.session->home == row.ref) return true;
  if (seeks_any(waiter, now_)) return !(needs_unbound(waiter) && row.homed.bound > 0);
  return !waiter.session->bound() && !waiter.exclusive && crowded(*live(waiter.session->home), row);
}

Core::Row* Core::pick_for_session(const Waiter& waiter) {
  const SessionRow& session = *waiter.session;
  if (session.call != 0) return nullptr;
  if (session.has_home()) {
    Row& home = *live(session.home);
    const bool takes_calls = home.retire == Reason::kNone || stays(home);
    if (takes_calls && !reserved_from(home, waiter)) {
      if (home.state == WorkerState::kIdle) return &home;
      if (home.state == WorkerState::kBusy && home.permits > 1) {
        if (waiter.exclusive) {
          reserve(home, waiter);
        } else if (home.taken < home.permits) {
          return &home;
        }
      }
    }
    if (session.bound()) return nullptr;
    if (now_ < waiter.spill_after) {
      if (waiter.exclusive) return nullptr;
      Row* other = pick_home(waiter);
      return other != nullptr && crowded(home, *other) ? other : nullptr;
    }
  }
  return pick_home(waiter);
}

// Of two workers: the one is home to so many sessions more than the other that one of them had better move. That evens the two
// out, and so comes to an end.
bool Core::crowded(const Row& home, const Row& other) { return home.homed.all >= other.homed.all + 2; }

// The sessions are spread: the worker that has the fewest. One that others are bound to is not for an exclusive session, and one
// whose end is planned is the last choice of those that would be bound to it.
Core::Row* Core::pick_home(const Waiter& waiter) {
  const bool bound = waiter.session->bound();
  const auto fits = [&](Row& row) {
    if (!needs_unbound(waiter) || row.homed.bound == 0) return true;
    if (row.reserved_for == waiter.token) row.reserved_for.reset();  // an elder has been quicker
    return false;
  };
  const auto rank = [&](const Row& row) {
    const bool ends = bound && due(row) != Reason::kNone;
    return std::tuple(ends, row.taken, row.homed.all);
  };
  Row* best = nullptr;
  for (auto slot = idle_.rbegin(); slot != idle_.rend(); ++slot) {
    Row& row = *slots_[*slot].row;
    if (!fits(row) || !open_to(row, waiter)) continue;
    if (best == nullptr || rank(row) < rank(*best)) best = &row;
  }
  if (best != nullptr || !multiplexed_) return best;

  for (Slot& slot : slots_) {
    if (!slot.row || slot.row->state != WorkerState::kBusy) continue;
    Row& row = *slot.row;
    if (!fits(row)) continue;
    if (waiter.exclusive && row.reserved_for == waiter.token) return nullptr;  // already draining one
    if (!open_to(row, waiter) || (!waiter.exclusive && row.taken == row.permits)) continue;
    if (best == nullptr || rank(row) < rank(*best)) best = &row;
  }
  if (best != nullptr && waiter.exclusive) reserve(*best, waiter);
  return waiter.exclusive ? nullptr : best;
}

// --- Homes -----------------------------------------------------------------------------------------

// The session's call has been granted this worker.
Met Core::meet(SessionRow& session, Row& row) {
  if (session.home == row.ref) return Met::kHome;
  Met met = session.had_home ? Met::kMoved : Met::kFirst;
  if (session.has_home()) {
    met = Met::kSpilled;
    live(session.home)->homed.remove(session);
  }
  row.homed.add(session, row.ref);
  if (session.affinity == Affinity::kExclusive) {
    row.owner = session.key;
    withdraw(row);
  }
  return met;
}

void Core::call_ended(SessionKey key, Epoch epoch) {
  SessionRow* session = sessions_.find(key);
  if (session == nullptr || session->call != epoch) return;  // it has been closed meanwhile
  session->call = 0;
  sessions_changed_ = true;
  if (!session->waits) return;
  // It could not have been served before: whoever came meanwhile comes first.
  Waiter next = *queue_.take(session->first);
  next.begin_anew(now_);
  in_line(queue_.push(next));
}

// It is open no longer: nobody gets it but the sessions that are bound to it. An idle one has been taken off the stack.
void Core::withdraw(Row& row) {
  if (row.reserved_for) {  // a lease that waits for it must look for another
    row.reserved_for.reset();
    sessions_changed_ = true;
  }
  for (SessionRow* session = row.homed.first; session != nullptr;) {
    SessionRow* next = session->after;
    if (!session->bound()) {
      row.homed.remove(*session);
      sessions_changed_ = true;
    }
    session = next;
  }
}

void Core::restore(Row& row) {
  if (row.state == WorkerState::kIdle && open(row)) idle_.push_back(row.ref.slot);
}

void Core::lose_sessions(Row& row, Reason reason) {
  while (SessionRow* session = row.homed.first) {
    row.homed.remove(*session);
    sessions_changed_ = true;
    if (!session->bound()) continue;
    sessions_.lose(*session, reason);
    effects_->push(SessionLost{.key = session->key, .worker = row.ref, .reason = reason});
    refuse_waiters(*session, RefuseReason::kSessionLost);
  }
  row.owner = 0;
}

// Permits of withdrawn workers, which free_permits() does not count.
std::size_t Core::kept_permits() const {
  if (sessions_.empty()) return 0;
  std::size_t free = 0;
  const auto count_in = [&](const Row& row) {
    const bool serving = row.state == WorkerState::kIdle || row.state == WorkerState::kBusy;
    const bool keeps = row.retire == Reason::kNone ? row.owner != 0 : stays(row);
    if (serving && keeps) free += row.permits - row.taken;
  };
  for (const Slot& slot : slots_) {
    if (slot.row) count_in(*slot.row);
  }
  if (surge_) count_in(*surge_);
  return free;
}

// --- What sessions wait for ------------------------------------------------------------------------

// Callers that neither a free worker nor one already on its way will serve, of those that have waited for `patience`.
std::size_t Core::short_of_workers(Duration patience) const {
  std::size_t any = 0;
  std::size_t picky = 0;
  for (auto i = queue_.first(); i != WaitQueue::kNone; i = queue_.next(i)) {
    const Waiter& waiter = queue_.at(i);
    if (now_ - waiter.since < patience) break;
    if (!seeks_any(waiter, now_)) continue;
    ++any;
    picky += needs_unbound(waiter) ? 1 : 0;
  }
  std::size_t coming = free_permits() + count(SlotState::kChecking) + starting_count();
  std::size_t unbound = starting_count();
  if (!sessions_.empty()) {
    for (const Slot& slot : slots_) {
      if (!slot.row) continue;
      const bool checking = slot.row->state == WorkerState::kChecking;
      if (checking && !open(*slot.row)) --coming;
      const bool free = checking || slot.row->state == WorkerState::kIdle;
      unbound += free && open(*slot.row) && slot.row->homed.bound == 0 ? 1 : 0;
    }
  }
  return std::max(any > coming ? any - coming : 0, picky > unbound ? picky - unbound : 0);
}

}  // namespace lair::core
