// Launcher: the asynchronous seam between the pool and the making of processes.
//
// The supervisor asks (`spawn`, `signal`) and never waits; what came of it arrives as LaunchEvents when
// `poll_fd` is readable. KeeperLauncher makes real processes, through lair-keeper; WarmLauncher, around it, sees to the
// warm parent that workers are forked from; FakeLauncher (threads over socketpairs) is for tests.
//
// For each spawn there is exactly one Spawned or SpawnFailed; after Spawned exactly one Exited, which
// comes last. A worker is named by (slot, generation) and never twice.
//
// Thread-safety: one thread (the supervisor).
#pragma once

#include <cstdint>
#include <lair/deadline.hpp>
#include <lair/error.hpp>
#include <memory>
#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "os/fd.hpp"

namespace lair::worker {

struct WorkerKey {
  std::uint32_t slot = 0;
  std::uint64_t generation = 0;
  friend auto operator<=>(const WorkerKey&, const WorkerKey&) = default;
};

enum class StdioMode : std::uint8_t {
  kChannelFd,    // the channel is inherited as LAIR_CHANNEL_FD; stdin is /dev/null
  kStdioSocket,  // the channel is a socketpair on stdin and stdout
  kStdioPipe,    // the channel is two pipes, stdin and stdout
  kNoChannel,    // stdin is /dev/null, stdout a log pipe: a probe, not a worker
};

// kExec: its program is executed in it. kWarmParent: likewise, and it will fork others. kFork: it is forked from the
// warm parent `SpawnRequest::parent`, which reads `argv` instead of executing it.
enum class Birth : std::uint8_t { kExec, kWarmParent, kFork };

struct SpawnRequest {
  WorkerKey key;
  std::vector<std::string> argv;  // argv[0] is an absolute path, or relative to `cwd` if it has a slash
  std::vector<std::string> env;   // complete: "NAME=value"; LAIR_CHANNEL_FD is added by the launcher
  std::string cwd;                // empty: the host's
  StdioMode stdio = StdioMode::kChannelFd;
  std::vector<int> cpus;  // affinity; empty: as inherited
  Birth birth = Birth::kExec;
  std::uint64_t parent = 0;  // kFork: the warm parent's generation
  // For WarmLauncher: how the warm parent is started that this worker is to be forked from. Its key's generation is the
  // revision of what it has imported: a parent of another revision is replaced first.
  std::shared_ptr<const SpawnRequest> warm;
};

// Process half of a worker. `exit_fd` becomes readable when the process has ended (a pidfd).
struct Process {
  int pid = 0;
  os::Fd exit_fd;
};

// The host's ends. All are CLOEXEC and non-blocking. `channel_out` is set only for kStdioPipe, where
// `channel` is the read end and `channel_keep` a read end of the outgoing pipe, which keeps a write to a dead
// worker from raising SIGPIPE in the host (os/stream.hpp). `stdout_log` is unset where stdout is the channel.
struct WorkerPipes {
  os::Fd channel;
  os::Fd channel_out;
  os::Fd channel_keep;
  os::Fd stdout_log;
  os::Fd stderr_log;
};

struct Spawned {
  WorkerKey key;
  Process process;
  WorkerPipes pipes;
};
struct SpawnFailed {
  WorkerKey key;
  std::string step;        // "fork", "cwd", "exec", "keeper", … : what was refused
  int error = 0;           // errno
  std::string message;     // in words, complete: "cannot execute /usr/bin/nope: No such file or directory"
  bool permanent = false;  // trying again cannot help (ENOENT, EACCES of the program), unlike EAGAIN, EMFILE
  std::string stage = {};  // of the start; empty: the one that it has reached
  std::optional<PythonError> python = {};
};
struct ResourceUse {
  Duration user_cpu{};
  Duration system_cpu{};
  std::int64_t max_rss_bytes = 0;
};
struct Exited {
  WorkerKey key;
  ExitStatus status;
  std::optional<ResourceUse> usage;
};
// About no worker: a line for the log.
struct Note {
  std::string text;
  bool warning = false;
};
using LaunchEvent = std::variant<Spawned, SpawnFailed, Exited, Note>;

class Launcher {
 public:
  virtual ~Launcher() = default;  // kills and reaps whatever is left; blocks for at most a few seconds

  // Readable when `take_events` has something to say. Constant for the launcher's life.
  virtual int poll_fd() const noexcept = 0;
  virtual std::vector<LaunchEvent> take_events() = 0;

  virtual void spawn(SpawnRequest request) = 0;
  // To the worker's process alone; its group is killed when it ends. Signals to one that has already ended,
  // or was never spawned, are dropped.
  virtual void signal(WorkerKey key, int signal_number) = 0;
};

}  // namespace lair::worker
