#include "wire/message.hpp"

#include <charconv>
#include <optional>

#include "base/assert.hpp"
#include "wire/frame.hpp"
#include "wire/json_codec.hpp"

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
  head.replace(0, kHeaderBytes, header.data(), header.size());
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

Reply decode_reply_two(const CallHeader& header, Json message, std::string_view payload) {
  if (auto malformed = check_envelope(message, header.id, header.generation, payload))
    return *std::move(malformed);
  if (is_kind(message, Kind::kResult)) {
    if (message.size() < 4) return Malformed{"a RESULT without a value"};
    return Value{std::move(message[3])};
  }
  if (is_kind(message, Kind::kError)) {
    if (message.size() < 4 || !message[3].is_object()) return Malformed{"an ERROR without its object"};
    const Json& body = message[3];
    return Raised{.kind = kind_of(text_at(body, "kind")),
                  .type = text_at(body, "type"),
                  .message = text_at(body, "message"),
                  .traceback = text_at(body, "traceback")};
  }
  return Malformed{"a message of kind " + message[0].dump() + " in place of a reply"};
}

}  // namespace

CallFrame encode_call(const CallHeader& header, std::string_view arguments) {
  CallFrame frame{.head = std::string(kHeaderBytes, '\0'), .arguments = arguments, .tail = {}};
  if (header.protocol == Protocol::kTwo) {
    frame.head += "[1,";
    append_number(frame.head, header.id);
    frame.head += ',';
    append_number(frame.head, header.generation);
    frame.head += ',';
    append_string(frame.head, header.command);
    frame.head += ',';
    if (header.remaining == kForever) {
      frame.tail = ",{}]";
    } else {
      frame.tail = ",{\"ms\":";
      // Rounded down: the worker should never believe that it has longer than the caller will wait.
      append_number(frame.tail, static_cast<std::uint64_t>(header.remaining.count() / 1'000'000));
      frame.tail += "}]";
    }
  } else {
    frame.head += "{\"id\":";
    append_number(frame.head, header.id);
    frame.head += ",\"command\":";
    append_string(frame.head, header.command);
    frame.head += ",\"args\":";
    frame.tail = ",\"timestamp\":\"" + timestamp() + "\"}";
  }
  put_header(frame.head, frame.payload_size());
  return frame;
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
  auto message = decode_json(payload, problem);
  if (!message) return Malformed{"a reply that is not JSON (" + problem + "): " + printable(payload)};
  return header.protocol == Protocol::kTwo ? decode_reply_two(header, *std::move(message), payload)
                                           : decode_reply_one(header, *std::move(message), payload);
}

std::variant<StartedUp, StartError, Malformed> decode_started_up(std::uint64_t generation,
                                                                 std::string_view payload) {
  std::string problem;
  const auto message = decode_json(payload, problem);
  if (!message) return Malformed{"not JSON (" + problem + "): " + printable(payload)};
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
