// What workers say to the reactor's calls: their last words, items of streams, calls of host functions; and the loss of a worker.
#include "pool/reactor.hpp"

#include <cerrno>
#include <cstring>

namespace lair::pool {

using worker::Channel;
using Stage = AsyncCall::Stage;

// A worker that talks without pause lets the others have their turn.
static constexpr int kFramesAtATime = 64;
// Decoding takes milliseconds from here on, in which a thousand short calls could go on.
static constexpr std::size_t kLong = 256u << 10;

void Reactor::on_line(std::uint64_t tag, bool again) {
  for (int frames = 0; frames < kFramesAtATime; ++frames) {
    const auto found = lines_.find(tag);
    if (found == lines_.end()) return;  // a call of it was the last one
    Line& line = *found->second;
    if (line.rests()) {  // this is somebody else's, or its end
      if (frames == 0) lines_.erase(found);
      return;
    }
    if (line.paused()) return;
    if (frames == 0) {
      if (line.goes_on && !again) return;
      line.goes_on = false;
      line.flush();
    }
    const auto received = line.channel().receive_now();
    if (const auto* payload = std::get_if<std::string_view>(&received)) {
      said(line, *payload);
    } else if (const auto* end = std::get_if<Channel::NoReply>(&received)) {
      Channel::NoReply why = *end;
      if (why.failure == Channel::Failure::kClosed && line.exited()) why.failure = Channel::Failure::kExited;
      return lost(tag, why);
    } else {
      if (!line.channel().is_socket() && line.exited())
        lost(tag, {.failure = Channel::Failure::kExited, .sent = true});
      return;
    }
  }
  const auto left = lines_.find(tag);
  if (left == lines_.end() || left->second->rests()) return;
  // What is left may have been read already: then the poller says nothing of it.
  left->second->goes_on = true;
  mailbox_->post([tag](Reactor& reactor) { reactor.on_line(tag, true); });
}

// `header_of`: of one of its calls, by id; `first`: the id of one.
template <class HeaderOf>
static wire::Addressed decode(wire::Protocol protocol, std::uint64_t generation, std::uint64_t first,
                              const HeaderOf& header_of, std::string_view payload) {
  if (protocol == wire::Protocol::kOne)
    return {.id = first, .reply = wire::decode_reply(*header_of(first), payload)};
  return wire::decode_addressed(generation, header_of, payload);
}

void Reactor::said(Line& line, std::string_view payload) {
  if (payload.size() >= kLong) return decode_elsewhere(line, payload);
  const auto header_of = [&](std::uint64_t id) -> const wire::CallHeader* {
    const auto of = line.calls.find(id);
    return of == line.calls.end() ? nullptr : &find(of->second)->header;
  };
  const Record& record = line.record();
  hear(line, decode(record.announcement->protocol, record.ref.generation, line.calls.begin()->first,
                    header_of, payload));
}

void Reactor::hear(Line& line, wire::Addressed addressed) {
  const auto of = line.calls.find(addressed.id);
  // What nobody is to hear is told to one of them; the others lose their worker by it.
  const std::uint64_t key = of == line.calls.end() ? line.calls.begin()->second : of->second;
  said(line, *find(key), std::move(addressed.reply));
}

// The other lines go on meanwhile.
void Reactor::decode_elsewhere(Line& line, std::string_view payload) {
  struct Work {
    wire::OwnedFrame frame;
    wire::Protocol protocol;
    std::uint64_t generation;
    std::map<std::uint64_t, wire::CallHeader> headers;
  };
  const auto work = std::make_shared<Work>(Work{.frame = line.channel().keep(payload),
                                                .protocol = line.record().announcement->protocol,
                                                .generation = line.record().ref.generation,
                                                .headers = {}});
  for (const auto& [id, key] : line.calls) work->headers.emplace(id, find(key)->header);
  line.pause();
  decoder_.run([mailbox = mailbox_, tag = line.tag(), work] {
    const auto header_of = [&](std::uint64_t id) -> const wire::CallHeader* {
      const auto of = work->headers.find(id);
      return of == work->headers.end() ? nullptr : &of->second;
    };
    wire::Addressed addressed = decode(work->protocol, work->generation, work->headers.begin()->first,
                                       header_of, work->frame.bytes());
    work->frame = {};
    mailbox->post([tag, addressed = std::move(addressed)](Reactor& reactor) mutable {
      reactor.decoded(tag, std::move(addressed));
    });
  });
}

void Reactor::decoded(std::uint64_t tag, wire::Addressed addressed) {
  const auto found = lines_.find(tag);
  if (found == lines_.end()) return;  // lost meanwhile
  Line& line = *found->second;
  const bool watched = line.resume();
  const int refusal = watched ? 0 : errno;
  std::vector<std::uint64_t> keys;
  for (const auto& [id, key] : line.calls) keys.push_back(key);
  if (!line.rests()) hear(line, std::move(addressed));
  if (!watched && lines_.contains(tag)) {
    return lost(tag, {.failure = Channel::Failure::kSystem, .sent = true, .detail = std::strerror(refusal)});
  }
  on_line(tag, true);
  for (const std::uint64_t key : keys) {  // what was put off
    AsyncCall* call = find(key);
    if (call == nullptr || is_heard_elsewhere(*call)) continue;
    if (call->stage == Stage::kOnWorker && call->course.wanted.stop.stop_requested()) {
      abandon(*call, Channel::Failure::kStopped);
    } else if (call->stage == Stage::kOnWorker) {
      arm(*call, call->course.call.deadline.when());
    } else if (call->stage == Stage::kGivingUp) {
      arm(*call, SteadyClock::now());
    }
  }
}

bool Reactor::is_heard_elsewhere(const AsyncCall& call) {
  if (!call.hold) return false;
  if (call.last) return true;
  const Line* line = line_of(call);
  return line != nullptr && line->paused();
}

void Reactor::said(Line& line, AsyncCall& call, wire::Reply reply) {
  call.began = true;
  if (call.last) {
    call.last = wire::Malformed{"more came after its last frame"};
    return;
  }
  const bool giving_up = call.stage == Stage::kGivingUp;
  if (auto* items = std::get_if<wire::Items>(&reply)) {
    if (!giving_up) run_user_code(call.stream->push(std::move(*items)));
    return;
  }
  if (auto* asked = std::get_if<wire::Callback>(&reply)) return serve(line, call, std::move(*asked));
  if (took_release(line.record(), reply)) return;
  if (line.written() < call.written_at) reply = wire::Malformed{"its end came before the request had left"};
  if (!giving_up && call.storing > 0) {
    call.last = std::move(reply);
  } else {
    conclude(call, std::move(reply));
  }
}

// Its line may be gone by now.
void Reactor::conclude(AsyncCall& call, wire::Reply reply) {
  const bool giving_up = call.stage == Stage::kGivingUp;
  const RecordPtr record = call.hold->record;
  const Line* line = line_of(call);
  const std::optional<std::uint64_t> tag = line == nullptr ? std::nullopt : std::optional(line->tag());
  if (giving_up) {
    record->lent.settle();
  } else {
    take_results(*record, *shell_.arena_, call.course.arrays, call.command, reply);
  }
  const bool broken = std::holds_alternative<wire::Malformed>(reply) ||
                      (!giving_up && std::holds_alternative<wire::Cancelled>(reply));
  if (giving_up) {
    give_back(call,
              broken ? Verdict{.clean = false, .reason = core::Reason::kProtocol} : Verdict{.completed = 1});
    forget(call);
  } else {
    attempted(call, answered(call.command, std::move(reply), identity_of(*call.hold->record)));
  }
  if (broken && tag && lines_.contains(*tag))
    lost(*tag, {.failure = Channel::Failure::kExited, .sent = true});
}

// All its calls lose it.
void Reactor::lost(std::uint64_t tag, const Channel::NoReply& end) {
  const std::unique_ptr<Line> line = std::move(lines_.find(tag)->second);
  lines_.erase(tag);
  const std::map<std::uint64_t, std::uint64_t> calls = line->calls;
  for (const auto& [id, key] : calls) {
    AsyncCall& call = *find(key);
    if (call.last && !closing_) continue;  // it has answered
    if (call.stage == Stage::kGivingUp) {
      give_back(call, {.clean = false, .reason = call.gives_up});
      forget(call);
      continue;
    }
    Channel::NoReply own = end;
    // A worker that closes its channel with bytes unread had not read the last thing that was written: this call, perhaps.
    const bool unread = !end.sent && line->written() == call.written_at;
    own.sent = call.began || (line->written() >= call.written_at && !unread);
    lost(call, own);
  }
}

void Reactor::lost(AsyncCall& call, const Channel::NoReply& end) {
  attempted(call, unanswered(call.command, end, identity_of(*call.hold->record),
                             SteadyClock::now() - call.course.call.started, false));
}

// --- Host functions, credit --------------------------------------------------------------------------

void Reactor::serve(Line& line, AsyncCall& call, wire::Callback asked) {
  if (HostFunctions::is_told(asked)) return tell_store(call, std::move(asked));
  const std::uint64_t number = asked.number;
  if (call.stage == Stage::kGivingUp) {
    const Error gone{.kind = ErrorKind::kCancelled, .message = "the call has ended for its caller"};
    line.write(wire::encode_callback_result(call.header.id, call.header.generation, number, gone));
    return;
  }
  if (serve_arrays(line, call, asked)) return;
  call.asked.insert(number);
  const std::string name = asked.name;
  const auto work =
      [mailbox = mailbox_, functions = shell_.host_functions_, key = call.key, attempt = call.attempts,
       context = std::make_shared<const CallContext>(shell_.context_of(call.course, *call.hold)),
       call_back = std::make_shared<wire::Callback>(std::move(asked))] {
        Result<Json> result = functions->call(call_back->name, std::move(call_back->arguments), *context);
        mailbox->post([key, attempt, number = call_back->number, result = std::move(result)](
                          Reactor& reactor) { reactor.served(key, attempt, number, result); });
      };
  // The store may have to be waited for, which is no business of the user's threads.
  const bool of_store = name.starts_with(HostFunctions::kStorePrefix);
  const auto hand_over = [work, of_store, executor = call.executor, key = call.key, attempt = call.attempts,
                          number](Reactor& reactor) {
    try {
      if (of_store) return reactor.store_thread_.run(work);
      executor ? executor(work) : reactor.host_thread_.run(work);
    } catch (...) {
      reactor.served(key, attempt, number, detail::host_function_threw_something());
    }
  };
  // An executor is user code, which only the reactor's own thread runs.
  if (is_this_thread() || !call.executor) return hand_over(*this);
  mailbox_->post(hand_over);
}

// Nobody waits for an answer, but the call's last frame counts only when this is done.
void Reactor::tell_store(AsyncCall& call, wire::Callback told) {
  if (call.stage == Stage::kGivingUp) return;
  ++call.storing;
  const auto context = std::make_shared<const CallContext>(shell_.context_of(call.course, *call.hold));
  const auto work = [mailbox = mailbox_, shell = &shell_, functions = shell_.host_functions_, context,
                     worker = call.hold->record->ref, command = call.command, key = call.key,
                     attempt = call.attempts, told = std::make_shared<wire::Callback>(std::move(told))] {
    const Result<Json> done = functions->call(told->name, std::move(told->arguments), *context);
    if (!done) shell->not_stored(worker, command, *context, done.error());  // it ends after this thread
    mailbox->post([key, attempt](Reactor& reactor) { reactor.stored(key, attempt); });
  };
  try {
    store_thread_.run(work);
  } catch (...) {
    if (context->session != nullptr) context->session->changes.failed();
    shell_.not_stored(call.hold->record->ref, call.command, *context,
                      {.kind = ErrorKind::kUnavailable, .message = "the system refused a thread for it"});
    stored(call.key, call.attempts);
  }
}

void Reactor::stored(std::uint64_t key, unsigned attempt) {
  AsyncCall* call = find(key);
  if (call == nullptr || call->attempts != attempt || call->stage != Stage::kOnWorker) return;
  if (--call->storing > 0 || !call->last) return;
  wire::Reply last = std::move(*call->last);
  call->last.reset();
  conclude(*call, std::move(last));
}

// A worker wants memory for arrays. False: it wants something else.
bool Reactor::serve_arrays(Line& line, AsyncCall& call, const wire::Callback& asked) {
  Record& record = line.record();
  if (asked.name == kAllocateArray && record.announcement->arrays) {
    const auto bytes = bytes_asked(asked);
    if (bytes && shell_.arena_->find(*bytes) == nullptr) {
      // A new segment, which the system zeroes: then there is room.
      call.asked.insert(asked.number);
      store_thread_.run([mailbox = mailbox_, arena = shell_.arena_, key = call.key, attempt = call.attempts,
                         number = asked.number, bytes = *bytes] {
        mailbox->post([key, attempt, number, block = arena->allocate(bytes)](Reactor& reactor) {
          AsyncCall* const asker = reactor.find(key);
          if (asker == nullptr || asker->attempts != attempt || asker->stage != Stage::kOnWorker) return;
          if (!block) return reactor.served(key, attempt, number, block.error());
          reactor.line_of(*asker)->record().lent.lend(*block);
          reactor.served(key, attempt, number, json_of((*block)->at()));
        });
      });
      return true;
    }
  }
  auto answer = pool::serve_arrays(record, *shell_.arena_, asked);
  if (!answer) return false;
  const std::string frame = callback_frame(*record.announcement, call.header, asked.number, answer->result);
  if (answer->segment) {
    const int fd = answer->segment->fd();
    line.write_with(frame, fd, std::move(answer->segment));
  } else {
    line.write(frame);
  }
  return true;
}

void Reactor::served(std::uint64_t key, unsigned attempt, std::uint64_t number, const Result<Json>& result) {
  AsyncCall* call = find(key);
  if (call == nullptr || call->attempts != attempt || call->stage != Stage::kOnWorker ||
      call->asked.erase(number) == 0)
    return;
  Line& line = *line_of(*call);
  line.write(callback_frame(*line.record().announcement, call->header, number, result));
}

void Reactor::credit(std::uint64_t key, wire::CallHeader::Credit more) {
  AsyncCall* call = find(key);
  if (call == nullptr || call->stage != Stage::kOnWorker) return;
  line_of(*call)->write(wire::encode_credit(call->header.id, call->header.generation, more));
}

}  // namespace lair::pool
