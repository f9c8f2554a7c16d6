#include <lair/testing.hpp>

#include <algorithm>

#include "base/duration.hpp"
#include "base/json_text.hpp"
#include "base/overloaded.hpp"
#include "testing/core.hpp"

namespace lair {

namespace fake {
namespace {

using Item = StreamSource::Item;

using base::Overloaded;

constexpr Duration kTimeout = std::chrono::seconds(60);  // of PoolOptions

// A call, and what is to become of it.
struct Plan {
  std::shared_ptr<Recorded> call;
  Reply reply;
  std::string quoted;
  Duration timeout;
  Duration deadline;

  Item missed() const {
    return Error{.kind = ErrorKind::kDeadlineExceeded,
                 .delivery = timeout > Duration::zero() ? Delivery::kMaybeExecuted : Delivery::kNotSent,
                 .message = quoted + " missed its deadline after " + base::format_duration(timeout) +
                            ", in fake time"};
  }

  Error named(Error error) const {
    if (error.python && error.message.empty()) {
      error.message = quoted + " raised " + error.python->type + ": " + error.python->message;
    }
    return error;
  }

  // The outcome of one operation, unless its deadline comes first.
  void let_end(Operation& operation, Duration due, Item outcome) const {
    const bool in_time = due < deadline || deadline == kForever;
    operation.due = in_time ? due : deadline;
    operation.outcome = in_time ? std::move(outcome) : missed();
    operation.call = call;
    operation.quoted = quoted;
  }
};

Plan plan(Core& core, const CallOptions& options, std::string_view command, const Json& arguments,
          FakeCall::How how) {
  const std::string name(command);
  std::optional<Reply> reply = core.scripted(name, arguments);
  Plan plan = {.call = core.record({.command = name,
                                    .arguments = arguments,
                                    .options = options,
                                    .how = how,
                                    .scripted = reply.has_value()}),
               .reply = {},
               .quoted = base::shown(Json(name)),
               .timeout = options.timeout.value_or(kTimeout),
               .deadline = {}};
  plan.deadline = later(plan.call->began, plan.timeout);
  if (!reply) {
    reply = fails(Error{.kind = ErrorKind::kUnknownCommand, .message = core.not_scripted(name, arguments)});
  }
  while (reply->function()) reply = reply->function()(arguments).after(reply->delay());
  plan.reply = *std::move(reply);
  return plan;
}

// A whole call's.
void let_end(Operation& operation, const Plan& plan) {
  Duration due = later(plan.call->began, plan.reply.delay());
  std::vector<Json> items;
  Item outcome = std::optional<Json>();
  bool ended = false;
  for (const Reply::Step& step : plan.reply.steps()) {
    due = later(due, step.pause);
    std::visit(Overloaded{[&](const Reply::Item& item) { items.push_back(item.value); },
                          [&](const Reply::Value& value) { outcome = std::optional(value.value); },
                          [&](const Error& error) { outcome = plan.named(error); },
                          [&](const Reply::Hang&) { due = kForever; }},
               step.what);
    ended = !std::holds_alternative<Reply::Item>(step.what);
    if (ended) break;
  }
  if (!ended) {
    due = later(due, plan.reply.last_pause());
    outcome = std::optional(Json(std::move(items)));
  }
  plan.let_end(operation, due, std::move(outcome));
}

Result<Json> reply_of(Item outcome) {
  if (!outcome) return std::move(outcome).error();
  return **std::move(outcome);
}

class FakeStream final : public StreamSource {
 public:
  FakeStream(std::shared_ptr<Core> core, Plan plan, const CallOptions& options)
      : core_(std::move(core)),
        plan_(std::move(plan)),
        stop_(options.stop),
        executor_(options.executor),
        told_(std::make_shared<Told>()),
        at_(later(plan_.call->began, plan_.reply.delay())) {}

  ~FakeStream() override {
    if (const auto asked = asked_.lock()) core_->cancel(*asked);
    core_->cancelled(*plan_.call);
  }

  Item next() override {
    const auto operation = next_operation();
    core_->begin(operation, stop());
    Item item = core_->wait(*operation);
    told_->note(item);
    return item;
  }

  void start_next(OnceFunction<void(Item)> done) override {
    const auto operation = next_operation();
    operation->executor = executor_;
    operation->done = [told = told_, done = std::move(done)](Item item) mutable {
      told->note(item);
      done(std::move(item));
    };
    asked_ = operation;
    const auto core = core_;
    core->begin(operation, stop());  // and this may be gone
  }

 private:
  // What ended the stream. Shared with the operation under way, which may survive the stream.
  struct Told {
    std::optional<Item> end;
    void note(const Item& item) {
      if (!item || !*item) end = item;
    }
  };

  // What has ended is not cancelled any more.
  std::stop_token stop() const { return told_->end ? std::stop_token() : stop_; }

  std::shared_ptr<Operation> next_operation() {
    auto operation = std::make_shared<Operation>();
    operation->sent = true;
    operation->ends_call = false;
    if (told_->end) {
      operation->due = Duration::zero();
      operation->outcome = *told_->end;
      operation->call = plan_.call;
      operation->quoted = plan_.quoted;
      return operation;
    }
    const auto& steps = plan_.reply.steps();
    const bool complete = index_ == steps.size();
    const Duration due = later(at_, complete ? plan_.reply.last_pause() : steps[index_].pause);
    if (complete) {
      plan_.let_end(*operation, due, std::optional<Json>());
      return operation;
    }
    std::visit(Overloaded{[&](const Reply::Item& item) {
                            plan_.let_end(*operation, due, std::optional(item.value));
                            at_ = due;
                            ++index_;
                          },
                          [&](const Reply::Value&) { plan_.let_end(*operation, due, no_stream()); },
                          [&](const Error& error) { plan_.let_end(*operation, due, plan_.named(error)); },
                          [&](const Reply::Hang&) { plan_.let_end(*operation, kForever, Error()); }},
               steps[index_].what);
    return operation;
  }

  Item no_stream() const {
    return Error{.kind = ErrorKind::kRemote,
                 .delivery = Delivery::kExecuted,
                 .message = plan_.quoted +
                            " returned what cannot be sent: it is scripted to return a value, "
                            "and was asked for a stream. Script it with fake::yields."};
  }

  const std::shared_ptr<Core> core_;
  const Plan plan_;
  const std::stop_token stop_;
  const Executor executor_;
  const std::shared_ptr<Told> told_;
  std::weak_ptr<Operation> asked_;
  std::size_t index_ = 0;
  Duration at_;  // when the last step was
};

}  // namespace
}  // namespace fake

FakeEndpoint::FakeEndpoint(FakeTime time) : core_(std::make_shared<fake::Core>(time)) {}
FakeEndpoint::~FakeEndpoint() { core_->close(); }

void FakeEndpoint::script(const std::string& command, std::optional<Json> arguments,
                          std::vector<fake::Reply> replies) {
  core_->script(command, std::move(arguments), std::move(replies));
}

Result<Json> FakeEndpoint::invoke(const CallOptions& options, std::string_view command, Json arguments) {
  const auto plan = fake::plan(*core_, options, command, arguments, FakeCall::How::kInvoke);
  const auto operation = std::make_shared<fake::Operation>();
  fake::let_end(*operation, plan);
  core_->begin(operation, options.stop);
  return fake::reply_of(core_->wait(*operation));
}

void FakeEndpoint::start(const CallOptions& options, std::string_view command, Json arguments,
                         Completion done) {
  const auto core = core_;
  const auto plan = fake::plan(*core, options, command, arguments, FakeCall::How::kStart);
  const auto operation = std::make_shared<fake::Operation>();
  fake::let_end(*operation, plan);
  operation->executor = options.executor;
  operation->done = [done = std::move(done)](fake::Item item) mutable {
    done(fake::reply_of(std::move(item)));
  };
  core->begin(operation, options.stop);  // and this may be gone
}

std::unique_ptr<StreamSource> FakeEndpoint::open(const CallOptions& options, std::string_view command,
                                                 Json arguments) {
  return std::make_unique<fake::FakeStream>(
      core_, fake::plan(*core_, options, command, arguments, FakeCall::How::kOpen), options);
}

Duration FakeEndpoint::now() const { return core_->now(); }
void FakeEndpoint::advance(Duration time) { core_->advance(time); }
bool FakeEndpoint::advance_to_next() { return core_->advance_to_next(); }
void FakeEndpoint::settle() { core_->settle(); }

std::vector<FakeCall> FakeEndpoint::calls() const { return core_->calls(); }

std::vector<FakeCall> FakeEndpoint::calls(std::string_view command) const {
  auto calls = core_->calls();
  std::erase_if(calls, [&](const FakeCall& call) { return call.command != command; });
  return calls;
}

std::size_t FakeEndpoint::pending() const { return core_->pending(); }

void FakeEndpoint::forget_calls() { core_->forget_calls(); }

}  // namespace lair
