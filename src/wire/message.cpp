#include "wire/message.hpp"

#include <algorithm>
#include <charconv>
#include <memory>
#include <optional>

#include "base/assert.hpp"
#include "base/overloaded.hpp"
#include "wire/frame.hpp"
#include "wire/json_codec.hpp"
#include "wire/msgpack.hpp"
#include "wire/packed_call.hpp"

namespace lair::wire {

namespace {

void append_number(std::string& text, std::uint64_t number) {
  std::array<char, 20> digits;
  const auto end = std::to_chars(digits.data(), digits.data() + digits.size(), number).ptr;
  text.append(digits.data(), end);
}

void append_string(std::string& text, std::string_view value) {
  bool plain = true;
  for (const char c : value) {
    const auto byte = static_cast<unsigned char>(c);
    plain = plain && byte >= 0x20 && byte < 0x7f && c != '"' && c != '\\';
  }
  if (plain) {
    text += '"';
    text += value;
    text += '"';
  } else {
    text += Json(std::string(value)).dump(-1, ' ', false, Json::error_handler_t::replace);
  }
}

void put_header(std::string& head, std::size_t payload) {
  const auto header = frame_header(payload);
  std::copy(header.begin(), header.end(), head.begin());
}

std::string text_at(const Json& object, const char* key) {
  const auto found = object.find(key);
  return found != object.end() && found->is_string() ? found->get<std::string>() : std::string();
}

std::string not_what_was_asked(const char* what, const Json& got, std::uint64_t expected) {
  return std::string("a reply with ") + what + ' ' + printable(got.dump(), 40) + " came while " + what + ' ' +
         std::to_string(expected) + " was outstanding";
}

Raised::Kind kind_of(const std::string& name) {
  if (name == "unknown_command") return Raised::Kind::kUnknownCommand;
  if (name == "invalid_argument") return Raised::Kind::kInvalidArgument;
  if (name == "unencodable") return Raised::Kind::kUnencodable;
  return Raised::Kind::kRemote;
}

std::optional<Json> decode_message(std::string_view payload, std::string& problem) {
  return is_msgpack(payload) ? decode_msgpack(payload, problem) : decode_json(payload, problem);
}

Malformed unreadable(const char* what, const std::string& problem, std::string_view payload) {
  const char* codec = is_msgpack(payload) ? "neither JSON nor MessagePack (" : "not JSON (";
  return Malformed{what + std::string(codec) + problem + "): " + printable(payload)};
}

Reply decode_reply_one(const CallHeader& header, Json reply, std::string_view payload) {
  if (!reply.is_object()) return Malformed{"a reply that is not an object: " + printable(payload)};
  const auto id = reply.find("id");
  if (id == reply.end() || *id != Json(header.id)) {
    return Malformed{not_what_was_asked("id", id == reply.end() ? Json() : *id, header.id)};
  }
  const auto success = reply.find("success");
  if (success == reply.end() || !success->is_boolean()) {
    return Malformed{"a reply without a boolean 'success': " + printable(payload)};
  }
  if (success->get<bool>()) {
    const auto result = reply.find("result");
    return Value{result == reply.end() ? Json() : std::move(*result)};
  }
  const auto reason = reply.find("error");
  Raised raised{.type = text_at(reply, "error_type"),
                .message = reason == reply.end() ? std::string("(the reply gives no reason)")
                           : reason->is_string() ? reason->get<std::string>()
                                                 : reason->dump(),
                .traceback = text_at(reply, "traceback")};
  if (reply.value("refused", Json(false)) == Json(true)) {
    const bool unknown = raised.message.rfind("Unknown command", 0) == 0;
    raised.kind = unknown ? Raised::Kind::kUnknownCommand : Raised::Kind::kInvalidArgument;
  }
  return raised;
}

// Checks [kind, id, generation, …]. Nothing if all is well.
std::optional<Malformed> check_envelope(const Json& message, std::uint64_t id, std::uint64_t generation,
                                        std::string_view payload) {
  if (!message.is_array() || message.size() < 3 || !message[0].is_number_integer()) {
    return Malformed{"not a message [kind, id, generation, …]: " + printable(payload)};
  }
  if (message[1] != Json(id)) return Malformed{not_what_was_asked("id", message[1], id)};
  if (message[2] != Json(generation))
    return Malformed{not_what_was_asked("generation", message[2], generation)};
  return std::nullopt;
}

bool is_kind(const Json& message, Kind kind) { return message[0] == Json(static_cast<int>(kind)); }

Reply decode_items(const CallHeader& header, Json message, std::string_view payload) {
  if (!header.stream) return Malformed{"a part of a stream that was not asked for"};
  if (message.size() < 4 || !message[3].is_array() || message[3].empty()) {
    return Malformed{"a CHUNK without its items: " + printable(payload)};
  }
  return Items{.items = std::move(message[3].get_ref<Json::array_t&>()), .bytes = payload.size()};
}

Reply decode_callback(Json message, std::string_view payload) {
  const bool whole = message.size() >= 6 && message[3].is_number_unsigned() && message[4].is_string() &&
                     (message[5].is_object() || message[5].is_array());
  if (!whole)
    return Malformed{"a CALLBACK that is not [11, id, generation, number, name, args, …]: " +
                     printable(payload)};
  return Callback{.number = message[3].get<std::uint64_t>(),
                  .name = message[4].get<std::string>(),
                  .arguments = std::move(message[5])};
}

Raised raised_of(const Json& body) {
  return {.kind = kind_of(text_at(body, "kind")),
          .type = text_at(body, "type"),
          .message = text_at(body, "message"),
          .traceback = text_at(body, "traceback")};
}

Reply decode_answers(Json message, std::string_view payload, bool last) {
  if (message.size() < 4 || !message[3].is_array()) {
    return Malformed{"an answer to a BATCH without its values: " + printable(payload)};
  }
  Answers answers{.values = std::move(message[3].get_ref<Json::array_t&>()), .errors = {}, .last = last};
  if (message.size() == 4) return answers;
  const Json& errors = message[4];
  std::size_t next = 0;
  for (std::size_t i = 0; i < errors.size(); ++i) {
    const Json& error = errors.is_array() ? errors[i] : errors;
    if (!error.is_array() || error.size() < 2 || !error[0].is_number_unsigned() || !error[1].is_object() ||
        error[0] < Json(next) || error[0] >= Json(answers.values.size())) {
      return Malformed{"an answer to a BATCH with errors that are none of its items': " + printable(payload)};
    }
    answers.errors.emplace_back(error[0].get<std::size_t>(), raised_of(error[1]));
    next = answers.errors.back().first + 1;
  }
  return answers;
}

// After check_envelope.
Reply decode_reply_two(const CallHeader& header, Json message, std::string_view payload) {
  const bool last = is_kind(message, Kind::kResult);
  if (header.batch && (last || is_kind(message, Kind::kChunk)))
    return decode_answers(std::move(message), payload, last);
  if (is_kind(message, Kind::kResult)) {
    if (message.size() < 4) return Malformed{"a RESULT without a value"};
    if (!header.takes_arrays || message.size() < 5) return Value{std::move(message[3])};
    auto arrays = decode_array_results(message[4]);
    if (!arrays) return Malformed{"a RESULT with arrays that are none: " + printable(payload)};
    return Value{std::move(message[3]), *std::move(arrays)};
  }
  if (is_kind(message, Kind::kError)) {
    if (message.size() < 4 || !message[3].is_object()) return Malformed{"an ERROR without its object"};
    return raised_of(message[3]);
  }
  if (is_kind(message, Kind::kChunk)) return decode_items(header, std::move(message), payload);
  if (is_kind(message, Kind::kEnd)) {
    if (!header.stream) return Malformed{"the end of a stream that was not asked for"};
    return Complete{};
  }
  if (is_kind(message, Kind::kCancelled)) {
    const bool counted = message.size() > 3 && message[3].is_number_unsigned();
    return Cancelled{.begun = counted ? message[3].get<std::size_t>() : 0};
  }
  if (is_kind(message, Kind::kCallback)) return decode_callback(std::move(message), payload);
  if (is_kind(message, Kind::kRelease)) {
    if (auto blocks = decode_released(message.size() > 3 ? message[3] : Json()))
      return Released{*std::move(blocks)};
    return Malformed{"a RELEASE that is not of blocks: " + printable(payload)};
  }
  return Malformed{"a message of kind " + message[0].dump() + " in place of a reply"};
}

// [kind, id, generation
std::string open_frame(Kind kind, std::uint64_t id, std::uint64_t generation) {
  std::string frame(kHeaderBytes, '\0');
  frame += '[';
  append_number(frame, static_cast<std::uint64_t>(kind));
  frame += ',';
  append_number(frame, id);
  frame += ',';
  append_number(frame, generation);
  return frame;
}

std::string close_frame(std::string frame) {
  frame += ']';
  put_header(frame, frame.size() - kHeaderBytes);
  return frame;
}

// The tail of a protocol 2 call: its meta.
void append_meta(std::string& tail, const CallHeader& header) {
  const char* comma = "";
  const auto key = [&](const char* name) {
    tail += comma;
    tail += name;
    comma = ",";
  };
  tail += ",{";
  if (header.remaining != kForever) {
    key("\"ms\":");
    // Rounded down: the worker should never believe that it has longer than the caller will wait.
    append_number(tail, static_cast<std::uint64_t>(header.remaining.count() / 1'000'000));
  }
  if (!header.traceparent.empty()) {
    key("\"traceparent\":");
    append_string(tail, header.traceparent);
  }
  for (const auto& [name, json] :
       {std::pair("\"chain\":", header.chain), std::pair("\"arrays\":", header.arrays)}) {
    if (json.empty()) continue;
    key(name);
    tail += json;
  }
  if (header.session) {
    key("\"session\":");
    append_string(tail, header.session->id);
    key("\"session_number\":");
    append_number(tail, header.session->number);
    key("\"affinity\":");
    append_string(tail, header.session->affinity);
    if (header.session->changes) {
      key("\"session_changes\":");
      append_number(tail, *header.session->changes);
    }
  }
  if (header.stream) {
    key("\"stream\":[");
    append_number(tail, header.stream->items);
    tail += ',';
    append_number(tail, header.stream->bytes);
    tail += ']';
  }
  tail += "}]";
}

// Whether the outermost object of `json`, which is valid, has a key that is spelt like this.
bool has_key(std::string_view json, std::string_view quoted) {
  if (json.find(quoted) == std::string_view::npos) return false;
  int depth = 0;
  for (std::size_t at = 0; at < json.size(); ++at) {
    const char c = json[at];
    if (c == '{' || c == '[') ++depth;
    if (c == '}' || c == ']') --depth;
    if (c != '"') continue;
    const std::size_t begin = at;
    while (json[++at] != '"') {
      if (json[at] == '\\') ++at;
    }
    const std::size_t next = json.find_first_not_of(" \t\r\n", at + 1);
    if (depth == 1 && json.substr(begin, at + 1 - begin) == quoted && json[next] == ':') return true;
  }
  return false;
}

// Protocol 1: the session's id goes before the first argument by name. Large arguments stay where they are.
void put_session(CallFrame& frame, std::string_view id) {
  constexpr std::string_view kKey = "\"session_id\"";
  if (frame.arguments.substr(0, 1) != "{" || has_key(frame.arguments, kKey)) return;
  frame.head += '{';
  frame.head += kKey;
  frame.head += ':';
  append_string(frame.head, id);
  frame.arguments.remove_prefix(1);
  if (frame.arguments[frame.arguments.find_first_not_of(" \t\r\n")] != '}') frame.head += ',';
}

}  // namespace

CallFrame encode_call(const CallHeader& header, std::string_view arguments) {
  CallFrame frame;
  encode_call(frame, header, arguments);
  return frame;
}

void encode_call(CallFrame& frame, const CallHeader& header, std::string_view arguments) {
  frame.head.assign(kHeaderBytes, '\0');
  frame.arguments = arguments;
  frame.tail.clear();
  if (header.packed) {
    append_packed_head(frame.head, header);
    append_packed_meta(frame.tail, header);
  } else if (header.protocol == Protocol::kTwo) {
    frame.head += header.batch ? "[13," : "[1,";
    append_number(frame.head, header.id);
    frame.head += ',';
    append_number(frame.head, header.generation);
    frame.head += ',';
    append_string(frame.head, header.command);
    frame.head += ',';
    append_meta(frame.tail, header);
  } else {
    frame.head += "{\"id\":";
    append_number(frame.head, header.id);
    frame.head += ",\"command\":";
    append_string(frame.head, header.command);
    frame.head += ",\"args\":";
    if (header.session) put_session(frame, header.session->id);
    frame.tail = ",\"timestamp\":\"" + timestamp() + "\"}";
  }
  put_header(frame.head, frame.payload_size());
}

std::string encode_cancel(std::uint64_t id, std::uint64_t generation) {
  return close_frame(open_frame(Kind::kCancel, id, generation));
}

std::string encode_credit(std::uint64_t id, std::uint64_t generation, CallHeader::Credit more) {
  std::string frame = open_frame(Kind::kCredit, id, generation);
  frame += ',';
  append_number(frame, more.items);
  frame += ',';
  append_number(frame, more.bytes);
  return close_frame(std::move(frame));
}

std::string encode_callback_result(std::uint64_t id, std::uint64_t generation, std::uint64_t number,
                                   const Result<Json>& result) {
  std::string frame = open_frame(Kind::kCallbackResult, id, generation);
  frame += ',';
  append_number(frame, number);
  Error failed;
  if (result) {
    if (const auto value = encode_json(*result, "the result")) {
      frame += ",true,";
      frame += *value;
      return close_frame(std::move(frame));
    } else {
      failed = value.error();
      failed.kind = ErrorKind::kRemote;
    }
  } else {
    failed = result.error();
  }
  const bool raised = failed.python.has_value();
  const Json body = {{"type", raised ? failed.python->type : "CallError"},
                     {"message", raised ? failed.python->message : failed.message},
                     {"traceback", raised ? failed.python->traceback : ""},
                     {"kind", std::string(to_string(failed.kind))}};
  frame += ",false,";
  frame += body.dump(-1, ' ', false, Json::error_handler_t::replace);
  return close_frame(std::move(frame));
}

std::string encode_shutdown(Protocol protocol, std::uint64_t id, std::uint64_t generation) {
  std::string frame(kHeaderBytes, '\0');
  if (protocol == Protocol::kTwo) {
    frame += "[5,0," + std::to_string(generation) + ']';
  } else {
    frame += Json({{"id", id}, {"command", "shutdown"}, {"args", Json::object()}, {"timestamp", timestamp()}})
                 .dump();
  }
  put_header(frame, frame.size() - kHeaderBytes);
  return frame;
}

Reply decode_reply(const CallHeader& header, std::string_view payload) {
  std::string problem;
  const bool one = header.protocol == Protocol::kOne;
  auto message = one ? decode_json(payload, problem) : decode_message(payload, problem);
  if (!message) return unreadable("a reply that is ", problem, payload);
  if (one) return decode_reply_one(header, *std::move(message), payload);
  if (auto malformed = check_envelope(*message, header.id, header.generation, payload))
    return *std::move(malformed);
  return decode_reply_two(header, *std::move(message), payload);
}

PlainReply decode_plain_reply(const CallHeader& header, std::string_view payload) {
  return std::visit(base::Overloaded{
                        [](Value& value) -> PlainReply { return std::move(value); },
                        [](Raised& raised) -> PlainReply { return std::move(raised); },
                        [](Malformed& malformed) -> PlainReply { return std::move(malformed); },
                        [](Callback& callback) -> PlainReply {
                          return Malformed{"a call of the host's function \"" + callback.name +
                                           "\", which cannot be served here"};
                        },
                        [](auto&) -> PlainReply { return Malformed{"neither a result nor an error"}; },
                    },
                    *std::make_unique<Reply>(decode_reply(header, payload)));
}

Addressed decode_addressed(std::uint64_t generation,
                           const std::function<const CallHeader*(std::uint64_t id)>& find,
                           std::string_view payload) {
  std::string problem;
  auto message = decode_message(payload, problem);
  if (!message) return {0, unreadable("a reply that is ", problem, payload)};
  if (!message->is_array() || message->size() < 3 || !(*message)[1].is_number_unsigned()) {
    return {0, Malformed{"not a message [kind, id, generation, …]: " + printable(payload)}};
  }
  const auto id = (*message)[1].get<std::uint64_t>();
  const CallHeader* header = find(id);
  if (header == nullptr)
    return {id, Malformed{"a reply with id " + std::to_string(id) + ", which no call has"}};
  if (auto malformed = check_envelope(*message, id, generation, payload)) return {id, *std::move(malformed)};
  return {id, decode_reply_two(*header, *std::move(message), payload)};
}

std::variant<StartedUp, StartError, Malformed> decode_started_up(std::uint64_t generation,
                                                                 std::string_view payload) {
  std::string problem;
  const auto message = decode_message(payload, problem);
  if (!message) return unreadable("", problem, payload);
  if (auto malformed = check_envelope(*message, 0, generation, payload)) return *std::move(malformed);
  if (is_kind(*message, Kind::kReady)) {
    return StartedUp{.files = message->size() > 3 ? files_of((*message)[3]) : std::vector<std::string>()};
  }
  if (!is_kind(*message, Kind::kError) || message->size() < 4 || !(*message)[3].is_object()) {
    return Malformed{"neither READY nor an ERROR: " + printable(payload)};
  }
  const Json& body = (*message)[3];
  const std::string stage = text_at(body, "stage");
  return StartError{.stage = stage.empty() ? "warm_up" : stage,
                    .permanent = body.value("permanent", Json(false)) == Json(true),
                    .type = text_at(body, "type"),
                    .message = text_at(body, "message"),
                    .traceback = text_at(body, "traceback"),
                    .files = files_of(body)};
}

}  // namespace lair::wire
