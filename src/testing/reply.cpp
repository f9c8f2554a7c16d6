#include <lair/testing.hpp>

#include <csignal>

#include "base/assert.hpp"
#include "base/json_text.hpp"

namespace lair::fake {

namespace {

Error error_of(ErrorKind kind, Delivery delivery) {
  Error error = {.kind = kind,
                 .delivery = delivery,
                 .message = "the test has scripted " + std::string(to_string(kind)) + " (" +
                            std::string(to_string(delivery)) + ")"};
  switch (kind) {
    case ErrorKind::kOverloaded:
    case ErrorKind::kUnavailable:
      error.retry_after_ms = 100;
      break;
    case ErrorKind::kWorkerLost:
    case ErrorKind::kSessionLost:
      error.worker = WorkerIdentity{.slot = 0,
                                    .generation = 1,
                                    .pid = 0,
                                    .exit = ExitStatus{.how = ExitStatus::How::kSignalled, .code = SIGKILL}};
      break;
    case ErrorKind::kRemote:
      error.python = PythonError{.type = "Exception", .message = error.message, .traceback = {}};
      break;
    default:
      break;
  }
  return error;
}

Delivery delivery_of(ErrorKind kind) {
  switch (kind) {
    case ErrorKind::kInvalidArgument:
    case ErrorKind::kOverloaded:
    case ErrorKind::kUnavailable:
    case ErrorKind::kSessionBusy:
    case ErrorKind::kUnknownCommand:
    case ErrorKind::kInternal:
      return Delivery::kNotSent;
    case ErrorKind::kDeadlineExceeded:
    case ErrorKind::kCancelled:
    case ErrorKind::kWorkerLost:
    case ErrorKind::kSessionLost:
    case ErrorKind::kProtocol:
      return Delivery::kMaybeExecuted;
    case ErrorKind::kRemote:
      return Delivery::kExecuted;
  }
  LAIR_ASSERT(false, "an ErrorKind that is none");
}

Error raised(std::string type, std::string message) {
  Error error = {.kind = ErrorKind::kRemote,
                 .delivery = Delivery::kExecuted};  // its message names the command
  error.python = PythonError{.type = std::move(type), .message = std::move(message), .traceback = {}};
  return error;
}

}  // namespace

Reply Reply::made_of(std::vector<Step> steps, bool stream) {
  Reply reply;
  reply.steps_ = std::move(steps);
  reply.stream_ = stream;
  return reply;
}

Reply Reply::made_by(Function function) {
  Reply reply;
  reply.function_ = std::move(function);
  return reply;
}

Reply Reply::after(Duration time) const {
  Reply later = *this;
  later.delay_ += time;
  return later;
}

Reply Reply::pause(Duration time) const {
  Reply longer = *this;
  longer.last_pause_ += time;
  return longer;
}

Reply Reply::and_then(Step step) const {
  LAIR_ASSERT(stream_, "only a stream goes on: begin with fake::yields, perhaps of nothing");
  Reply longer = *this;
  step.pause = longer.last_pause_;
  longer.last_pause_ = Duration::zero();
  longer.steps_.push_back(std::move(step));
  return longer;
}

Reply Reply::yields(std::vector<Json> items) const {
  Reply longer = *this;
  for (Json& item : items) longer = longer.and_then({.what = Item{std::move(item)}});
  return longer;
}

Reply Reply::fails(ErrorKind kind) const { return fails(error_of(kind, delivery_of(kind))); }
Reply Reply::fails(Error error) const { return and_then({.what = std::move(error)}); }
Reply Reply::raises(std::string type, std::string message) const {
  return fails(raised(std::move(type), std::move(message)));
}
Reply Reply::hangs() const { return and_then({.what = Hang{}}); }

Reply returns(Json value) { return Reply::made_of({{.what = Reply::Value{std::move(value)}}}); }
Reply fails(ErrorKind kind) { return fails(kind, delivery_of(kind)); }
Reply fails(ErrorKind kind, Delivery delivery) { return fails(error_of(kind, delivery)); }
Reply fails(Error error) { return Reply::made_of({{.what = std::move(error)}}); }
Reply raises(std::string type, std::string message) {
  return fails(raised(std::move(type), std::move(message)));
}
Reply hangs() { return Reply::made_of({{.what = Reply::Hang{}}}); }
Reply yields(std::vector<Json> items) { return Reply::made_of({}, true).yields(std::move(items)); }

namespace detail {

Reply wrong_arguments(const std::string& why, const Json& arguments) {
  return raises("TypeError", "the scripted function does not take " + base::shown(arguments) + ": " + why);
}

Reply guarded(const std::function<Reply()>& function) try {
  return function();
} catch (const CallError& failed) {
  return fails(failed.error());
} catch (const std::exception& thrown) {
  return raises("Exception", thrown.what());
}

}  // namespace detail

}  // namespace lair::fake
