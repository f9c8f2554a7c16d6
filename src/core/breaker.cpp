#include "core/breaker.hpp"

#include <algorithm>
#include <utility>

#include "base/assert.hpp"

namespace lair::core {

// --- The window ------------------------------------------------------------------------------------

void Breakers::Window::advance(TimePoint now, Duration step) {
  if (now < end) return;
  if (calls == 0) {  // nothing to forget: it begins anew
    end = now + step;
    return;
  }
  const auto passed = (now - end) / step + 1;
  for (auto i = std::min<Duration::rep>(passed, kSteps); i > 0; --i) {
    current = (current + 1) % kSteps;
    calls -= steps[current].calls;
    failures -= steps[current].failures;
    steps[current] = {};
  }
  end += passed * step;
}

void Breakers::Window::add(bool failure, TimePoint now, Duration step) {
  advance(now, step);
  ++steps[current].calls;
  ++calls;
  if (!failure) return;
  ++steps[current].failures;
  ++failures;
}

// --- Commands --------------------------------------------------------------------------------------

Breakers::Pass Breakers::find(std::string_view command) const {
  const auto found = by_name_.find(command);
  if (found != by_name_.end()) return {.command = found->second};
  return {.command = commands_.size() > kMostCommands ? static_cast<Id>(kMostCommands) : kUnknown};
}

Breakers::Id Breakers::make(std::string_view command) {
  const Pass known = find(command);
  if (known.command != kUnknown) return known.command;
  const Id id = static_cast<Id>(commands_.size());
  const bool is_other = id == kMostCommands;
  commands_.emplace_back().name = is_other ? kOthers : command;
  if (!is_other) by_name_.emplace(commands_.back().name, id);
  return id;
}

// --- On the way to a worker ------------------------------------------------------------------------

std::optional<Breakers::Refusal> Breakers::refusal_of(const Command& command, TimePoint now) const {
  Refusal refusal{.retry_after = kTrialPatience,
                  .trials_under_way = false,
                  .quarantined = command.quarantined,
                  .failed = command.why_failed,
                  .calls = command.why_calls,
                  .last = command.last_failure};
  if (command.state == BreakerState::kClosed) return std::nullopt;
  if (command.state == BreakerState::kOpen && now < command.open_until) {
    refusal.retry_after = command.open_until - now;
    return refusal;
  }
  if (command.trials < options_.probes) return std::nullopt;
  refusal.trials_under_way = true;
  return refusal;
}

std::optional<Breakers::Refusal> Breakers::look(const Pass& pass, TimePoint now) {
  if (closed(pass)) return std::nullopt;
  Command& command = commands_[pass.command];
  auto refusal = refusal_of(command, now);
  if (refusal) ++command.refused;
  return refusal;
}

std::optional<Breakers::Refusal> Breakers::enter(Pass& pass, TimePoint now) {
  LAIR_ASSERT(!pass.trial);
  if (auto refusal = look(pass, now)) return refusal;
  if (closed(pass)) return std::nullopt;
  Command& command = commands_[pass.command];
  if (command.state == BreakerState::kOpen) {
    command.state = BreakerState::kHalfOpen;
    command.successes = 0;
  }
  ++command.trials;
  pass.trial = true;
  pass.opening = command.opened;
  return std::nullopt;
}

Breakers::Refusal Breakers::refusal(const Pass& pass, TimePoint now) const {
  LAIR_ASSERT(!closed(pass));
  const auto refusal = refusal_of(commands_[pass.command], now);
  LAIR_ASSERT(refusal.has_value());
  return *refusal;
}

// --- On the way back -------------------------------------------------------------------------------

Breakers::Change Breakers::leave(Pass& pass, std::string_view name, TryOutcome outcome, TimePoint now) {
  const bool trial = std::exchange(pass.trial, false);
  if (trial) --commands_[pass.command].trials;
  if (outcome == TryOutcome::kNothing) return Change::kNone;
  if (pass.command == kUnknown) pass.command = make(name);

  Command& command = commands_[pass.command];
  const bool failure = outcome != TryOutcome::kAnswered;
  ++command.calls;
  if (failure) {
    ++command.failures;
    command.last_failure = outcome;
  }
  if (!options_.enabled) return Change::kNone;

  if (command.state == BreakerState::kClosed) {
    if (!trips(command, outcome, now)) return Change::kNone;
    open(command, now);
    return Change::kOpened;
  }
  // Calls that were let through before it opened say nothing about whether the world has mended since.
  if (command.state != BreakerState::kHalfOpen || !trial || pass.opening != command.opened)
    return Change::kNone;
  if (failure) {
    open(command, now);
    return Change::kOpened;
  }
  if (++command.successes < options_.probes) return Change::kNone;
  close(command);
  return Change::kClosed;
}

bool Breakers::trips(Command& command, TryOutcome outcome, TimePoint now) {
  const bool failure = outcome != TryOutcome::kAnswered;
  command.window.add(failure, now, options_.window / Window::kSteps);
  if (outcome == TryOutcome::kCrash) {
    std::erase_if(command.crashes, [&](TimePoint at) { return now - at > options_.crash_window; });
    command.crashes.push_back(now);
    if (command.crashes.size() >= options_.crashes) {
      command.quarantined = true;
      command.why_failed = static_cast<std::uint32_t>(command.crashes.size());
      command.why_calls = command.why_failed;
      return true;
    }
  }
  const Window& window = command.window;
  if (window.failures == 0 || window.calls < options_.min_calls ||
      std::uint64_t{window.failures} * 100 < std::uint64_t{window.calls} * options_.failure_percent) {
    return false;
  }
  command.why_failed = window.failures;
  command.why_calls = window.calls;
  return true;
}

void Breakers::open(Command& command, TimePoint now) {
  ++command.opened;
  ++command.openings_in_a_row;
  // Not simply n × open_for: that would overflow some day.
  const bool longest = command.openings_in_a_row > options_.open_at_most / options_.open_for;
  command.open_until =
      now + (longest ? options_.open_at_most : options_.open_for * command.openings_in_a_row);
  command.state = BreakerState::kOpen;
}

void Breakers::close(Command& command) {
  command.state = BreakerState::kClosed;
  command.quarantined = false;
  command.openings_in_a_row = 0;
  command.window = {};
  command.crashes.clear();
}

// --- Views -----------------------------------------------------------------------------------------

std::vector<BreakerStats> Breakers::stats(TimePoint now) const {
  std::vector<BreakerStats> all;
  all.reserve(commands_.size());
  for (const Command& command : commands_) {
    const bool over = command.state == BreakerState::kOpen && now >= command.open_until;
    const auto refusal = refusal_of(command, now);
    all.push_back({.command = command.name,
                   .state = over ? BreakerState::kHalfOpen : command.state,
                   .quarantined = command.quarantined,
                   .calls = command.calls,
                   .failures = command.failures,
                   .opened = command.opened,
                   .refused = command.refused,
                   .retry_after = refusal ? refusal->retry_after : Duration::zero()});
  }
  return all;
}

std::string Breakers::refused_commands() const {
  std::string names;
  for (const Command& command : commands_) {
    if (command.state == BreakerState::kClosed) continue;
    names += (names.empty() ? "" : ", ") + command.name;
  }
  return names;
}

}  // namespace lair::core
