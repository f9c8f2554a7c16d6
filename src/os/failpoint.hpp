// Failpoints: in front of every system call that a kernel may refuse, interrupt or cut short, a place where a test can
// have it do so: "the third pipe2 from now fails with EMFILE".
//
//   const int fd = failpoint::refuses(Point::kEventfd) ? -1 : ::eventfd(0, EFD_CLOEXEC);
//
// They exist in the developers' unoptimised builds (LAIR_FAILPOINTS); elsewhere the functions are constants, and
// nothing is left of them. lair-keeper, which makes many of the calls, shares its failpoints with the test through
// a mapped file whose path is in the environment; a child that it forks goes on with its counts.
//
// Thread-safety: any thread; `refuses`, `most` and `shorten` also between fork and exec.
#pragma once

#include <sys/uio.h>

#include <cstddef>
#include <cstdint>

#ifdef LAIR_FAILPOINTS
#include <initializer_list>
#include <span>
#include <string>
#endif

namespace lair::os::failpoint {

enum class Point : std::uint8_t {
  // the library; those of messages and pidfds also lair-keeper
  kEpollCreate,
  kEpollAdd,
  kEpollWait,
  kEventfd,
  kEventfdWrite,
  kEventfdRead,
  kMemfdCreate,
  kMemfdWrite,
  kMessagePair,
  kMessageSend,
  kMessageReceive,
  kPidfdOpen,
  kPidfdReap,
  kPipe,
  kStreamPair,
  kStreamRead,
  kStreamWaitRead,
  kStreamWrite,
  kStreamLook,
  kStackFileOpen,
  kStackFileRead,
  kDuplicate,
  kWait,
  kSpawnDuplicate,
  kSpawn,
  kSentinelMap,
  kSentinelAdvise,
  kProgramPath,
  kInotify,
  kInotifyAdd,
  kSegmentCreate,
  kSegmentAllocate,
  kSegmentMap,
  // lair-keeper
  kSignalfd,
  kSignalsRead,
  kKeeperPoll,
  kKeeperPipe,
  kFork,
  kExecPipeRead,
  kSweepOpen,
  kSweepRead,
  kSweepWait,
  // its child, before exec
  kChildStat,
  kChildMap,
  kChildDirectory,
  kChildDuplicate,
  kChildNull,
  kChildPlace,
  kChildExec,
};

#ifdef LAIR_FAILPOINTS

// True, with errno set, if the call is to fail. Ask once for each call.
bool refuses(Point point) noexcept;
// How much of `size` bytes the call may move.
std::size_t most(Point point, std::size_t size) noexcept;
// The same for a gathered write: the parts are cut, their number stays.
void shorten(Point point, iovec* parts, std::size_t count) noexcept;

// --- For tests -------------------------------------------------------------------------------------

struct Info {
  Point point;
  const char* name;
  std::initializer_list<int> errors;  // that the call may really give there
  bool short_transfers = false;       // may it move less than was asked for?
};
std::span<const Info> all() noexcept;

enum class Process : std::uint8_t { kHost, kKeeper };

struct Fault {
  int error = 0;          // errno of the call; 0: it is cut to `most` bytes instead
  std::size_t most = 0;   // bytes, from 1 up
  std::uint64_t nth = 1;  // the first call that is hit, counted from now; 1 is the next
  std::uint64_t every = 1;
  std::uint64_t times = 1;
};
void arm(Process process, Point point, const Fault& fault) noexcept;
void disarm_all() noexcept;  // and counts from 0 again
// Since it was armed, or everything was disarmed.
std::uint64_t passes(Process process, Point point) noexcept;
std::uint64_t hits(Process process, Point point) noexcept;

// The environment variable by which a keeper finds the failpoints of the test that has started it, and its value. The
// mapping stays for the life of the process.
inline constexpr const char* kVariable = "LAIR_FAILPOINTS";
std::string share();
// In the keeper: takes them over, if there are any.
void join() noexcept;

#else

constexpr bool refuses(Point) noexcept { return false; }
constexpr std::size_t most(Point, std::size_t size) noexcept { return size; }
constexpr void shorten(Point, iovec*, std::size_t) noexcept {}
constexpr void join() noexcept {}

#endif

}  // namespace lair::os::failpoint
