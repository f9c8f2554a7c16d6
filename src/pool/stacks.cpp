#include "pool/stacks.hpp"

#include <algorithm>
#include <utility>

#include "base/duration.hpp"
#include "os/wait.hpp"
#include "pool/shell.hpp"
#include "pool/supervisor.hpp"

namespace lair::pool {

namespace {

// Between looks at a worker that has been signalled: it mostly takes less than the first of them.
constexpr Duration kFirstPause = std::chrono::microseconds(500);
constexpr Duration kLongestPause = std::chrono::milliseconds(10);
// faulthandler writes at most 100 threads of 100 frames.
constexpr std::size_t kMostText = 1u << 20;

Error error_of(ErrorKind kind, std::string message) { return {.kind = kind, .message = std::move(message)}; }

}  // namespace

// --- Asking ----------------------------------------------------------------------------------------

Result<WorkerStack> Shell::stack(std::uint32_t slot, Duration timeout) {
  const Deadline deadline = Deadline::after(timeout);
  const auto question =
      std::make_shared<StackDesk::Question>(StackDesk::Question{.slot = slot, .deadline = deadline});
  if (!stack_desk_.leave(question)) {
    return error_of(ErrorKind::kUnavailable, "pool \"" + options_.name + "\" has shut down");
  }
  wake_.notify();
  const Deadline until =
      deadline.is_never() ? deadline : Deadline::after(deadline.remaining() + kReportMargin);
  if (auto answer = stack_desk_.wait(question, until)) return *std::move(answer);
  return error_of(ErrorKind::kDeadlineExceeded,
                  "pool \"" + options_.name + "\" did not say what the worker in slot " +
                      std::to_string(slot) + " is doing within " + base::format_duration(timeout));
}

bool StackDesk::leave(const QuestionPtr& question) {
  const std::lock_guard lock(mutex_);
  if (!closed_) questions_.push_back(question);
  return !closed_;
}

std::optional<Result<WorkerStack>> StackDesk::wait(const QuestionPtr& question, Deadline until) {
  std::unique_lock lock(mutex_);
  const auto answered = [&] { return question->answer.has_value(); };
  if (until.is_never()) {
    answered_.wait(lock, answered);
  } else {
    answered_.wait_until(lock, until.when(), answered);
  }
  return std::move(question->answer);
}

std::vector<StackDesk::QuestionPtr> StackDesk::collect() {
  const std::lock_guard lock(mutex_);
  return std::exchange(questions_, {});
}

void StackDesk::answer(const QuestionPtr& question, Result<WorkerStack> answer) {
  {
    const std::lock_guard lock(mutex_);
    question->answer = std::move(answer);
  }
  answered_.notify_all();
}

void StackDesk::close() {
  const std::lock_guard lock(mutex_);
  closed_ = true;
}

// --- Answering -------------------------------------------------------------------------------------

void Stacks::answer_questions() {
  for (const StackDesk::QuestionPtr& question : shell_.stack_desk_.collect()) {
    RecordPtr record;
    Error error;
    {
      const std::lock_guard lock(shell_.mutex_);
      const std::string pool = "pool \"" + shell_.options_.name + "\"";
      if (question->slot >= shell_.core_.slots()) {
        error =
            error_of(ErrorKind::kInvalidArgument, pool + " has no slot " + std::to_string(question->slot) +
                                                      ": it has " + std::to_string(shell_.core_.slots()));
      } else {
        const auto view = shell_.core_.slot(question->slot);
        record = shell_.record_of({question->slot, view.generation});
        if (record != nullptr && record->exit) record = nullptr;
        error = error_of(ErrorKind::kUnavailable, pool + " has no worker in slot " +
                                                      std::to_string(question->slot) + " now: it is " +
                                                      to_string(view.state));
      }
    }
    if (record == nullptr) {
      shell_.stack_desk_.answer(question, std::move(error));
      continue;
    }
    take(record, question->deadline,
         [this, question](const Taken& taken) { shell_.stack_desk_.answer(question, taken.stack); });
  }
}

void Stacks::take(const RecordPtr& record, Deadline deadline, Done done) {
  Watched& watched = watched_[record->ref];
  watched.record = record;
  const bool busy = !watched.waiters.empty();
  (busy ? watched.later : watched.waiters).push_back({.deadline = deadline, .done = std::move(done)});
  if (!busy) start(watched, SteadyClock::now());
  // One that is at its end, or cannot be asked, is not kept.
  if (watched.waiters.empty() && !watched.signalled) watched_.erase(record->ref);
}

void Stacks::start(Watched& watched, TimePoint now) {
  while (!watched.waiters.empty()) {
    auto error = begin(watched);
    if (!error) {
      watched.pause = kFirstPause;
      watched.look_at = now + watched.pause;
      next_ = std::min(next_, watched.look_at);
      return;
    }
    finish(watched, {.stack = *std::move(error)});
  }
}

std::optional<Error> Stacks::begin(Watched& watched) {
  const Record& record = *watched.record;
  const wire::Announcement* announced = record.announcement.get();
  const std::string name = "worker " + name_of(record);
  if (announced == nullptr) {
    return error_of(ErrorKind::kUnavailable,
                    name + " is still starting: it has not said yet how its stack is to be had");
  }
  if (announced->stacks.signal == 0) {
    const bool one = announced->protocol == wire::Protocol::kOne;
    return error_of(
        ErrorKind::kUnavailable,
        name + " cannot be asked for its stack: " +
            (one ? "it speaks protocol 1" : "it has announced no signal for that") +
            "; workers of the Python SDK can, unless their module has taken the signal SIGRTMAX-3");
  }
  std::string why;
  watched.file = os::StackFile::open(record.process.pid, announced->stacks.fd, why);
  // Alive afterwards, it was alive throughout: the number meant this process.
  if (os::wait_for_io({.exit_fd = record.process.exit_fd.get()}, Deadline::at(TimePoint::min())).exited) {
    return error_of(ErrorKind::kWorkerLost, name + " has ended");
  }
  if (!watched.file) {
    return error_of(ErrorKind::kUnavailable, name + " cannot be asked for its stack: " + why);
  }
  // An earlier signal that it did not answer in time (it was stopped) is still to be answered, or has been since, or is
  // just being: then it must end before another is sent.
  watched.stale = watched.signalled && watched.file.size() > 0;
  if (!watched.signalled) ask(watched);
  return std::nullopt;
}

void Stacks::ask(Watched& watched) {
  const Record& record = *watched.record;
  const int signal = record.announcement->stacks.signal;
  watched.stale = false;
  watched.signalled = true;
  watched.situation = situation_of(record);
  watched.file.empty();
  watched.last_size = 0;
  watched.blocking = os::threads_blocking(record.process.pid, signal);
  launcher_.signal(worker_key(record.ref), signal);
}

bool Stacks::is_whole(Watched& watched) {
  const std::size_t size = watched.file.size();
  const bool grown = std::exchange(watched.last_size, size) != size;
  if (size == 0) return false;
  // A thread that blocked the signal only for a moment may be the one that writes now.
  if (!watched.blocking.empty() && grown) return false;
  const Record& record = *watched.record;
  return std::ranges::includes(watched.blocking,
                               os::threads_blocking(record.process.pid, record.announcement->stacks.signal));
}

void Stacks::look(Watched& watched, TimePoint now) {
  const bool whole = is_whole(watched);
  if (whole && watched.stale) {
    ask(watched);
  } else if (whole) {
    const Situation then = situation_of(*watched.record);
    const core::WorkerRef ref = watched.record->ref;
    WorkerStack stack{.slot = ref.slot,
                      .generation = ref.generation,
                      .pid = watched.record->process.pid,
                      .state = then.state,
                      .frames = watched.file.text(kMostText)};
    if (!then.command.empty() && then.call_since == watched.situation.call_since) {
      stack.command = then.command;
      stack.running = now - then.call_since;
    }
    watched.file.empty();
    watched.signalled = false;
    if (stack.frames.empty()) {
      finish(watched,
             {.stack = error_of(ErrorKind::kInternal,
                                "the stack of worker " + name_of(*watched.record) + " cannot be read")});
    } else {
      const TimePoint since = stack.command.empty() ? TimePoint() : then.call_since;
      finish(watched, {.stack = std::move(stack), .call_since = since});
    }
    return start(watched, now);
  }
  const auto late = std::stable_partition(watched.waiters.begin(), watched.waiters.end(),
                                          [&](const Waiter& waiter) { return !waiter.deadline.passed(now); });
  if (late != watched.waiters.end()) {
    const std::vector<Waiter> told(std::make_move_iterator(late),
                                   std::make_move_iterator(watched.waiters.end()));
    watched.waiters.erase(late, watched.waiters.end());
    const Error error = lateness(watched);
    for (const Waiter& waiter : told) waiter.done({.stack = error});
  }
  if (watched.waiters.empty()) {
    finish(watched, {});
    return start(watched, now);
  }
  watched.pause = std::min(2 * watched.pause, kLongestPause);
  watched.look_at = now + watched.pause;
  for (const Waiter& waiter : watched.waiters) {
    watched.look_at = std::min(watched.look_at, waiter.deadline.when());
  }
}

// Ends the look: its waiters are told, and those who came later have the next one.
void Stacks::finish(Watched& watched, const Taken& taken) {
  watched.file = {};
  watched.look_at = TimePoint::max();
  const std::vector<Waiter> told = std::exchange(watched.waiters, std::exchange(watched.later, {}));
  for (const Waiter& waiter : told) waiter.done(taken);
}

Error Stacks::lateness(const Watched& watched) const {
  std::string message = "worker " + name_of(*watched.record) + " did not write its stack in time: ";
  if (os::is_stopped(watched.record->process.pid)) {
    message += "it is stopped (SIGSTOP, or a debugger); SIGCONT has it go on";
  } else if (watched.file.size() > 0) {
    message += "it has only begun to, so it or the machine is very busy";
  } else {
    message += "it blocks the signal in all of its threads, hangs in the kernel, or gets no processor";
  }
  return error_of(ErrorKind::kDeadlineExceeded, std::move(message));
}

Stacks::Situation Stacks::situation_of(const Record& record) const {
  const std::lock_guard lock(shell_.mutex_);
  Situation situation{.state = shell_.core_.slot(record.ref.slot).state};
  if (!record.running.empty()) {  // the oldest, of several
    situation.command = record.running.front().command;
    situation.call_since = record.running.front().since;
  }
  return situation;
}

// --- Time, and the end of a worker ------------------------------------------------------------------

void Stacks::on_time(TimePoint now) {
  answer_questions();
  if (next_ > now) return;
  next_ = TimePoint::max();
  for (auto& [ref, watched] : watched_) {
    if (watched.look_at <= now) look(watched, now);
    next_ = std::min(next_, watched.look_at);
  }
}

void Stacks::ended(core::WorkerRef ref) {
  const auto found = watched_.find(ref);
  if (found == watched_.end()) return;
  Watched watched = std::move(found->second);
  watched_.erase(found);
  const Error error = error_of(ErrorKind::kWorkerLost, "worker " + name_of(*watched.record) +
                                                           " ended before it had written its stack");
  while (!watched.waiters.empty()) finish(watched, {.stack = error});
}

void Stacks::close() {
  shell_.stack_desk_.close();
  answer_questions();
  while (!watched_.empty()) ended(watched_.begin()->first);
}

}  // namespace lair::pool
