// Core: the whole pool as a pure function, step(event, now) → effects.
//
// It knows slots and their workers, permits, waiters, restarts and the shutdown, and decides everything: who
// gets which worker, what is started, stopped, killed. It makes no syscall, reads no clock, holds no lock
// and calls nobody, so the same code runs in production, under a simulator with a seed, and in tests that
// walk through every state and event.
//
//   · Idle workers are taken last-in first-out: the warmest first.
//   · A worker that comes free goes to the oldest eligible waiter if it has waited for `barging_window`. Before
//     that the waiter is only woken, and a caller that happens to arrive may be quicker: see
//     docs/adr/0004-handoff.md. Never is a permit free while a waiter for it sleeps unwoken.
//   · A slot refills when its worker is dead, not when a leaked hold on that worker comes back.
//   · A worker whose end is planned is replaced first: its heir starts beside it, takes its slot when it is ready, and
//     the old one leaves when it is free. One at a time (src/core/succession.cpp).
//   · Calls of a session run one after another, where its state is (src/core/sessions.cpp).
//
// The invariants are checked by `broken_invariant()`; src/core/invariants.cpp lists them.
//
// Thread-safety: none; the shell's mutex guards it.
#pragma once

#include <optional>
#include <random>
#include <string>
#include <vector>

#include "core/effect.hpp"
#include "core/event.hpp"
#include "core/restart_policy.hpp"
#include "core/session_table.hpp"
#include "core/transitions.hpp"
#include "core/wait_queue.hpp"

namespace lair::core {

class Core {
 public:
  explicit Core(const CoreConfig& config);

  // Appends to `effects`. `now` must not go backwards.
  Outcome step(const Event& event, TimePoint now, Effects& effects);

  // When a Tick is next due; TimePoint::max() if none is.
  TimePoint next_timer(TimePoint now) const;

  // Up, whether free, taken, or just being checked.
  std::size_t ready_count() const {
    return count(SlotState::kIdle) + count(SlotState::kBusy) + count(SlotState::kChecking);
  }
  std::size_t starting_count() const { return count(SlotState::kStarting); }
  std::size_t count(SlotState state) const { return counts_[static_cast<std::size_t>(state)]; }
  // With those that are parked behind the first of their session.
  std::size_t waiters() const { return queue_.size(); }
  TimePoint oldest_waiter_since() const;  // TimePoint::max() if none
  // A caller that came now would be served some time, as far as can be known.
  bool can_serve() const;
  // Starting workers has failed too often, or for good.
  bool failed() const { return restarts_.failed(); }
  bool shutting_down() const { return shutting_down_; }
  bool drained() const { return drained_; }
  // How long workers are held, on average of about the last 16 holds.
  Duration mean_service() const { return mean_service_; }
  // While shutting down: when the calls in flight lose their workers.
  TimePoint grace_end() const { return grace_end_; }
  // Somebody holds a permit of this worker (its channel is with a caller).
  bool held(WorkerRef ref) const;
  // It has a process, or is about to.
  bool alive(WorkerRef ref) const;
  // It was to be replaced because somebody asked for it, and may still be.
  bool recycles(WorkerRef ref) const;
  std::size_t size() const { return config_.size; }
  Admission admission() const { return admission_; }
  // Nobody waits, and no worker is busy.
  bool quiet() const;
  Revision revision() const { return revision_; }
  bool reloading() const { return reloading_; }
  // Of the last reload that was not given up; 1: there was none.
  Revision complete_revision() const { return complete_revision_; }
  // The newest code did not start: planned replacements wait until some does.
  bool code_fails() const { return code_fails_; }

  struct SlotView {
    SlotState state;
    Generation generation;
    bool overflow;
    std::uint64_t calls;
    unsigned failed_checks;
    Revision revision;  // of its worker
    bool closed;        // the pool has become smaller: it goes when its worker has ended
    bool withdrawn;     // its worker serves none but the sessions that are bound to it, or nobody any more
  };
  SlotView slot(std::uint32_t index) const;
  // The worker beyond all slots: an heir that starts, or one that leaves.
  struct SurgeView {
    WorkerRef worker;
    SlotState state;
    std::uint64_t calls;
    Revision revision;
  };
  std::optional<SurgeView> surge() const;
  std::size_t slots() const { return slots_.size(); }

  // --- Sessions --------------------------------------------------------------------------------------
  struct SessionView {
    Affinity affinity;
    WorkerRef home;  // generation 0: none
    Reason lost;     // kNone: it is not
    std::size_t waiting;
    bool in_call;
  };
  std::optional<SessionView> session(SessionKey key) const;
  std::size_t sessions() const { return sessions_.size(); }  // open ones, with those that are lost
  std::size_t exclusive_sessions() const { return sessions_.exclusive(); }
  bool may_open_exclusive() const;
  // The next OpenSession's key must be greater.
  SessionKey last_session() const { return sessions_.last_key(); }

  // Rows of workers that are dead but whose holds have not all come back.
  std::size_t lingering() const { return lingering_.size(); }

  // Empty if all is well; else the first broken invariant, in words. O(slots + waiters), and sessions if they are few.
  std::string broken_invariant() const;

 private:
  struct Hold {
    Epoch epoch;
    bool exclusive;
    TimePoint since;
    SessionKey session;
  };
  // One worker: what the table calls a row.
  struct Row {
    WorkerRef ref;
    WorkerState state = WorkerState::kStarting;
    TimePoint since{};  // in that state
    Revision revision = 0;
    std::uint32_t permits = 1;
    std::uint32_t taken = 0;  // permits held
    std::vector<Hold> holds;
    std::uint64_t calls = 0;  // completed, of the holds that have come back
    bool productive = false;  // it has completed one
    bool importing = true;    // its interpreter and imports are still loading
    bool was_ready = false;
    bool start_failed = false;
    Reason reason = Reason::kNone;            // why it is stopping
    Reason retire = Reason::kNone;            // to be stopped when it comes back
    Reason due = Reason::kNone;               // to be replaced: somebody has said so
    Reason inherits = Reason::kNone;          // an heir: why its predecessor leaves
    bool apart = false;                       // the surge: its slot's worker is another
    std::uint64_t most_calls = 0;             // 0: any number
    TimePoint oldest = TimePoint::max();      // when it is too old
    TimePoint idle_since{};                   // unused
    TimePoint well_since{};                   // served, or answered a check
    TimePoint check_ends = TimePoint::max();  // when a check that has begun has been missed
    Reason recovers_from = Reason::kNone;     // it is asked to give up a call rather than whether it is well
    unsigned failed_checks = 0;               // in a row
    TimePoint kill_at = TimePoint::max();
    std::optional<Token> reserved_for;         // an exclusive waiter drains it; older waiters still get on
    TimePoint reserved_since{};                // when that waiter came
    Homed homed;                               // the sessions that it is home to
    SessionKey owner = 0;                      // the exclusive one, if it is one of them
    TimePoint planned_at = TimePoint::max();   // since when its end has been planned, as far as sessions care
    TimePoint stays_until = TimePoint::min();  // with `retire`: serves its bound sessions till then
  };
  struct Slot {
    bool overflow = false;
    bool closed = false;                  // by a resize
    SlotState rest = SlotState::kVacant;  // while it has no worker: vacant, backing off or failed
    Generation generation = 0;            // of its last worker
    unsigned strikes = 0;                 // unproductive deaths in a row
    TimePoint retry_at = TimePoint::min();
    std::optional<Row> row;

    SlotState state() const;
  };

  // One overload an event.
  Outcome on(const Begin&);
  Outcome on(const Prewarm&);
  Outcome on(const Tick&);
  Outcome on(const Shutdown&);
  Outcome on(const Reload&);
  Outcome on(const Resize&);
  Outcome on(const Admit&);
  Outcome on(const Checkout&);
  Outcome on(const Claim&);
  Outcome on(const Abandon&);
  Outcome on(const Checkin&);
  Outcome on(const OpenSession&);
  Outcome on(const CloseSession&);
  Outcome on(const Answered&);
  Outcome on(const Spawned&);
  Outcome on(const Handshaken&);
  Outcome on(const Ready&);
  Outcome on(const StartFailed&);
  Outcome on(const BeginCheck&);
  Outcome on(const CheckPassed&);
  Outcome on(const CheckFailed&);
  Outcome on(const Condemn&);
  Outcome on(const Retire&);
  Outcome on(const Exited&);

  // The one place where a worker changes state: it keeps the counts, the idle stack and the log true.
  void move(Row& row, WorkerState to, Reason reason);
  void rest(Slot& slot, SlotState state);
  Row* live(WorkerRef ref);
  const Row* live(WorkerRef ref) const { return const_cast<Core*>(this)->live(ref); }
  // Looks the event up for a live worker. kDone: apply it.
  Outcome admit(const Row* row, WorkerEvent event) const;

  Row* pick(const Waiter& waiter);
  Row* pick_in_turn(const Waiter& waiter);
  static void reserve(Row& row, const Waiter& waiter);
  void grant(Row& row, const Waiter& waiter);
  bool give_back(Row& row, Epoch epoch);
  void proves_its_worth(Row& row);
  void end(Row& row, Reason reason, bool gently);
  void bury(WorkerRef ref);
  void bury_in(Slot& slot);
  void settle(Row row);

  // The pool's standing duties, after each event that may have changed what they depend on.
  void serve();
  void start_workers();
  void fill_slots();
  Row new_row(Slot& slot);
  std::size_t wanted_base_starts() const;
  std::size_t wanted_overflow_starts() const;
  std::size_t short_of_workers(Duration patience) const;
  bool start(Slot& slot);
  void retire_idle();
  TimePoint idle_ends(const Slot& slot) const;
  void check_health();
  void begin_check(Row& row);
  bool can_recover(const Row& row) const;
  void begin_recovery(Row& row, Reason reason);
  Outcome answered(Row* row, bool well);
  TimePoint check_due(const Row& row) const;
  // Succession.
  void plan_ends(Row& row);
  Reason due(const Row& row) const;
  TimePoint due_at(const Row& row) const;
  Slot* next_to_replace();
  void replace_the_due();
  void take_over();
  void see_off_predecessor();
  void bury_surge();
  void succession_failed(const Row& heir);
  void newest_code_failed(const Row& row, bool permanent);
  void finish_reload();
  void close(Slot& slot);
  void leave(Row& row, Reason reason);
  void leave_now(Row& row, Reason reason);
  // Sessions.
  Outcome come_in_session(const Waiter& waiter, bool again);
  void in_line(WaitQueue::Index index);
  WaitQueue::Index leave_line(Token token);
  WaitQueue::Index next_in_line(SessionRow& session);
  void refuse_waiters(SessionRow& session, RefuseReason why);
  void spill();
  void settle_sessions();
  Row* pick_for_session(const Waiter& waiter);
  Row* pick_home(const Waiter& waiter);
  bool seeks_any(const Waiter& waiter, TimePoint now) const;
  static bool needs_unbound(const Waiter& waiter);
  bool would_take(const Waiter& waiter, const Row& row) const;
  static bool crowded(const Row& home, const Row& other);
  Met meet(SessionRow& session, Row& row);
  void call_ended(SessionKey key, Epoch epoch);
  void withdraw(Row& row);
  void restore(Row& row);
  void lose_sessions(Row& row, Reason reason);
  std::size_t kept_permits() const;
  bool anything_free() const { return free_permits() > 0 || kept_permits() > 0; }
  TimePoint grace_ends(const Row& row) const;
  TimePoint kept_until(const Row& row) const;
  void note_planned();
  void no_more_bound(Row& row);
  void end_graces();
  std::string broken_session_invariant() const;
  std::string broken_session(const SessionRow& session) const;
  // It may serve anybody.
  static bool open(const Row& row) { return row.retire == Reason::kNone && row.owner == 0; }
  bool stays(const Row& row) const { return row.retire != Reason::kNone && row.stays_until > now_; }
  static bool reserved_from(const Row& row, const Waiter& waiter) {
    return row.reserved_for && *row.reserved_for != waiter.token && waiter.since >= row.reserved_since;
  }
  static bool open_to(const Row& row, const Waiter& waiter) {
    return open(row) && !reserved_from(row, waiter);
  }
  void unstack(const Row& row);
  // Shedding.
  void watch_queue();
  void shed();
  TimePoint shed_at() const;
  void arm_shedding();
  bool waits_for_any(const Waiter& waiter) const;
  const Waiter* oldest_in_line() const;
  const Waiter* next_to_shed() const;
  void refuse_hopeless();
  void check_drained();
  void refuse(Token token, RefuseReason why);
  void refuse_all(RefuseReason why);
  void refuse_pinned(WorkerRef ref);
  void fail_resting_slots();
  void forget_reservation(Token token);
  bool aged(const Waiter& waiter) const { return now_ - waiter.came >= config_.barging_window; }
  std::size_t free_permits() const;
  Duration retry_after() const;

  CoreConfig config_;
  std::vector<Slot> slots_;
  std::vector<Row> lingering_;
  std::vector<std::uint32_t> idle_;  // a stack: the last to come back is the first to go
  std::size_t counts_[kSlotStates] = {};
  SessionTable sessions_;
  WaitQueue queue_;
  RestartPolicy restarts_;
  std::optional<Row> surge_;
  Revision revision_ = 1;
  Revision complete_revision_ = 1;
  bool reloading_ = false;
  bool code_fails_ = false;
  unsigned failed_successions_ = 0;               // in a row
  TimePoint next_succession_ = TimePoint::min();  // after one that failed
  base::Backoff succession_backoff_;
  std::mt19937_64 jitter_;
  Admission admission_ = Admission::kOpen;
  TimePoint shed_armed_ =
      TimePoint::max();  // when to look at the queue, though nothing may be left to do then
  TimePoint stands_since_ = TimePoint::max();  // the queue's oldest has waited for too long since then
  Epoch last_epoch_ = 0;
  std::size_t importing_ = 0;
  bool multiplexed_ = false;  // some worker has more than one permit
  bool awaiting_start_token_ = false;
  TimePoint looked_at_starts_ = TimePoint::min();
  TimePoint looked_at_health_ = TimePoint::min();
  std::size_t prewarm_ = 0;
  TimePoint spill_at_ =
      TimePoint::max();  // when to look whether a `prefer` session has waited for its home for long enough
  TimePoint served_at_ = TimePoint::min();  // when waiters were last looked at
  bool sessions_changed_ = false;           // since then, so that some of their waiters may be served now
  Duration mean_service_{};
  bool begun_ = false;
  bool shutting_down_ = false;
  bool drained_ = false;
  TimePoint grace_end_ = TimePoint::max();

  // Valid during a step.
  TimePoint now_{};
  Effects* effects_ = nullptr;
  bool ready_changed_ = false;
};

}  // namespace lair::core
