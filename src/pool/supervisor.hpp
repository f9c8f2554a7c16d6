// Supervisor: the pool's one thread. It starts workers and walks them through their handshake, stops and kills them,
// notices their deaths, reads their logs, and keeps the core's timers. It never touches a leased channel.
//
// Thread-safety: `run` is the thread; nothing else is called from outside.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <unordered_map>
#include <vector>

#include "core/effect.hpp"
#include "os/poller.hpp"
#include "pool/bell.hpp"
#include "pool/code_watch.hpp"
#include "pool/environment.hpp"
#include "pool/record.hpp"
#include "pool/slow_calls.hpp"
#include "pool/stacks.hpp"
#include "wire/message.hpp"
#include "worker/launcher.hpp"
#include "worker/log_pump.hpp"

namespace lair::pool {

class Shell;

// The same worker to the core and to the keeper. Generations grow slowly: 32 bits of them outlast the pool.
inline worker::WorkerKey worker_key(core::WorkerRef ref) {
  return {.slot = ref.slot, .generation = ref.generation};
}
inline core::WorkerRef worker_ref(worker::WorkerKey key) {
  return {.slot = key.slot, .generation = key.generation};
}

// How much of one worker's output is read before the others have their turn.
inline constexpr std::size_t kLogBudget = 256u << 10;

// Each line of `text`, indented, after a line of its own.
std::string indented(const std::string& text);

// A whole frame: a call of the supervisor's own.
std::string without_arguments(const wire::CallHeader& header);

class Supervisor {
 public:
  Supervisor(Shell& shell, std::unique_ptr<worker::Launcher> launcher);
  ~Supervisor();

  // Until the pool has shut down and every worker is reaped.
  void run();

 private:
  enum class Stage : std::uint8_t { kSpawn, kHandshake, kWarmUp, kVerify, kUp };
  struct Cancelling {
    std::uint64_t id = 0;
    Bell bell;
  };
  struct LastWords {
    TimePoint due = TimePoint::max();  // to look whether it has written its stack
    TimePoint until{};
  };
  // The supervisor's side of one worker.
  struct Ward {
    RecordPtr record;
    core::Revision revision = 0;
    Stage stage = Stage::kSpawn;
    Deadline start_deadline = Deadline::never();
    TimePoint stage_began = SteadyClock::now();
    CodeWatch::FileTime began = CodeWatch::FileTime::clock::now();  // to compare with files
    StartTimes took;
    worker::LogPump out;
    worker::LogPump err;
    wire::CallHeader verifying;             // at stage kVerify: the call that it must answer
    LastWords last_words;                   // it writes its stack, and is killed then
    std::optional<wire::CallHeader> check;  // has been asked whether it is well
    std::optional<Cancelling> cancels;      // the call that it has been asked to give up
    TimePoint check_began{};                // and when it last was
    bool degraded = false;                  // it has answered with an error
    bool exited = false;
    bool watches_channel = false;
    bool start_failed = false;
    bool outgrown = false;    // it is to be replaced for its memory
    bool over_limit = false;  // it has been condemned for it

    TimePoint bell_due() const { return cancels && !exited ? cancels->bell.due() : TimePoint::max(); }
    // What has passed since the last call belongs to the stage whose `sum` it is.
    void stage_took(Duration& sum) {
      const TimePoint now = SteadyClock::now();
      sum += now - stage_began;
      stage_began = now;
    }
  };
  // The question to a version manager's shim: which Python is behind you?
  struct Probe {
    worker::WorkerKey key;
    worker::Process process;
    worker::LogPump out;
    worker::LogPump err;
    std::string answer;
    std::string complaint;
    Deadline deadline = Deadline::never();
  };

  // --- What the core wants -------------------------------------------------------------------------
  void carry_out(const core::Effect& effect);
  void spawn(core::WorkerRef ref, core::Revision revision);
  void launch(Ward& ward);
  void stop(core::WorkerRef ref);
  void check(core::WorkerRef ref);
  void cancel(core::WorkerRef ref);
  void on_recovery(Ward& ward);
  void ring(Ward& ward);
  void kill(core::WorkerRef ref, core::Reason reason);
  void ask_for_last_words(Ward& ward);
  void hear_last_words(Ward& ward, TimePoint now);
  void forget(core::WorkerRef ref);
  void moved(const core::Moved& news);
  void reloaded(const core::Reloaded& news);
  void succeeded(const core::Succeeded& news);
  void session_lost(const core::SessionLost& news);

  // --- What the world says -------------------------------------------------------------------------
  void on_launch(worker::LaunchEvent event);
  void on_spawned(Ward& ward, worker::Spawned spawned);
  void on_exit(Ward& ward, const worker::Exited& exited);
  void on_channel(Ward& ward);
  void on_handshake_reply(Ward& ward, std::string_view payload);
  void on_started_up(Ward& ward, std::string_view payload);
  void on_verified(Ward& ward, std::string_view payload);
  void on_process_end(Ward& ward);
  void on_check_reply(Ward& ward);
  void on_timers(TimePoint now);
  void report_leases(TimePoint now);
  void report_slow_calls(TimePoint now);
  void report_slow_call(const SlowCalls::Slow& slow, TimePoint seen, const Stacks::Taken& taken);
  void report_alerts(TimePoint now);
  void report_sheds(TimePoint now, bool all = false);
  void report_states();
  TimePoint memory_due() const;
  void look_at_memory(TimePoint now);

  // --- Starting ------------------------------------------------------------------------------------
  void prepare_environment();
  void probe_ended(std::optional<Error> error, bool permanent = true);
  void advance(Ward& ward, Stage stage);
  void verify(Ward& ward);
  void ready(Ward& ward);
  void fail_start(Ward& ward, Error error, bool permanent, bool has_process);
  Error start_error(const Ward& ward, std::string what) const;

  // --- Health --------------------------------------------------------------------------------------
  // `check`: why its check has failed, if that is why. Such a complaint is told as an event, too.
  static constexpr const char* kMissed = "missed";  // no answer
  static constexpr const char* kWrong = "error";
  void condemn(Ward& ward, core::Reason reason, std::string why, const char* check = nullptr);
  // What speaks against it, for health() and the log; nothing, if it is well. `answered`: it has said so itself.
  void complain(Ward& ward, std::string why, bool answered = false, const char* check = nullptr);
  // Said in the log, and told as an event: `reason` is why a check has failed, or `recovered`.
  void tell_check(const Ward& ward, bool failed, const char* reason, std::string message);
  // Whether the poller tells of what it writes.
  bool watch_channel(Ward& ward);
  void unwatch_channel(Ward& ward);

  // --- Code on disk --------------------------------------------------------------------------------
  void watch_code(const std::vector<std::string>& files, CodeWatch::FileTime since);
  void on_code_news();
  void look_at_code(TimePoint now);
  bool may_reload();
  bool watch_code_fd();

  // --- Logs ----------------------------------------------------------------------------------------
  void pump(Ward& ward, worker::LogPump& pump, const char* stream, std::size_t budget);
  void drain_logs(Ward& ward);

  Ward* find(core::WorkerRef ref);
  static std::uint64_t key_of(core::WorkerRef ref);
  std::string log_name(core::WorkerRef ref) const;  // "[text 0.1] ", before what the log says of it
  TimePoint next_wake();

  Shell& shell_;
  std::unique_ptr<worker::Launcher> launcher_;
  Stacks stacks_;
  os::Poller poller_;
  std::unordered_map<std::uint64_t, std::unique_ptr<Ward>> wards_;
  std::optional<Environment> environment_;
  std::optional<Error> environment_error_;
  std::optional<Probe> probe_;
  bool environment_known_ = false;
  core::Revision environment_revision_ = 0;
  std::uint64_t probes_ = 0;
  std::vector<core::WorkerRef> waiting_for_environment_;
  CodeWatch code_;
  bool watches_code_ = false;                    // the poller tells of it
  TimePoint arrays_due_ = TimePoint::max();      // when memory of arrays may be given back
  TimePoint core_timer_ = TimePoint::max();      // as it stood when the supervisor last went to sleep
  TimePoint leases_due_ = TimePoint::max();      // likewise
  TimePoint slow_calls_due_ = TimePoint::max();  // likewise
  TimePoint alerts_due_ = TimePoint::max();      // likewise
  TimePoint sheds_due_ = TimePoint::max();       // likewise
  TimePoint code_due_ = TimePoint::max();        // likewise
  TimePoint looked_at_memory_{};
  bool breaker_alert_ = false;
  bool code_alert_ = false;
  bool drained_ = false;
  TimePoint give_up_at_ = TimePoint::max();
};

}  // namespace lair::pool
