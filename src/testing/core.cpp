#include "testing/core.hpp"

#include <algorithm>

#include "base/json_text.hpp"
#include "base/nearest.hpp"

namespace lair::fake {

namespace {

using Item = StreamSource::Item;

std::string quoted(const std::string& command) { return base::shown(Json(command)); }

std::string named(const std::string& command, const std::optional<Json>& arguments) {
  return quoted(command) + (arguments ? " with " + base::shown(*arguments) : "");
}

Item cancelled_error(const Operation& operation, bool sent) {
  return Error{.kind = ErrorKind::kCancelled,
               .delivery = sent ? Delivery::kMaybeExecuted : Delivery::kNotSent,
               .message = operation.quoted + " was cancelled by its caller"};
}

Item closed_error(const Operation& operation) {
  return Error{.kind = ErrorKind::kUnavailable,
               .delivery = Delivery::kMaybeExecuted,
               .message = operation.quoted + " had not ended when the fake endpoint was destroyed"};
}

Item endless_error(const Operation& operation) {
  return Error{
      .kind = ErrorKind::kInternal,
      .delivery = Delivery::kMaybeExecuted,
      .message = operation.quoted +
                 " hangs, and nothing could end it: the call has neither a deadline nor a stop token"};
}

}  // namespace

void CancelOperation::operator()() const {
  const auto kept = core;
  kept->cancel(*operation);
}

// --- Scripts --------------------------------------------------------------------------------------------------------------------

void Core::script(const std::string& command, std::optional<Json> arguments, std::vector<Reply> replies) {
  Script script = {.arguments = std::move(arguments), .replies = std::move(replies)};
  const Lock lock(mutex_);
  auto& scripts = scripts_[command];
  std::erase_if(scripts, [&](const Script& old) { return old.arguments == script.arguments; });
  scripts.push_back(std::move(script));
}

std::optional<Reply> Core::scripted(const std::string& command, const Json& arguments) {
  const Lock lock(mutex_);
  const auto found = scripts_.find(command);
  if (found == scripts_.end()) return std::nullopt;
  auto& scripts = found->second;
  auto match = std::find_if(scripts.begin(), scripts.end(),
                            [&](const Script& script) { return script.arguments == arguments; });
  if (match == scripts.end()) {
    match =
        std::find_if(scripts.begin(), scripts.end(), [](const Script& script) { return !script.arguments; });
  }
  if (match == scripts.end()) return std::nullopt;
  return match->replies[std::min(match->given++, match->replies.size() - 1)];
}

std::string Core::not_scripted(const std::string& command, const Json& arguments) const {
  const Lock lock(mutex_);
  std::string known;
  std::vector<std::string_view> names;
  for (const auto& [name, scripts] : scripts_) {
    names.push_back(name);
    for (const Script& script : scripts) {
      known += (known.empty() ? "" : ", ") + named(name, script.arguments);
    }
  }
  return named(command, arguments) + " is not scripted" + base::did_you_mean(command, names) + "; " +
         (known.empty() ? "nothing is" : known + (names.size() == 1 ? " is" : " are")) + "; add on(" +
         quoted(command) + ", ...) to the test";
}

// --- Calls ----------------------------------------------------------------------------------------------------------------------

std::shared_ptr<Recorded> Core::record(FakeCall call) {
  // A stream has begun once it is open.
  const bool begun = call.how == FakeCall::How::kOpen;
  auto recorded = std::make_shared<Recorded>(Recorded{std::move(call), begun});
  const Lock lock(mutex_);
  recorded->began = now_;
  calls_.push_back(recorded);
  return recorded;
}

std::vector<FakeCall> Core::calls() const {
  const Lock lock(mutex_);
  std::vector<FakeCall> copies;
  copies.reserve(calls_.size());
  for (const auto& call : calls_) copies.push_back(*call);
  return copies;
}

std::size_t Core::pending() const {
  const Lock lock(mutex_);
  return static_cast<std::size_t>(std::count_if(
      calls_.begin(), calls_.end(), [](const auto& call) { return call->begun && !call->ended; }));
}

void Core::forget_calls() {
  // What their options hold is not destroyed under the lock.
  std::vector<std::shared_ptr<Recorded>> forgotten;
  const Lock lock(mutex_);
  forgotten.swap(calls_);
}

void Core::cancelled(FakeCall& call) {
  const Lock lock(mutex_);
  if (call.ended) return;
  call.ended = now_;
  call.error = ErrorKind::kCancelled;
}

// --- Operations -----------------------------------------------------------------------------------------------------------------

void Core::begin(const std::shared_ptr<Operation>& operation, std::stop_token stop) {
  if (stop.stop_possible()) {
    operation->stop.emplace(std::move(stop), CancelOperation{shared_from_this(), operation.get()});
  }
  const Lock lock(mutex_);
  operation->number = ++numbers_;
  operation->begun = true;
  operation->call->begun = true;
  waiting_.emplace(std::pair(operation->due, operation->number), operation);
  if (closed_) {
    end(*operation, closed_error(*operation));
  } else if (operation->cancelled) {
    end(*operation, cancelled_error(*operation, operation->sent));
  } else if (operation->due <= now_) {
    end(*operation, std::move(operation->outcome));
  } else if (mode_ == FakeTime::kJumps) {
    changed_.notify_all();  // a thread that has waited for a stop request alone has a time to jump to
    // After the completions that are to run already; they may begin what happens first.
    if (operation->done) deliveries_.post([core = weak_from_this()] { jump(core.lock()); });
  }
}

void Core::cancel(Operation& operation) {
  const Lock lock(mutex_);
  if (!operation.begun) {
    operation.cancelled = true;
  } else if (!operation.ended) {
    end(operation, cancelled_error(operation, true));
  }
}

StreamSource::Item Core::wait(Operation& operation) {
  Lock lock(mutex_);
  while (!operation.ended) {
    if (operation.due == kForever && !operation.stop) {
      end(operation, endless_error(operation));
    } else if (mode_ == FakeTime::kStands || !end_first(lock, kForever)) {
      changed_.wait(lock,
                    [&] { return operation.ended || (mode_ == FakeTime::kJumps && something_is_due()); });
    }
  }
  lock.unlock();
  operation.stop.reset();
  return std::move(operation.outcome);
}

void Core::close() {
  {
    const Lock lock(mutex_);
    closed_ = true;
    while (!waiting_.empty()) {
      Operation& first = *waiting_.begin()->second;
      end(first, closed_error(first));
    }
  }
  settle();
}

void Core::end(Operation& operation, StreamSource::Item outcome) {
  auto node = waiting_.extract({operation.due, operation.number});
  operation.ended = true;
  operation.outcome = std::move(outcome);
  const bool ends_call = operation.ends_call || !operation.outcome || !*operation.outcome;
  if (ends_call && !operation.call->ended) {
    operation.call->ended = now_;
    if (!operation.outcome) operation.call->error = operation.outcome.error().kind;
  }
  if (!operation.done) {
    changed_.notify_all();
    return;
  }
  deliveries_.post([ended = std::move(node.mapped())] {
    ended->stop.reset();
    if (!ended->executor) return ended->done(std::move(ended->outcome));
    ended->executor([ended] { ended->done(std::move(ended->outcome)); });
  });
}

// --- Time -----------------------------------------------------------------------------------------------------------------------

Duration Core::now() const {
  const Lock lock(mutex_);
  return now_;
}

bool Core::something_is_due() const { return !waiting_.empty() && waiting_.begin()->first.first != kForever; }

// The completions of what happened before come first: they may begin what happens next.
bool Core::end_first(Lock& lock, Duration until) {
  lock.unlock();
  settle();
  lock.lock();
  if (!something_is_due()) return false;
  const auto& [key, first] = *waiting_.begin();
  if (key.first > until) return false;
  now_ = std::max(now_, key.first);
  end(*first, std::move(first->outcome));
  return true;
}

void Core::jump(const std::shared_ptr<Core>& core) {
  if (!core) return;
  Lock lock(core->mutex_);
  core->end_first(lock, kForever);
}

void Core::advance(Duration time) {
  {
    Lock lock(mutex_);
    const Duration until = later(now_, time);
    while (end_first(lock, until)) {
    }
    now_ = std::max(now_, until);
  }
  settle();
}

bool Core::advance_to_next() {
  bool happened = false;
  {
    Lock lock(mutex_);
    happened = end_first(lock, kForever);
  }
  settle();
  return happened;
}

}  // namespace lair::fake
