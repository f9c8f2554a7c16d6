// The JSON of messages: floor 0's, which the session store has in common with the wire.
//
// Thread-safety: pure functions.
#pragma once

#include "base/json_codec.hpp"

namespace lair::wire {

using base::decode_json;
using base::encode_json;
using base::kMostNesting;
using base::printable;

}  // namespace lair::wire
