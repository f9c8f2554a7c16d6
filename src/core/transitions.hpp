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
  kCheckPassed,
  kStop,     // asked to end
  kCondemn,  // must end
  kExited,
};
inline constexpr std::size_t kWorkerEvents = 11;

enum class Rule : std::uint8_t { kIllegal, kIgnore, kStarting, kIdle, kBusy, kChecking, kStopping, kDead };

namespace detail {
constexpr auto X = Rule::kIllegal;
constexpr auto I = Rule::kIgnore;
constexpr auto S = Rule::kStarting;
constexpr auto D = Rule::kIdle;
constexpr auto B = Rule::kBusy;
constexpr auto C = Rule::kChecking;
constexpr auto P = Rule::kStopping;
constexpr auto Z = Rule::kDead;
}  // namespace detail

// clang-format off
inline constexpr std::array<std::array<Rule, kWorkerEvents>, kWorkerStates> kTransitions = {{
  //               spawned    handshaken ready      failed     grant      release    check      passed     stop       condemn    exited
  /* starting */ {{detail::S, detail::S, detail::D, detail::P, detail::X, detail::X, detail::X, detail::X, detail::P, detail::P, detail::Z}},
  /* idle     */ {{detail::X, detail::X, detail::X, detail::X, detail::B, detail::X, detail::C, detail::X, detail::P, detail::P, detail::Z}},
  /* busy     */ {{detail::X, detail::X, detail::X, detail::X, detail::B, detail::D, detail::X, detail::X, detail::P, detail::P, detail::Z}},
  /* checking */ {{detail::X, detail::X, detail::X, detail::X, detail::X, detail::X, detail::X, detail::D, detail::P, detail::P, detail::Z}},
  /* stopping */ {{detail::I, detail::I, detail::I, detail::I, detail::X, detail::I, detail::X, detail::I, detail::I, detail::I, detail::Z}},
  /* dead     */ {{detail::X, detail::X, detail::X, detail::X, detail::X, detail::I, detail::X, detail::X, detail::X, detail::I, detail::X}},
}};
// clang-format on
static_assert(kTransitions.size() == kWorkerStates && kTransitions[0].size() == kWorkerEvents);
static_assert(static_cast<std::size_t>(WorkerState::kDead) + 1 == kWorkerStates);
static_assert(static_cast<std::size_t>(WorkerEvent::kExited) + 1 == kWorkerEvents);

constexpr Rule rule(WorkerState state, WorkerEvent event) {
  return kTransitions[static_cast<std::size_t>(state)][static_cast<std::size_t>(event)];
}

// The state a rule leads to; nothing for kIllegal and kIgnore.
constexpr std::optional<WorkerState> target(Rule rule) {
  switch (rule) {
    case Rule::kStarting: return WorkerState::kStarting;
    case Rule::kIdle: return WorkerState::kIdle;
    case Rule::kBusy: return WorkerState::kBusy;
    case Rule::kChecking: return WorkerState::kChecking;
    case Rule::kStopping: return WorkerState::kStopping;
    case Rule::kDead: return WorkerState::kDead;
    case Rule::kIllegal:
    case Rule::kIgnore: break;
  }
  return std::nullopt;
}

}  // namespace lair::core
