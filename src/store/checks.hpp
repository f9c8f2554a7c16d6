// What may be stored: keys, values and their sizes. Refusals name the session, the size, the limit and its setting.
//
// Thread-safety: pure.
#pragma once

#include <cstdint>
#include <lair/json.hpp>
#include <lair/result.hpp>
#include <optional>
#include <string>

#include "store/session_store.hpp"

namespace lair::store {

std::optional<Error> bad_key(const std::string& session, const std::string& key, const Limits& limits);

// The text to be held.
Result<std::string> encode_value(const std::string& session, const std::string& key, const Json& value,
                                 const Limits& limits);

// What get() gives for a text that was held: kUnavailable if it is no JSON, which only a damaged file can come to.
Result<std::optional<Json>> decode_value(const std::string& session, const std::string& key,
                                         const std::string& text, const std::string& where);

// What the session has, and would have after a change that makes it larger than it may be.
Error session_full(const std::string& session, const std::string& key, std::uint64_t has, std::uint64_t would,
                   const Limits& limits);

// A change may always make a session smaller, also one that is over a limit that has been lowered since.
inline bool fits(std::uint64_t has, std::uint64_t would, const Limits& limits) {
  return would <= limits.session || would <= has;
}

}  // namespace lair::store
