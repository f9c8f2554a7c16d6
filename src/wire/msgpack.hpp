// MessagePack ↔ values: the same values as JSON has, no others, so that what travels does not hang on the codec. No binary,
// no extension types, no NaN; text is UTF-8; keys are text; nested no deeper than JSON may be.
//
// nlohmann's own reader and writer are not used: they take binary and any bytes as text, recurse as deep as the sender
// likes, and read text byte by byte (docs/adr/0017).
//
// Thread-safety: pure functions.
#pragma once

#include <cstdint>
#include <lair/json.hpp>
#include <lair/result.hpp>
#include <optional>
#include <string>
#include <string_view>

namespace lair::wire {

// As encode_json, with its errors. One level of nesting is kept for the message that the value will be in.
Result<std::string> encode_msgpack(const Json& value, std::string_view what);

// Nothing if it isn't one whole value; then `problem` says why.
std::optional<Json> decode_msgpack(std::string_view bytes, std::string& problem);

// A payload that begins so is MessagePack; no JSON text does.
inline bool is_msgpack(std::string_view payload) {
  return !payload.empty() && (static_cast<unsigned char>(payload.front()) & 0x80) != 0;
}

// A value, appended to what will be `around` arrays deep in its message. False: it cannot be sent, or not there; encode_msgpack
// says why. Then `out` ends in a part of it.
bool append_packed_value(std::string& out, const Json& value, std::size_t around);

// Pieces of a message, appended. The text must be UTF-8; of other text the bad bytes are replaced.
void append_packed(std::string& out, std::uint64_t number);
void append_packed(std::string& out, std::string_view text);
// Fewer than 16.
inline void append_packed_array(std::string& out, std::size_t count) {
  out += static_cast<char>(0x90 | count);
}
inline void append_packed_map(std::string& out, std::size_t count) { out += static_cast<char>(0x80 | count); }

}  // namespace lair::wire
