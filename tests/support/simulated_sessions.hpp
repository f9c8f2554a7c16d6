// What the simulator knows of sessions by itself: who waits in them and in which order, which worker each is tied to, and what must
// never happen to one. It sees what the core tells the shell, and nothing of how the core keeps its table.
//
// Thread-safety: one thread.
#pragma once

#include <algorithm>
#include <map>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "core/core.hpp"
#include "support/schedule.hpp"

namespace lair::test {

using namespace core;

class SimulatedSessions {
 public:
  struct Entry {
    Affinity affinity = Affinity::kPrefer;
    WorkerRef home = {};
    bool had_home = false;
    bool lost = false;
    bool closed = false;
    bool watched = false;
    Token in_call = 0;
    Epoch last_epoch = 0;
    std::vector<Token> waiting;   // in order of arrival
    std::vector<Token> returned;  // those that had a worker before, and come back
    std::set<Token>
        behind;  // others were there when they came: when they may leave their home is the core's to know
    bool bound() const { return affinity != Affinity::kPrefer; }
    bool has_home() const { return home.generation != 0; }
    bool over() const { return lost || closed; }
    bool empty() const { return waiting.empty() && returned.empty(); }
  };

  SimulatedSessions(const Core& core, Troubles& troubles) : core_(core), troubles_(troubles) {}

  // Each of these says what was wrong; empty: nothing.
  std::string opened(SessionKey key, Affinity affinity) {
    if (affinity == Affinity::kExclusive) {
      std::size_t others = 0;
      for (const auto& [other, entry] : watched_)
        others += entry->affinity == Affinity::kExclusive && !entry->over() ? 1 : 0;
      if (others > 0 && others + 1 > core_.size() * 3 / 4) return "too many exclusive sessions";
    }
    entries_[key].affinity = affinity;
    watch(key);
    return {};
  }
  void closed(SessionKey key) {
    Entry& entry = entries_.at(key);
    entry.closed = true;
    entry.home = {};
  }
  void asked(const Checkout& checkout) {
    if (checkout.session == 0) return;
    Entry& entry = entries_.at(checkout.session);
    if (!entry.waiting.empty() || !entry.returned.empty() || entry.in_call != 0)
      entry.behind.insert(checkout.token);
    if (checkout.since && !entry.waiting.empty()) entry.behind.insert(entry.waiting.front());
    (checkout.since ? entry.returned : entry.waiting).push_back(checkout.token);
    watch(checkout.session);
  }
  // It has been granted or refused, or has given up.
  void waits_no_more(const Checkout& checkout) {
    if (checkout.session == 0) return;
    Entry& entry = entries_.at(checkout.session);
    std::vector<Token>& waiting = checkout.since ? entry.returned : entry.waiting;
    waiting.erase(std::remove(waiting.begin(), waiting.end(), checkout.token), waiting.end());
    entry.behind.erase(checkout.token);
  }

  std::string granted(const Checkout& checkout, const Grant& grant, TimePoint now) {
    for (const auto& [key, other] : watched_) {
      const bool owns = other->affinity == Affinity::kExclusive && other->home == grant.worker;
      if (owns && key != checkout.session) return "another has the worker of an exclusive session";
    }
    if (checkout.session == 0)
      return grant.met == Met::kNone ? "" : "it met a session's worker without a session";
    Entry& entry = entries_.at(checkout.session);
    if (entry.closed || entry.lost) return "a call of a session that is over";
    if (entry.in_call != 0) return "two calls of a session at once";
    if (grant.epoch <= entry.last_epoch) return "a session's epoch does not grow";
    if (!checkout.since && entry.waiting.front() != checkout.token) return "a session's calls change places";
    if (std::string problem = met(entry, checkout, grant, now); !problem.empty()) return problem;
    entry.in_call = checkout.token;
    entry.last_epoch = grant.epoch;
    waits_no_more(checkout);
    return {};
  }
  void given_back(const Checkout& checkout) {
    if (checkout.session == 0) return;
    Entry& entry = entries_.at(checkout.session);
    if (entry.in_call == checkout.token) entry.in_call = 0;
  }

  std::string refused(const Checkout& checkout, RefuseReason why) {
    waits_no_more(checkout);
    if (why != RefuseReason::kSessionEnded && why != RefuseReason::kSessionLost) return {};
    if (checkout.session == 0) return "refused for a session that it is not of";
    const Entry& entry = entries_.at(checkout.session);
    if (why == RefuseReason::kSessionEnded) return entry.closed ? "" : "refused for an end that never was";
    return entry.lost ? "" : "refused for a loss that never was";
  }

  std::string lost(const SessionLost& event) {
    Entry& entry = entries_.at(event.key);
    if (entry.closed || entry.lost) return "a session is lost that is over";
    if (!entry.bound() || entry.home != event.worker)
      return "a session is lost with a worker that it did not need";
    if (event.reason == Reason::kNone) return "a session is lost for nothing";
    entry.lost = true;
    entry.home = {};
    now_lost_.push_back(event.worker);
    ++troubles_.losses;
    return {};
  }
  void ended(WorkerRef worker) { ended_.insert(worker); }

  std::string after_step() {
    for (const WorkerRef worker : now_lost_) {
      if (ended_.count(worker) == 0) return "a session is lost, but its worker lives";
    }
    now_lost_.clear();
    for (const auto& [key, entry] : watched_) {
      if (entry->over() && !entry->empty()) return "one waits in a session that is over";
      if (!entry->has_home() || usable(*entry)) continue;
      if (!entry->bound()) {
        entry->home = {};
      } else if (ended_.count(entry->home) != 0) {
        return "session " + std::to_string(key) + " is lost, and nobody is told";
      }
    }
    std::erase_if(watched_, [](const auto& watched) {
      if (watched.second->over()) watched.second->watched = false;
      return watched.second->over();
    });
    return {};
  }

  // It would take any free worker, as far as anybody can know.
  bool seeks_any(const Checkout& checkout, TimePoint now) const {
    const Entry& entry = entries_.at(checkout.session);
    if (entry.in_call != 0 || entry.affinity == Affinity::kExclusive) return false;
    // The first in line is the one that came first, or one that is back.
    if (!entry.returned.empty() || entry.waiting.empty() || entry.waiting.front() != checkout.token)
      return false;
    if (!entry.has_home()) return true;
    if (entry.behind.count(checkout.token) != 0) return false;
    return !entry.bound() && checkout.spill_after <= now && core_.next_timer(now) > now;
  }
  bool in_call(SessionKey key) const { return entries_.at(key).in_call != 0; }
  const std::map<SessionKey, Entry>& all() const { return entries_; }

 private:
  void watch(SessionKey key) {
    Entry& entry = entries_.at(key);
    if (!std::exchange(entry.watched, true)) watched_.emplace_back(key, &entry);
  }
  bool usable(const Entry& entry) const {
    if (ended_.count(entry.home) != 0) return false;
    const auto view = core_.slot(entry.home.slot);
    return view.generation == entry.home.generation && (entry.bound() || !view.withdrawn);
  }
  std::size_t homed(WorkerRef worker) const {
    std::size_t count = 0;
    for (const auto& [key, entry] : watched_) count += entry->home == worker ? 1 : 0;
    return count;
  }
  std::string met(Entry& entry, const Checkout& checkout, const Grant& grant, TimePoint now) {
    if (!entry.bound() && entry.has_home() && entry.home != grant.worker && !usable(entry)) entry.home = {};
    const bool home = entry.home == grant.worker;
    if (entry.bound() && entry.has_home() && !home) return "a strict session has changed its worker";
    if (entry.bound() && entry.had_home && !home) return "a lost session goes on elsewhere";
    Met expected = entry.had_home ? Met::kMoved : Met::kFirst;
    if (entry.has_home()) expected = home ? Met::kHome : Met::kSpilled;
    if (grant.met != expected) return "it met its worker otherwise than it is said";
    if (expected == Met::kSpilled && now < checkout.spill_after &&
        (checkout.exclusive || homed(entry.home) < homed(grant.worker) + 2))
      return "a session leaves its worker too early";
    troubles_.spills += expected == Met::kSpilled ? 1 : 0;
    troubles_.moves += expected == Met::kMoved ? 1 : 0;
    if (entry.affinity == Affinity::kExclusive && !entry.has_home()) {
      for (const auto& [key, other] : watched_) {
        if (other->home != grant.worker) continue;
        if (other->bound()) return "an exclusive session gets a worker that another is bound to";
        other->home = {};
      }
    }
    entry.home = grant.worker;
    entry.had_home = true;
    return {};
  }

  const Core& core_;
  Troubles& troubles_;
  std::map<SessionKey, Entry> entries_;
  std::vector<std::pair<SessionKey, Entry*>>
      watched_;                // those not over, and those that somebody asked for in this step
  std::set<WorkerRef> ended_;  // stopped, killed or reaped
  std::vector<WorkerRef> now_lost_;
};

}  // namespace lair::test
