#include "pool/alerts.hpp"

#include <algorithm>
#include <cmath>

#include "base/assert.hpp"

namespace lair::pool {

namespace {

using namespace std::chrono_literals;

double sum_of(AlertKind kind, const Ledger::Troubles& sums) {
  switch (kind) {
    case AlertKind::kExhausted:
      return std::chrono::duration<double>(sums.exhausted).count();
    case AlertKind::kBelowSize:
      return std::chrono::duration<double>(sums.below_size).count();
    case AlertKind::kRestartStorm:
      break;
  }
  return static_cast<double>(sums.bad_exits);
}

std::string message_of(AlertKind kind, double grown, Duration over) {
  const std::string of =
      " of the last " + std::to_string(std::chrono::round<std::chrono::seconds>(over).count()) + " s";
  const std::string number = std::to_string(std::llround(grown));
  switch (kind) {
    case AlertKind::kExhausted:
      return "callers waited and no worker was idle for " + number + of;
    case AlertKind::kBelowSize:
      return "fewer workers than size were ready for " + number + of;
    case AlertKind::kRestartStorm:
      break;
  }
  return number + " workers ended unasked in" + of.substr(3);
}

}  // namespace

const char* to_string(AlertKind kind) noexcept {
  static constexpr const char* kNames[] = {"exhausted", "below_size", "restart_storm"};
  static_assert(std::size(kNames) == kAlerts);
  LAIR_ASSERT(static_cast<std::size_t>(kind) < kAlerts);
  return kNames[static_cast<std::size_t>(kind)];
}

// The same thresholds as in deploy/prometheus/lair.rules.yml. A storm: twice the pool's workers in a minute, at least 5.
Alerts::Alerts(std::size_t size)
    : rules_{Rule{10s, 9.0, 5.0}, Rule{30s, 27.0, 15.0},
             Rule{60s, static_cast<double>(std::max<std::size_t>(5, 2 * size)),
                  static_cast<double>(std::max<std::size_t>(5, 2 * size)) / 2}} {}

bool Alerts::begins(AlertKind kind, const Ledger::Troubles& sums, TimePoint now) {
  Watch& watch = watches_[static_cast<std::size_t>(kind)];
  if (watch.window) return false;
  const TimePoint before = next_look();
  watch.window = now;
  watch.begun_with = sum_of(kind, sums) - (kind == AlertKind::kRestartStorm ? 1 : 0);
  return next_look() < before;
}

TimePoint Alerts::next_look() const {
  TimePoint next = TimePoint::max();
  for (std::size_t i = 0; i < kAlerts; ++i) {
    if (watches_[i].window) next = std::min(next, *watches_[i].window + rules_[i].window);
  }
  return next;
}

std::vector<Alerts::Change> Alerts::look(const Ledger::Troubles& sums, TimePoint now) {
  std::vector<Change> changes;
  for (std::size_t i = 0; i < kAlerts; ++i) {
    const auto kind = static_cast<AlertKind>(i);
    Watch& watch = watches_[i];
    const Rule& rule = rules_[i];
    if (!watch.window || now < *watch.window + rule.window) continue;
    const double sum = sum_of(kind, sums);
    const double grown = sum - watch.begun_with;
    const Duration over = now - *watch.window;
    // A look that comes late has a longer window: the measures grow with it.
    const double stretch = std::chrono::duration<double>(over) / std::chrono::duration<double>(rule.window);
    const bool bad = grown >= rule.raise_at * stretch;
    const bool good = grown < rule.clear_below * stretch;
    if (watch.raised ? good : bad) {
      watch.raised = !watch.raised;
      changes.push_back({.kind = kind, .raised = watch.raised, .message = message_of(kind, grown, over)});
    }
    watch.window.reset();
    if (watch.raised || grown > 0) {
      watch.window = now;
      watch.begun_with = sum;
    }
  }
  return changes;
}

}  // namespace lair::pool
