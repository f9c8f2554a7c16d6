// The model around the simulated core: what its effects mean, workers that start, answer and die, and what the model knows
// better than the core: who waits, who holds what, and what must never happen.
#pragma once

#include <algorithm>
#include <deque>
#include <map>
#include <string>
#include <unordered_map>
#include <vector>

#include "core/core.hpp"
#include "support/schedule.hpp"
#include "support/simulated_sessions.hpp"

namespace lair::test {

using namespace core;
using namespace std::chrono_literals;

class SimulatedWorld : protected Schedule {
 protected:
  enum class Phase { kSpawning, kLoading, kWarming, kUp };
  struct Worker {
    Phase phase = Phase::kSpawning;
    bool condemned = false;  // stopped or killed
    bool recovers = false;   // asked to give up a call
    bool checking = false;
    bool exits = false;  // its end is scheduled
    bool reaped = false;
    bool no_process = false;
    std::uint32_t taken = 0;
    std::size_t holds = 0;
  };
  enum class Fate { kWaiting, kHolding, kDone };
  struct Caller {
    Fate fate = Fate::kWaiting;
    Checkout asked;
    TimePoint since;
    bool claims = false;  // it was woken and will claim
    bool must_be_served = false;
    Grant grant;
  };

  SimulatedWorld(std::uint64_t seed, Flavour flavour)
      : Schedule(seed), flavour_(flavour), config_(some_config(seed)), core_(config_) {}

  CoreConfig some_config(std::uint64_t seed) {
    CoreConfig config;
    config.size = between(1, 5);
    config.overflow = chance(50) ? 0 : between(1, 3);
    config.lazy = chance(30);
    config.max_starting = between(1, 4);
    config.max_waiters = between(1, 24);
    config.barging_window = chance(30) ? 0ms : 5ms;
    config.terminate_grace = Duration(between(1, 5000) * 1ms);
    config.health_timeout = Duration(between(10, 2000) * 1ms);
    config.cancel_grace = Duration(between(0, 200) * 1ms);
    if (chance(30)) {
      config.health_interval =
          chance(50) ? Duration(between(1000, 5000) * 1ms) : Duration(between(60, 300) * 1s);
    }
    if (chance(30)) config.max_calls = between(1, 30);
    if (chance(20)) config.max_age = Duration(between(200, 20'000) * 1ms);
    if (config.lazy && chance(50)) config.idle_ttl = Duration(between(100, 5000) * 1ms);
    if (chance(30)) {
      const bool strict = chance(50);
      config.queue_target = Duration(between(10, strict ? 50 : 500) * 1ms);
      config.queue_interval = Duration(between(10, strict ? 200 : 2000) * 1ms);
    }
    if (flavour_.sessions) config.session_grace = chance(30) ? Duration::zero() : soon(3000);
    config.seed = seed;
    return config;
  }

  // --- The core and its effects --------------------------------------------------------------------
  Outcome step(const Event& event, const std::string& what) {
    trace_.push_back(std::to_string((now_ - TimePoint{}) / 1us) + " µs " + what);
    digest_ = digest_ * 31 + std::hash<std::string>{}(trace_.back());
    if (trace_.size() > 40) trace_.pop_front();
    Effects effects;
    const Outcome outcome = core_.step(event, now_, effects);
    for (std::size_t i = 0; i < effects.size(); ++i) {
      std::visit([this](const auto& effect) { on(effect); }, effects[i]);
    }
    if (outcome == Outcome::kIllegal) fail("illegal: " + what);
    if (const std::string broken = core_.broken_invariant(); !broken.empty()) fail("invariant: " + broken);
    if (flavour_.sessions) fail_if(sessions_.after_step());
    check_wakes();
    return outcome;
  }

  void on(const Grant& grant) {
    Caller& caller = callers_.at(grant.token);
    Worker* worker = find(grant.worker);
    if (caller.fate != Fate::kWaiting) return fail("granted to one that does not wait");
    if (core_.admission() == Admission::kPaused) return fail("granted while the pool is paused");
    if (worker == nullptr || worker->reaped) return fail("granted a worker that is gone");
    if (worker->phase != Phase::kUp || worker->condemned || worker->checking)
      return fail("granted a worker unfit for it");
    const std::uint32_t needs = takes(caller.asked);
    if (worker->taken + needs > flavour_.permits) return fail("a permit has two owners");
    if (!caller.asked.who.admits(grant.worker)) return fail("granted the wrong worker");
    if (flavour_.sessions) fail_if(sessions_.granted(caller.asked, grant, now_));
    check_order(caller);
    worker->taken += needs;
    ++worker->holds;
    leaves_line(caller, Fate::kHolding);
    caller.grant = grant;
    trace_.push_back("    " + std::to_string(grant.token) + " has " + name(grant.worker));
    const bool slow = chance(3);
    troubles_.delays += slow ? 1 : 0;
    after(slow ? soon(15'000) : soon(chance(50) ? 2 : 60), [this, token = grant.token] { give_back(token); });
  }
  void on(const Wake& wake) {
    Caller& caller = callers_.at(wake.token);
    if (caller.fate != Fate::kWaiting) return fail("woken, but it does not wait");
    caller.claims = true;
    after(soon(chance(80) ? 1 : 12), [this, token = wake.token] {
      Caller& woken = callers_.at(token);
      if (woken.fate != Fate::kWaiting) return;
      woken.claims = false;
      step(Claim{token}, "claim by " + std::to_string(token));
    });
  }
  void on(const Refuse& refusal) {
    Caller& caller = callers_.at(refusal.token);
    if (caller.fate != Fate::kWaiting) return fail("refused, but it does not wait");
    if (refusal.why == RefuseReason::kShed) {
      ++troubles_.sheds;
      if (caller.asked.patient) return fail("shed one that asked for no deadline");
      if (now_ - caller.since < 2 * config_.queue_target) return fail("shed one that came just now");
    }
    fail_if(sessions_.refused(caller.asked, refusal.why));
    if (caller.must_be_served && refusal.why != RefuseReason::kSessionLost)
      fail("calm, yet a session's call is refused");
    leaves_line(caller, Fate::kDone);
  }
  void on(const SessionLost& lost) { fail_if(sessions_.lost(lost)); }
  void on(const Spawn& spawn) {
    std::size_t loading = 0;
    std::size_t processes = 1;
    std::size_t beside = 0;
    for (const auto& [ref, other] : workers_) {
      processes += other.reaped ? 0 : 1;
      beside += ref.slot == spawn.worker.slot && !other.reaped ? 1 : 0;
      loading += !other.reaped && !other.condemned && other.phase <= Phase::kLoading ? 1 : 0;
    }
    if (beside > 1) fail("spawned into a slot that has a process, and its heir");
    if (processes > core_.slots() + 1) fail("more than one process beyond the slots");
    if (loading >= config_.max_starting) fail("too many load at once");
    if (!workers_.emplace(spawn.worker, Worker{}).second) fail("one generation twice");
    revisions_[spawn.worker] = spawn.revision;
    trace_.push_back("    spawn " + name(spawn.worker));
    after(soon(3), [this, ref = spawn.worker] { spawned(ref); });
  }
  void on(const Stop& stop) {
    workers_.at(stop.worker).condemned = true;
    sessions_.ended(stop.worker);
    workers_.at(stop.worker).recovers = false;
    const bool succeeded = stop.reason >= Reason::kMaxCalls && stop.reason <= Reason::kReload &&
                           stop.reason != Reason::kMemoryLimit;
    if (succeeded && !core_.slot(stop.worker.slot).overflow && !shut_down_) {
      const auto heir = std::find_if(workers_.begin(), workers_.end(), [&](const auto& entry) {
        return entry.first.slot == stop.worker.slot && entry.first.generation > stop.worker.generation;
      });
      // It may have died since, but it was ready before its predecessor was told to go.
      if (heir == workers_.end() && core_.slot(stop.worker.slot).generation <= stop.worker.generation)
        fail("a planned end before the heir was ready");
      ++troubles_.planned_ends;
    }
    if (chance(80)) end_after(stop.worker, soon(500));
  }
  void on(const Check& check) {
    Worker& worker = workers_.at(check.worker);
    if (worker.phase != Phase::kUp || worker.condemned || worker.checking || worker.taken > 0)
      return fail("checks a worker that is not idle");
    worker.checking = true;
    const unsigned fate = stormy() ? static_cast<unsigned>(between(0, 9)) : 9;
    if (fate == 0) {  // no answer
      ++troubles_.missed_checks;
      return;
    }
    after(stormy() ? soon(50) : Duration::zero(), [this, ref = check.worker, fate] {
      Worker* checked = alive(ref);
      if (checked == nullptr) return;
      checked->checking = false;
      if (fate <= 3) {
        step(CheckFailed{ref}, name(ref) + " answers with an error");
      } else {
        step(CheckPassed{ref}, name(ref) + " is well");
      }
    });
  }
  void on(const Cancel& cancel) {
    Worker& worker = workers_.at(cancel.worker);
    if (worker.phase != Phase::kUp || worker.taken > 0) return fail("asks a worker that others still hold");
    worker.recovers = true;
    if (chance(30)) return;  // it hears nothing
    after(soon(300), [this, ref = cancel.worker] {
      Worker* asked = alive(ref);
      if (asked == nullptr || !asked->recovers) return;
      asked->recovers = false;
      asked->condemned = false;
      ++troubles_.recoveries;
      step(CheckPassed{ref}, name(ref) + " has given up its call");
    });
  }
  void on(const Kill& kill) {
    Worker& worker = workers_.at(kill.worker);
    sessions_.ended(kill.worker);
    worker.condemned = true;
    worker.recovers = false;
    if (worker.phase == Phase::kSpawning) return;  // takes effect when it is there
    worker.exits = false;
    end_after(kill.worker, chance(2) ? soon(90'000) : soon(20));
  }
  void on(const Forget& forget) {
    const Worker& worker = workers_.at(forget.worker);
    if (!worker.reaped || worker.holds > 0) fail("forgotten too early");
    workers_.erase(forget.worker);
  }
  void on(const Reloaded& reloaded) {
    if (reloaded.revision != core_.revision()) fail("the end of a reload that nobody waits for");
    ++(reloaded.complete ? troubles_.reloads : troubles_.failed_reloads);
    for (const auto& [ref, worker] : workers_) {
      const auto found = revisions_.find(ref);
      if (reloaded.complete && !worker.reaped && found->second < reloaded.revision) fail("old code is left");
    }
  }
  void on(const Drained&) {
    if (drained_) fail("drained twice");
    drained_ = true;
    for (const auto& [ref, worker] : workers_) {
      if (!worker.reaped) fail("drained, but a process is left");
    }
  }
  template <class Other>
  void on(const Other&) {}

  // --- Model workers -------------------------------------------------------------------------------
  Worker* find(WorkerRef ref) {
    const auto found = workers_.find(ref);
    return found == workers_.end() ? nullptr : &found->second;
  }
  Worker* alive(WorkerRef ref) {
    Worker* worker = find(ref);
    return worker == nullptr || worker->reaped ? nullptr : worker;
  }

  void spawned(WorkerRef ref) {
    Worker& worker = workers_.at(ref);
    if (stormy() && chance(bad_starts_)) {
      worker.reaped = true;
      ++troubles_.spawn_failures;
      step(StartFailed{.worker = ref, .permanent = meddles_ && chance(5), .has_process = false},
           name(ref) + " cannot be spawned");
      return;
    }
    worker.phase = Phase::kLoading;
    step(Spawned{ref}, name(ref) + " spawned");
    if (worker.condemned) return end_after(ref, soon(20));
    advance_start(ref);
  }
  void advance_start(WorkerRef ref) {
    after(soon(80), [this, ref] {
      Worker* worker = alive(ref);
      if (worker == nullptr || worker->condemned) return;
      if (stormy() && chance(bad_starts_)) {
        if (chance(50)) return exited(ref);
        step(StartFailed{.worker = ref, .permanent = meddles_ && chance(5)}, name(ref) + " fails to start");
        return;
      }
      if (worker->phase == Phase::kLoading) {
        worker->phase = Phase::kWarming;
        step(Handshaken{ref}, name(ref) + " handshaken");
        return advance_start(ref);
      }
      worker->phase = Phase::kUp;
      step(Ready{.worker = ref, .permits = flavour_.permits}, name(ref) + " ready");
    });
  }
  void end_after(WorkerRef ref, Duration delay) {
    Worker& worker = workers_.at(ref);
    if (worker.exits) return;
    worker.exits = true;
    after(delay, [this, ref] { exited(ref); });
  }
  void exited(WorkerRef ref) {
    Worker* worker = alive(ref);
    if (worker == nullptr) return;
    troubles_.deaths += worker->condemned ? 0 : 1;
    worker->reaped = true;
    sessions_.ended(ref);
    step(Exited{ref}, name(ref) + " exits");
  }

  // --- Model callers -------------------------------------------------------------------------------
  void comes(const Caller& caller) {
    waiting_.push_back(&callers_.emplace(caller.asked.token, caller).first->second);
    sessions_.asked(caller.asked);
  }
  void leaves_line(Caller& caller, Fate fate) {
    caller.fate = fate;
    waiting_.erase(std::find(waiting_.begin(), waiting_.end(), &caller));
  }
  void give_back(Token token) {
    Caller& caller = callers_.at(token);
    caller.fate = Fate::kDone;
    Worker& worker = workers_.at(caller.grant.worker);
    worker.taken -= takes(caller.asked);
    sessions_.given_back(caller.asked);
    --worker.holds;
    const bool clean = !chance(stormy() ? 8 : 0);
    Checkin checkin{.worker = caller.grant.worker, .epoch = caller.grant.epoch, .clean = clean};
    checkin.completed = clean && chance(90) ? 1 : 0;
    if (!clean) checkin.reason = chance(50) ? Reason::kTimeout : Reason::kCrash;
    checkin.may_recover = !clean && chance(60);
    // A dirty worker is unfit from now on, whatever the core thinks of it.
    if (!clean) worker.condemned = true;
    step(checkin, std::to_string(token) + (clean ? " gives back " : " gives back, dirty, ") +
                      name(caller.grant.worker));
  }

  // --- What the model knows better -----------------------------------------------------------------
  std::size_t idle_workers() const {
    std::size_t idle = 0;
    for (const auto& [ref, worker] : workers_) {
      if (flavour_.sessions && withdrawn(ref)) continue;
      idle += worker.phase == Phase::kUp && !worker.reaped && !worker.condemned && !worker.checking &&
                      worker.taken == 0
                  ? 1
                  : 0;
    }
    return idle;
  }
  // A free worker is never kept from a sleeping waiter that it would do for, unless others are on their way.
  void check_wakes() {
    if (core_.admission() == Admission::kPaused) return;
    std::size_t on_their_way = 0;
    bool asleep = false;
    for (const Caller* caller : waiting_) {
      // Even past its deadline: it claims or gives up, and passes it on.
      on_their_way += caller->claims ? 1 : 0;
      if (asleep || caller->claims || caller->asked.deadline <= now_) continue;
      asleep = (!caller->asked.exclusive || flavour_.permits == 1) && seeks_any(caller->asked);
    }
    if (asleep && idle_workers() > on_their_way) fail("a waiter sleeps while a worker is idle");
  }
  // Nobody overtakes an elder of the window's age for the last worker.
  void check_order(const Caller& served) {
    if (flavour_.permits > 1 || !served.asked.who.any || served.asked.session != 0 || idle_workers() > 1)
      return;
    for (const Caller* elder : waiting_) {
      if (!elder->asked.who.any || elder->asked.deadline <= now_ || elder->asked.session != 0) continue;
      if (elder->since < served.since && now_ - elder->since >= config_.barging_window) {
        return fail(std::to_string(served.asked.token) + " overtakes " + std::to_string(elder->asked.token));
      }
    }
  }

  bool seeks_any(const Checkout& asked) const {
    return asked.session == 0 ? asked.who.any : sessions_.seeks_any(asked, now_);
  }
  // Kept for sessions that are bound to it: there the core is asked, for it alone knows when the end of a worker is planned.
  bool withdrawn(WorkerRef ref) const {
    const auto view = core_.slot(ref.slot);
    return view.generation != ref.generation || view.withdrawn;
  }
  // Permits.
  std::uint32_t takes(const Checkout& asked) const {
    const bool alone =
        asked.session != 0 && sessions_.all().at(asked.session).affinity == Affinity::kExclusive;
    return asked.exclusive || alone ? flavour_.permits : 1;
  }
  void fail_if(const std::string& problem) {
    if (!problem.empty()) fail(problem);
  }

  static std::string name(WorkerRef ref) {
    return std::to_string(ref.slot) + '.' + std::to_string(ref.generation);
  }
  void fail(const std::string& what) {
    if (problem_.empty()) problem_ = what;
  }

  const Flavour flavour_;
  const CoreConfig config_;
  Core core_;
  const unsigned trouble_every_ms_ =
      random_() % 5 == 0 ? 10 : 500;  // sometimes more deaths than the bucket has starts
  const unsigned bad_starts_ = random_() % 4 == 0 ? 60 : 5;  // per cent
  std::map<WorkerRef, Worker> workers_;
  std::unordered_map<Token, Caller> callers_;
  std::vector<Caller*> waiting_;  // those of them that do
  Token last_token_ = 0;
  SessionKey last_session_ = 0;
  std::map<WorkerRef, Revision> revisions_;
  bool meddles_ = false;  // somebody reloads: then starts may fail for good until they do
  bool shut_down_ = false;
  bool drained_ = false;
  Troubles troubles_;
  SimulatedSessions sessions_{core_, troubles_};
  std::size_t digest_ = 0;
  std::string problem_;
  std::deque<std::string> trace_;
};

}  // namespace lair::test
