#include "pool/shell.hpp"

#include <algorithm>
#include <atomic>
#include <random>
#include <type_traits>

#include "base/assert.hpp"
#include "base/duration.hpp"
#include "base/overloaded.hpp"
#include "pool/supervisor.hpp"

namespace lair::pool {

using base::Overloaded;
using core::Outcome;

namespace {

core::CoreConfig core_config(const PoolOptions& options) {
  return {.size = options.size,
          .overflow = options.overflow,
          .lazy = options.lazy,
          .max_starting = options.max_starting,
          .max_waiters = options.max_waiters,
          .barging_window = options.barging_window,
          .overflow_after = options.overflow_after,
          .overflow_idle = options.overflow_idle,
          .terminate_grace = options.terminate_grace,
          .health_interval = options.health_interval,
          .health_timeout = options.health_timeout,
          .max_calls = options.max_calls,
          .max_age = options.max_age,
          .idle_ttl = options.idle_ttl,
          .queue_target = options.queue_target,
          .queue_interval = options.queue_interval,
          .seed = std::random_device{}()};
}

constexpr Duration kReportMargin = std::chrono::milliseconds(500);

// The worker that this thread had last: where the kernel has put the two, and what their caches hold, suits them.
struct LastWorker {
  std::uint64_t pool = 0;
  std::uint32_t slot = 0;
};
thread_local LastWorker last_worker;

// Addresses of pools are used again, these are not.
std::uint64_t next_serial() {
  static std::atomic<std::uint64_t> last{0};
  return ++last;
}

}  // namespace

Shell::Shell(PoolOptions options, std::unique_ptr<worker::Launcher> launcher)
    : options_(std::move(options)),
      serial_(next_serial()),
      notifier_(options_.logger ? options_.logger : default_logger(options_.log_level, logs_json()),
                {.pool = options_.name, .json = logs_json(), .on_event = options_.on_event}),
      core_(core_config(options_)),
      breakers_(options_.breaker),
      records_(options_.size + options_.overflow),
      leases_(options_.name, options_.lease_warning),
      slow_calls_(options_.slow_call),
      alerts_(options_.size),
      supervisor_(std::make_unique<Supervisor>(*this, std::move(launcher))) {
  thread_ = std::thread([this] { supervisor_->run(); });
  (void)step(core::Begin{});
}

Shell::~Shell() { shutdown(std::nullopt); }

Error Shell::inert_error() const {
  return {.kind = ErrorKind::kUnavailable,
          .delivery = Delivery::kNotSent,
          .message = "pool \"" + options_.name +
                     "\" belongs to the process that this one was forked from; pools do not survive fork(). "
                     "Make a new pool in the child, or fork before making one."};
}

// --- Stepping --------------------------------------------------------------------------------------

Outcome Shell::step(const core::Event& event) {
  Outbox outbox;
  Outcome outcome;
  {
    const std::lock_guard lock(mutex_);
    effects_.clear();
    const TimePoint now = SteadyClock::now();
    outcome = core_.step(event, now, effects_);
    LAIR_ASSERT(outcome != Outcome::kIllegal);
    sort(effects_, now, outbox);
  }
  deliver(outbox);
  return outcome;
}

std::optional<Parker::Notice> Shell::sort(const core::Effects& effects, TimePoint now, Outbox& outbox,
                                          core::Token own) {
  std::optional<Parker::Notice> mine;
  const auto notify = [&](core::Token token, const Parker::Notice& notice) {
    if (token == own && own != 0) {
      mine = notice;
    } else {
      outbox.letters.push_back({&parker_of(token), token, notice});
    }
  };
  for (std::size_t i = 0; i < effects.size(); ++i) {
    std::visit(
        Overloaded{
            // The record is taken here, in the very moment of the grant: later its slot may have a new one.
            [&](const core::Grant& grant) {
              notify(grant.token, {.grant = Hold{.record = record_of(grant.worker), .epoch = grant.epoch}});
            },
            [&](const core::Wake& wake) { notify(wake.token, {.woken = true}); },
            [&](const core::Refuse& refusal) { notify(refusal.token, {.refusal = refusal}); },
            [&](const core::ReadyChanged&) { outbox.ready_changed = true; },
            [&](const auto& other) {
              if constexpr (std::is_same_v<decltype(other), const core::Moved&>) {
                const bool ended = other.to == core::WorkerState::kDead;
                if (ended && ledger_.worker_ended(other.reason)) watch(AlertKind::kRestartStorm, now);
              }
              inbox_.push_back(effects[i]);
              outbox.wake_supervisor = true;
            },
        },
        effects[i]);
  }
  outbox.wake_supervisor |= take_stock(now);
#ifdef LAIR_CHECK_INVARIANTS
  const std::string broken = core_.broken_invariant();
  if (!broken.empty()) base::assertion_failed("no invariant is broken", __FILE__, __LINE__, broken.c_str());
#endif
  return mine;
}

bool Shell::take_stock(TimePoint now) {
  const bool wants_all = !options_.lazy && !core_.shutting_down();
  const Ledger::Standing standing{.busy = core_.count(SlotState::kBusy),
                                  .exhausted = core_.waiters() > 0 && core_.count(SlotState::kIdle) == 0,
                                  .short_of_workers = wants_all && core_.ready_count() < core_.size()};
  ledger_.stands(standing, now);
  bool nearer = false;
  if (standing.exhausted) nearer |= watch(AlertKind::kExhausted, now);
  if (standing.short_of_workers) nearer |= watch(AlertKind::kBelowSize, now);
  return nearer;
}

bool Shell::watch(AlertKind kind, TimePoint now) {
  return !alerts_.watches(kind) && alerts_.begins(kind, ledger_.troubles(now), now);
}

void Shell::deliver(const Outbox& outbox) {
  for (const Outbox::Letter& letter : outbox.letters) letter.parker->post(letter.token, letter.notice);
  if (outbox.wake_supervisor) wake_.notify();
  if (outbox.ready_changed) ready_changed_.notify_all();
}

// --- Waiting for a worker --------------------------------------------------------------------------

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

Result<Hold> Shell::take(const Wanted& wanted) {
  const Deadline deadline = wanted.deadline;
  const Deadline queue_deadline = wanted.queue_deadline;
  const Deadline until = std::min(deadline, queue_deadline);
  const TimePoint came = wanted.since.value_or(SteadyClock::now());
  Outbox outbox;
  std::unique_lock lock(mutex_);
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
  const std::uint32_t index = borrow_parker();
  const core::Token token = core::Token{++next_token_} << 32 | index;
  Parker& parker = parkers_[index];
  TimePoint now;  // of the last step

  const auto wait_ended = [&] {
    const bool late = deadline <= queue_deadline;
    now = SteadyClock::now();
    outbox.wake_supervisor |= rejected(late ? Rejection::kDeadline : Rejection::kCheckoutTimeout, now);
    return queue_wait_ended(late, now - came);
  };
  // Ends the wait, still or again under the mutex.
  const auto settle = [&](const Parker::Notice& notice) -> Result<Hold> {
    free_parkers_.push_back(index);
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
      ledger_.got_worker(now - came);
      // A lease's calls come later, each with a deadline of its own.
      if (!wanted.exclusive)
        outbox.wake_supervisor |= watch_call(*notice.grant->record, deadline, wanted.command, now);
      last_worker = {serial_, notice.grant->record->ref.slot};
      return *notice.grant;
    }
    if (notice.refusal->why == core::RefuseReason::kExpired) return wait_ended();
    outbox.wake_supervisor |= rejected(rejection_of(notice.refusal->why), now);
    return refused(*notice.refusal);
  };
  const auto step_own = [&](const core::Event& event) {
    effects_.clear();
    now = SteadyClock::now();
    const Outcome outcome = core_.step(event, now, effects_);
    LAIR_ASSERT(outcome != Outcome::kIllegal);
    return sort(effects_, now, outbox, token);
  };
  const auto leave = [&] {
    lock.unlock();
    deliver(outbox);
    outbox = {};
  };

  parker.lend(token);
  core::Eligibility who;
  if (last_worker.pool == serial_) who.rather = last_worker.slot;
  auto mine = step_own(core::Checkout{.token = token,
                                      .who = who,
                                      .exclusive = wanted.exclusive,
                                      .deadline = until.when(),
                                      .since = wanted.since,
                                      .patient = !wanted.exclusive && deadline.is_never()});
  if (mine && mine->final()) {
    Result<Hold> hold = settle(*mine);
    leave();
    return hold;
  }
  bool claim = mine && mine->woken;
  for (;;) {
    if (claim) {
      mine = step_own(core::Claim{token});
      if (mine && mine->final()) {
        Result<Hold> hold = settle(*mine);
        leave();
        return hold;
      }
    }
    leave();
    Parker::Notice notice = parker.wait(until.when());
    lock.lock();
    if (notice.final()) {
      now = SteadyClock::now();
      Result<Hold> hold = settle(notice);
      leave();
      return hold;
    }
    claim = notice.woken;
    if (!claim && until.passed()) {
      effects_.clear();
      now = SteadyClock::now();
      const Outcome outcome = core_.step(core::Abandon{token}, now, effects_);
      sort(effects_, now, outbox, token);
      if (outcome == Outcome::kDone) {
        free_parkers_.push_back(index);
        Error error = wait_ended();
        leave();
        return error;
      }
      // It has been granted or refused meanwhile, and the notice is on its way.
      leave();
      notice = parker.wait_final();
      lock.lock();
      Result<Hold> hold = settle(notice);
      leave();
      return hold;
    }
  }
}

void Shell::give_back(const Hold& hold, Verdict verdict, std::optional<EndedCall> ended,
                      std::optional<Noted> noted) {
  Outbox outbox;
  std::string news;
  const TimePoint now = SteadyClock::now();
  hold.record->rests_since = now;
  {
    const std::lock_guard lock(mutex_);
    if (!call_ended(*hold.record) && verdict.clean) {
      verdict = {.clean = false, .reason = core::Reason::kTimeout, .completed = verdict.completed};
    }
    effects_.clear();
    const Outcome outcome = core_.step(core::Checkin{.worker = hold.record->ref,
                                                     .epoch = hold.epoch,
                                                     .clean = verdict.clean,
                                                     .reason = verdict.reason,
                                                     .completed = verdict.completed},
                                       now, effects_);
    LAIR_ASSERT(outcome == Outcome::kDone);
    sort(effects_, now, outbox);
    if (ended) close_books(*ended, now);
    if (noted) news = note(*noted, now);
  }
  deliver(outbox);
  if (!news.empty()) tell_breaker(noted->command, std::move(news));
}

// --- Books, waiting ----------------------------------------------------------------------------------

void Shell::close_books(const EndedCall& ended, TimePoint now) {
  ledger_.call_ended(ended.command, ended.ending, now - ended.began);
  switch (ended.ending) {
    case Ending::kOk:
      ++counters_.ok;
      break;
    case Ending::kError:
      ++counters_.error;
      break;
    case Ending::kTimeout:
      ++counters_.timeout;
      break;
    case Ending::kCrashed:
      ++counters_.crashed;
      break;
    case Ending::kShed:
      ++counters_.shed;
      break;
  }
}

LeaseWatch::Ticket Shell::lease_taken(const Hold& hold, const char* file, int line) {
  const core::WorkerRef ref = hold.record->ref;
  const WorkerIdentity worker{
      .slot = ref.slot, .generation = ref.generation, .pid = hold.record->process.pid};
  bool wake = false;
  LeaseWatch::Ticket ticket = 0;
  {
    const std::lock_guard lock(mutex_);
    ticket = leases_.taken(worker, file, line, SteadyClock::now(), wake);
  }
  if (wake) wake_.notify();
  return ticket;
}

void Shell::lease_returned(LeaseWatch::Ticket ticket) {
  const std::lock_guard lock(mutex_);
  leases_.returned(ticket);
}

Result<void> Shell::wait_ready(std::optional<std::size_t> count, std::optional<Duration> timeout) {
  std::size_t size = 0;
  {
    const std::lock_guard lock(mutex_);
    size = core_.size();
  }
  const std::size_t wanted = count.value_or(size);
  if (wanted > size) {
    return Error{.kind = ErrorKind::kInvalidArgument,
                 .delivery = Delivery::kNotSent,
                 .message = "wait_ready(" + std::to_string(wanted) + "): pool \"" + options_.name +
                            "\" has size = " + std::to_string(size)};
  }
  // By default a little longer than a start may take, so that a start that took too long is reported as that.
  const Duration patience = timeout.value_or(
      options_.start_timeout == kForever ? kForever : options_.start_timeout + kReportMargin);
  const Deadline deadline = Deadline::after(patience);
  (void)step(core::Prewarm{wanted});

  std::unique_lock lock(mutex_);
  for (;;) {
    if (core_.ready_count() >= wanted) return {};
    if (core_.shutting_down()) {
      return Error{.kind = ErrorKind::kUnavailable,
                   .message = "pool \"" + options_.name + "\" is shutting down"};
    }
    const std::size_t possible = core_.ready_count() + core_.starting_count();
    const bool hopeless = core_.failed() && possible < wanted;
    if (hopeless || deadline.passed()) {
      const std::string state =
          std::to_string(core_.ready_count()) + " of " + std::to_string(wanted) + " workers are ready";
      if (last_start_error_) {
        Error error = *last_start_error_;
        error.message = "pool \"" + options_.name + "\": " + state + ": " + error.message;
        return error;
      }
      return Error{.kind = ErrorKind::kDeadlineExceeded,
                   .message = "pool \"" + options_.name + "\": " + state + " after " +
                              base::format_duration(patience) + " (" + situation() + ")"};
    }
    wait_changed(lock, deadline);
  }
}

void Shell::wait_changed(std::unique_lock<std::mutex>& lock, Deadline deadline) {
  if (deadline.is_never()) {
    ready_changed_.wait(lock);
  } else {
    ready_changed_.wait_until(lock, deadline.when());
  }
}

void Shell::shutdown(std::optional<Duration> grace) {
  const Deadline grace_end =
      Deadline::after(std::max(grace.value_or(options_.shutdown_grace), Duration::zero()));
  (void)step(core::Shutdown{grace_end.when()});
  {
    std::unique_lock lock(mutex_);
    stopped_changed_.wait(lock, [this] { return stopped_; });
  }
  const std::lock_guard lock(join_mutex_);
  if (thread_.joinable()) thread_.join();
}

}  // namespace lair::pool
