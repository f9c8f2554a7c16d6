// A batch on its worker: sent as one frame, answered by one or more, broken off where an item is late, and read from the
// worker's journal where that has died.
#include "base/assert.hpp"
#include "os/pidfd.hpp"
#include "pool/bell.hpp"
#include "pool/map.hpp"

namespace lair::pool {

using worker::Channel;

namespace {

// A worker may keep results to itself for a millisecond, before an item that takes all of its time.
constexpr Duration kFlush = std::chrono::milliseconds(2);

const wire::CallFrame kNothing{};

Attempt in_full(std::size_t items) {
  return {
      .result = Json(), .verdict = {.completed = static_cast<std::uint32_t>(items)}, .ending = Ending::kOk};
}

}  // namespace

MapRun::Way MapRun::way_of(const wire::Announcement& announced) const {
  for (const wire::Command& command : announced.commands) {
    if (command.name != command_) continue;
    if (command.kind == "stream" || command.kind == "async_stream") return Way::kRefused;
    return announced.batches && announced.concurrency == 1 && command.kind == "call" ? Way::kBatch
                                                                                     : Way::kCalls;
  }
  return Way::kCalls;  // protocol 1; the standard commands; what nobody knows
}

Attempt MapRun::attempt(Course& course, const Hold& hold, Batch& batch, Lane& lane) {
  Record& record = *hold.record;
  const wire::Announcement& announced = *record.announcement;
  switch (way_of(announced)) {
    case Way::kBatch:
      break;
    case Way::kCalls:
      batch.by_calls = true;
      return {.result = Json(), .ending = Ending::kOk};
    case Way::kRefused:
      return {.result = Error{.kind = ErrorKind::kInvalidArgument,
                              .delivery = Delivery::kNotSent,
                              .message = quoted(command_) +
                                         " is a generator, and a map is for commands that give one value; "
                                         "stream it"}};
  }
  std::string chain;
  if (course.within != nullptr) chain = course.within->encoded();
  // What one item changes, the next one would not know of.
  auto session = Shell::session_of(course, hold);
  if (session) session->changes.reset();
  auto made = address(record, {.command = command_,
                               .call = course.call,
                               .traceparent = course.traceparent,
                               .chain = chain,
                               .session = session});
  if (auto* refused = std::get_if<Attempt>(&made)) return std::move(*refused);
  const auto& sent = std::get<wire::CallHeader>(made);
  if (announced.journal_fd >= 0 && !record.journal)
    record.journal = os::Journal::open(record.process.pid, announced.journal_fd);

  const Duration timeout = call_.timeout.value_or(shell_.options().timeout);
  TimePoint since;
  const Channel::Exchanges exchanges(*record.channel);
  const auto exchange = [&](const wire::CallFrame& frame, Channel::Turn turn, TimePoint from) {
    since = from;
    Deadline due = Deadline::never();
    if (timeout != kForever) due = Deadline::after(timeout + kFlush, since);
    if (course.within != nullptr) due = std::min(due, course.within->deadline);
    return record.channel->exchange(frame, record.process.exit_fd.get(), due, Channel::Waits::kWatched,
                                    lane.bell.fd(), turn);
  };
  auto reply = exchange(course.call.bytes().frame, Channel::Turn::kFirst, SteadyClock::now());
  for (bool began = false;; began = true) {
    const auto* payload = std::get_if<std::string_view>(&reply);
    if (payload == nullptr) {
      Channel::NoReply end = std::get<Channel::NoReply>(reply);
      const bool stopped =
          end.failure == Channel::Failure::kDeadline || end.failure == Channel::Failure::kStopped;
      if (stopped && end.sent && announced.cancels && shell_.options().cancel_grace > Duration::zero())
        return give_up(sent, record, batch, end, since);
      end.sent |= began;
      return broken_off(sent, record, batch, end, since);
    }
    if (const auto last = take_values(batch, sent, *payload, lane)) {
      if (*last) return in_full(batch.done);
      reply = exchange(kNothing, Channel::Turn::kMidway, SteadyClock::now());
      continue;
    }
    wire::Reply said = wire::decode_reply(sent, *payload);
    if (auto* answers = std::get_if<wire::Answers>(&said)) {
      const bool last = answers->last;
      if (!take_answers(batch, std::move(*answers), identity_of(record)) ||
          (last && batch.done != batch.count())) {
        said = wire::Malformed{"it has answered more items than it was sent, or fewer"};
      } else if (last) {
        return in_full(batch.done);
      } else {
        reply = exchange(kNothing, Channel::Turn::kMidway, SteadyClock::now());
        continue;
      }
    } else if (const auto* asked = std::get_if<wire::Callback>(&said)) {
      const Result<Json> served =
          shell_.host_functions().call(asked->name, asked->arguments, shell_.context_of(course, hold));
      std::string answer;
      if (!HostFunctions::is_told(*asked)) answer = callback_frame(announced, sent, asked->number, served);
      reply = exchange({.head = std::move(answer), .arguments = {}, .tail = {}, .fd = -1},
                       Channel::Turn::kMidway, since);
      continue;
    }
    const bool refused = std::holds_alternative<wire::Raised>(said);
    Attempt ended = answered(command_, std::move(said), identity_of(record));
    if (!refused) {
      read_journal(sent, record, batch);
      ended.verdict.completed = static_cast<std::uint32_t>(batch.done);
    }
    return ended;
  }
}

// The worker ended, or is to end.
Attempt MapRun::broken_off(const wire::CallHeader& sent, Record& record, Batch& batch, Channel::NoReply end,
                           TimePoint since) {
  if (end.sent) read_journal(sent, record, batch);
  Attempt ended = unanswered(command_, end, identity_of(record), SteadyClock::now() - since, false);
  if (batch.begun == batch.done) {
    ended.result = [&] {
      Error error = std::move(ended.result).error();
      error.delivery = Delivery::kNotSent;
      return error;
    }();
  }
  ended.verdict.completed = static_cast<std::uint32_t>(batch.done);
  ended.dispatch_again = batch.begun == 0 && end.failure != Channel::Failure::kDeadline &&
                         end.failure != Channel::Failure::kStopped;
  return ended;
}

// An item is late, or the map is stopped. The worker is asked here to give the item up, and heard to its last frame: what it
// has done before counts.
Attempt MapRun::give_up(const wire::CallHeader& sent, Record& record, Batch& batch, Channel::NoReply end,
                        TimePoint since) {
  Channel& channel = *record.channel;
  (void)channel.send_now(wire::encode_cancel(sent.id, sent.generation));
  // The frame first, so that whoever hears the bell finds it.
  Bell bell(record.announcement->cancel_signal);
  const auto ring = [&] {
    if (bell.signal() == 0) return;
    (void)os::signal_pidfd(record.process.exit_fd.get(), bell.signal());
    bell.rung(SteadyClock::now());
  };
  ring();
  const Duration after = SteadyClock::now() - since;
  const Deadline until = Deadline::after(shell_.options().cancel_grace);
  for (;;) {
    const auto reply =
        channel.exchange(kNothing, record.process.exit_fd.get(), std::min(until, Deadline::at(bell.due())),
                         Channel::Waits::kWatched, -1, Channel::Turn::kMidway);
    const auto* payload = std::get_if<std::string_view>(&reply);
    if (payload == nullptr) {
      const auto& lost = std::get<Channel::NoReply>(reply);
      if (lost.failure == Channel::Failure::kDeadline && !until.passed()) {
        ring();
        continue;
      }
      return broken_off(sent, record, batch, lost.failure == Channel::Failure::kDeadline ? end : lost, since);
    }
    wire::Reply said = wire::decode_reply(sent, *payload);
    if (auto* answers = std::get_if<wire::Answers>(&said)) {
      const bool last = answers->last;
      const bool fits = take_answers(batch, std::move(*answers), identity_of(record));
      if (fits && !last) continue;
      if (fits && batch.done == batch.count()) return in_full(batch.done);  // just in time
    } else if (const auto* asked = std::get_if<wire::Callback>(&said)) {
      if (HostFunctions::is_told(*asked)) continue;
      const Error gone{.kind = ErrorKind::kCancelled, .message = "the call has ended for its caller"};
      (void)channel.send_now(wire::encode_callback_result(sent.id, sent.generation, asked->number, gone));
      continue;
    } else if (const auto* cancelled = std::get_if<wire::Cancelled>(&said);
               cancelled != nullptr && cancelled->begun > batch.done && cancelled->begun <= batch.count()) {
      batch.begun = cancelled->begun;
      Attempt ended = unanswered(command_, end, identity_of(record), after, true);
      ended.verdict = {.completed = static_cast<std::uint32_t>(batch.done)};
      return ended;
    }
    Attempt ended = answered(command_, wire::Malformed{"what it says after a cancel is no end of it"},
                             identity_of(record));
    read_journal(sent, record, batch);
    return ended;
  }
}

std::optional<bool> MapRun::take_values(Batch& batch, const wire::CallHeader& header,
                                        std::string_view payload, Lane& lane) {
  if (!lane.values) return std::nullopt;
  detail::MapValues& values = *lane.values;
  values.clear();
  const std::size_t most = batch.count() - batch.done;
  const auto last = wire::read_values(header, payload, most, values);
  if (!last || (*last && values.count() != most)) return std::nullopt;
  const std::size_t count = values.count();
  values.keep(batch.first + batch.done);
  ended_ += count;
  batch.ended[0] += count;
  batch.done += count;
  batch.begun = std::max(batch.begun, batch.done);
  return last;
}

bool MapRun::take_answers(Batch& batch, wire::Answers answers, const WorkerIdentity& worker) {
  if (answers.values.size() > batch.count() - batch.done) return false;
  auto error = answers.errors.begin();
  for (std::size_t i = 0; i < answers.values.size(); ++i) {
    if (error != answers.errors.end() && error->first == i) {
      one_done(batch, answered(command_, std::move(error->second), worker).result);
      ++error;
    } else {
      one_done(batch, std::move(answers.values[i]));
    }
  }
  return true;
}

// What it had done and not told; and how many items it had begun. Without a journal, all of them may have been.
void MapRun::read_journal(const wire::CallHeader& sent, Record& record, Batch& batch) {
  const auto journal = record.journal ? record.journal->read() : std::nullopt;
  if (!journal) {
    batch.begun = batch.count();
    return;
  }
  batch.begun = batch.done;
  if (journal->batch != sent.id) return;  // it had not come to this one
  wire::CallHeader one = sent;
  one.batch = false;
  std::string_view left = journal->frames;
  for (std::uint64_t index = journal->told; left.size() > wire::kHeaderBytes; ++index) {
    const auto byte = [&](std::size_t i) { return std::size_t{static_cast<unsigned char>(left[i])}; };
    const std::size_t length = byte(0) << 24 | byte(1) << 16 | byte(2) << 8 | byte(3);
    left.remove_prefix(wire::kHeaderBytes);
    if (length > left.size()) break;
    const std::string_view payload = left.substr(0, length);
    left.remove_prefix(length);
    if (index != batch.done || batch.done == batch.count()) continue;
    wire::Reply said = wire::decode_reply(one, payload);
    if (!std::holds_alternative<wire::Value>(said) && !std::holds_alternative<wire::Raised>(said)) break;
    one_done(batch, answered(command_, std::move(said), identity_of(record)).result);
  }
  batch.begun = std::clamp<std::size_t>(journal->begun, batch.done, batch.count());
}

void MapRun::one_done(Batch& batch, Result<Json> result) {
  ++batch.ended[result ? 0 : 1];
  deliver(batch.first + batch.done, std::move(result));
  ++batch.done;
  batch.begun = std::max(batch.begun, batch.done);
}

}  // namespace lair::pool
