// A call as MessagePack: what goes before and after its arguments.
//
// Thread-safety: pure functions.
#pragma once

#include <string>

#include "wire/message.hpp"

namespace lair::wire {

// [1, id, generation, command; appended.
void append_packed_head(std::string& head, const CallHeader& header);
// meta].
void append_packed_meta(std::string& tail, const CallHeader& header);

}  // namespace lair::wire
