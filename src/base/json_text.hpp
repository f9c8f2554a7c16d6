// A JSON value in a message: on one line, and no longer than a reader wants.
//
// Thread-safety: pure.
#pragma once

#include <lair/json.hpp>
#include <string>

namespace lair::base {

// At most `most` bytes of it, cut between characters and ending with "…" where cut. Never throws for a value
// that is not UTF-8: what isn't is replaced.
std::string shown(const Json& value, std::size_t most = 120);

}  // namespace lair::base
