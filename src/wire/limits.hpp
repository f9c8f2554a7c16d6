// Limits and numbers of the wire, as docs/protocol.md states them.
#pragma once

#include <cstddef>
#include <cstdint>

namespace lair::wire {

inline constexpr std::size_t kHeaderBytes = 4;
inline constexpr std::size_t kDefaultMaxFrame = 64u << 20;
inline constexpr int kProtocolVersion = 2;

// Kinds of a protocol 2 message.
enum class Kind : int {
  kCall = 1,
  kResult = 2,
  kError = 3,
  kReady = 4,
  kShutdown = 5,
  kChunk = 6,
  kEnd = 7,
  kCredit = 8,
  kCancel = 9,
  kCancelled = 10,
  kCallback = 11,
  kCallbackResult = 12,
  kBatch = 13,
  kRelease = 14,
};

}  // namespace lair::wire
