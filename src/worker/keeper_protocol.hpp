// What the library and lair-keeper say to each other: fixed-size messages over a SEQPACKET socket. Both come from the
// same build; the version catches the case where they don't.
//
// Thread-safety: values.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

namespace lair::worker::keeper {

inline constexpr std::uint32_t kVersion = 2;

// The keeper inherits these.
inline constexpr int kControlFd = 3;  // its end of the socket
inline constexpr int kHostFd = 4;     // a pidfd of the host
// Where a worker finds its channel, as LAIR_CHANNEL_FD says.
inline constexpr int kWorkerChannelFd = 3;

inline constexpr std::size_t kMostCpus = 1024;

// Host → keeper. Descriptors travel with it: the first is a memfd with the strings (see Strings); the others
// are placed as `place` says.
enum class Order : std::uint32_t { kSpawn = 1, kKill };  // kKill: that worker, which the host cannot reach

struct Spawn {
  Order order = Order::kSpawn;
  std::uint32_t slot = 0;
  std::uint32_t has_cpus = 0;
  std::uint32_t descriptors = 0;  // that come with it; fewer arrive where the keeper has no place for them
  std::uint64_t generation = 0;
  // By target (0, 1, 2, kWorkerChannelFd): which of the descriptors goes there; 0: none, which is /dev/null for
  // the first three.
  std::array<std::uint8_t, 4> place{};
  std::array<std::uint64_t, kMostCpus / 64> cpus{};
};

// The head of the memfd; behind it argc + envc + 1 NUL-terminated strings: arguments, environment, directory (empty:
// the keeper's). The child maps it, so no message's size limits an environment's.
struct Strings {
  std::uint32_t argc = 0;
  std::uint32_t envc = 0;
};

// Keeper → host.
enum class Kind : std::uint32_t { kHello = 1, kSpawned, kFailed, kExited };

// Which step of a spawn was refused.
enum class Step : std::uint32_t {
  kNone,
  kTable,
  kFork,
  kSession,
  kStrings,
  kAffinity,
  kDirectory,
  kDescriptors,
  kExec
};

struct Report {
  Kind kind = Kind::kHello;
  std::uint32_t version = kVersion;
  std::uint32_t slot = 0;
  Step step = Step::kNone;  // kFailed
  std::uint64_t generation = 0;
  std::int32_t pid = 0;        // kHello: the keeper's
  std::int32_t error = 0;      // kFailed: errno
  std::int32_t signalled = 0;  // kExited: `code` is a signal, not an exit status
  std::int32_t code = 0;
  std::int64_t user_us = 0;
  std::int64_t system_us = 0;
  std::int64_t max_rss_kib = 0;
};

}  // namespace lair::worker::keeper
