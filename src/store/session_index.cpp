#include "store/session_index.hpp"

#include <algorithm>
#include <utility>

namespace lair::store {

namespace {

// What a session that nobody has heard of would be.
bool is_nothing(const SessionFacts& facts) { return facts.bytes == 0 && facts.expires == TimePoint::max(); }

}  // namespace

bool SessionIndex::touch(const std::string& session, TimePoint expires, std::int64_t expires_ms,
                         std::uint64_t slack_ms) {
  const std::lock_guard lock(mutex_);
  SessionFacts& facts = sessions_[session];
  facts.expires = expires;
  facts.touches = ++touches_;
  if (!facts.stored_ms) {
    if (is_nothing(facts)) sessions_.erase(session);
    return false;
  }
  if (facts.queued) return false;
  // Unsigned, for one of them may be SqliteFile::kNever.
  const auto [earlier, later] = std::minmax(expires_ms, *facts.stored_ms);
  const std::uint64_t moved = static_cast<std::uint64_t>(later) - static_cast<std::uint64_t>(earlier);
  if (moved <= slack_ms) return false;
  facts.queued = true;
  due_.push_back(session);
  return true;
}

std::vector<std::string> SessionIndex::take_due() {
  const std::lock_guard lock(mutex_);
  for (const std::string& session : due_) {
    const auto found = sessions_.find(session);
    if (found != sessions_.end()) found->second.queued = false;
  }
  return std::exchange(due_, {});
}

SessionFacts SessionIndex::look(const std::string& session) const {
  const std::lock_guard lock(mutex_);
  const auto found = sessions_.find(session);
  return found == sessions_.end() ? SessionFacts{} : found->second;
}

std::vector<std::string> SessionIndex::expired(TimePoint now) const {
  std::vector<std::string> names;
  const std::lock_guard lock(mutex_);
  for (const auto& [name, facts] : sessions_) {
    if (facts.expires <= now) names.push_back(name);
  }
  return names;
}

std::vector<std::string> SessionIndex::with_data() const {
  std::vector<std::string> names;
  const std::lock_guard lock(mutex_);
  for (const auto& [name, facts] : sessions_) {
    if (facts.bytes > 0) names.push_back(name);
  }
  return names;
}

std::uint64_t SessionIndex::total_bytes() const {
  const std::lock_guard lock(mutex_);
  return total_;
}

void SessionIndex::load(std::string session, const SessionFacts& facts) {
  const std::lock_guard lock(mutex_);
  total_ += facts.bytes;
  sessions_.insert_or_assign(std::move(session), facts);
}

void SessionIndex::publish(const SessionChanges& changes) {
  const std::lock_guard lock(mutex_);
  for (const auto& [name, change] : changes) {
    SessionFacts& facts = sessions_[name];
    total_ += change.bytes - facts.bytes;  // modulo 2^64, so also down
    facts.bytes = change.bytes;
    facts.stored_ms = change.stored_ms;
    // A touch that came after the drop is the beginning of a new session of this name.
    if (change.dropped_at && *change.dropped_at == facts.touches) facts.expires = TimePoint::max();
    if (is_nothing(facts)) sessions_.erase(name);
  }
}

}  // namespace lair::store
