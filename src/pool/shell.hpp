// Shell: the pool with hands and a clock. One mutex around the pure core, callers on the one side, one supervisor
// thread on the other.
//
// Whoever steps the core does so under the mutex and then, having left it, delivers what concerns callers (grants,
// wakes, refusals). What concerns processes is put into the supervisor's inbox. No syscall, no log line and no
// user code runs under the mutex; waking the supervisor is a write to an eventfd after leaving it.
//
// Thread-safety: all members, from any thread, but for `run` and what is marked as the supervisor's.
#pragma once

#include <algorithm>
#include <array>
#include <atomic>
#include <condition_variable>
#include <deque>
#include <lair/health.hpp>
#include <lair/lease.hpp>
#include <lair/pool.hpp>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <thread>
#include <variant>
#include <vector>

#include "core/breaker.hpp"
#include "core/core.hpp"
#include "core/retry.hpp"
#include "os/event_fd.hpp"
#include "os/fork_sentinel.hpp"
#include "pool/alerts.hpp"
#include "pool/attempt.hpp"
#include "pool/course.hpp"
#include "pool/held_worker.hpp"
#include "pool/host_functions.hpp"
#include "pool/lease_watch.hpp"
#include "pool/ledger.hpp"
#include "pool/notifier.hpp"
#include "pool/parker.hpp"
#include "pool/record.hpp"
#include "pool/session_book.hpp"
#include "pool/session_sweep.hpp"
#include "pool/shed_report.hpp"
#include "pool/slow_calls.hpp"
#include "pool/stacks.hpp"
#include "store/session_store.hpp"
#include "worker/launcher.hpp"

namespace lair::pool {

class Reactor;
class Supervisor;

// What is booked of it.
struct EndedCall {
  std::string_view command;
  TimePoint began;
  Ending ending;
  std::uint64_t times = 1;  // so many calls, which share the time between them
};

// What a call came to, for its command's breaker. Once for each time that the breaker let it through.
struct Noted {
  core::Breakers::Pass& pass;
  std::string_view command;
  core::TryOutcome outcome = core::TryOutcome::kNothing;
};

// How large the pool may ever be made: the keeper's tables have their size from the start.
constexpr std::size_t most_size_of(const PoolOptions& options) {
  return std::max<std::size_t>(64, 4 * options.size);
}

store::Limits store_limits(const PoolOptions& options);

// The supervisor knows more about what took too long than the caller, who waits a little longer for it.
inline constexpr Duration kReportMargin = std::chrono::milliseconds(500);

class Shell {
 public:
  // `options` must be valid and resolved (no zero that means "default").
  // `store`: of its sessions; null: one in memory.
  Shell(PoolOptions options, std::unique_ptr<worker::Launcher> launcher,
        std::shared_ptr<store::SessionStore> store = {});
  ~Shell();  // shuts down
  Shell(const Shell&) = delete;
  Shell& operator=(const Shell&) = delete;

  // --- Callers -------------------------------------------------------------------------------------
  Result<Json> call(const CallOptions& options, std::string_view command, const Json& arguments,
                    const Bound& bound = {});
  // The same, typed. Nothing, once `result` has the value.
  std::optional<Error> call(const CallOptions& options, std::string_view command,
                            const detail::TypedArguments& arguments, detail::ResultSink& result,
                            const Bound& bound = {});
  // For a lease. If the worker must not be used again, the hold has been given back: its epoch is 0.
  Result<Json> call_on(Hold& hold, const CallOptions& options, std::string_view command,
                       const Json& arguments);
  std::optional<Error> call_on(Hold& hold, const CallOptions& options, std::string_view command,
                               const detail::TypedArguments& arguments, detail::ResultSink& result);
  // As Endpoint's.
  void start(const CallOptions& options, std::string_view command, const Json& arguments, Completion done,
             Bound bound = {});
  std::unique_ptr<StreamSource> open(const CallOptions& options, std::string_view command,
                                     const Json& arguments, Bound bound = {});

  // Blocks until either deadline at most. kUnknownCommand: the call was not admitted.
  Result<Hold> take(const Wanted& wanted);
  // The same in steps; each says how the wait ended, if it has. `listener` is told what `told` is to be told.
  std::optional<Result<Hold>> enter(Wait& wait, Parker::Listener* listener = nullptr);
  std::optional<Result<Hold>> told(Wait& wait, const Parker::Notice& notice);
  // Its time is up, or its stop requested. Nothing: a final notice is on its way.
  std::optional<Result<Hold>> give_up(Wait& wait);
  // For a lease: a whole worker, and one that is not known to be finished.
  Result<Hold> take_lease(Deadline deadline);
  void give_back(const Hold& hold, Verdict verdict, std::optional<EndedCall> ended = {},
                 std::optional<Noted> noted = {});

  // Of every item, as of a call of its own (map.cpp).
  void map(const MapOptions& options, std::string_view command, detail::MapJob& job, Bound bound = {});
  struct Shape {
    std::size_t size = 1;  // workers
    bool packs = false;    // the latest one reads MessagePack
  };
  Shape shape() const;
  // So many calls that took so long each, and are not in the books yet.
  void book_items(std::string_view command, Ending ending, std::uint64_t times, Duration each);
  // Whether one of them may be tried again for the first time, in a call of its own: it is told, and taken from the budget.
  bool tries_item_again(const Course& course, const Error& error);

  Result<void> wait_ready(std::optional<std::size_t> count, std::optional<Duration> timeout);
  PoolStats stats() const;
  PoolHealth health() const;
  void check_now();
  Result<WorkerStack> stack(std::uint32_t slot, Duration timeout);
  // Planned changes, each complete when it returns; an error says what is missing. It goes on after its timeout.
  Result<void> reload(Duration timeout);
  Result<void> resize(std::size_t size, Duration timeout);
  Result<void> recycle(std::uint32_t slot, Duration timeout);
  Result<void> drain(Duration timeout);
  void admit(core::Admission admission);
  std::vector<CommandInfo> commands() const;
  void shutdown(std::optional<Duration> grace);
  const PoolOptions& options() const { return options_; }
  // For leases: where one was taken, until it is returned.
  LeaseWatch::Ticket lease_taken(const Hold& hold, const char* file, int line);
  void lease_returned(LeaseWatch::Ticket ticket);

  // The worker's identity as known now; `patience`: how long to wait for its exit status.
  WorkerIdentity identity(const RecordPtr& record, Duration patience = Duration::zero());
  bool on_reactor() const;  // on this thread
  HostFunctions& host_functions() { return *host_functions_; }
  Arena& arena() const { return *arena_; }

  // --- Sessions: sessions.cpp ----------------------------------------------------------------------
  Result<SessionPtr> open_session(std::string_view id, const SessionOptions& options);
  Result<void> reopen_session(const SessionPtr& session);
  Result<void> end_session(const SessionPtr& session, Duration timeout);
  SessionPtr find_session(std::string_view id) const;  // null: there is none
  SessionInfo session_info(const SessionEntry& session) const;
  std::vector<SessionInfo> sessions() const;
  store::SessionStore& session_store() const { return *store_; }
  // Nothing, unless the session is over. It counts as used.
  std::optional<Error> may_use_store(SessionEntry& session);
  // The sweep's turn: ends what has expired, and tells the store who has been used.
  void sweep_sessions();

  // --- Steps of a call -----------------------------------------------------------------------------
  // What speaks against the call as such; nothing: `course` is set out.
  std::optional<Error> set_out(Course& course, const CallOptions& options, std::string_view command,
                               const Json& arguments, const Bound& bound = {}) const;
  std::optional<Error> set_out(Course& course, const CallOptions& options, std::string_view command,
                               const detail::TypedArguments& arguments, const Bound& bound = {}) const;
  // After the queue. Nothing: a worker is to be asked.
  std::optional<Try> took(Course& course, const Result<Hold>& hold);
  // When a call comes to be sent on a worker that it has just been given: mostly known, without asking the clock again.
  static TimePoint time_of(const Course& course, const Hold& hold);
  // After the worker. Nothing: another one is to be asked. `gives_back` is false where the hold is kept until the worker
  // has given up the call.
  std::optional<Try> attempted(Course& course, const Hold& hold, Attempt attempt, bool gives_back = true);
  // The same for a lease's call, whose worker is there already and stays, unless it must end: then the epoch is 0.
  std::optional<Error> admit_held(Course& course, const Hold& hold);
  Error not_free(HeldWorker::State state, const HeldWorker& held, std::string_view command);
  Try ended_held(Course& course, Hold& hold, Attempt attempt);
  // Says how the try's worker ended; waits `patience` at most for that to be known.
  void describe(Course& course, Try& ended, Duration patience);
  // After a try that has failed: the time to wait for the next one, or the call's outcome.
  std::variant<Duration, Result<Json>> tried(Course& course, Try failed);
  // The next try has succeeded.
  void mended(const Course& course, Ending ending);
  // How the call's session is named to the worker; nothing: it has none.
  static std::optional<wire::CallHeader::Session> session_of(const Course& course, const Hold& hold);
  // What host functions that this call's worker calls are within.
  CallContext context_of(const Course& course, const Hold& hold) const;

  // True in a child that the program forked: nothing here may be touched.
  bool inert() const { return sentinel_.in_child(); }
  Error inert_error() const;

  // --- The supervisor ------------------------------------------------------------------------------
  // Steps the core and delivers what follows from it.
  core::Outcome step(const core::Event& event);

  void log(base::LogLevel level, std::string text) noexcept { notifier_.post(level, std::move(text)); }
  // The same, with an event of this pool, whose name and time are set here.
  void tell(base::LogLevel level, std::string text, PoolEvent event) {
    event.pool = options_.name;
    event.at = std::chrono::system_clock::now();
    notifier_.post(level, std::move(text), std::move(event));
  }

 private:
  friend class Reactor;
  friend class Supervisor;
  friend class Stacks;

  // What has to be done once the mutex is left.
  struct Outbox {
    struct Letter {
      Parker* parker;
      core::Token token;
      Parker::Notice notice;
    };
    std::vector<Letter> letters;
    bool wake_supervisor = false;
    bool ready_changed = false;
  };
  // Under the mutex: sorts a step's effects. Grants and refusals of `own` are returned instead of posted.
  std::optional<Parker::Notice> sort(const core::Effects& effects, TimePoint now, Outbox& outbox,
                                     core::Token own = 0);
  void deliver(const Outbox& outbox);
  // Under the mutex, after each step. True: the supervisor sleeps for too long and must be woken.
  bool take_stock(TimePoint now);
  bool watch(AlertKind kind, TimePoint now);  // likewise, when what the alert is about begins

  // Once the arguments are encoded.
  std::optional<Error> set_out_encoded(Course& course, const CallOptions& options, std::string_view command,
                                       const Bound& bound) const;
  Result<Json> call_directly(Course& course, const std::stop_token& stop);
  Result<Json> call_held(Course& course, Hold& hold, const std::stop_token& stop);
  Try try_once(Course& course);
  Attempt attempt(Course& course, const Hold& hold);
  bool take_retry();  // out of the budget; under the mutex
  void tell_retry(const Course& course, Duration wait, const Error& error);
  // Under the mutex: what `enter` and its kin have in common.
  Result<Hold> settle(Wait& wait, const Parker::Notice& notice, TimePoint now, Outbox& outbox);
  std::optional<Parker::Notice> step_of(Wait& wait, const core::Event& event, TimePoint now, Outbox& outbox,
                                        core::Outcome* outcome = nullptr);
  // Of a waiter that was woken.
  std::optional<Parker::Notice> claim(Wait& wait, TimePoint now, Outbox& outbox);
  Error wait_ended(const Wait& wait, TimePoint now, Outbox& outbox);
  // A call within a call waits, or waits no longer. False: it must not, for then every worker would wait for its own end.
  bool waits_within(const Wanted& wanted, int change);
  Error waits_for_itself(const Wanted& wanted) const;
  // Of a call that has ended while its worker is kept.
  void book(const std::optional<EndedCall>& ended, const std::optional<Noted>& noted);
  // Started when first needed.
  Result<Reactor*> reactor();
  void tell_reactor_of_exit();

  // A call's business with its command's breaker.
  std::optional<Error> refused_before_wait(const Wanted& wanted);                     // under the mutex
  std::optional<Error> refused_on_dispatch(core::Breakers::Pass&, std::string_view);  // under the mutex
  std::string note(const Noted& noted, TimePoint now);                                // under the mutex
  void tell_breaker(std::string_view command, std::string news);
  void note_crash(Noted noted, const Error& error);  // once its end is described
  Error breaker_open(std::string_view command, const core::Breakers::Refusal& why) const;

  bool logs_json() const { return options_.log_format == "json"; }
  RecordPtr record_of(core::WorkerRef ref) const;  // under the mutex; null: it has none yet
  void keep_record(RecordPtr record);              // under the mutex
  WorkerStats worker_stats(core::WorkerRef ref, SlotState state) const;  // under the mutex
  void wait_changed(std::unique_lock<std::mutex>& lock, Deadline deadline);
  std::size_t most_size() const { return most_size_of(options_); }
  Error unfinished(const std::string& what, Duration timeout) const;  // under the mutex
  std::uint32_t borrow_parker();
  // Under the mutex.
  Parker& parker_of(core::Token token) { return parkers_[static_cast<std::uint32_t>(token)]; }
  void close_books(const EndedCall& ended, TimePoint now);  // under the mutex
  Error refused(const core::Refuse& refusal) const;         // under the mutex
  std::string situation() const;                            // under the mutex
  // Of sessions, under the mutex.
  std::optional<Error> refused_new_session(std::string_view id, const SessionOptions& options) const;
  // Tells the store how long a session is kept by now; and has the sweep look at it in time.
  Result<void> keep_values(const SessionPtr& session);
  void begin_to_keep(const SessionPtr& session, Duration ttl);
  void put_to_core(const SessionEntry& session, core::SessionKey number, TimePoint now, Outbox& outbox);
  void take_from_core(core::SessionKey number, TimePoint now, Outbox& outbox);
  SessionInfo info_of(const SessionEntry& session) const;
  std::optional<Error> refused_session(const Wanted& wanted, Wait& wait);
  Error session_refused(const Wanted& wanted, core::RefuseReason why) const;
  Error session_busy(const Wanted& wanted, Duration waited) const;
  bool waits_for_certain_worker(const Wait& wait) const;
  Result<void> close_session(const SessionPtr& session, SessionEntry::State why, Duration timeout);
  // Says that what a call of a session has told the store was not put there. Any thread.
  void not_stored(core::WorkerRef worker, std::string_view command, const CallContext& context,
                  const Error& error);
  // A call may not use the store any longer. Any thread.
  static void shut_out(SessionEntry* session, core::Epoch epoch);
  // Under the mutex. True: the supervisor sleeps for too long and must be woken, to tell of it.
  bool rejected(Rejection why, TimePoint now);
  Error queue_wait_ended(bool call_deadline, Duration waited) const;  // under the mutex
  // Under the mutex: a worker has a call. True: the supervisor sleeps for too long and must be woken.
  bool watch_call(const Hold& hold, std::string_view command, TimePoint now);
  void call_ended(const Hold& hold);  // under the mutex

  void describe_end(Error& error, const RecordPtr& record, Deadline deadline);

  // --- Constant after construction -----------------------------------------------------------------
  const PoolOptions options_;
  const std::uint64_t serial_;  // of this pool in this program
  const os::ForkSentinel sentinel_;
  // Shared with calls of host functions that outlast the pool.
  const std::shared_ptr<HostFunctions> host_functions_ = std::make_shared<HostFunctions>();
  const std::shared_ptr<store::SessionStore> store_;
  const std::shared_ptr<Arena> arena_;     // shared with arrays, which may outlast the pool
  std::atomic<bool> arrays_idle_ = false;  // the supervisor is to look whether memory can be given back
  os::EventFd wake_;
  Notifier notifier_;

  // --- Protected by mutex_ -------------------------------------------------------------------------
  mutable std::mutex mutex_;
  core::Core core_;
  core::Breakers breakers_;
  core::RetryBudget retry_budget_{static_cast<unsigned>(options_.retry_percent)};
  core::Effects effects_;            // scratch of a step
  std::vector<core::Effect> inbox_;  // for the supervisor
  Records records_;
  std::deque<Parker> parkers_;  // never shrinks: addresses stay
  std::vector<std::uint32_t> free_parkers_;
  std::uint32_t next_token_ = 0;
  std::shared_ptr<const wire::Announcement> announced_;  // the latest
  std::optional<Error> last_start_error_;
  LeaseWatch leases_;
  SessionBook sessions_;
  SlowCalls slow_calls_;
  Alerts alerts_;
  ShedReport shed_report_;
  PoolStats counters_;  // the counting fields only, but for those of the ledger
  Ledger ledger_;
  bool stopped_ = false;                   // the supervisor has ended
  std::condition_variable ready_changed_;  // with mutex_: workers became ready, or never will
  std::condition_variable exited_;         // with mutex_: a worker was reaped
  std::condition_variable stopped_changed_;

  // Holds of calls that wait, within host functions, for a worker: by how many of them, and the permits of each.
  struct HeldByWaiting {
    int waiting = 0;
    std::uint32_t permits = 1;
  };
  std::map<core::Epoch, HeldByWaiting> held_by_waiting_;

  StackDesk stack_desk_;  // its own mutex

  // --- The supervisor's own ------------------------------------------------------------------------
  std::unique_ptr<Supervisor> supervisor_;
  std::mutex join_mutex_;
  std::thread thread_;
  std::mutex reactor_mutex_;
  std::atomic<Reactor*> has_reactor_ = nullptr;
  // The latest worker reads MessagePack: what a call's arguments are encoded as before it has a worker.
  std::atomic<bool> packs_ = false;
  std::unique_ptr<Reactor> reactor_;  // last, like the threads: they use all of the above
  SessionSweep sweep_{[this] { sweep_sessions(); }};
};

}  // namespace lair::pool
