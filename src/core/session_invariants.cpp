// What must hold of sessions between any two steps.
#include <algorithm>

#include "core/core.hpp"

namespace lair::core {

namespace {

// Beyond that many, only what workers and waiters know of them is looked at: developers' builds ask after every step.
constexpr std::size_t kFew = 200;

std::string in_session(SessionKey key, const char* what) {
  return "session " + std::to_string(key) + ": " + what;
}

}  // namespace

std::string Core::broken_session(const SessionRow& session) const {
  const auto broken = [&](const char* what) { return in_session(session.key, what); };
  if (session.lost != Reason::kNone) {
    if (!session.bound()) return broken("lost, though any worker would do");
    if (session.has_home() || session.waits) return broken("lost, yet it goes on");
  }
  if (session.behind.count > 0 && !session.waits) return broken("parked behind nobody");
  if (session.has_home()) {
    const Row* home = live(session.home);
    if (home == nullptr || !is_up(home->state)) return broken("its home is gone");
    if (!session.bound() && !open(*home)) return broken("at home where nobody else is served");
    const bool owns = home->owner == session.key;
    if (owns != (session.affinity == Affinity::kExclusive))
      return broken("exclusive, but not alone, or the reverse");
  }
  std::size_t calls = 0;
  bool same = true;
  const auto look_at = [&](const Row& row) {
    for (const Hold& hold : row.holds) {
      if (hold.session != session.key) continue;
      ++calls;
      same = same && hold.epoch == session.call;
    }
  };
  for (const Slot& slot : slots_) {
    if (slot.row) look_at(*slot.row);
  }
  if (surge_) look_at(*surge_);
  std::for_each(lingering_.begin(), lingering_.end(), look_at);
  if (calls > 1) return broken("in two calls at once");
  if (!same || calls != (session.call != 0 ? 1u : 0u)) return broken("its call and its hold disagree");
  return {};
}

std::string Core::broken_session_invariant() const {
  std::size_t in_line = 0;
  for (auto i = queue_.first(); i != WaitQueue::kNone; i = queue_.next(i)) {
    const Waiter& waiter = queue_.at(i);
    if (waiter.session == nullptr) continue;
    ++in_line;
    const SessionRow& session = *waiter.session;
    if (!session.waits || session.first != waiter.token)
      return in_session(session.key, "two places in the line");
    const Row* home = session.has_home() ? live(session.home) : nullptr;
    const bool kept_from_it = home != nullptr && home->owner == session.key &&
                              home->retire == Reason::kNone && home->state == WorkerState::kIdle &&
                              session.call == 0;
    if (kept_from_it && !waiter.woken && waiter.deadline > now_ && admission_ != Admission::kPaused)
      return in_session(session.key, "its own worker is free, but its waiter sleeps");
  }
  std::size_t exclusive = 0;
  const auto look_at = [&](const Row& row) -> std::string {
    std::uint32_t all = 0;
    std::uint32_t bound = 0;
    if (row.homed.all > kFew) return {};
    for (const SessionRow* session = row.homed.first; session != nullptr; session = session->after) {
      if (session->home != row.ref) return in_session(session->key, "on the list of another home");
      ++all;
      bound += session->bound() ? 1 : 0;
    }
    if (all != row.homed.all || bound != row.homed.bound) return "a worker's count of sessions is off";
    if (all > 0 && !is_up(row.state)) return "home to sessions, but not up";
    exclusive += row.owner != 0 ? 1 : 0;
    if (row.owner != 0 && (all != 1 || row.homed.first->key != row.owner)) return "owned, but home to others";
    const bool stays_idle = row.retire != Reason::kNone && row.state == WorkerState::kIdle;
    if (stays_idle && bound == 0) return "idle and to leave, but stays for nobody";
    return {};
  };
  for (const Slot& slot : slots_) {
    if (std::string broken = slot.row ? look_at(*slot.row) : ""; !broken.empty()) return broken;
  }
  if (std::string broken = surge_ ? look_at(*surge_) : ""; !broken.empty()) return broken;
  if (exclusive > sessions_.exclusive()) return "more exclusive sessions have workers than there are";

  if (sessions_.size() > kFew) return {};
  std::size_t waiting = 0;
  std::size_t parked = 0;
  for (const auto& [key, session] : sessions_) {
    if (std::string broken = broken_session(session); !broken.empty()) return broken;
    waiting += session.waits ? 1 : 0;
    parked += session.behind.count;
  }
  if (parked != queue_.parked()) return "parked waiters do not add up";
  if (waiting != in_line) return "sessions' waiters in the line do not add up";
  return {};
}

}  // namespace lair::core
