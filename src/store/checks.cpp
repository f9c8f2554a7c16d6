#include "store/checks.hpp"

#include <utility>

#include "base/json_codec.hpp"
#include "base/json_text.hpp"

namespace lair::store {

namespace {

Error invalid(std::string message) {
  return {.kind = ErrorKind::kInvalidArgument, .message = std::move(message)};
}

std::string quoted(const std::string& name) { return base::shown(Json(name), 80); }
std::string named(const std::string& session, const std::string& key) {
  return "key " + quoted(key) + " of session " + quoted(session);
}
std::string count(std::uint64_t bytes) { return std::to_string(bytes) + " bytes"; }

}  // namespace

std::optional<Error> bad_key(const std::string& session, const std::string& key, const Limits& limits) {
  if (key.empty()) return invalid("a key of session " + quoted(session) + " is empty; give it a name");
  if (key.size() > limits.key) {
    return invalid(named(session, key) + " has " + count(key.size()) + "; at most " + count(limits.key) +
                   " are allowed: store under a shorter key");
  }
  if (!base::encode_json(Json(key), "key")) {
    return invalid(named(session, key) +
                   " is not valid UTF-8; keys must be (encode bytes as base64, or as latin-1 text)");
  }
  return std::nullopt;
}

Result<std::string> encode_value(const std::string& session, const std::string& key, const Json& value,
                                 const Limits& limits) {
  auto text = base::encode_json(value, "the value");
  if (!text) return invalid(named(session, key) + ": " + text.error().message);
  if (text->size() > limits.value) {
    return invalid(named(session, key) + ": its value has " + count(text->size()) + " as JSON; at most " +
                   count(limits.value) +
                   " are allowed: store less, or in several keys, or raise session_value_limit");
  }
  return text;
}

Result<std::optional<Json>> decode_value(const std::string& session, const std::string& key,
                                         const std::string& text, const std::string& where) {
  std::string problem;
  auto value = base::decode_json(text, problem);
  if (value) return value;
  return Error{.kind = ErrorKind::kUnavailable,
               .message = where + ": what it holds under " + named(session, key) + " is not JSON (" +
                          problem +
                          "), so something else than Lair has written to it; put a value there anew, or "
                          "restore the file from a copy"};
}

Error session_full(const std::string& session, const std::string& key, std::uint64_t has, std::uint64_t would,
                   const Limits& limits) {
  return invalid("session " + quoted(session) + " holds " + count(has) + " and would hold " + count(would) +
                 " with this value of key " + quoted(key) + "; at most " + count(limits.session) +
                 " of keys and values are allowed: erase what it no longer needs, or raise session_limit");
}

}  // namespace lair::store
