#include "pool/session_book.hpp"

#include <algorithm>

namespace lair::pool {

using State = SessionEntry::State;

static TimePoint later(TimePoint now, Duration by) {
  return by >= TimePoint::max() - now ? TimePoint::max() : now + by;
}

SessionPtr SessionBook::find(std::string_view id) const {
  const auto found = by_id_.find(id);
  return found == by_id_.end() ? nullptr : found->second;
}

SessionEntry* SessionBook::find(core::SessionKey number) const {
  const auto found = by_number_.find(number);
  return found == by_number_.end() ? nullptr : found->second;
}

std::vector<SessionPtr> SessionBook::all() const {
  std::vector<SessionPtr> all;
  all.reserve(by_id_.size());
  for (const auto& [id, entry] : by_id_) all.push_back(entry);
  std::sort(all.begin(), all.end(), [](const auto& a, const auto& b) { return a->number < b->number; });
  return all;
}

core::SessionKey SessionBook::open(const SessionPtr& entry, TimePoint now) {
  entry->number = next_number();
  entry->state = State::kOpen;
  entry->cause.clear();
  entry->created = std::chrono::system_clock::now();
  entry->last_used = now;
  by_id_[entry->id] = entry;
  by_number_[entry->number] = entry.get();
  if (entry->ttl != kForever) looks_.emplace(later(now, entry->ttl), entry->number);
  ++totals_.opened;
  return entry->number;
}

void SessionBook::renumber(SessionEntry& entry) {
  by_number_.erase(entry.number);
  entry.number = next_number();
  entry.state = State::kOpen;
  entry.cause.clear();
  by_number_[entry.number] = &entry;
  if (entry.ttl != kForever) looks_.emplace(later(entry.last_used, entry.ttl), entry.number);
}

void SessionBook::close(SessionEntry& entry, State why) {
  ++(why == State::kExpired ? totals_.expired : totals_.ended);
  entry.state = why;
  by_number_.erase(entry.number);
  by_id_.erase(entry.id);  // perhaps the last to hold it
}

void SessionBook::lost(core::SessionKey number, std::string_view cause) {
  SessionEntry* entry = find(number);
  if (entry == nullptr) return;
  ++totals_.lost[std::string(cause)];
  lost_[number] = entry->id;
  entry->cause = cause;
  entry->live = 0;
  if (entry->state == State::kOpen) entry->state = State::kLost;
}

std::string SessionBook::take_lost(core::SessionKey number) {
  auto lost = lost_.extract(number);
  return lost.empty() ? std::string() : std::move(lost.mapped());
}

void SessionBook::used(SessionEntry& entry, TimePoint now) {
  entry.last_used = now;
  if (entry.to_touch || entry.ttl == kForever) return;  // in time, it is not looked at again
  if (const SessionPtr own = find(entry.id); own.get() == &entry) {
    entry.to_touch = true;
    to_touch_.push_back(own);
  }
}

void SessionBook::set_ttl(SessionEntry& entry, Duration ttl, TimePoint now) {
  if (ttl < entry.ttl) looks_.emplace(later(now, ttl), entry.number);
  entry.ttl = ttl;
}

void SessionBook::granted(core::SessionKey number, core::Epoch epoch, core::Met how, TimePoint now) {
  SessionEntry* entry = find(number);
  if (entry == nullptr) return;
  entry->live = epoch;
  ++entry->calls;
  const auto count = [&](std::uint64_t& own, std::uint64_t& all) {
    ++own;
    ++all;
  };
  if (how == core::Met::kHome) count(entry->hits, totals_.hits);
  if (how == core::Met::kSpilled) count(entry->spills, totals_.spills);
  if (how == core::Met::kMoved) count(entry->moves, totals_.moves);
  used(*entry, now);
}

std::vector<SessionPtr> SessionBook::expired(TimePoint now) {
  std::vector<SessionPtr> found;
  while (!looks_.empty() && looks_.begin()->first <= now) {
    SessionEntry* entry = find(looks_.begin()->second);
    looks_.erase(looks_.begin());
    if (entry == nullptr) continue;
    const TimePoint ends = later(entry->last_used, entry->ttl);
    if (ends > now) {
      looks_.emplace(ends, entry->number);
    } else if (entry->state == State::kOpen || entry->state == State::kLost) {
      found.push_back(find(entry->id));
    }
  }
  return found;
}

void SessionBook::look_again(const SessionPtr& entry) {
  looks_.emplace(later(SteadyClock::now(), entry->ttl / 4), entry->number);
}

std::vector<SessionPtr> SessionBook::to_touch() {
  for (const SessionPtr& entry : to_touch_) entry->to_touch = false;
  return std::exchange(to_touch_, {});
}

void SessionBook::fill(SessionStats& stats) const {
  stats = totals_;
  stats.open = by_id_.size();
}

}  // namespace lair::pool
