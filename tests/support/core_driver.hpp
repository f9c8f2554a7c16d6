// CoreDriver: a core with a clock that only moves when told, for tests that walk it through events.
//
// After each step it asks the core whether an invariant is broken, and keeps the books that the core doesn't
// show: who holds what, and that nothing is granted, refused or forgotten twice.
//
// Thread-safety: one thread.
#pragma once

#include <gtest/gtest.h>

#include <map>
#include <optional>
#include <set>
#include <variant>
#include <vector>

#include "core/core.hpp"

namespace lair::test {

using namespace core;  // NOLINT: tests of the core read better so
using namespace std::chrono_literals;

class CoreDriver {
 public:
  explicit CoreDriver(const CoreConfig& config, bool begin = true) : core(config) {
    if (begin) step(Begin{});
  }

  Core core;
  TimePoint now = TimePoint{} + 1000s;

  Outcome step(const Event& event) {
    Effects effects;
    const Outcome outcome = core.step(event, now, effects);
    EXPECT_EQ(core.broken_invariant(), "");
    if (const auto* checkin = std::get_if<Checkin>(&event); checkin != nullptr && outcome == Outcome::kDone) {
      holds_.erase(checkin->epoch);
    }
    if (outcome != Outcome::kDone) {
      EXPECT_TRUE(effects.empty()) << "an event without a consequence had effects";
    }
    for (std::size_t i = 0; i < effects.size(); ++i) note(effects[i]);
    return outcome;
  }

  // Moves the clock, ticking whenever the core asks for it. It is asked again when the time has come, as a
  // supervisor may that was busy meanwhile: what was due and has not been ticked must then still be due.
  void advance(Duration duration) {
    const TimePoint until = now + duration;
    for (int ticks = 0;; ++ticks) {
      ASSERT_LT(ticks, 100'000) << "the timer never comes to rest";
      const TimePoint due = core.next_timer(now);
      if (due > until) break;
      now = std::max(now, due);
      if (core.next_timer(now) > now) continue;
      step(Tick{});
    }
    now = until;
  }

  // All effects of a kind since they were last taken.
  template <class E>
  std::vector<E> take() {
    std::vector<E> found;
    std::vector<Effect> rest;
    for (const Effect& effect : effects_) {
      if (const auto* e = std::get_if<E>(&effect)) {
        found.push_back(*e);
      } else {
        rest.push_back(effect);
      }
    }
    effects_ = std::move(rest);
    return found;
  }
  template <class E>
  std::size_t count() const {
    std::size_t n = 0;
    for (const Effect& effect : effects_) n += std::holds_alternative<E>(effect) ? 1 : 0;
    return n;
  }
  void clear() { effects_.clear(); }

  // --- Workers -------------------------------------------------------------------------------------
  std::vector<WorkerRef> starting() const {
    std::vector<WorkerRef> refs;
    for (std::uint32_t i = 0; i < core.slots(); ++i) {
      const auto slot = core.slot(i);
      if (slot.state == SlotState::kStarting) refs.push_back({i, slot.generation});
    }
    return refs;
  }
  void make_ready(WorkerRef ref, std::uint32_t permits = 1) {
    EXPECT_EQ(step(Spawned{ref}), Outcome::kDone);
    EXPECT_EQ(step(Handshaken{ref}), Outcome::kDone);
    EXPECT_EQ(step(Ready{.worker = ref, .permits = permits}), Outcome::kDone);
  }
  // Also those that may start only when these have.
  void make_all_ready(std::uint32_t permits = 1) {
    while (core.starting_count() > 0) make_ready(starting().front(), permits);
  }
  WorkerRef worker(std::uint32_t slot) const { return {slot, core.slot(slot).generation}; }
  SlotState state(std::uint32_t slot) const { return core.slot(slot).state; }

  // --- Callers -------------------------------------------------------------------------------------
  // The grant, if there was one at once.
  struct How {  // a Checkout without its token
    Eligibility who = {};
    bool exclusive = false;
    TimePoint deadline = TimePoint::max();
    std::optional<TimePoint> since = {};
    SessionKey session = 0;
    TimePoint spill_after = TimePoint::max();
  };
  std::optional<Grant> checkout(Token token) { return checkout(token, How{}); }
  std::optional<Grant> checkout(Token token, const How& how) {
    const Checkout event{.token = token,
                         .who = how.who,
                         .exclusive = how.exclusive,
                         .deadline = how.deadline,
                         .since = how.since,
                         .session = how.session,
                         .spill_after = how.spill_after};
    EXPECT_EQ(step(event), Outcome::kDone);
    return grant_of(token);
  }
  // --- Sessions --------------------------------------------------------------------------------------
  // The number of a new one.
  SessionKey open(Affinity affinity) {
    EXPECT_EQ(step(OpenSession{++last_session_, affinity}), Outcome::kDone);
    return last_session_;
  }
  // A whole call of it: where it was served.
  WorkerRef call(Token token, SessionKey session) {
    const auto grant = checkout(token, {.session = session});
    EXPECT_TRUE(grant) << "no worker at once";
    if (!grant) return {};
    checkin(*grant);
    return grant->worker;
  }
  WorkerRef home(SessionKey session) const { return core.session(session)->home; }
  std::optional<Grant> claim(Token token) {
    EXPECT_EQ(step(Claim{token}), Outcome::kDone);
    return grant_of(token);
  }
  std::optional<Grant> grant_of(Token token) const {
    const auto found = granted_.find(token);
    return found == granted_.end() ? std::nullopt : std::optional(found->second);
  }
  std::optional<RefuseReason> refusal_of(Token token) const {
    const auto found = refused_.find(token);
    return found == refused_.end() ? std::nullopt : std::optional(found->second.why);
  }
  Duration retry_after(Token token) const { return refused_.at(token).retry_after; }
  bool woken(Token token) const { return woken_.count(token) != 0; }
  // A clean check-in after `completed` calls.
  Outcome checkin(const Grant& grant, std::uint32_t completed = 1) {
    return step(Checkin{.worker = grant.worker, .epoch = grant.epoch, .completed = completed});
  }
  Outcome checkin(Token token, std::uint32_t completed = 1) { return checkin(*grant_of(token), completed); }
  Outcome checkin_dirty(Token token, Reason reason) {
    const Grant grant = *grant_of(token);
    return step(Checkin{.worker = grant.worker, .epoch = grant.epoch, .clean = false, .reason = reason});
  }
  std::size_t holds() const { return holds_.size(); }

 private:
  void note(const Effect& effect) {
    effects_.push_back(effect);
    if (const auto* grant = std::get_if<Grant>(&effect)) {
      EXPECT_TRUE(granted_.emplace(grant->token, *grant).second) << "granted twice";
      EXPECT_EQ(refused_.count(grant->token), 0u) << "granted after it was refused";
      EXPECT_TRUE(holds_.emplace(grant->epoch, *grant).second) << "two holds of one epoch";
      const auto surge = core.surge();
      const bool apart = surge && surge->worker == grant->worker;
      EXPECT_EQ(apart ? surge->state : state(grant->worker.slot), SlotState::kBusy);
      EXPECT_TRUE(apart || worker(grant->worker.slot) == grant->worker) << "granted a worker that is gone";
    } else if (const auto* refusal = std::get_if<Refuse>(&effect)) {
      EXPECT_TRUE(refused_.emplace(refusal->token, *refusal).second) << "refused twice";
      EXPECT_EQ(granted_.count(refusal->token), 0u) << "refused after it was granted";
    } else if (const auto* wake = std::get_if<Wake>(&effect)) {
      woken_.insert(wake->token);
    } else if (const auto* forget = std::get_if<Forget>(&effect)) {
      EXPECT_TRUE(forgotten_.insert(forget->worker).second) << "forgotten twice";
      for (const auto& [epoch, hold] : holds_)
        EXPECT_NE(hold.worker, forget->worker) << "forgotten while held";
    } else if (std::holds_alternative<Drained>(effect)) {
      EXPECT_FALSE(drained_) << "drained twice";
      drained_ = true;
    } else if (const auto* spawn = std::get_if<Spawn>(&effect)) {
      EXPECT_TRUE(spawned_.insert(spawn->worker).second) << "one generation spawned twice";
    }
  }

  std::vector<Effect> effects_;
  std::map<Token, Grant> granted_;
  std::map<Token, Refuse> refused_;
  std::map<Epoch, Grant> holds_;
  std::set<Token> woken_;
  std::set<WorkerRef> forgotten_;
  std::set<WorkerRef> spawned_;
  SessionKey last_session_ = 0;
  bool drained_ = false;
};

// Every worker is ready, and what led to it is forgotten.
inline CoreDriver ready_pool(const CoreConfig& config, std::uint32_t permits = 1) {
  CoreDriver driver(config);
  driver.make_all_ready(permits);
  driver.clear();
  return driver;
}

}  // namespace lair::test
