// What the library and lair-keeper say to each other: fixed-size messages over a SEQPACKET socket. Both come from the
// same build; the version catches the case where they don't.
//
// Thread-safety: values.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

namespace lair::worker::keeper {

inline constexpr std::uint32_t kVersion = 3;

// The keeper inherits these.
inline constexpr int kControlFd = 3;  // its end of the socket
inline constexpr int kHostFd = 4;     // a pidfd of the host
// Where a worker finds its channel, as LAIR_CHANNEL_FD says.
inline constexpr int kWorkerChannelFd = 3;
// Where a warm parent finds its socket to the keeper.
inline constexpr int kWarmFd = 4;

inline constexpr std::size_t kMostCpus = 1024;

// Host → keeper. Descriptors travel with it: the first is a memfd with the strings (see Strings); the others
// are placed as `place` says.
// kFork: the keeper passes the order on to a warm parent, with one more descriptor, on which the new process says what
// has failed (Failure) or, by closing it, that nothing has. kKill: that worker, which the host cannot reach.
enum class Order : std::uint32_t { kSpawn = 1, kKill, kFork };

struct Spawn {
  Order order = Order::kSpawn;
  std::uint32_t slot = 0;
  std::uint32_t has_cpus = 0;
  std::uint32_t descriptors = 0;  // that come with it; fewer arrive where the keeper has no place for them
  std::uint64_t generation = 0;
  std::uint64_t parent = 0;  // kFork: the generation of the warm parent
  // By target (0, 1, 2, kWorkerChannelFd, kWarmFd): which of the descriptors goes there; 0: none, which is /dev/null
  // for the first three.
  std::array<std::uint8_t, 5> place{};
  // kSpawn: which one the keeper keeps, the other end of kWarmFd. Not 0: the process is a warm parent.
  std::uint8_t keeps = 0;
  std::array<std::uint8_t, 2> unused{};
  std::array<std::uint64_t, kMostCpus / 64> cpus{};
};
// lair_worker/_warm.py reads it.
static_assert(sizeof(Spawn) == 168 && offsetof(Spawn, parent) == 24 && offsetof(Spawn, place) == 32 &&
              offsetof(Spawn, cpus) == 40);

// The head of the memfd; behind it argc + envc + 1 NUL-terminated strings: arguments, environment, directory (empty:
// the keeper's). The child maps it, so no message's size limits an environment's.
struct Strings {
  std::uint32_t argc = 0;
  std::uint32_t envc = 0;
};

// Warm parent → keeper: the process that it has forked for an order. Sent while the sender, which is neither the warm
// parent nor the worker, is still the worker's parent.
struct Forked {
  std::uint32_t slot = 0;
  std::int32_t pid = 0;
  std::uint64_t generation = 0;
};
static_assert(sizeof(Forked) == 16);

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
  kExec,
  kWarmParent  // it is gone, or has refused to fork, and told the host why
};

// How a new process says, over the pipe that its keeper reads, that it will be no worker.
struct Failure {
  Step step = Step::kNone;
  std::int32_t error = 0;  // errno
};
static_assert(sizeof(Failure) == 8);

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
