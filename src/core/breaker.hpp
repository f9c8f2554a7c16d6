// Breakers: which commands are not called for a while, because they cost too many workers.
//
// Each command has a circuit breaker. It counts what its calls came to on a worker: an answer (a Python exception is
// one), a crash, a missed deadline, an answer that breaks the protocol. Too many failures within the window open it, and
// so do a few crashes by themselves, however many calls went well: the command is then quarantined.
//
//     closed ──too many failures──► open ──its time is over──► half-open ──enough successes──► closed
//                                     ▲                            │
//                                     └───────one failure──────────┘
//
// An open breaker refuses for `open_for`, the second time in a row twice as long, and so on, up to `open_at_most`. A half-open
// one lets a few trial calls through at once. A caller asks twice: before it waits for a worker (`look`), so that
// refusal is immediate, and when it has one (`enter`), since the world may have changed meanwhile.
//
// The window moves in twentieths of its length. Beyond 200 commands, all others share one breaker: names that workers do
// not announce come from the callers, who may invent any number of them.
//
// Thread-safety: none; the shell's mutex guards it. No clock: time is a parameter, and may be a little out of order.
#pragma once

#include <array>
#include <cstdint>
#include <deque>
#include <lair/options.hpp>
#include <lair/stats.hpp>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

namespace lair::core {

// What a call came to on a worker. kNothing: it did not get as far, or its end was not the command's doing.
enum class TryOutcome : std::uint8_t { kNothing, kAnswered, kCrash, kTimeout, kProtocol };

class Breakers {
 public:
  static constexpr std::size_t kMostCommands = 200;
  static constexpr std::string_view kOthers = "other";  // what the rest goes by
  // What a caller is told to wait for where nobody knows: trial calls are under way.
  static constexpr Duration kTrialPatience = std::chrono::seconds(1);

  explicit Breakers(const BreakerOptions& options) : options_(options) {}

  using Id = std::uint32_t;
  static constexpr Id kUnknown = ~Id{0};
  // One call's business with its command's breaker.
  struct Pass {
    Id command = kUnknown;  // it has had no outcome yet: closed
    bool trial = false;     // a place among the trial calls is taken, until `leave`
    std::uint64_t opening = 0;
  };

  struct Refusal {
    Duration retry_after;
    bool trials_under_way;  // it is half-open, and all places are taken
    bool quarantined;
    std::uint32_t failed;  // when it first opened: so many …
    std::uint32_t calls;   // … of so many calls; or so many crashes
    TryOutcome last;       // the last failure
  };

  Pass find(std::string_view command) const;
  // The usual case, for which nobody needs to look at the clock.
  bool closed(const Pass& pass) const {
    return pass.command == kUnknown || commands_[pass.command].state == BreakerState::kClosed;
  }
  // Before the wait: would it be refused?
  std::optional<Refusal> look(const Pass& pass, TimePoint now);
  // After it: takes a place among the trial calls, where the breaker is half-open.
  std::optional<Refusal> enter(Pass& pass, TimePoint now);

  enum class Change : std::uint8_t { kNone, kOpened, kClosed };
  // After the call; once for each `enter` that let it through. `command`: for the first outcome of a command.
  Change leave(Pass& pass, std::string_view command, TryOutcome outcome, TimePoint now);
  // For the log: the refusal that the next caller would get. The breaker must not be closed.
  Refusal refusal(const Pass& pass, TimePoint now) const;

  std::vector<BreakerStats> stats(TimePoint now) const;
  // "parse, count": the commands that are refused but for trial calls. Empty, mostly, and then without a cost.
  std::string refused_commands() const;

 private:
  // Calls and failures within the last twenty steps of time.
  struct Window {
    static constexpr std::size_t kSteps = 20;
    struct Step {
      std::uint32_t calls = 0;
      std::uint32_t failures = 0;
    };
    std::array<Step, kSteps> steps = {};
    std::size_t current = 0;
    TimePoint end = TimePoint::min();  // of the current step
    std::uint32_t calls = 0;           // of all steps
    std::uint32_t failures = 0;

    void add(bool failure, TimePoint now, Duration step);
    void advance(TimePoint now, Duration step);
  };
  struct Command {
    std::string name;
    BreakerState state = BreakerState::kClosed;
    bool quarantined = false;
    TimePoint open_until{};
    std::uint32_t openings_in_a_row = 0;
    std::uint32_t trials = 0;     // under way
    std::uint32_t successes = 0;  // of trial calls since it was last open
    std::uint32_t why_failed = 0;
    std::uint32_t why_calls = 0;
    TryOutcome last_failure = TryOutcome::kNothing;
    Window window;
    std::vector<TimePoint> crashes;
    std::uint64_t calls = 0;
    std::uint64_t failures = 0;
    std::uint64_t opened = 0;
    std::uint64_t refused = 0;
  };

  Id make(std::string_view command);
  bool trips(Command& command, TryOutcome outcome, TimePoint now);
  void open(Command& command, TimePoint now);
  static void close(Command& command);
  std::optional<Refusal> refusal_of(const Command& command, TimePoint now) const;

  const BreakerOptions options_;
  std::deque<Command> commands_;                      // never shrinks: names stay where they are
  std::unordered_map<std::string_view, Id> by_name_;  // without kOthers
};

}  // namespace lair::core
