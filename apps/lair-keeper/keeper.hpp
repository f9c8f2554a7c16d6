// lair-keeper: the parent of all workers of one pool, so that none of them outlives it or its host.
//
// It forks and reaps workers on the host's orders, and is the subreaper of everything they start. It ends, with all of
// it, when the host does: its pidfd fires, its socket closes (an execve of the host), or its death sends SIGCONT (which
// wakes a keeper that was stopped).
//
// Single-threaded. Allocates nothing after construction: under memory pressure it must still be able to clean up.
#pragma once

#include <poll.h>
#include <sys/resource.h>

#include <csignal>

#include <memory>

#include "child.hpp"
#include "sweep.hpp"

namespace lair::keeper {

class Keeper {
 public:
  explicit Keeper(std::size_t capacity);
  // Until the host is gone. Returns when no descendant is left.
  void run();

 private:
  // kForking: ordered from a warm parent, which has not said its pid yet.
  enum class State : std::uint8_t { kFree, kForking, kSpawning, kRunning, kEnded };
  struct Entry {
    State state = State::kFree;
    std::uint32_t slot = 0;
    std::uint64_t generation = 0;
    pid_t pid = 0;
    os::Fd exec_pipe;     // while forking and spawning
    os::Fd pidfd;         // until it has been sent
    os::Fd warm;          // of a warm parent: the socket to it
    bool forked = false;  // from a warm parent
    worker::keeper::Failure failure;
    bool tell_spawned = false;  // reports that the socket had no room for yet
    bool tell_ended = false;
    worker::keeper::Report ending;
  };

  void on_control();
  void kill_worker(const worker::keeper::Spawn& order);
  void spawn(const worker::keeper::Spawn& order, os::Received& received);
  void fork_worker(Entry& entry, const worker::keeper::Spawn& order, os::Received& received);
  void order_fork(Entry& entry, const worker::keeper::Spawn& order, os::Received& received);
  bool take_forked();
  void on_forked(const worker::keeper::Forked& forked);
  void on_exec_pipe(Entry& entry);
  void settle(Entry& entry, bool failed);
  void refuse(Entry& entry, worker::keeper::Step step, int error);
  void on_children();
  void on_ended(Entry& entry, const siginfo_t& info);
  void kill_strangers();
  void send_reports();
  bool send_report(const worker::keeper::Report& report, int fd = -1);
  void end_all();
  Entry* find(pid_t pid);

  const std::size_t capacity_;
  const std::size_t most_children_;
  std::unique_ptr<Entry[]> entries_;
  std::unique_ptr<pollfd[]> polls_;
  std::unique_ptr<pid_t[]> children_;
  ChildList child_list_;
  os::Fd signals_;
  const pid_t pid_;
  bool host_gone_ = false;
  bool reports_waiting_ = false;
  bool look_again_ = false;  // the last look for strangers, or for what warm parents say, was refused
};

}  // namespace lair::keeper
