// KeeperLauncher: real processes, made by lair-keeper.
//
// The keeper is a small program, found beside this one, that forks, parents and reaps the workers, and ends them all
// when this process goes, however it goes. If the keeper itself is killed its workers die with it; the next spawn starts
// another.
//
// Thread-safety: one thread (the supervisor).
#pragma once

#include <cstddef>
#include <lair/result.hpp>
#include <map>
#include <memory>
#include <set>
#include <string>

#include "os/event_fd.hpp"
#include "os/poller.hpp"
#include "worker/keeper_protocol.hpp"
#include "worker/launcher.hpp"

namespace lair::worker {

// Where lair-keeper is. `LAIR_KEEPER` wins; then beside the program and the library, then the installed path. The
// error lists every place that was looked at.
Result<std::string> find_keeper();

class KeeperLauncher final : public Launcher {
 public:
  struct Options {
    std::size_t capacity = 64;  // workers at once, the dying ones included
  };
  // Finds the keeper and starts it. kUnavailable where it is missing or does not run.
  static Result<std::unique_ptr<KeeperLauncher>> start(const Options& options);
  ~KeeperLauncher() override;

  int poll_fd() const noexcept override { return poller_.fd(); }
  std::vector<LaunchEvent> take_events() override;
  void spawn(SpawnRequest request) override;
  void signal(WorkerKey key, int signal_number) override;

 private:
  struct Pending {  // ordered, not yet spawned
    WorkerPipes pipes;
    std::string program;
    int signal_at_birth = 0;
  };

  KeeperLauncher(std::string keeper, const Options& options);
  Result<void> start_keeper();
  void fail(WorkerKey key, std::string step, int error, std::string message, bool permanent);
  void on_report(const keeper::Report& report, os::Fd pidfd);
  void on_spawned(WorkerKey key, int pid, os::Fd pidfd);
  void on_failed(WorkerKey key, const keeper::Report& report);
  void keeper_lost(const std::string& why);
  void end_keeper();

  const std::string keeper_;
  const Options options_;
  os::Poller poller_;
  os::EventFd have_events_;  // events that came without the keeper's doing
  os::Fd control_;
  int keeper_pid_ = 0;
  os::Fd keeper_pidfd_;
  TimePoint keeper_started_{};
  std::map<WorkerKey, Pending> pending_;
  std::map<WorkerKey, os::Fd> living_;   // pidfds
  std::set<WorkerKey> doomed_;           // spawned, but out of our reach: the keeper kills them
  std::map<WorkerKey, os::Fd> orphans_;  // of a keeper that was killed: they are dying with it
  std::vector<LaunchEvent> events_;
};

}  // namespace lair::worker
