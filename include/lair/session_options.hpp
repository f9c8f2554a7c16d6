// How a session is tied to workers.
//
// Thread-safety: values.
#pragma once

#include <cstdint>

namespace lair {

// Calls of one session run one after another, whatever its affinity.
enum class Affinity : std::uint8_t {
  kPrefer,  // rather where its last call ran; its state is in the session store alone, so any worker will do
  kStrict,  // always the worker of its first call, which may keep live objects for it; lost when that one ends
  kExclusive,  // strict, and its worker serves nobody else for as long as the session lasts
};

}  // namespace lair
