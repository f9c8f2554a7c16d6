// The life of a worker as a table: state × event → next state. Whatever is not in it is a bug.
//
//   starting → idle ⇄ busy → stopping → dead        any living state → dead (it exited unasked)
//               ⇅                                   any living state → stopping (condemned)
//            checking
//
// Thread-safety: constants.
#pragma once

#include <array>
#include <optional>

#include "core/types.hpp"

namespace lair::core {

enum class WorkerEvent : std::uint8_t {
  kSpawned,
  kHandshaken,
  kReady,
  kStartFailed,  // its process is still there, or was never made
  kGrant,
  kRelease,  // a hold comes back clean; the worker goes idle when it was the last one
  kBeginCheck,
  kCheckPassed,  // or answered with an error, which is an answer
  kStop,         // asked to end
  kCondemn,      // must end
  kExited,
};
inline constexpr std::size_t kWorkerEvents = 11;

enum class Rule : std::uint8_t { kIllegal, kIgnore, kStarting, kIdle, kBusy, kChecking, kStopping, kDead };

using TransitionTable = std::array<std::array<Rule, kWorkerEvents>, kWorkerStates>;

constexpr TransitionTable make_transitions() {
  constexpr Rule kX = Rule::kIllegal;
  constexpr Rule kI = Rule::kIgnore;
  constexpr Rule kS = Rule::kStarting;
  constexpr Rule kD = Rule::kIdle;
  constexpr Rule kB = Rule::kBusy;
  constexpr Rule kC = Rule::kChecking;
  constexpr Rule kP = Rule::kStopping;
  constexpr Rule kZ = Rule::kDead;
  // clang-format off
  return {{
    //            spawned handshaken ready failed grant release check passed stop condemn exited
    /* starting */ {{kS,  kS,        kD,   kP,    kX,   kX,     kI,   kX,    kP,  kP,     kZ}},
    /* idle     */ {{kX,  kX,        kX,   kX,    kB,   kX,     kC,   kX,    kP,  kP,     kZ}},
    /* busy     */ {{kX,  kX,        kX,   kX,    kB,   kD,     kI,   kX,    kP,  kP,     kZ}},
    /* checking */ {{kX,  kX,        kX,   kX,    kX,   kX,     kI,   kD,    kP,  kP,     kZ}},
    /* stopping */ {{kI,  kI,        kI,   kI,    kX,   kI,     kI,   kI,    kI,  kI,     kZ}},
    /* dead     */ {{kX,  kX,        kX,   kX,    kX,   kI,     kX,   kX,    kX,  kI,     kX}},
  }};
  // clang-format on
}
inline constexpr TransitionTable kTransitions = make_transitions();
static_assert(kTransitions.size() == kWorkerStates && kTransitions[0].size() == kWorkerEvents);
static_assert(static_cast<std::size_t>(WorkerState::kDead) + 1 == kWorkerStates);
static_assert(static_cast<std::size_t>(WorkerEvent::kExited) + 1 == kWorkerEvents);

constexpr Rule rule(WorkerState state, WorkerEvent event) {
  return kTransitions[static_cast<std::size_t>(state)][static_cast<std::size_t>(event)];
}

// The state a rule leads to; nothing for kIllegal and kIgnore.
constexpr std::optional<WorkerState> target(Rule rule) {
  switch (rule) {
    case Rule::kStarting:
      return WorkerState::kStarting;
    case Rule::kIdle:
      return WorkerState::kIdle;
    case Rule::kBusy:
      return WorkerState::kBusy;
    case Rule::kChecking:
      return WorkerState::kChecking;
    case Rule::kStopping:
      return WorkerState::kStopping;
    case Rule::kDead:
      return WorkerState::kDead;
    case Rule::kIllegal:
    case Rule::kIgnore:
      break;
  }
  return std::nullopt;
}

}  // namespace lair::core
