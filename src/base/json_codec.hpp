// JSON text ↔ values, strictly: what JSON cannot say is refused by name instead of being bent.
//
// Thread-safety: pure functions.
#pragma once

#include <cstddef>
#include <lair/json.hpp>
#include <lair/result.hpp>
#include <optional>
#include <string>
#include <string_view>

namespace lair::base {

// How deep a value's arrays and objects may be nested. Python's own json gives up a little sooner.
inline constexpr std::size_t kMostNesting = 1000;

// `what` names the value in messages ("argument"). Refused with kInvalidArgument, naming the place: NaN, Infinity,
// text that isn't UTF-8, binary values.
Result<std::string> encode_json(const Json& value, std::string_view what);

// Nothing if the text isn't JSON, in which case `problem` says where and why.
std::optional<Json> decode_json(std::string_view text, std::string& problem);

// The first bytes of `data`, printable and shortened, for messages about what a worker babbled.
std::string printable(std::string_view data, std::size_t limit = 120);

}  // namespace lair::base
