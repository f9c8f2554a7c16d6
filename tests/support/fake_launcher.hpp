// A world without processes: workers are threads of this program, each at the other end of a socketpair,
// doing what a test tells them. The pool sees what it would see of processes: a channel, a stderr pipe, an
// end.
//
//   FakeWorld world(protocol_two([](FakeWorker&, const std::string&, const Json& args) { return args; }));
//   Shell shell(options, world.launcher());
//
// What a test wants to happen at a certain moment waits at a gate: a worker's `await("gate")` until the
// test's `world.open("gate")`. Nothing sleeps.
//
// Thread-safety: FakeWorld: any thread. FakeWorker: its own thread. The launcher: as worker::Launcher.
#pragma once

#include <condition_variable>
#include <functional>
#include <lair/json.hpp>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

#include "os/event_fd.hpp"
#include "worker/launcher.hpp"

namespace lair::test {

class FakeWorld;

// One "process", as its own code sees it.
class FakeWorker {
 public:
  FakeWorker(FakeWorld& world, worker::WorkerKey key, os::Fd channel, os::Fd err, os::Fd exit);

  worker::WorkerKey key() const { return key_; }
  std::uint64_t generation() const { return key_.generation; }

  // Nothing at the end of the channel, or when killed.
  std::optional<std::string> read_frame();
  std::optional<Json> read();
  bool write_raw(std::string_view bytes);
  bool write_frame(std::string_view payload);
  bool write(const Json& value) { return write_frame(value.dump()); }
  void log(std::string_view text);  // on stderr

  // Blocks until the test opens the gate: true; or until this worker is killed: false.
  bool await(const std::string& gate);
  // Blocks until it is killed.
  void hang() { (void)await(""); }
  void close_channel();  // and lives on
  int channel_fd() const { return channel_.get(); }

  bool ignores_sigterm = false;  // set it before the handshake's reply
  int exit_code = 0;             // when its code returns

 private:
  friend class FakeWorld;
  FakeWorld& world_;
  const worker::WorkerKey key_;
  os::Fd channel_;
  os::Fd err_;
  os::Fd exit_;
  int killed_by_ = 0;  // guarded by the world's mutex, like what follows
  bool gone_ = false;
  std::thread thread_;
};

using Behaviour = std::function<void(FakeWorker&)>;

// What a command's handler throws to raise an exception "in Python".
struct FakeRaise {
  std::string type;
  std::string message;
};
// Answers one call: a value; or nothing, for "say nothing" (it has done whatever it wanted itself).
using Handler =
    std::function<std::optional<Json>(FakeWorker&, const std::string& command, const Json& arguments)>;

// Well-behaved workers. Protocol 2 announces `commands`, and `more` as further members of result.lair.
Behaviour protocol_two(Handler handler, std::vector<std::string> commands = {"echo"},
                       Json more = Json::object());
Behaviour protocol_one(Handler handler);
// The host's first frame, answered so that protocol 2 is spoken from then on. False: killed meanwhile.
bool shake_hands(FakeWorker& worker, const std::vector<std::string>& commands,
                 const Json& more = Json::object());

class FakeWorld {
 public:
  explicit FakeWorld(Behaviour behaviour);
  ~FakeWorld();  // after the launcher

  std::unique_ptr<worker::Launcher> launcher();

  // For workers spawned from now on.
  void behave(Behaviour behaviour);
  // For workers spawned from now on: their pid is this process's, for what is looked up in /proc.
  void give_own_pid();
  // Called with each signal that the pool sends a worker, on the supervisor's thread. Set it before there is a pool.
  std::function<void(worker::WorkerKey, int)> on_signal;
  // Spawns from now on wait until they are released.
  void hold_spawns();
  void release_spawns();
  void fail_spawns(bool permanent);  // from now on
  void mend_spawns();

  void open(const std::string& gate);
  // How many workers wait at a gate.
  std::size_t at_gate(const std::string& gate) const;

  void kill(worker::WorkerKey key, int signal_number = 9);  // from outside, as the OOM killer would
  void kill_all(int signal_number = 9);
  std::size_t alive() const;
  std::size_t spawned() const;  // asked for, so far

 private:
  friend class FakeWorker;
  class FakeLauncher;

  void spawn(worker::WorkerKey key);  // the launcher's thread
  void start(worker::WorkerKey key);  // under the mutex
  void end(FakeWorker& worker);
  void kill_locked(FakeWorker& worker, int signal_number);

  mutable std::mutex mutex_;
  std::condition_variable changed_;
  Behaviour behaviour_;
  bool holding_ = false;
  bool own_pid_ = false;
  enum class Spawning { kWorks, kFails, kFailsForGood } spawning_ = Spawning::kWorks;
  std::set<std::string> open_gates_;
  std::map<std::string, std::size_t> waiting_at_;
  std::vector<worker::WorkerKey> held_;
  std::set<worker::WorkerKey> doomed_;  // killed before they were there
  std::map<worker::WorkerKey, std::unique_ptr<FakeWorker>> workers_;
  std::vector<worker::LaunchEvent> events_;
  os::EventFd told_;
  std::size_t spawned_ = 0;
};

}  // namespace lair::test
