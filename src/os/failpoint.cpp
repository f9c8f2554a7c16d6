#include "os/failpoint.hpp"

#ifdef LAIR_FAILPOINTS

#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cerrno>
#include <cstdlib>

#include "base/assert.hpp"
#include "os/fd.hpp"

namespace lair::os::failpoint {

namespace {

// EAGAIN only where the descriptor doesn't block, EINTR only where the kernel may sleep.
const Info kAll[] = {
    {Point::kEpollCreate, "epoll_create1", {EMFILE, ENFILE, ENOMEM}},
    {Point::kEpollAdd, "epoll_ctl", {ENOMEM, ENOSPC}},
    {Point::kEpollWait, "epoll_wait", {EINTR}},
    {Point::kEventfd, "eventfd", {EMFILE, ENFILE, ENOMEM}},
    {Point::kEventfdWrite, "write to an eventfd", {EINTR}},
    {Point::kEventfdRead, "read of an eventfd", {EINTR, EAGAIN}},
    {Point::kMemfdCreate, "memfd_create", {EMFILE, ENFILE, ENOMEM}},
    {Point::kMemfdWrite, "write to a memfd", {EINTR, ENOSPC, ENOMEM}, true},
    {Point::kMessagePair, "socketpair of messages", {EMFILE, ENFILE, ENOMEM}},
    {Point::kMessageSend, "sendmsg of a message", {EINTR, EAGAIN, ENOMEM, ENOBUFS, ETOOMANYREFS}},
    {Point::kMessageReceive, "recvmsg of a message", {EINTR, EAGAIN, ENOMEM}},
    {Point::kPidfdOpen, "pidfd_open", {EMFILE, ENFILE, ENOMEM}},
    {Point::kPidfdReap, "waitid of a pidfd", {EINTR}},
    {Point::kPipe, "pipe2", {EMFILE, ENFILE, ENOMEM}},
    {Point::kStreamPair, "socketpair of streams", {EMFILE, ENFILE, ENOMEM}},
    {Point::kStreamRead, "read of a stream", {EINTR, EAGAIN, ENOMEM}, true},
    {Point::kStreamWaitRead, "blocking read of a stream", {EINTR, ENOMEM}, true},
    {Point::kStreamWrite, "write to a stream", {EINTR, EAGAIN, ENOMEM, ENOBUFS}, true},
    {Point::kStreamLook, "look at a stream", {EINTR, ENOMEM}},
    {Point::kStackFileOpen, "open of a worker's stacks", {EMFILE, ENFILE, ENOMEM, EACCES}},
    {Point::kStackFileRead, "read of a worker's stacks", {EINTR, ENOMEM}, true},
    {Point::kDuplicate, "fcntl(F_DUPFD)", {EMFILE}},
    {Point::kWait, "ppoll", {EINTR, ENOMEM}},
    {Point::kSpawnDuplicate, "fcntl(F_DUPFD) for a keeper", {EMFILE}},
    {Point::kSpawn, "posix_spawn", {EAGAIN, ENOMEM}},
    {Point::kSentinelMap, "mmap of the fork sentinel", {ENOMEM, EAGAIN}},
    {Point::kSentinelAdvise, "madvise of the fork sentinel", {EINVAL, EAGAIN}},
    {Point::kProgramPath, "readlink of the program", {ENOMEM}},
    {Point::kInotify, "inotify_init1", {EMFILE, ENFILE, ENOMEM}},
    {Point::kInotifyAdd, "inotify_add_watch", {ENOSPC, ENOMEM}},
    {Point::kSegmentCreate, "memfd_create of a segment", {EMFILE, ENFILE, ENOMEM}},
    {Point::kSegmentAllocate, "fallocate of a segment", {EINTR, ENOSPC, ENOMEM}},
    {Point::kSegmentMap, "mmap of a segment", {ENOMEM, EAGAIN}},
    {Point::kSignalfd, "signalfd", {EMFILE, ENFILE, ENOMEM}},
    {Point::kSignalsRead, "read of a signalfd", {EINTR, EAGAIN}},
    {Point::kKeeperPoll, "poll", {EINTR, ENOMEM}},
    {Point::kKeeperPipe, "pipe2 for exec's failure", {EMFILE, ENFILE, ENOMEM}},
    {Point::kFork, "fork", {EAGAIN, ENOMEM}},
    {Point::kExecPipeRead, "read of exec's failure", {EINTR, EAGAIN}},
    {Point::kSweepOpen, "open of the children's list", {EMFILE, ENFILE, ENOMEM}},
    {Point::kSweepRead, "read of the children's list", {ENOMEM}, true},
    {Point::kSweepWait, "waitid of what is left", {EINTR}},
    {Point::kChildStat, "fstat of the strings", {ENOMEM}},
    {Point::kChildMap, "mmap of the strings", {ENOMEM, EAGAIN}},
    {Point::kChildDirectory, "chdir", {ENOMEM}},
    {Point::kChildDuplicate, "fcntl(F_DUPFD) in the child", {EMFILE}},
    {Point::kChildNull, "open of /dev/null", {EMFILE, ENFILE, ENOMEM}},
    {Point::kChildPlace, "dup2", {EBUSY}},
    {Point::kChildExec, "execve", {EAGAIN, ENOMEM, EMFILE, ENFILE}},
};
constexpr std::size_t kPoints = std::size(kAll);

// Shared by processes, so nothing but lock-free atomics. A call's number decides by itself whether it is hit: nothing
// is counted down, and no two threads can take the same hit.
struct Place {
  std::atomic<bool> armed;
  std::atomic<int> error;
  std::atomic<std::uint64_t> most;
  std::atomic<std::uint64_t> nth;
  std::atomic<std::uint64_t> every;
  std::atomic<std::uint64_t> times;
  std::atomic<std::uint64_t> passes;
  std::atomic<std::uint64_t> hits;
};
static_assert(std::atomic<std::uint64_t>::is_always_lock_free && std::atomic<int>::is_always_lock_free &&
              std::atomic<bool>::is_always_lock_free);
using Places = std::array<Place, kPoints>;
struct Table {
  Places host;
  Places keeper;
};

Table own_table;
std::atomic<Table*> table = &own_table;
std::atomic<bool> is_keeper = false;

Place& place_of(Process process, Point point) noexcept {
  Table& shared = *table.load(std::memory_order_acquire);
  return (process == Process::kHost ? shared.host : shared.keeper)[static_cast<std::size_t>(point)];
}
Place& here(Point point) noexcept { return place_of(is_keeper ? Process::kKeeper : Process::kHost, point); }

bool hit(Place& place) noexcept {
  const std::uint64_t number = ++place.passes;
  if (!place.armed.load(std::memory_order_acquire) || number < place.nth) return false;
  const std::uint64_t since = number - place.nth;
  return since % place.every == 0 && since / place.every < place.times;
}

Table* mapped(int fd) noexcept {
  void* memory = ::mmap(nullptr, sizeof(Table), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
  return memory == MAP_FAILED ? nullptr : static_cast<Table*>(memory);  // atomics that are all 0
}

}  // namespace

bool refuses(Point point) noexcept {
  Place& place = here(point);
  if (place.armed && place.error == 0) return false;  // `most` counts
  if (!hit(place)) return false;
  ++place.hits;
  errno = place.error;
  return true;
}

std::size_t most(Point point, std::size_t size) noexcept {
  Place& place = here(point);
  if (!place.armed || place.error != 0) return size;
  const auto limit = static_cast<std::size_t>(place.most);
  if (!hit(place) || size <= limit) return size;
  ++place.hits;
  return limit;
}

void shorten(Point point, iovec* parts, std::size_t count) noexcept {
  std::size_t size = 0;
  for (std::size_t i = 0; i < count; ++i) size += parts[i].iov_len;
  std::size_t left = most(point, size);
  for (std::size_t i = 0; i < count; ++i) {
    parts[i].iov_len = std::min(parts[i].iov_len, left);
    left -= parts[i].iov_len;
  }
}

std::span<const Info> all() noexcept { return kAll; }

void arm(Process process, Point point, const Fault& fault) noexcept {
  LAIR_ASSERT((fault.error != 0) != (fault.most != 0) && fault.nth > 0 && fault.every > 0);
  Place& place = place_of(process, point);
  place.armed = false;
  place.error = fault.error;
  place.most = fault.most;
  place.nth = fault.nth;
  place.every = fault.every;
  place.times = fault.times;
  place.passes = 0;
  place.hits = 0;
  place.armed.store(true, std::memory_order_release);
}

void disarm_all() noexcept {
  Table& shared = *table.load(std::memory_order_acquire);
  for (Places* places : {&shared.host, &shared.keeper}) {
    for (Place& place : *places) {
      place.armed = false;
      place.passes = 0;
      place.hits = 0;
    }
  }
}

std::uint64_t passes(Process process, Point point) noexcept { return place_of(process, point).passes; }
std::uint64_t hits(Process process, Point point) noexcept { return place_of(process, point).hits; }

std::string share() {
  static const std::string place = [] {
    const int fd = ::memfd_create("lair-failpoints", MFD_CLOEXEC);
    LAIR_ASSERT(fd >= 0 && ::ftruncate(fd, sizeof(Table)) == 0);
    Table* shared = mapped(fd);
    LAIR_ASSERT(shared != nullptr);
    table.store(shared, std::memory_order_release);
    return "/proc/" + std::to_string(::getpid()) + "/fd/" + std::to_string(fd);
  }();
  return place;
}

void join() noexcept {
  const char* place = std::getenv(kVariable);
  if (place == nullptr) return;
  const Fd fd(::open(place, O_RDWR | O_CLOEXEC));
  Table* shared = fd ? mapped(fd.get()) : nullptr;
  if (shared == nullptr) return;
  is_keeper = true;
  table.store(shared, std::memory_order_release);
}

}  // namespace lair::os::failpoint

#endif
