// WarmLauncher: a launcher that sees to a warm parent, the process that workers are forked from.
//
// The parent is started, by the launcher inside, for the first worker that wants one; workers wait until it has imported
// its modules. It is started again when it dies, and replaced when workers want one of another revision. What it writes
// comes out as Notes. Requests without `warm` pass through.
//
// Thread-safety: one thread (the supervisor).
#pragma once

#include <deque>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "os/event_fd.hpp"
#include "os/poller.hpp"
#include "worker/channel.hpp"
#include "worker/launcher.hpp"
#include "worker/log_pump.hpp"

namespace lair::worker {

// The parent's; no worker has it, for slots are below 8192.
inline constexpr std::uint32_t kWarmSlot = 0xfffe;

class WarmLauncher final : public Launcher {
 public:
  // Throws CallError (kUnavailable) where the system has no descriptor left for it.
  explicit WarmLauncher(std::unique_ptr<Launcher> inner);
  ~WarmLauncher() override;

  int poll_fd() const noexcept override { return poller_.fd(); }
  std::vector<LaunchEvent> take_events() override;
  void spawn(SpawnRequest request) override;
  void signal(WorkerKey key, int signal_number) override;

 private:
  // kEnding: it has been killed; whoever wants a parent waits for the next one.
  enum class State : std::uint8_t { kSpawning, kImporting, kReady, kEnding };
  struct Parent {
    explicit Parent(WorkerKey name) : key(name), tail(kTailLines) {}
    WorkerKey key;
    State state = State::kSpawning;
    std::uint64_t revision = 0;
    TimePoint ready_since{};
    int pid = 0;
    os::Fd pidfd;
    std::optional<Channel> channel;
    LogPump out;
    LogPump err;
    StderrTail tail;
    std::optional<SpawnFailed> refusal;  // why it does not fork, in its own words; of no worker yet
  };
  static constexpr std::size_t kTailLines = 20;

  void serve(SpawnRequest request);
  void start_parent(const SpawnRequest& how);
  void end_parent();
  void on_parent_spawned(Spawned spawned);
  void on_parent_gone(const std::string& how);
  void hear_parent();
  void on_word(std::string_view payload);
  void pump(LogPump& pump, const char* stream);
  void fail_waiting(const SpawnFailed& why);
  void explain(SpawnFailed& failed) const;
  void add(LaunchEvent event);

  std::unique_ptr<Launcher> inner_;
  os::Poller poller_;
  os::EventFd have_events_;
  std::vector<LaunchEvent> events_;
  std::optional<Parent> parent_;
  std::shared_ptr<const SpawnRequest> how_;  // the last parent was started
  std::uint64_t parents_ = 0;
  std::deque<SpawnRequest> waiting_;  // for a parent that is ready
  std::set<WorkerKey> forking_;       // ordered from it
};

}  // namespace lair::worker
