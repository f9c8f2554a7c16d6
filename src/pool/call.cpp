// A call that blocks, from its arguments to its one outcome: encode, take a worker, talk to it on this thread, give it back.
#include <algorithm>

#include "os/wait.hpp"
#include "pool/scratch.hpp"
#include "pool/shell.hpp"
#include "wire/json_codec.hpp"
#include "wire/msgpack.hpp"

namespace lair::pool {

using worker::Channel;

namespace {

// A dead worker's exit status is collected by the keeper and comes through the supervisor, within a millisecond or two:
// how long an error message waits for it on a machine that has other things to do.
constexpr Duration kExitPatience = std::chrono::milliseconds(500);

Error invalid(std::string_view command, std::string what) {
  return {.kind = ErrorKind::kInvalidArgument,
          .delivery = Delivery::kNotSent,
          .message = quoted(command) + ": " + std::move(what)};
}

Error of_command(std::string_view command, Error error) {
  error.message = quoted(command) + ": " + error.message;
  return error;
}

// The session's own call is one of those whose host functions are running: it ends after this one.
bool is_within(const CallContext& within, const SessionEntry& session, std::uint64_t pool) {
  if (within.session.get() == &session) return true;
  const core::Epoch call = session.live;
  return call != 0 &&
         std::any_of(within.chain.begin(), within.chain.end(),
                     [&](const CallContext::Link& link) { return link.pool == pool && link.epoch == call; });
}

}  // namespace

std::optional<wire::CallHeader::Session> Shell::session_of(const Course& course, const Hold& hold) {
  if (course.session == nullptr) return std::nullopt;
  return wire::CallHeader::Session{.id = course.session->id,
                                   .number = hold.session,
                                   .affinity = to_string(course.session->affinity),
                                   .changes = course.session->changes.sent()};
}

std::optional<Error> Shell::set_out(Course& course, const CallOptions& options, std::string_view command,
                                    const Json& arguments, const Bound& bound) const {
  course.call.started = SteadyClock::now();
  if (!arguments.is_object() && !arguments.is_array()) {
    return invalid(command,
                   std::string("arguments must be an object (keywords) or an array (positions), not ") +
                       arguments.type_name());
  }
  const char* what = arguments.is_array() ? "argument " : "argument";
  const bool packed = packs_;
  const auto encode = [&](const Json& values) {
    return packed ? wire::encode_msgpack(values, what) : wire::encode_json(values, what);
  };
  Result<std::string> encoded = std::string();
  if (has_arrays(arguments) || !(encoded = encode(arguments))) {
    // Arrays among them, perhaps deeper down, which the codecs refuse.
    Json values = arguments;
    if (auto refusal = take_arguments(*arena_, values, packed, course.arrays))
      return of_command(command, *std::move(refusal));
    encoded = encode(values);
  }
  if (!encoded) return of_command(command, std::move(encoded).error());
  course.call.bytes().arguments = *std::move(encoded);
  course.call.packed = packed;
  course.call.positional = arguments.is_array();
  return set_out_encoded(course, options, command, bound);
}

std::optional<Error> Shell::set_out(Course& course, const CallOptions& options, std::string_view command,
                                    const detail::TypedArguments& arguments, const Bound& bound) const {
  course.call.started = SteadyClock::now();
  if (const Json* dom = arguments.dom()) return set_out(course, options, command, *dom, bound);
  const bool packed = packs_;
  detail::ValueWriter out(course.call.bytes().arguments, packed);
  arguments.write_to(out);
  // A Json can be walked, to find what is wrong with it and where.
  if (!out.ok()) return set_out(course, options, command, arguments.json(), bound);
  if (auto refusal = take_arguments(*arena_, arguments.arrays(), packed, course.arrays))
    return of_command(command, *std::move(refusal));
  course.call.packed = packed;
  course.call.positional = true;
  return set_out_encoded(course, options, command, bound);
}

std::optional<Error> Shell::set_out_encoded(Course& course, const CallOptions& options,
                                            std::string_view command, const Bound& bound) const {
  const TimePoint now = course.call.started;
  course.call.deadline = Deadline::after(options.timeout.value_or(options_.timeout), now);
  if (!options.traceparent.fits()) {
    return invalid(command,
                   "traceparent has more than " + std::to_string(TraceParent::kMost) + " characters");
  }
  course.traceparent = options.traceparent.view();
  if (const CallContext* within = CallContext::current()) {
    if (within->chain.size() >= options_.max_nesting) {
      return invalid(command,
                     "it is nested too deep: " + std::to_string(within->chain.size()) +
                         " calls, each from a host function that serves the one before (max_nesting)");
    }
    if (bound.session != nullptr && is_within(*within, *bound.session, serial_)) {
      return invalid(
          command,
          "it would wait for itself: a call of session \"" + bound.session->id +
              "\" waits for the host function that makes it, and the calls of a session run one after "
              "another. Make it outside the session.");
    }
    course.within = std::make_shared<const CallContext>(*within);
    course.call.deadline = std::min(course.call.deadline, within->deadline);
    if (course.traceparent.empty()) course.traceparent = within->traceparent;
  }
  course.arrays.taken = options.taken_arrays;
  course.patience = options.checkout_timeout.value_or(options_.checkout_timeout);
  course.wanted = {.deadline = course.call.deadline,
                   .queue_deadline = Deadline::after(course.patience, now),
                   .command = command,
                   .pass = &course.pass,
                   .within = course.within.get(),
                   .stop = options.stop,
                   .session = bound.session.get(),
                   .ends_session = bound.ends_session};
  course.session = bound.session;
  course.retries = {.most = options.retries.value_or(options.idempotent ? options_.retries : 0),
                    .idempotent = options.idempotent};
  return std::nullopt;
}

CallContext Shell::context_of(const Course& course, const Hold& hold) const {
  CallContext context{.deadline = course.call.deadline, .traceparent = course.traceparent};
  if (course.within != nullptr) context.chain = course.within->chain;
  context.session = course.session;
  const core::WorkerRef ref = hold.record->ref;
  context.chain.push_back(
      {.pool = serial_,
       .epoch = hold.epoch,
       .worker = options_.name + ' ' + std::to_string(ref.slot) + '.' + std::to_string(ref.generation)});
  return context;
}

// On the caller's thread, which owns the channel for the time being.
Attempt Shell::attempt(Course& course, const Hold& hold) {
  Record& record = *hold.record;
  const std::string_view command = course.wanted.command;
  std::string chain;
  if (course.within != nullptr) chain = course.within->encoded();
  auto made = address(record, {.command = command,
                               .call = course.call,
                               .traceparent = course.traceparent,
                               .chain = chain,
                               .session = session_of(course, hold),
                               .arrays = &course.arrays,
                               .arena = arena_.get(),
                               .now = time_of(course, hold)});
  if (auto* refused = std::get_if<Attempt>(&made)) return std::move(*refused);
  const auto& header = std::get<wire::CallHeader>(made);
  Channel& channel = *record.channel;
  const Channel::Exchanges exchanges(channel);
  const int stop_fd = course.wanted.bell == nullptr ? -1 : course.wanted.bell->fd();
  const auto exchange = [&](const wire::CallFrame& frame, Channel::Turn turn) {
    return channel.exchange(frame, record.process.exit_fd.get(), course.call.deadline,
                            Channel::Waits::kWatched, stop_fd, turn);
  };

  auto reply = exchange(course.call.bytes().frame, Channel::Turn::kFirst);
  for (bool began = false;; began = true) {
    const auto* payload = std::get_if<std::string_view>(&reply);
    if (payload == nullptr) {
      Channel::NoReply end = std::get<Channel::NoReply>(reply);
      const bool recovers =
          end.sent && record.announcement->cancels && options_.cancel_grace > Duration::zero();
      end.sent |= began;
      return unanswered(command, end, identity_of(record), SteadyClock::now() - course.call.started,
                        recovers);
    }
    wire::OpenReply open(header, *payload);
    if (open.read_release(record.lent.released)) {
      reply = exchange({}, Channel::Turn::kMidway);
      continue;
    }
    if (course.result != nullptr && (course.result->array_type() ? take_array(record, *arena_, course.arrays,
                                                                              command, open, *course.result)
                                                                 : open.read_value(*course.result))) {
      course.is_read = true;
      record.lent.settle();
      return {.result = Json(), .verdict = {.completed = 1}, .ending = Ending::kOk};
    }
    wire::Reply said = wire::decode_reply(header, *payload);
    if (took_release(record, said)) {
      reply = exchange({}, Channel::Turn::kMidway);
      continue;
    }
    const auto* asked = std::get_if<wire::Callback>(&said);
    if (asked == nullptr) {
      take_results(record, *arena_, course.arrays, command, said);
      return answered(command, std::move(said), identity_of(record));
    }
    if (HostFunctions::is_told(*asked)) {
      const CallContext context = context_of(course, hold);
      const Result<Json> stored = host_functions_->call(asked->name, asked->arguments, context);
      if (!stored) not_stored(record.ref, command, context, stored.error());
      reply = exchange({}, Channel::Turn::kMidway);
      continue;
    }
    auto of_arrays = serve_arrays(record, *arena_, *asked);
    const Result<Json> served =
        of_arrays ? std::move(of_arrays->result)
                  : host_functions_->call(asked->name, asked->arguments, context_of(course, hold));
    const int fd = of_arrays && of_arrays->segment ? of_arrays->segment->fd() : -1;
    std::string answer = callback_frame(*record.announcement, header, asked->number, served);
    if (course.call.deadline.passed()) {  // what comes now comes too late
      reply = Channel::NoReply{.failure = Channel::Failure::kDeadline, .sent = channel.send_now(answer)};
    } else {
      reply = exchange({.head = std::move(answer), .arguments = {}, .tail = {}, .fd = fd},
                       Channel::Turn::kMidway);
    }
  }
}

Result<Json> Shell::call_directly(Course& course, const std::stop_token& stop) {
  std::optional<StopBell> bell;
  if (stop.stop_possible()) course.wanted.bell = &bell.emplace();
  const std::stop_callback on_stop(stop, [&bell] {
    if (bell) bell->ring();
  });

  for (;;) {
    Try outcome = try_once(course);
    if (!outcome.open) return std::move(outcome.result);
    if (outcome.result) {
      mended(course, *outcome.open);
      return std::move(outcome.result);
    }
    auto next = tried(course, std::move(outcome));
    if (auto* ended = std::get_if<Result<Json>>(&next)) return std::move(*ended);
    const Deadline until = Deadline::after(std::get<Duration>(next));
    if (bell) {
      (void)os::wait_for_io({.stop_fd = bell->fd()}, until);
    } else {
      std::unique_lock lock(mutex_);
      stopped_changed_.wait_until(lock, until.when(), [this] { return stopped_; });
    }
    course.wanted.queue_deadline = Deadline::after(course.patience);
  }
}

Try Shell::try_once(Course& course) {
  std::optional<Try> ended;
  while (!ended) {
    const Result<Hold> hold = take(course.wanted);
    if (!(ended = took(course, hold))) ended = attempted(course, *hold, attempt(course, *hold));
  }
  if (ended->lost != nullptr)
    describe(course, *ended, std::min(kExitPatience, course.call.deadline.remaining()));
  return *std::move(ended);
}

Result<Json> Shell::call_on(Hold& hold, const CallOptions& options, std::string_view command,
                            const Json& arguments) {
  if (on_reactor()) return on_own_thread(command);
  Course course;
  if (auto refusal = set_out(course, options, command, arguments)) return *std::move(refusal);
  return call_held(course, hold, options.stop);
}

std::optional<Error> Shell::call_on(Hold& hold, const CallOptions& options, std::string_view command,
                                    const detail::TypedArguments& arguments, detail::ResultSink& result) {
  if (on_reactor()) return on_own_thread(command);
  Course course;
  const Scratch scratch(course.call);
  course.result = &result;
  if (auto refusal = set_out(course, options, command, arguments)) return refusal;
  Result<Json> value = call_held(course, hold, options.stop);
  if (!value) return std::move(value).error();
  if (!course.is_read) result.keep(*std::move(value));
  return std::nullopt;
}

Result<Json> Shell::call_held(Course& course, Hold& hold, const std::stop_token& stop) {
  course.exclusive = true;
  std::optional<StopBell> bell;
  if (stop.stop_possible()) course.wanted.bell = &bell.emplace();
  const std::stop_callback on_stop(stop, [&bell] {
    if (bell) bell->ring();
  });
  if (auto refusal = admit_held(course, hold)) return *std::move(refusal);
  Try outcome = ended_held(course, hold, attempt(course, hold));
  if (outcome.lost != nullptr)
    describe(course, outcome, std::min(kExitPatience, course.call.deadline.remaining()));
  return std::move(outcome.result);
}

std::optional<Error> Shell::admit_held(Course& course, const Hold& hold) {
  const std::string_view command = course.wanted.command;
  const TimePoint started = course.call.started;
  const auto over = [&](Ending ending, ErrorKind kind, const char* why) {
    close_books({command, started, ending}, started);
    return Error{.kind = kind, .delivery = Delivery::kNotSent, .message = quoted(command) + why};
  };
  bool wake = false;
  {
    const std::lock_guard lock(mutex_);
    ++counters_.admitted;
    retry_budget_.call();
    if (course.call.deadline.passed()) {  // nothing starts after its deadline
      return over(Ending::kShed, ErrorKind::kDeadlineExceeded, ": its deadline passed before it was sent");
    }
    if (course.wanted.stop.stop_requested()) {
      return over(Ending::kCancelled, ErrorKind::kCancelled, " was cancelled before it was sent");
    }
    if (auto refusal = refused_on_dispatch(course.pass, command)) {
      close_books({command, started, Ending::kShed}, started);
      return refusal;
    }
    wake = watch_call(hold, command, started);
  }
  if (wake) wake_.notify();
  return std::nullopt;
}

Error Shell::not_free(HeldWorker::State state, const HeldWorker& held, std::string_view command) {
  if (state == HeldWorker::State::kInUse) {
    return invalid(command, "another call of the lease is under way; a lease has one at a time");
  }
  if (state == HeldWorker::State::kReleased) {
    return {.kind = ErrorKind::kCancelled,
            .delivery = Delivery::kNotSent,
            .message = quoted(command) + ": its lease was released before it was sent"};
  }
  return {.kind = ErrorKind::kWorkerLost,
          .delivery = Delivery::kNotSent,
          .message = "the lease's worker ended in an earlier call; take a new lease",
          .worker = identity(held.record())};
}

Try Shell::ended_held(Course& course, Hold& hold, Attempt outcome) {
  const Noted noted{.pass = course.pass, .command = course.wanted.command, .outcome = outcome_of(outcome)};
  const bool crash = noted.outcome == core::TryOutcome::kCrash;
  const EndedCall ended{course.wanted.command, course.call.started, outcome.ending};
  if (outcome.verdict.clean) {
    {
      const std::lock_guard lock(mutex_);
      call_ended(hold);
    }
    hold.record->rests_since = SteadyClock::now();
    book(ended, noted);
    if (hold.completed == 0 && outcome.verdict.completed > 0) (void)step(core::Answered{hold.record->ref});
    hold.completed += outcome.verdict.completed;
    return {.result = std::move(outcome.result)};
  }
  outcome.verdict.completed += hold.completed;
  give_back(hold, outcome.verdict, ended, crash ? std::nullopt : std::optional(noted));
  hold.epoch = 0;
  const bool failed = !outcome.result.has_value();
  return {.result = std::move(outcome.result), .lost = failed ? hold.record : nullptr, .crash = crash};
}

}  // namespace lair::pool
