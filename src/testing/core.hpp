// What a fake endpoint, its calls and its streams share: the fake time, what is waited for, and who is told.
//
// An operation is what ends with one outcome at one time: a call, or the next item of a stream. It ends when fake time comes
// to `due`, or earlier when it is cancelled. A blocking one ends with a thread in `wait`; any other is delivered.
//
// Thread-safety: any thread. The caller keeps the Core alive during a call of it.
#pragma once

#include <algorithm>
#include <condition_variable>
#include <cstdint>
#include <lair/testing.hpp>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <stop_token>
#include <string>
#include <utility>
#include <vector>

#include "testing/deliveries.hpp"

namespace lair::fake {

class Core;
struct Operation;

// For the stop token of an operation. It is registered before the operation begins and gone before the operation is.
struct CancelOperation {
  std::shared_ptr<Core> core;
  Operation* operation;
  void operator()() const;
};

// Duration::max() is for ever.
inline Duration later(Duration time, Duration by) {
  return by >= kForever - time ? kForever : time + std::max(by, Duration::zero());
}

struct Recorded : FakeCall {
  // Cancelled from now on, it may have run. Under the core's mutex.
  bool begun = false;
};

struct Operation {
  // --- Constant once it has begun -------------------------------------------------------------------------------------------
  StreamSource::Item outcome = Error();  // at `due`
  Duration due = kForever;
  bool sent = false;      // before it began
  bool ends_call = true;  // whatever the outcome; that of a stream's item only if it is none
  std::shared_ptr<Recorded> call;
  std::string quoted;  // the command, for messages
  Executor executor = {};
  OnceFunction<void(StreamSource::Item)> done = {};  // empty: a thread waits
  std::optional<std::stop_callback<CancelOperation>> stop = {};

  // --- The core's mutex -----------------------------------------------------------------------------------------------------
  bool begun = false;
  bool cancelled = false;
  bool ended = false;
  std::uint64_t number = 0;
};

class Core : public std::enable_shared_from_this<Core> {
 public:
  explicit Core(FakeTime mode) : mode_(mode) {}

  // --- Scripts --------------------------------------------------------------------------------------------------------------
  void script(const std::string& command, std::optional<Json> arguments, std::vector<Reply> replies);
  // What is scripted for this call, or what to say where nothing is. No function of the script's has been called.
  std::optional<Reply> scripted(const std::string& command, const Json& arguments);
  std::string not_scripted(const std::string& command, const Json& arguments) const;

  // --- Calls ----------------------------------------------------------------------------------------------------------------
  std::shared_ptr<Recorded> record(FakeCall call);
  std::vector<FakeCall> calls() const;
  std::size_t pending() const;
  void forget_calls();
  // A stream has been given up.
  void cancelled(FakeCall& call);

  // --- Operations -----------------------------------------------------------------------------------------------------------
  // `stop`: what cancels it. From then on `done` may be called.
  void begin(const std::shared_ptr<Operation>& operation, std::stop_token stop);
  void cancel(Operation& operation);
  // Blocks until it has ended; of one that has no `done`.
  StreamSource::Item wait(Operation& operation);
  // Ends all that is under way, and whatever begins from now on.
  void close();

  // --- Time -----------------------------------------------------------------------------------------------------------------
  Duration now() const;
  void advance(Duration time);
  bool advance_to_next();
  void settle() { deliveries_.settle(); }

 private:
  using Lock = std::unique_lock<std::mutex>;
  struct Script {
    std::optional<Json> arguments;  // none: whatever they are
    std::vector<Reply> replies;
    std::size_t given = 0;
  };

  bool something_is_due() const;
  // Moves time to the first of `waiting_` and ends that, if it is due by `until`. Unlocks meanwhile.
  bool end_first(Lock& lock, Duration until);
  static void jump(const std::shared_ptr<Core>& core);
  void end(Operation& operation, StreamSource::Item outcome);

  const FakeTime mode_;
  mutable std::mutex mutex_;
  std::condition_variable changed_;
  std::map<std::string, std::vector<Script>> scripts_;
  std::vector<std::shared_ptr<Recorded>> calls_;
  Duration now_ = Duration::zero();
  std::map<std::pair<Duration, std::uint64_t>, std::shared_ptr<Operation>>
      waiting_;  // by time, then in order
  std::uint64_t numbers_ = 0;
  bool closed_ = false;
  Deliveries deliveries_;
};

}  // namespace lair::fake
