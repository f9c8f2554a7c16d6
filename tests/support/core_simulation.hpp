// A small simulator around the core: model workers and model callers under a random schedule, with time that
// jumps. Each seed is one schedule: a storm of calls, deaths, failing starts, late check-ins and meddling operators, then a calm
// in which the pool must heal, or a shutdown in which it must drain.
#pragma once

#include <string>

#include "support/simulated_world.hpp"

namespace lair::test {

class Simulation : private SimulatedWorld {
 public:
  Simulation(std::uint64_t seed, Flavour flavour) : SimulatedWorld(seed, flavour) {}

  // What went wrong; empty if nothing did.
  std::string run() {
    step(Begin{}, "begin");
    storm_end_ = now_ + Duration(between(1, 20) * 1s);
    const bool shut_down = chance(40);
    arrive();
    trouble();
    meddles_ = chance(50);
    if (meddles_) meddle();
    if (flavour_.sessions) sessions_live();
    if (shut_down) {
      at(now_ + Duration(between(0, 20'000) * 1ms), [this] {
        shut_down_ = true;
        step(Shutdown{now_ + Duration(between(0, 3000) * 1ms)}, "shutdown");
      });
    }
    play(storm_end_ + (config_.health_interval < 10s ? Duration(8min) : Duration(20min)));
    if (problem_.empty()) check_rest(shut_down);
    if (problem_.empty()) return {};
    std::string story = problem_ + "\nthe last events:";
    for (const std::string& line : trace_) story += "\n  " + line;
    return story;
  }
  const Troubles& troubles() const { return troubles_; }
  // Of all that has happened, in order: the same for two runs of the same schedule.
  std::size_t digest() const { return digest_; }

 private:
  // --- Time ----------------------------------------------------------------------------------------
  void play(TimePoint end) {
    int ticks_here = 0;
    while (problem_.empty()) {
      if (stormy() && random_() % 200 == 0) {
        const Duration jump = between(1, 10'000) * 1ms;
        now_ += jump;
        storm_end_ += jump;
        ++troubles_.clock_jumps;
      }
      const TimePoint timer = core_.next_timer(now_);
      const TimePoint action = actions_.empty() ? TimePoint::max() : actions_.begin()->first;
      const TimePoint next = std::max(now_, std::min(timer, action));
      if (next > end || next == TimePoint::max()) return;
      ticks_here = next > now_ ? 0 : ticks_here;
      now_ = next;
      if (timer <= action) {
        // The supervisor is a little late, asks again whether a tick is due, and must hear that it is.
        const Duration late =
            chance(50) ? Duration::zero() : std::min(soon(1), std::max(Duration::zero(), action - now_));
        now_ += late;
        troubles_.delays += late > Duration::zero() ? 1 : 0;
        if (core_.next_timer(now_) > now_) return fail("next_timer() was due and then was not");
        if (++ticks_here > 5) return fail("the timer does not come to rest");
        step(Tick{}, "tick");
        continue;
      }
      const auto run = std::move(actions_.begin()->second);
      actions_.erase(actions_.begin());
      run();
    }
  }

  // --- Model callers -------------------------------------------------------------------------------
  void arrive() {
    if (!stormy()) return;
    const std::uint64_t crowd = chance(5) ? between(2, 12) : 1;
    for (std::uint64_t i = 0; i < crowd; ++i) ask();
    after(soon(chance(10) ? 1500 : 40), [this] { arrive(); });
  }
  void ask() {
    const Token token = ++last_token_;
    Caller caller;
    caller.asked = {.token = token, .deadline = now_ + soon(chance(30) ? 20 : 3000)};
    caller.asked.exclusive = flavour_.leases && chance(25);
    caller.asked.patient = chance(20);
    if (flavour_.pins && chance(25)) {
      const auto slot = static_cast<std::uint32_t>(between(0, core_.slots() - 1));
      caller.asked.who = Eligibility::just({slot, core_.slot(slot).generation});
    } else if (chance(30)) {
      caller.asked.who.rather = static_cast<std::uint32_t>(between(0, core_.slots()));
    }
    if (chance(10)) caller.asked.since = now_ - soon(30);
    if (flavour_.sessions && last_session_ > 0 && caller.asked.who.any && chance(70))
      join_session(caller.asked);
    caller.since = caller.asked.since.value_or(now_);
    comes(caller);
    at(caller.asked.deadline, [this, token] {
      Caller& late = callers_.at(token);
      if (late.fate != Fate::kWaiting) return;
      leaves_line(late, Fate::kDone);
      sessions_.waits_no_more(late.asked);
      ++troubles_.cancels;
      if (step(Abandon{token}, std::to_string(token) + " gives up") != Outcome::kDone)
        fail("a waiter was lost");
    });
    step(caller.asked, std::to_string(token) + (caller.asked.exclusive ? " asks for a lease" : " asks") +
                           in_session(caller.asked.session));
  }

  // --- Sessions ------------------------------------------------------------------------------------
  static std::string in_session(SessionKey key) {
    return key == 0 ? "" : " in session " + std::to_string(key);
  }
  // One of the latest, or one that may long be over.
  void join_session(Checkout& asked) {
    const SessionKey oldest = chance(95) && last_session_ > 6 ? last_session_ - 5 : 1;
    asked.session = between(oldest, last_session_);
    if (chance(70)) asked.spill_after = now_ + (chance(20) ? Duration::zero() : soon(25));
  }
  void sessions_live() {
    if (!stormy()) return after(3min, [this] { sessions_settle(); });
    const SessionKey old = last_session_ == 0 ? 0 : between(1, last_session_);
    if (old != 0 && chance(40)) {
      close_session(old);
    } else {
      auto affinity = static_cast<Affinity>(between(0, 2));
      if (affinity == Affinity::kExclusive && !core_.may_open_exclusive()) affinity = Affinity::kStrict;
      fail_if(sessions_.opened(++last_session_, affinity));
      step(OpenSession{last_session_, affinity}, "open" + in_session(last_session_));
    }
    after(soon(chance(30) ? 3000 : 100), [this] { sessions_live(); });
  }
  void close_session(SessionKey key) {
    const bool open = !sessions_.all().at(key).closed;
    sessions_.closed(key);
    const Outcome outcome = step(CloseSession{key}, "close" + in_session(key));
    if (outcome != (open ? Outcome::kDone : Outcome::kStale)) fail("a session was closed twice, or not");
  }
  // When all is calm, those that have a worker are served by it, and then they end.
  void sessions_settle() {
    SessionKey next = 0;
    for (const auto& [key, entry] : sessions_.all()) {
      if (entry.closed) continue;
      next = key;
      break;
    }
    if (next == 0) return;
    Caller caller;
    caller.asked = {.token = ++last_token_, .session = next};
    caller.since = now_;
    caller.must_be_served = sessions_.all().at(next).has_home() && !shut_down_;
    comes(caller);
    step(caller.asked, "a last call" + in_session(next));
    after(250ms, [this, next, token = last_token_] {
      Caller& last = callers_.at(token);
      const Worker* home = alive(sessions_.all().at(next).home);
      if (last.must_be_served && last.fate == Fate::kWaiting && (home == nullptr || home->taken == 0))
        fail("calm, yet a session's worker cannot be had");
      last.must_be_served = false;
      close_session(next);
      sessions_settle();
    });
  }
  // What operators do.
  void meddle() {
    if (!stormy()) {
      step(Admit{Admission::kOpen}, "resume");
      step(Reload{}, "reload, and the code is good");
      return;
    }
    switch (between(0, 5)) {
      case 0:
      case 1:
        step(Reload{}, "reload");
        break;
      case 2:
        step(Resize{between(1, 6)}, "resize");
        break;
      case 3:
        step(Admit{Admission::kPaused}, "pause");
        break;
      case 4:
        step(Admit{Admission::kDraining}, "drain");
        break;
      default:
        step(Admit{Admission::kOpen}, "resume");
    }
    after(chance(30) ? soon(5000) : soon(300), [this] { meddle(); });
  }

  // Deaths, checks, verdicts and retirements of workers that are up.
  void trouble() {
    if (!stormy()) return;
    for (std::uint32_t i = 0; i < core_.slots(); ++i) {
      const WorkerRef ref{i, core_.slot(i).generation};
      Worker* worker = alive(ref);
      if (worker == nullptr || worker->phase != Phase::kUp || worker->condemned || !chance(20)) continue;
      switch (between(0, 3)) {
        case 0:
          exited(ref);
          break;
        case 1:
          step(Condemn{ref, chance(50) ? Reason::kTimeout : Reason::kProtocol}, name(ref) + " is condemned");
          break;
        case 2:
          step(Retire{ref, chance(50) ? Reason::kRecycled : Reason::kMaxMemory}, name(ref) + " is to retire");
          break;
        default:
          if (core_.slot(i).state != SlotState::kIdle || worker->checking) break;
          step(BeginCheck{ref}, name(ref) + " is checked");
      }
    }
    after(soon(trouble_every_ms_), [this] { trouble(); });
  }

  void check_rest(bool shut_down) {
    for (const auto& [token, caller] : callers_) {
      if (caller.fate != Fate::kDone) return fail(std::to_string(token) + " has not ended");
    }
    if (core_.waiters() != 0) fail("waiters are left");
    if (core_.lingering() != 0) fail("rows linger");
    if (shut_down) {
      if (!drained_ || !workers_.empty()) fail("not drained");
      return;
    }
    const std::size_t ready = core_.ready_count();
    if (config_.lazy ? ready > core_.size() : ready != core_.size()) {
      fail("calm, yet " + std::to_string(ready) + " of " + std::to_string(core_.size()) + " are ready");
    }
    if (core_.failed()) fail("calm, yet failed");
    if (core_.reloading()) fail("calm, yet reloading");
    for (std::uint64_t i = 0; i < core_.size(); ++i) {  // and all of them can be had
      if (config_.lazy) break;
      ask_now(100 * (i + 1));
    }
  }
  void ask_now(Token extra) {
    const Token token = last_token_ + extra;
    Caller caller;
    caller.asked = {.token = token};
    comes(caller);
    step(caller.asked, "a last call");
    // One may be just being asked whether it is well.
    if (callers_.at(token).fate == Fate::kWaiting) play(now_ + 20ms);
    if (callers_.at(token).fate == Fate::kWaiting) fail("an idle worker cannot be had");
  }
};

}  // namespace lair::test
