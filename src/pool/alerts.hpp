// Alerts: whether a pool is in trouble that lasts, judged from what its ledger has added up. Pure: time and sums are
// parameters.
//
// Each alert looks at how much its sum has grown over a window. It is raised at one measure and cleared below a smaller
// one, so that a pool at the edge is not reported again and again. Windows follow each other while there is something to
// watch, and trouble that begins opens the first: a pool that is well, or idle, is never looked at. Trouble is thus seen
// at the end of the first window that it fills, two windows after it began at the latest.
//
// Thread-safety: none; the shell's mutex guards it.
#pragma once

#include <array>
#include <lair/deadline.hpp>
#include <optional>
#include <string>
#include <vector>

#include "pool/ledger.hpp"

namespace lair::pool {

enum class AlertKind : std::uint8_t { kExhausted, kBelowSize, kRestartStorm };
inline constexpr std::size_t kAlerts = 3;
const char* to_string(AlertKind kind) noexcept;

class Alerts {
 public:
  // An alert was raised or cleared.
  struct Change {
    AlertKind kind;
    bool raised;
    std::string message;
  };

  explicit Alerts(std::size_t size);

  // What the alert is about begins, if it isn't watched already: a worker's bad end has just been counted, the others'
  // time has not. True: `next_look` has come nearer.
  bool begins(AlertKind kind, const Ledger::Troubles& sums, TimePoint now);
  // When `look` is next to be called; TimePoint::max() if there is nothing to watch.
  TimePoint next_look() const;
  std::vector<Change> look(const Ledger::Troubles& sums, TimePoint now);
  bool watches(AlertKind kind) const { return watches_[static_cast<std::size_t>(kind)].window.has_value(); }
  bool raised(AlertKind kind) const { return watches_[static_cast<std::size_t>(kind)].raised; }

 private:
  struct Watch {
    double begun_with = 0;                 // the sum at the window's begin: seconds, or exits
    std::optional<TimePoint> window = {};  // its begin; none: not watching
    bool raised = false;
  };
  struct Rule {
    Duration window;
    double raise_at;  // growth within a window: seconds, or exits
    double clear_below;
  };
  const std::array<Rule, kAlerts> rules_;
  std::array<Watch, kAlerts> watches_{};
};

}  // namespace lair::pool
