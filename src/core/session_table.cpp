#include "core/session_table.hpp"

#include "base/assert.hpp"

namespace lair::core {

void Homed::add(SessionRow& session, WorkerRef home) {
  LAIR_ASSERT(!session.has_home() && session.before == nullptr && session.after == nullptr);
  session.home = home;
  session.had_home = true;
  session.after = first;
  if (first != nullptr) first->before = &session;
  first = &session;
  ++all;
  bound += session.bound() ? 1 : 0;
}

void Homed::remove(SessionRow& session) {
  LAIR_ASSERT(session.has_home() && all > 0);
  (session.before == nullptr ? first : session.before->after) = session.after;
  if (session.after != nullptr) session.after->before = session.before;
  session.before = nullptr;
  session.after = nullptr;
  session.home = {};
  --all;
  bound -= session.bound() ? 1 : 0;
}

void SessionTable::open(SessionKey key, Affinity affinity) {
  LAIR_ASSERT(key > last_key_);
  last_key_ = key;
  SessionRow& session = sessions_[key];
  session.key = key;
  session.affinity = affinity;
  exclusive_ += affinity == Affinity::kExclusive ? 1 : 0;
}

void SessionTable::lose(SessionRow& session, Reason reason) {
  LAIR_ASSERT(session.bound() && session.lost == Reason::kNone && reason != Reason::kNone);
  session.lost = reason;
  exclusive_ -= session.affinity == Affinity::kExclusive ? 1 : 0;
}

void SessionTable::close(SessionRow& session) {
  LAIR_ASSERT(!session.has_home() && !session.waits && session.behind.count == 0);
  const bool counts = session.affinity == Affinity::kExclusive && session.lost == Reason::kNone;
  exclusive_ -= counts ? 1 : 0;
  sessions_.erase(session.key);
}

SessionRow* SessionTable::find(SessionKey key) {
  const auto found = sessions_.find(key);
  return found == sessions_.end() ? nullptr : &found->second;
}

const SessionRow* SessionTable::find(SessionKey key) const {
  const auto found = sessions_.find(key);
  return found == sessions_.end() ? nullptr : &found->second;
}

Duration patience_for_home(Duration typical_call, Duration remaining) {
  constexpr Duration kLeast = std::chrono::milliseconds(25);
  const Duration most = remaining / 10;
  if (typical_call >= most / 10) return most;
  return std::min(most, std::max(kLeast, 10 * typical_call));
}

}  // namespace lair::core
