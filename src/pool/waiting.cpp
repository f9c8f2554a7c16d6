// Waiting for a worker: the steps of one wait, for whoever waits, and the blocking form of it.
#include <algorithm>

#include "base/assert.hpp"
#include "pool/shell.hpp"

namespace lair::pool {

using core::Outcome;
using worker::Channel;

namespace {

// The worker that this thread had last: where the kernel has put the two, and what their caches hold, suits them.
struct LastWorker {
  std::uint64_t pool = 0;
  std::uint32_t slot = 0;
};
thread_local LastWorker last_worker;

TimePoint spill_after(const Wanted& wanted, Duration typical_call, TimePoint now) {
  if (wanted.session == nullptr || wanted.ends_session) return TimePoint::max();
  return now + core::patience_for_home(typical_call, wanted.until().remaining(now));
}

}  // namespace

// A token is a parker's number and a serial that tells this waiter from those before it.
std::uint32_t Shell::borrow_parker() {
  if (free_parkers_.empty()) {
    parkers_.emplace_back();
    return static_cast<std::uint32_t>(parkers_.size() - 1);
  }
  const std::uint32_t index = free_parkers_.back();
  free_parkers_.pop_back();
  return index;
}

std::optional<Parker::Notice> Shell::step_of(Wait& wait, const core::Event& event, TimePoint now,
                                             Outbox& outbox, Outcome* outcome) {
  effects_.clear();
  const Outcome what = core_.step(event, now, effects_);
  LAIR_ASSERT(what != Outcome::kIllegal);
  if (outcome != nullptr) *outcome = what;
  return sort(effects_, now, outbox, wait.token);
}

std::optional<Parker::Notice> Shell::claim(Wait& wait, TimePoint now, Outbox& outbox) {
  auto mine = step_of(wait, core::Claim{wait.token}, now, outbox);
  // An elder whose turn it was has been served, and whom the core has woken for what is left is this very waiter. Such a hint comes to
  // it as any other does: were it lost, the worker would stay idle while everybody waits.
  if (mine && !mine->final()) outbox.letters.push_back({wait.parker, wait.token, *mine});
  return mine;
}

Error Shell::wait_ended(const Wait& wait, TimePoint now, Outbox& outbox) {
  const Wanted& wanted = *wait.wanted;
  if (wanted.stop.stop_requested()) {
    return {
        .kind = ErrorKind::kCancelled,
        .delivery = Delivery::kNotSent,
        .message = "the call was cancelled while it waited for a worker of pool \"" + options_.name + '"'};
  }
  if (waits_for_certain_worker(wait)) {
    outbox.wake_supervisor |= rejected(Rejection::kSessionBusy, now);
    return session_busy(wanted, now - wait.came);
  }
  const bool late = wanted.deadline <= wanted.queue_deadline;
  outbox.wake_supervisor |= rejected(late ? Rejection::kDeadline : Rejection::kCheckoutTimeout, now);
  return queue_wait_ended(late, now - wait.came);
}

// Ends the wait.
Result<Hold> Shell::settle(Wait& wait, const Parker::Notice& notice, TimePoint now, Outbox& outbox) {
  const Wanted& wanted = *wait.wanted;
  free_parkers_.push_back(wait.index);
  if (notice.grant) {
    if (wanted.pass != nullptr) {
      if (auto refusal = refused_on_dispatch(*wanted.pass, wanted.command)) {
        effects_.clear();
        const core::Checkin unused{.worker = notice.grant->record->ref, .epoch = notice.grant->epoch};
        now = SteadyClock::now();
        const Outcome outcome = core_.step(unused, now, effects_);
        LAIR_ASSERT(outcome == Outcome::kDone);
        sort(effects_, now, outbox);
        return *std::move(refusal);
      }
    }
    ledger_.got_worker(now - wait.came);
    // A lease's calls come later, each with a deadline of its own.
    if (!wanted.exclusive) outbox.wake_supervisor |= watch_call(*notice.grant, wanted.command, now);
    Hold hold = *notice.grant;
    hold.since = now;
    return hold;
  }
  const core::RefuseReason why = notice.refusal->why;
  if (why == core::RefuseReason::kExpired) return wait_ended(wait, now, outbox);
  outbox.wake_supervisor |= rejected(rejection_of(why), now);
  if (why == core::RefuseReason::kSessionLost || why == core::RefuseReason::kSessionEnded)
    return session_refused(wanted, why);
  return refused(*notice.refusal);
}

std::optional<Result<Hold>> Shell::enter(Wait& wait, Parker::Listener* listener) {
  const Wanted& wanted = *wait.wanted;
  Outbox outbox;
  std::unique_lock lock(mutex_);
  const TimePoint now = SteadyClock::now();
  wait.came = wanted.since.value_or(now);
  if (!wanted.command.empty() && !wanted.admitted) {
    if (announced_ != nullptr && !announced_->knows(wanted.command)) {
      const auto announced = announced_;
      lock.unlock();
      return unknown_command(*announced, wanted.command);
    }
    ++counters_.admitted;
    retry_budget_.call();
  }
  if (wanted.pass != nullptr) {
    if (auto refusal = refused_before_wait(wanted)) return *std::move(refusal);
  }
  if (wanted.session != nullptr) {
    if (auto refusal = refused_session(wanted, wait)) return *std::move(refusal);
  }
  wait.index = borrow_parker();
  wait.token = core::Token{++next_token_} << 32 | wait.index;
  wait.parker = &parkers_[wait.index];
  wait.parker->lend(wait.token, listener);
  core::Eligibility who;
  if (listener == nullptr && wait.session == 0 && last_worker.pool == serial_) who.rather = last_worker.slot;
  auto mine = step_of(wait,
                      core::Checkout{.token = wait.token,
                                     .who = who,
                                     .exclusive = wanted.exclusive,
                                     .deadline = wanted.until().when(),
                                     .since = wanted.since,
                                     .patient = !wanted.exclusive && wanted.deadline.is_never(),
                                     .session = wait.session,
                                     .spill_after = spill_after(wanted, core_.mean_service(), wait.came)},
                      now, outbox);
  if (mine && mine->woken && !mine->final()) mine = claim(wait, now, outbox);
  std::optional<Result<Hold>> ended;
  if (mine && mine->final()) ended = settle(wait, *mine, now, outbox);
  lock.unlock();
  deliver(outbox);
  if (listener == nullptr && ended && *ended) last_worker = {serial_, (*ended)->record->ref.slot};
  return ended;
}

std::optional<Result<Hold>> Shell::told(Wait& wait, const Parker::Notice& notice) {
  Outbox outbox;
  std::optional<Result<Hold>> ended;
  {
    const std::lock_guard lock(mutex_);
    const TimePoint now = SteadyClock::now();
    if (notice.final()) {
      ended = settle(wait, notice, now, outbox);
    } else if (notice.woken) {
      const auto mine = claim(wait, now, outbox);
      if (mine && mine->final()) ended = settle(wait, *mine, now, outbox);
    }
  }
  deliver(outbox);
  return ended;
}

std::optional<Result<Hold>> Shell::give_up(Wait& wait) {
  Outbox outbox;
  std::optional<Result<Hold>> ended;
  {
    const std::lock_guard lock(mutex_);
    const TimePoint now = SteadyClock::now();
    Outcome outcome = Outcome::kDone;
    (void)step_of(wait, core::Abandon{wait.token}, now, outbox, &outcome);
    if (outcome == Outcome::kDone) {
      free_parkers_.push_back(wait.index);
      ended = wait_ended(wait, now, outbox);
    }
  }
  deliver(outbox);
  return ended;
}

Result<Hold> Shell::take(const Wanted& wanted) {
  Wait wait;
  wait.wanted = &wanted;
  if (auto ended = enter(wait)) return *std::move(ended);
  Parker& parker = *wait.parker;
  const TimePoint until = wanted.until().when();
  const bool within = wanted.within != nullptr;
  bool gives_up = within && !waits_within(wanted, +1);
  const bool deadlock = gives_up;
  if (wanted.bell != nullptr) wanted.bell->tell(&parker, wait.token);
  std::optional<Result<Hold>> ended;
  while (!ended) {
    gives_up |= wanted.stop.stop_requested();
    if (!gives_up) {
      const Parker::Notice notice = parker.wait(until);
      if (notice.final() || notice.woken) {
        ended = told(wait, notice);
        continue;
      }
      if (!notice.stopped && SteadyClock::now() < until) continue;
    }
    ended = give_up(wait);
    // It has been granted or refused meanwhile, and the notice is on its way.
    if (!ended) ended = told(wait, parker.wait_final());
  }
  if (wanted.bell != nullptr) wanted.bell->tell(nullptr, 0);
  if (within && !deadlock) (void)waits_within(wanted, -1);
  if (deadlock && !*ended) return waits_for_itself(wanted);
  if (*ended) last_worker = {serial_, (**ended).record->ref.slot};
  return *std::move(ended);
}

Result<Hold> Shell::take_lease(Deadline deadline) {
  if (on_reactor()) return on_own_thread("checkout()");
  std::optional<TimePoint> since;
  for (int dispatch = 1;; ++dispatch) {
    const TimePoint began = SteadyClock::now();
    Result<Hold> hold = take(
        {.exclusive = true, .queue_deadline = deadline, .since = since, .within = CallContext::current()});
    if (!hold || dispatch == kMostDispatches) return hold;
    const Channel::Quiet quiet = hold->record->channel->quiet(look_at(*hold->record, began));
    if (quiet == Channel::Quiet::kYes) return hold;
    give_back(*hold,
              {.clean = false,
               .reason = quiet == Channel::Quiet::kClosed ? core::Reason::kCrash : core::Reason::kProtocol});
    if (!since) since = began;
  }
}

// --- Calls within calls ------------------------------------------------------------------------------

// Each call that waits keeps the workers of its chain: they wait for it to end. When that is all there are, nobody will ever
// come free.
bool Shell::waits_within(const Wanted& wanted, int change) {
  const std::lock_guard lock(mutex_);
  const auto count = [&](int by) {
    for (const CallContext::Link& link : wanted.within->chain) {
      if (link.pool != serial_) continue;
      HeldByWaiting& held = held_by_waiting_[link.epoch];
      held.permits = link.permits;
      held.waiting += by;
      if (held.waiting == 0) held_by_waiting_.erase(link.epoch);
    }
  };
  count(change);
  const std::size_t each = announced_ != nullptr ? announced_->concurrency : options_.concurrency;
  std::size_t held = 0;
  for (const auto& [epoch, of] : held_by_waiting_) held += of.permits;
  if (change < 0 || held < (core_.size() + options_.overflow) * each) return true;
  count(-change);
  return false;
}

Error Shell::waits_for_itself(const Wanted& wanted) const {
  std::string message = "the call would wait for itself: every worker of pool \"" + options_.name +
                        "\" has a call that waits, in a host function, for a worker of the same pool (";
  for (const CallContext::Link& link : wanted.within->chain) message += link.worker + " → ";
  message += "here). Raise size, or have the host function call another pool.";
  return {.kind = ErrorKind::kUnavailable, .delivery = Delivery::kNotSent, .message = std::move(message)};
}

}  // namespace lair::pool
