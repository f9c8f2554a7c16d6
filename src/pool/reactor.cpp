#include "pool/reactor.hpp"

#include <algorithm>
#include <cstring>

namespace lair::pool {

using worker::Channel;
using Stage = AsyncCall::Stage;

namespace {

constexpr std::uint64_t kMailboxTag = 0;
// How long an error waits until it is known how its worker ended.
constexpr Duration kExitPatience = std::chrono::milliseconds(500);

// Of bytes for one worker, to let it begin.
constexpr std::size_t kEnough = 64u << 10;

// Never kMailboxTag: generations count from 1.
std::uint64_t tag_of(core::WorkerRef ref) { return ref.generation << 16 | ref.slot; }

}  // namespace

Reactor::Reactor(Shell& shell) : shell_(shell) {
  if (!poller_.add(mailbox_->fd(), kMailboxTag)) {
    throw CallError({.kind = ErrorKind::kUnavailable,
                     .message = std::string("the system has no room to watch one more descriptor: ") +
                                std::strerror(errno)});
  }
  thread_ = std::thread([this] { run(); });
}

Reactor::~Reactor() {
  mailbox_->close();
  mailbox_->wake();
  thread_.join();
}

void Reactor::run() {
  mailbox_->begin_reading();
  std::vector<os::Poller::Event> events;
  std::unique_lock turn = mailbox_->own_turn();
  while (!closing_ || !calls_.empty()) {
    read_mail();
    finish_begun();
    if (closing_) {
      // The pool is down, and so are its workers.
      while (!lines_.empty())
        lost(lines_.begin()->first, {.failure = Channel::Failure::kExited, .sent = true});
      std::vector<std::uint64_t> keys;
      for (const auto& [key, call] : calls_) keys.push_back(key);
      for (const std::uint64_t key : keys) {
        if (AsyncCall* call = find(key)) on_timer(*call);
      }
      continue;
    }
    const TimePoint now = SteadyClock::now();
    while (!timers_.empty() && timers_.begin()->first <= now) {
      AsyncCall& call = *find(timers_.begin()->second);
      arm(call, TimePoint::max());
      on_timer(call);
    }
    while (!unflushed_.empty() || !refused_.empty()) {
      flush_lines();
      lose_refused();
    }
    alarm_ = mailbox_->sleep() ? next_alarm(now) : now;
    const Deadline until = alarm_ == TimePoint::max() ? Deadline::never() : Deadline::at(alarm_);
    turn.unlock();
    poller_.wait(until, events);
    turn.lock();
    // What was posted before something became readable is known before that is looked at.
    read_mail();
    for (const os::Poller::Event& event : events) {
      event.tag == kMailboxTag ? mailbox_->woken() : on_line(event.tag);
    }
  }
}

// The one that it has been waiting for is kept, also where that call has ended: each call that comes has a later deadline as a
// rule, and whoever begins it need not wake the reactor for that.
TimePoint Reactor::next_alarm(TimePoint now) const {
  const TimePoint first = timers_.empty() ? TimePoint::max() : timers_.begin()->first;
  return alarm_ > now ? std::min(alarm_, first) : first;
}

void Reactor::read_mail() {
  closing_ = !mailbox_->take(messages_);
  for (Mailbox::Message& message : messages_) message(*this);
}

void Reactor::run_user_code(OnceFunction<void()> code) {
  if (!code) return;
  flush_lines();  // it may take its time
  try {
    code();
  } catch (const std::exception& thrown) {
    shell_.log(base::LogLevel::kError,
               "[" + shell_.options().name + "] a call's completion has thrown: " + thrown.what());
  } catch (...) {
    shell_.log(base::LogLevel::kError, "[" + shell_.options().name + "] a call's completion has thrown");
  }
}

// --- Calls, and where they are -----------------------------------------------------------------------

AsyncCall* Reactor::find(std::uint64_t key) {
  const auto found = calls_.find(key);
  return found == calls_.end() ? nullptr : found->second.get();
}

Line* Reactor::line_of(const AsyncCall& call) {
  const auto found = lines_.find(tag_of(call.hold->record->ref));
  return found == lines_.end() ? nullptr : found->second.get();
}

void Reactor::arm(AsyncCall& call, TimePoint due) {
  if (call.due != TimePoint::max()) timers_.erase({call.due, call.key});
  call.due = due;
  if (due != TimePoint::max()) timers_.insert({due, call.key});
}

void Reactor::forget(AsyncCall& call) {
  arm(call, TimePoint::max());
  ending_.erase(call.key);
  calls_.erase(call.key);
}

// --- From the queue to the worker --------------------------------------------------------------------

void Reactor::begin(std::unique_ptr<AsyncCall> made) {
  AsyncCall& call = *made;
  call.key = ++last_key_;
  if (call.key_told != nullptr) *call.key_told = call.key;
  calls_.emplace(call.key, std::move(made));
  if (call.refusal) return finish(call, *call.refusal);
  if (call.course.wanted.stop.stop_possible()) {
    call.on_stop.emplace(call.course.wanted.stop, [mailbox = mailbox_, key = call.key] {
      mailbox->post([key](Reactor& reactor) { reactor.stop(key); });
    });
  }
  call.held == nullptr ? enter(call) : begin_held(call);
}

// A lease's call: no queue, no second try.
void Reactor::begin_held(AsyncCall& call) {
  call.course.retries = {};
  if (const auto state = call.held->use(); state != HeldWorker::State::kFree) {
    const std::shared_ptr<HeldWorker> held = std::exchange(call.held, nullptr);
    return finish(call, shell_.not_free(state, *held, call.command));
  }
  call.course.exclusive = true;
  if (auto refusal = shell_.admit_held(call.course, call.held->hold()))
    return finish(call, *std::move(refusal));
  call.hold = call.held->hold();
  send(call);
}

void Reactor::enter(AsyncCall& call) {
  call.stage = Stage::kQueued;
  call.wait = {};
  call.wait.wanted = &call.course.wanted;
  if (const auto left = shell_.enter(call.wait, this)) return left_queue(call, *left);
  queued_[call.wait.token] = call.key;
  if (call.course.within != nullptr && call.course.blocks) {
    call.waits_within = shell_.waits_within(call.course.wanted, +1);
    call.would_deadlock = !call.waits_within;
  }
  if (call.would_deadlock || call.course.wanted.stop.stop_requested()) return give_up(call);
  arm(call, call.course.wanted.until().when());
}

void Reactor::post(core::Token token, Parker::Notice notice) {
  mailbox_->post([token, notice](Reactor& reactor) { reactor.told(token, notice); });
}

void Reactor::told(core::Token token, const Parker::Notice& notice) {
  const auto found = queued_.find(token);
  if (found == queued_.end()) return;
  AsyncCall& call = *find(found->second);
  if (const auto left = shell_.told(call.wait, notice)) left_queue(call, *left);
}

// Where it does not leave the queue by that, a final notice is on its way.
void Reactor::give_up(AsyncCall& call) {
  arm(call, TimePoint::max());
  if (const auto left = shell_.give_up(call.wait)) left_queue(call, *left);
}

void Reactor::left_queue(AsyncCall& call, const Result<Hold>& hold) {
  arm(call, TimePoint::max());
  queued_.erase(call.wait.token);
  if (std::exchange(call.waits_within, false)) (void)shell_.waits_within(call.course.wanted, -1);
  const bool deadlock = std::exchange(call.would_deadlock, false) && !hold;
  const Result<Hold> got = deadlock ? Result<Hold>(shell_.waits_for_itself(call.course.wanted)) : hold;
  if (auto outcome = shell_.took(call.course, got)) return ended(call, *std::move(outcome));
  call.hold = *got;
  send(call);
}

void Reactor::send(AsyncCall& call) {
  const RecordPtr& record = call.hold->record;
  const std::uint64_t tag = tag_of(record->ref);
  auto& line = lines_[tag];
  if (line == nullptr) line = std::make_unique<Line>(record, poller_, tag, refused_);
  call.began = false;
  ++call.attempts;
  call.asked.clear();
  call.storing = 0;
  call.last.reset();
  call.chain = call.course.within == nullptr ? std::string() : call.course.within->encoded();
  auto made = address(*record,
                      {.command = call.command,
                       .call = call.course.call,
                       .traceparent = call.course.traceparent,
                       .chain = call.chain,
                       .stream = call.course.stream,
                       .session = Shell::session_of(call.course, *call.hold),
                       .arrays = &call.course.arrays,
                       .arena = shell_.arena_.get()},
                      !line->calls.empty());
  if (auto* refused = std::get_if<Attempt>(&made)) return attempted(call, std::move(*refused));
  if (!line->watch()) {
    return attempted(
        call, unanswered(call.command, {.failure = Channel::Failure::kSystem, .detail = std::strerror(errno)},
                         identity_of(*record), {}, false));
  }
  call.header = std::get<wire::CallHeader>(made);
  call.stage = Stage::kOnWorker;
  line->calls[call.header.id] = call.key;
  const auto& [head, arguments, tail, fd] = call.course.call.bytes().frame;
  if (record->announcement->concurrency > 1) {  // there may be more for it, which can go in one piece
    call.written_at = line->append(head, arguments, tail);
    line->unsent() < kEnough ? unflushed_.push_back(tag) : line->flush();
  } else {
    call.written_at = line->write(head, arguments, tail);
  }
  arm(call, call.course.call.deadline.when());
}

void Reactor::flush_lines() {
  for (const std::uint64_t tag : unflushed_) {
    if (const auto line = lines_.find(tag); line != lines_.end()) line->second->flush();
  }
  unflushed_.clear();
}

// A peer that is gone is read of. What the system refuses is not.
void Reactor::lose_refused() {
  for (const std::uint64_t tag : std::exchange(refused_, {})) {
    const auto line = lines_.find(tag);
    if (line == lines_.end() || line->second->refusal() == 0) continue;
    lost(tag, {.failure = Channel::Failure::kSystem,
               .sent = true,
               .detail = std::strerror(line->second->refusal())});
  }
}

// Takes it off its line; the last one to leave gives the channel up. A worker that is well will probably have another call
// soon: its line stays, at rest, until something comes on it that is not for the reactor.
bool Reactor::leave(AsyncCall& call, bool well) {
  Line* line = line_of(call);
  if (line == nullptr) return false;
  const auto own = line->calls.find(call.header.id);
  if (own != line->calls.end() && own->second == call.key) line->calls.erase(own);
  if (!line->calls.empty()) return false;
  const bool spoilt = line->mid_frame();
  const bool known = line->watched() || line->lent();
  if (spoilt || !well || !known || line->unsent() > 0) lines_.erase(line->tag());
  return spoilt;
}

// A worker that waits for the rest of a frame must go, whatever it has said.
static void spoil(Verdict& verdict) {
  if (verdict.clean || verdict.may_recover) {
    verdict = {.clean = false, .reason = core::Reason::kAbandoned, .completed = verdict.completed};
  }
}

void Reactor::give_back(AsyncCall& call, Verdict verdict) {
  if (leave(call, verdict.clean)) spoil(verdict);
  const Hold hold = *std::exchange(call.hold, std::nullopt);
  shell_.give_back(hold, verdict);
}

// --- Its end -----------------------------------------------------------------------------------------

void Reactor::attempted(AsyncCall& call, Attempt attempt) {
  arm(call, TimePoint::max());
  if (leave(call, attempt.verdict.clean)) spoil(attempt.verdict);
  const Hold hold = *std::exchange(call.hold, std::nullopt);
  auto outcome = call.held == nullptr
                     ? shell_.attempted(call.course, hold, std::move(attempt))
                     : std::optional(shell_.ended_held(call.course, call.held->hold(), std::move(attempt)));
  if (!outcome) return enter(call);
  if (outcome->lost == nullptr) return ended(call, *std::move(outcome));
  call.failed = std::move(outcome);
  call.stage = Stage::kDescribing;
  const bool waits = call.failed->result.error().kind == ErrorKind::kWorkerLost;
  if (!waits || shell_.identity(call.failed->lost).exit) return describe(call);
  ending_.insert(call.key);
  arm(call, Deadline::after(std::min(kExitPatience, call.course.call.deadline.remaining())).when());
}

void Reactor::worker_ended() {
  mailbox_->post([](Reactor& reactor) {
    std::erase_if(reactor.lines_,
                  [](const auto& line) { return line.second->rests() && line.second->exited(); });
    const std::set<std::uint64_t> ending = reactor.ending_;
    for (const std::uint64_t key : ending) {
      AsyncCall& call = *reactor.find(key);
      if (reactor.shell_.identity(call.failed->lost).exit) reactor.describe(call);
    }
  });
}

void Reactor::describe(AsyncCall& call) {
  arm(call, TimePoint::max());
  ending_.erase(call.key);
  Try failed = *std::exchange(call.failed, std::nullopt);
  shell_.describe(call.course, failed, Duration::zero());
  ended(call, std::move(failed));
}

void Reactor::ended(AsyncCall& call, Try outcome) {
  if (!outcome.open) return finish(call, std::move(outcome.result));
  if (outcome.result) {
    shell_.mended(call.course, *outcome.open);
    return finish(call, std::move(outcome.result));
  }
  auto next = shell_.tried(call.course, std::move(outcome));
  if (auto* result = std::get_if<Result<Json>>(&next)) return finish(call, std::move(*result));
  call.stage = Stage::kPausing;
  arm(call, Deadline::after(std::get<Duration>(next)).when());
}

void Reactor::finish(AsyncCall& call, Result<Json> result) {
  if (call.held != nullptr && call.held->leave()) {
    shell_.give_back(call.held->hold(), {.completed = call.held->hold().completed});
  }
  // A stream ends without user code where its consumer blocks, or has not even been handed it.
  const bool tells_here = is_this_thread() || (call.stream != nullptr && !call.executor);
  if (!tells_here) {
    call.stage = Stage::kNew;  // nothing ends it any more
    ended_at_once_.emplace_back(call.key, std::move(result));
    return;
  }
  tell(call, std::move(result));
  if (call.stage != Stage::kGivingUp) forget(call);
}

void Reactor::tell(AsyncCall& call, Result<Json> result) {
  run_user_code(
      [done = std::make_shared<Completion>(std::move(call.done)), &result] { (*done)(std::move(result)); });
}

// --- Time, and stop requests -------------------------------------------------------------------------

void Reactor::on_timer(AsyncCall& call) {
  switch (call.stage) {
    case Stage::kNew:
      break;
    case Stage::kQueued:
      return give_up(call);
    case Stage::kOnWorker:
      if (call.last && closing_) return lost(call, {.failure = Channel::Failure::kExited, .sent = true});
      if (is_heard_elsewhere(call)) return;
      return abandon(call, Channel::Failure::kDeadline);
    case Stage::kGivingUp:
      if (is_heard_elsewhere(call)) return;
      if (SteadyClock::now() < call.gives_up_by) return ring(call);
      give_back(call, {.clean = false, .reason = call.gives_up});
      return forget(call);
    case Stage::kDescribing:
      return describe(call);
    case Stage::kPausing:
      call.course.wanted.queue_deadline = Deadline::after(call.course.patience);
      return enter(call);
  }
}

void Reactor::stop(std::uint64_t key) {
  AsyncCall* call = find(key);
  if (call == nullptr) return;
  if (call->stage == Stage::kOnWorker && is_heard_elsewhere(*call)) return;
  if (call->stage == Stage::kOnWorker) return abandon(*call, Channel::Failure::kStopped);
  if (call->stage == Stage::kQueued) return give_up(*call);
  if (call->stage == Stage::kPausing) return arm(*call, SteadyClock::now());
}

// It is over for its caller. Its worker is to prove that it is over for it, too.
void Reactor::abandon(AsyncCall& call, Channel::Failure why) {
  Line& line = *line_of(call);
  if (line.lent()) line.take_back();
  line.flush();
  Record& record = line.record();
  const wire::Announcement& announced = *record.announcement;
  const bool sent = line.written() >= call.written_at;
  const bool shared = announced.concurrency > 1;
  const bool recovers = announced.cancels && shell_.options().cancel_grace > Duration::zero() &&
                        (call.held == nullptr ? sent || shared : sent && !line.mid_frame());
  // What waits here to be written, the worker may still run before it reads the CANCEL behind it.
  Attempt over = unanswered(call.command, {.failure = why, .sent = sent || recovers}, identity_of(record),
                            SteadyClock::now() - call.course.call.started, recovers);
  // A lease's call takes the lease with it: then the supervisor sees to the rest.
  if (!recovers || call.held != nullptr) return attempted(call, std::move(over));

  call.gives_up = over.verdict.reason;
  Try outcome = *shell_.attempted(call.course, *call.hold, std::move(over), false);
  shell_.describe(call.course, outcome, Duration::zero());
  call.stage = Stage::kGivingUp;
  call.on_stop.reset();
  call.told_at = line.write(wire::encode_cancel(call.header.id, call.header.generation));
  const Error gone{.kind = ErrorKind::kCancelled, .message = "the call has ended for its caller"};
  for (const std::uint64_t number : std::exchange(call.asked, {})) {
    line.write(wire::encode_callback_result(call.header.id, call.header.generation, number, gone));
  }
  call.gives_up_by = Deadline::after(shell_.options().cancel_grace).when();
  // Where calls share a worker, it reads all the time.
  call.bell = Bell(shared ? 0 : announced.cancel_signal);
  ring(call);
  ended(call, std::move(outcome));
}

void Reactor::ring(AsyncCall& call) {
  Line* line = line_of(call);
  if (line != nullptr && call.bell.signal() != 0) {
    line->signal_when_written(call.told_at, call.bell.signal());
    call.bell.rung(SteadyClock::now());
  }
  arm(call, std::min(call.bell.due(), call.gives_up_by));
}

}  // namespace lair::pool
