// Sessions, as the shell has them: how they are opened, lost, opened again and ended, and what their calls are told.
#include <algorithm>

#include "base/duration.hpp"
#include "pool/shell.hpp"
#include "pool/supervisor.hpp"

namespace lair::pool {

using State = SessionEntry::State;

namespace {

constexpr std::size_t kLongestId = 256;
// Of a session that expires, for what its worker does about it.
constexpr Duration kCleanupTimeout = std::chrono::seconds(5);

Error invalid(std::string message) {
  return {.kind = ErrorKind::kInvalidArgument, .delivery = Delivery::kNotSent, .message = std::move(message)};
}

bool has_home(const std::optional<core::Core::SessionView>& view) {
  return view && view->home.generation != 0;
}

std::string named(std::string_view id) { return "session \"" + std::string(id) + '"'; }

// For how long the store is to keep what a session has put: until it is looked at again.
Duration kept_for(Duration ttl) {
  const Duration more = SessionSweep::interval(ttl);
  return ttl >= kForever - more ? kForever : ttl + more;
}

// After `cleanup_session`: a worker that has ended has nothing left to clean, and a foreign program need not know the command.
// Those of protocol 1 can only say so in words.
bool has_nothing_left(const Error& error) {
  switch (error.kind) {
    case ErrorKind::kUnknownCommand:
    case ErrorKind::kSessionLost:
    case ErrorKind::kWorkerLost:
    case ErrorKind::kUnavailable:
      return true;
    case ErrorKind::kRemote:
      return error.message.find("Unknown command: cleanup_session") != std::string::npos;
    default:
      return false;
  }
}

Error over(const SessionEntry& session, State state) {
  if (state == State::kExpired) {
    return {.kind = ErrorKind::kSessionLost,
            .delivery = Delivery::kNotSent,
            .message = named(session.id) + " has expired: nobody had used it for " +
                       base::format_duration(session.ttl) + " (ttl). reopen() makes it usable again, empty."};
  }
  return invalid(named(session.id) + " has ended. pool.session(\"" + session.id + "\") opens a new one.");
}

Error lost(const SessionEntry& session) {
  return {
      .kind = ErrorKind::kSessionLost,
      .delivery = Delivery::kNotSent,
      .message =
          named(session.id) + " is lost: the worker that had it has ended (" + session.cause +
          "), and with it what it kept there. What was put into its store is kept. reopen() makes it usable "
          "again, on another worker."};
}

std::optional<Error> wrong_id(std::string_view id) {
  if (id.empty()) return invalid("a session's id must not be empty");
  if (id.size() > kLongestId) {
    return invalid("a session's id has " + std::to_string(id.size()) + " bytes; it may have " +
                   std::to_string(kLongestId));
  }
  return std::nullopt;
}

// Of one that is new: no session that there is has such an id.
bool is_utf8(std::string_view id) {
  try {
    (void)Json(id).dump();
  } catch (const Json::exception&) {
    return false;
  }
  return true;
}

}  // namespace

// --- Opening ---------------------------------------------------------------------------------------

Result<SessionPtr> Shell::open_session(std::string_view id, const SessionOptions& options) {
  if (auto wrong = wrong_id(id)) return *std::move(wrong);
  if (options.ttl && *options.ttl <= Duration::zero()) {
    return invalid(named(id) + ": ttl must be more than 0");
  }
  Outbox outbox;
  SessionPtr session;
  std::optional<Duration> ttl = options.ttl;
  {
    const std::lock_guard lock(mutex_);
    const TimePoint now = SteadyClock::now();
    if ((session = sessions_.find(id)) != nullptr) {
      if (session->state == State::kEnding) {
        return Error{.kind = ErrorKind::kSessionBusy,
                     .delivery = Delivery::kNotSent,
                     .message = named(id) + " is being ended; its id is free when that is done"};
      }
      if (options.affinity && *options.affinity != session->affinity) {
        return invalid(named(id) + " is " + to_string(session->affinity) + ", not " +
                       to_string(*options.affinity) + "; end it first, or use another id");
      }
      if (options.ttl) sessions_.set_ttl(*session, *options.ttl, now);
      sessions_.used(*session, now);
    } else {
      if (!is_utf8(id)) return invalid("a session's id must be UTF-8");
      if (auto refusal = refused_new_session(id, options)) return *std::move(refusal);
      session = std::make_shared<SessionEntry>(std::string(id), options.affinity.value_or(Affinity::kPrefer));
      session->ttl = *(ttl = options.ttl.value_or(options_.session_ttl));
      put_to_core(*session, sessions_.open(session, now), now, outbox);
    }
  }
  deliver(outbox);
  if (ttl) begin_to_keep(session, *ttl);
  return session;
}

// Also if the program ends before the sweep has come by, which complains of what speaks against it.
void Shell::begin_to_keep(const SessionPtr& session, Duration ttl) {
  (void)keep_values(session);
  if (ttl != kForever) sweep_.watch(ttl);
}

// Under the mutex, with the store, which does not wait here: a time that another thread has made longer meanwhile would be
// overwritten by the one before.
Result<void> Shell::keep_values(const SessionPtr& session) {
  const std::lock_guard lock(mutex_);
  // Not of one that has ended: its id may be another's by now.
  if (sessions_.find(session->id) != session) return {};
  return store_->touch(session->id, kept_for(session->ttl));
}

// Under the mutex.
std::optional<Error> Shell::refused_new_session(std::string_view id, const SessionOptions& options) const {
  if (core_.shutting_down()) {
    return Error{.kind = ErrorKind::kUnavailable,
                 .delivery = Delivery::kNotSent,
                 .message = "pool \"" + options_.name + "\" is shutting down"};
  }
  if (sessions_.size() >= options_.max_sessions) {
    return Error{.kind = ErrorKind::kOverloaded,
                 .delivery = Delivery::kNotSent,
                 .message = named(id) + ": pool \"" + options_.name + "\" has " +
                            std::to_string(sessions_.size()) +
                            " sessions (max_sessions). End some, or give them a shorter ttl."};
  }
  if (options.affinity == Affinity::kExclusive && !core_.may_open_exclusive()) {
    return Error{.kind = ErrorKind::kOverloaded,
                 .delivery = Delivery::kNotSent,
                 .message = named(id) +
                            ": exclusive sessions may have three quarters of the workers of pool \"" +
                            options_.name + "\" (size = " + std::to_string(core_.size()) +
                            "), and have them. End one, raise size, or use a strict session."};
  }
  return std::nullopt;
}

// Under the mutex.
void Shell::put_to_core(const SessionEntry& session, core::SessionKey number, TimePoint now, Outbox& outbox) {
  effects_.clear();
  (void)core_.step(core::OpenSession{.key = number, .affinity = session.affinity}, now, effects_);
  sort(effects_, now, outbox);
}

void Shell::take_from_core(core::SessionKey number, TimePoint now, Outbox& outbox) {
  effects_.clear();
  (void)core_.step(core::CloseSession{.key = number}, now, effects_);
  sort(effects_, now, outbox);
}

Result<void> Shell::reopen_session(const SessionPtr& session) {
  Outbox outbox;
  Duration ttl{};
  {
    const std::lock_guard lock(mutex_);
    const TimePoint now = SteadyClock::now();
    ttl = session->ttl;
    if (core_.shutting_down() && session->state != State::kEnded) {
      return *refused_new_session(session->id, {.affinity = session->affinity});
    }
    switch (session->state) {
      case State::kOpen:
        return {};
      case State::kLost: {
        const core::SessionKey before = session->number;
        if (session->affinity == Affinity::kExclusive && !core_.may_open_exclusive())
          return *refused_new_session(session->id, {.affinity = Affinity::kExclusive});
        take_from_core(before, now, outbox);
        sessions_.renumber(*session);
        sessions_.used(*session, now);
        put_to_core(*session, session->number, now, outbox);
        break;
      }
      case State::kExpired:
        if (sessions_.find(session->id) != nullptr) {
          return invalid(named(session->id) + " has expired, and another one with this id has been opened");
        }
        if (auto refusal = refused_new_session(session->id, {.affinity = session->affinity}))
          return *std::move(refusal);
        put_to_core(*session, sessions_.open(session, now), now, outbox);
        break;
      case State::kEnding:
      case State::kEnded:
        return over(*session, State::kEnded);
    }
  }
  deliver(outbox);
  begin_to_keep(session, ttl);
  return {};
}

// --- Ending ----------------------------------------------------------------------------------------

Result<void> Shell::end_session(const SessionPtr& session, Duration timeout) {
  if (on_reactor()) return on_own_thread("end()");
  if (CallContext::current() != nullptr) {  // from within its own call it would wait for itself
    Course course;
    const Bound bound{.session = session, .ends_session = true};
    if (auto refusal = set_out(course, {}, "cleanup_session", Json::object(), bound))
      return *std::move(refusal);
  }
  return close_session(session, State::kEnded, timeout);
}

Result<void> Shell::close_session(const SessionPtr& session, State why, Duration timeout) {
  bool at_home = false;
  {
    const std::lock_guard lock(mutex_);
    if (session->state != State::kOpen && session->state != State::kLost) return {};
    if (why == State::kExpired) {  // it may have been used while others were ended
      const auto view = core_.session(session->number);
      const bool used = SteadyClock::now() - session->last_used < session->ttl;
      if (used || (view && (view->in_call || view->waiting > 0))) {
        sessions_.look_again(session);
        return {};
      }
    }
    at_home = session->state == State::kOpen && has_home(core_.session(session->number));
    session->state = State::kEnding;
  }
  Result<void> outcome;
  if (at_home) {
    const auto cleaned = call({.timeout = timeout}, "cleanup_session", Json{{"session_id", session->id}},
                              {.session = session, .ends_session = true});
    if (!cleaned && !has_nothing_left(cleaned.error())) {
      Error error = cleaned.error();
      error.message = named(session->id) + " has ended, but its worker has not cleaned up: " + error.message;
      outcome = std::move(error);
    }
  }
  session->live = 0;
  {
    const std::lock_guard last_use(session->fence);
    if (auto dropped = store_->drop(session->id); !dropped && outcome) outcome = std::move(dropped).error();
  }
  Outbox outbox;
  {
    const std::lock_guard lock(mutex_);
    take_from_core(session->number, SteadyClock::now(), outbox);
    sessions_.close(*session, why);
  }
  deliver(outbox);
  return outcome;
}

void Shell::sweep_sessions() {
  std::vector<SessionPtr> expired;
  {
    const std::lock_guard lock(mutex_);
    if (core_.shutting_down()) return;
    expired = sessions_.expired(SteadyClock::now());
  }
  const auto complain = [&](const SessionPtr& session, const Error& error) {
    log(base::LogLevel::kWarn,
        "[" + options_.name + "] " + named(session->id) + ", which nobody uses any longer: " + error.message);
  };
  for (const SessionPtr& session : expired) {
    if (auto closed = close_session(session, State::kExpired, kCleanupTimeout); !closed)
      complain(session, closed.error());
  }
  // Only now: those ends may have taken longer than others are kept.
  std::vector<SessionPtr> used;
  {
    const std::lock_guard lock(mutex_);
    used = sessions_.to_touch();
  }
  Result<void> kept;
  for (const SessionPtr& session : used) {
    if (auto done = keep_values(session); !done) kept = std::move(done);
  }
  if (!kept) log(base::LogLevel::kWarn, "[" + options_.name + "] " + kept.error().message);
  const auto swept = store_->sweep();
  if (!swept) return log(base::LogLevel::kWarn, "[" + options_.name + "] " + swept.error().message);
  const std::lock_guard lock(mutex_);
  for (const std::string& id : *swept) {  // one that is open still would have been touched
    if (const SessionPtr session = sessions_.find(id)) session->changes.changed();
  }
}

// --- What its calls are told -----------------------------------------------------------------------

std::optional<Error> Shell::refused_session(const Wanted& wanted, Wait& wait) {
  SessionEntry& session = *wanted.session;
  wait.session = session.number;
  if (core_.shutting_down())
    return std::nullopt;  // which is why it is lost, and what its caller is to be told
  const bool ends = wanted.ends_session && session.state == State::kEnding;
  if (session.state == State::kOpen || ends) {
    sessions_.used(session, wait.came);
    return std::nullopt;
  }
  const bool is_lost = session.state == State::kLost;
  ledger_.rejected(is_lost || session.state == State::kExpired ? Rejection::kSessionLost
                                                               : Rejection::kSessionEnded);
  return is_lost ? lost(session) : over(session, session.state);
}

Error Shell::session_refused(const Wanted& wanted, core::RefuseReason why) const {
  const SessionEntry& session = *wanted.session;
  return why == core::RefuseReason::kSessionLost ? lost(session) : over(session, session.state);
}

bool Shell::waits_for_certain_worker(const Wait& wait) const {
  if (wait.session == 0) return false;
  const auto view = core_.session(wait.session);
  if (!view) return false;
  const Affinity affinity = wait.wanted->session->affinity;
  if (view->in_call || (affinity != Affinity::kPrefer && has_home(view))) return true;
  // Workers are free, and none of them may be had whole.
  return affinity == Affinity::kExclusive && core_.count(SlotState::kIdle) > 0;
}

Error Shell::session_busy(const Wanted& wanted, Duration waited) const {
  const SessionEntry& session = *wanted.session;
  const auto view = core_.session(session.number);
  std::string message = named(session.id) + " was busy for all of the " + base::format_duration(waited) +
                        " that the call could wait: ";
  if (view && view->in_call) {
    message += "a call of the same session was under way";
    if (view->waiting > 0) message += ", and " + std::to_string(view->waiting) + " wait";
    message += ". The calls of a session run one after another.";
  } else if (!has_home(view)) {
    message +=
        "it needs a worker that no strict session has, and none was free. End some of those, raise size, or "
        "use "
        "a strict session.";
  } else {
    message += "its worker " + std::to_string(view->home.slot) + '.' + std::to_string(view->home.generation) +
               " served others. A prefer session would have taken another worker, an exclusive "
               "one has its worker to itself.";
  }
  return {.kind = ErrorKind::kSessionBusy, .delivery = Delivery::kNotSent, .message = std::move(message)};
}

void Shell::shut_out(SessionEntry* session, core::Epoch epoch) {
  if (session != nullptr) session->live.compare_exchange_strong(epoch, 0);
}

// --- What is known of them -------------------------------------------------------------------------

// Under the mutex.
SessionInfo Shell::info_of(const SessionEntry& session) const {
  using std::chrono::system_clock;
  SessionInfo info{.id = session.id,
                   .number = session.number,
                   .affinity = session.affinity,
                   .open = session.state == State::kOpen,
                   .lost = session.state == State::kLost,
                   .cause = session.state == State::kExpired ? "expired" : session.cause,
                   .created = session.created,
                   .last_used = system_clock::now() - std::chrono::duration_cast<system_clock::duration>(
                                                          SteadyClock::now() - session.last_used),
                   .calls = session.calls,
                   .hits = session.hits,
                   .spills = session.spills,
                   .moves = session.moves};
  if (const auto view = core_.session(session.number); has_home(view) && info.open) {
    info.worker = SessionInfo::Worker{view->home.slot, view->home.generation};
  }
  return info;
}

SessionPtr Shell::find_session(std::string_view id) const {
  const std::lock_guard lock(mutex_);
  return sessions_.find(id);
}

SessionInfo Shell::session_info(const SessionEntry& session) const {
  SessionInfo info;
  {
    const std::lock_guard lock(mutex_);
    info = info_of(session);
  }
  info.stored_bytes = info.open || info.lost ? store_->bytes(session.id) : 0;
  return info;
}

std::vector<SessionInfo> Shell::sessions() const {
  std::vector<SessionInfo> infos;
  {
    const std::lock_guard lock(mutex_);
    infos.reserve(sessions_.size());
    for (const SessionPtr& session : sessions_.all()) infos.push_back(info_of(*session));
  }
  for (SessionInfo& info : infos) info.stored_bytes = store_->bytes(info.id);
  return infos;
}

std::optional<Error> Shell::may_use_store(SessionEntry& session) {
  const std::lock_guard lock(mutex_);
  if (session.state != State::kOpen && session.state != State::kLost) return over(session, session.state);
  sessions_.used(session, SteadyClock::now());
  return std::nullopt;
}

// --- The supervisor's --------------------------------------------------------------------------------

void Supervisor::session_lost(const core::SessionLost& news) {
  std::string id;
  {
    const std::lock_guard lock(shell_.mutex_);
    id = shell_.sessions_.take_lost(news.key);
    if (id.empty()) return;
  }
  const std::string message =
      named(id) + " is lost: its worker has ended (" + core::to_string(news.reason) + ")";
  shell_.tell(base::LogLevel::kWarn, log_name(news.worker) + message,
              {.kind = PoolEventKind::kSessionLost,
               .worker = PoolEvent::Worker{news.worker.slot, news.worker.generation},
               .reason = core::to_string(news.reason),
               .message = message});
}

}  // namespace lair::pool
