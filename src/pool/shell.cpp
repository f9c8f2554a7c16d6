#include "pool/shell.hpp"

#include <algorithm>
#include <atomic>
#include <random>
#include <type_traits>

#include "base/assert.hpp"
#include "base/duration.hpp"
#include "base/overloaded.hpp"
#include "pool/reactor.hpp"
#include "pool/store_desk.hpp"
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
          .cancel_grace = options.cancel_grace,
          .health_interval = options.health_interval,
          .health_timeout = options.health_timeout,
          .max_calls = options.max_calls,
          .max_age = options.max_age,
          .idle_ttl = options.idle_ttl,
          .queue_target = options.queue_target,
          .queue_interval = options.queue_interval,
          .session_grace = options.session_grace,
          .seed = std::random_device{}()};
}

// Addresses of pools are used again, these are not.
std::uint64_t next_serial() {
  static std::atomic<std::uint64_t> last{0};
  return ++last;
}

std::shared_ptr<store::SessionStore> store_in_memory(const PoolOptions& options) {
  return store::open_store("", store_limits(options)).value();
}

}  // namespace

store::Limits store_limits(const PoolOptions& options) {
  return {.value = options.session_value_limit, .session = options.session_limit};
}

Shell::Shell(PoolOptions options, std::unique_ptr<worker::Launcher> launcher,
             std::shared_ptr<store::SessionStore> store)
    : options_(std::move(options)),
      serial_(next_serial()),
      store_(store != nullptr ? std::move(store) : store_in_memory(options_)),
      arena_(std::make_shared<Arena>(options_.array_memory)),
      notifier_(options_.logger ? options_.logger : default_logger(options_.log_level, logs_json()),
                {.pool = options_.name, .json = logs_json(), .on_event = options_.on_event}),
      core_(core_config(options_)),
      breakers_(options_.breaker),
      records_(options_.size + options_.overflow),
      leases_(options_.name, options_.lease_warning),
      slow_calls_(options_.slow_call),
      alerts_(options_.size),
      supervisor_(std::make_unique<Supervisor>(*this, std::move(launcher))) {
  host_functions_->serve_store(
      [store = store_](std::string_view what, const Json& arguments, const CallContext& context) {
        return pool::serve_store(*store, what, arguments, context);
      });
  arena_->on_idle([this] {
    arrays_idle_ = true;
    wake_.notify();
  });
  thread_ = std::thread([this] { supervisor_->run(); });
  (void)step(core::Begin{});
}

Shell::~Shell() {
  shutdown(std::nullopt);
  sweep_.stop();
  reactor_.reset();
  arena_->on_idle(nullptr);
}

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
              notify(grant.token, {.grant = Hold{.record = record_of(grant.worker),
                                                 .epoch = grant.epoch,
                                                 .session = grant.session}});
              if (grant.session != 0) sessions_.granted(grant.session, grant.epoch, grant.met, now);
            },
            [&](const core::Wake& wake) { notify(wake.token, {.woken = true}); },
            [&](const core::Refuse& refusal) { notify(refusal.token, {.refusal = refusal}); },
            [&](const core::ReadyChanged&) { outbox.ready_changed = true; },
            [&](const core::SessionLost& lost) {
              sessions_.lost(lost.key, core::to_string(lost.reason));
              inbox_.push_back(lost);
              outbox.wake_supervisor = true;
            },
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

// --- Giving it back ----------------------------------------------------------------------------------

void Shell::give_back(const Hold& hold, Verdict verdict, std::optional<EndedCall> ended,
                      std::optional<Noted> noted) {
  Outbox outbox;
  std::string news;
  const TimePoint now = SteadyClock::now();
  hold.record->rests_since = now;
  {
    const std::lock_guard lock(mutex_);
    call_ended(hold);
    effects_.clear();
    const Outcome outcome = core_.step(core::Checkin{.worker = hold.record->ref,
                                                     .epoch = hold.epoch,
                                                     .clean = verdict.clean,
                                                     .may_recover = verdict.may_recover,
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

void Shell::book(const std::optional<EndedCall>& ended, const std::optional<Noted>& noted) {
  const TimePoint now = SteadyClock::now();
  std::string news;
  {
    const std::lock_guard lock(mutex_);
    if (ended) close_books(*ended, now);
    if (noted) news = note(*noted, now);
  }
  if (!news.empty()) tell_breaker(noted->command, std::move(news));
}

bool Shell::watch_call(const Hold& hold, std::string_view command, TimePoint now) {
  hold.record->running.push_back(
      {.epoch = hold.epoch, .command = command, .since = now, .session = hold.session});
  return slow_calls_.began(now);
}

void Shell::call_ended(const Hold& hold) {
  // There may be thousands, and the oldest mostly end first.
  auto& running = hold.record->running;
  const auto own = std::find_if(running.begin(), running.end(),
                                [&](const Record::Running& call) { return call.epoch == hold.epoch; });
  if (own != running.end()) running.erase(own);
  if (hold.session == 0) return;
  if (SessionEntry* session = sessions_.find(hold.session)) {
    shut_out(session, hold.epoch);
    sessions_.used(*session, SteadyClock::now());
  }
}

// --- Books, waiting ----------------------------------------------------------------------------------

void Shell::close_books(const EndedCall& ended, TimePoint now) {
  const auto times = ended.times;
  const Duration each = (now - ended.began) / static_cast<std::int64_t>(times);
  ledger_.call_ended(ended.command, ended.ending, each, times);
  switch (ended.ending) {
    case Ending::kOk:
      counters_.ok += times;
      break;
    case Ending::kError:
      counters_.error += times;
      break;
    case Ending::kTimeout:
      counters_.timeout += times;
      break;
    case Ending::kCrashed:
      counters_.crashed += times;
      break;
    case Ending::kShed:
      counters_.shed += times;
      break;
    case Ending::kCancelled:
      counters_.cancelled += times;
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
  LAIR_ASSERT(!on_reactor(),
              "a pool must not be shut down, or destroyed, on its own thread: give the call whose completion "
              "does it an executor");
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
