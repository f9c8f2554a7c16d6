#include "store/memory_store.hpp"

#include <utility>

#include "store/checks.hpp"

namespace lair::store {

MemoryStore::MemoryStore(const Limits& limits, std::function<TimePoint()> now)
    : limits_(limits), now_(std::move(now)) {}

MemoryStore::Shard& MemoryStore::shard_of(const std::string& session) const {
  return shards_[std::hash<std::string>{}(session) % shards_.size()];
}

Result<std::optional<Json>> MemoryStore::get(const std::string& session, const std::string& key) {
  if (auto error = bad_key(session, key, limits_)) return *std::move(error);
  Text text;
  {
    const Shard& shard = shard_of(session);
    const std::lock_guard lock(shard.mutex);
    const auto found = shard.sessions.find(session);
    if (found == shard.sessions.end()) return std::optional<Json>{};
    const auto value = found->second.values.find(key);
    if (value == found->second.values.end()) return std::optional<Json>{};
    text = value->second;
  }
  return decode_value(session, key, *text, "the session store");
}

Result<MemoryStore::Outcome> MemoryStore::change(const std::string& session, const std::string& key,
                                                 const std::optional<Text>& expected, Text value) {
  Text old;  // outlives the lock, so that what may be a megabyte is freed outside of it
  Shard& shard = shard_of(session);
  const std::lock_guard lock(shard.mutex);
  auto found = shard.sessions.find(session);
  if (found != shard.sessions.end()) {
    const auto at = found->second.values.find(key);
    if (at != found->second.values.end()) old = at->second;
  }
  if (expected) {
    const Text& wanted = *expected;
    const bool equal = wanted && old ? *wanted == *old : wanted == old;
    if (!equal) return Outcome{.done = false, .was_there = old != nullptr};
  }
  if (!value && !old) return Outcome{.done = true, .was_there = false};

  const std::uint64_t has = found == shard.sessions.end() ? 0 : found->second.bytes;
  const std::uint64_t would =
      has - (old ? key.size() + old->size() : 0) + (value ? key.size() + value->size() : 0);
  if (value && !fits(has, would, limits_)) return session_full(session, key, has, would, limits_);
  if (found == shard.sessions.end()) found = shard.sessions.try_emplace(session).first;
  Session& entry = found->second;
  if (value) {
    entry.values[key] = std::move(value);
  } else {
    entry.values.erase(key);
  }
  entry.bytes = would;
  total_.fetch_add(would - has, std::memory_order_relaxed);  // modulo 2^64, so also down
  if (entry.values.empty() && entry.expires == TimePoint::max()) shard.sessions.erase(found);
  return Outcome{.done = true, .was_there = old != nullptr};
}

Result<void> MemoryStore::put(const std::string& session, const std::string& key, const Json& value) {
  if (auto error = bad_key(session, key, limits_)) return *std::move(error);
  auto text = encode_value(session, key, value, limits_);
  if (!text) return std::move(text).error();
  auto outcome = change(session, key, {}, std::make_shared<const std::string>(*std::move(text)));
  if (!outcome) return std::move(outcome).error();
  return {};
}

Result<bool> MemoryStore::erase(const std::string& session, const std::string& key) {
  if (auto error = bad_key(session, key, limits_)) return *std::move(error);
  auto outcome = change(session, key, {}, nullptr);
  if (!outcome) return std::move(outcome).error();
  return outcome->was_there;
}

Result<bool> MemoryStore::compare_and_set(const std::string& session, const std::string& key,
                                          const std::optional<Json>& expected,
                                          const std::optional<Json>& value) {
  if (auto error = bad_key(session, key, limits_)) return *std::move(error);
  Text texts[2];
  const std::optional<Json>* values[2] = {&expected, &value};
  for (int i = 0; i < 2; ++i) {
    if (!*values[i]) continue;
    auto text = encode_value(session, key, **values[i], limits_);
    if (!text) return std::move(text).error();
    texts[i] = std::make_shared<const std::string>(*std::move(text));
  }
  auto outcome = change(session, key, texts[0], std::move(texts[1]));
  if (!outcome) return std::move(outcome).error();
  return outcome->done;
}

Result<std::vector<std::string>> MemoryStore::keys(const std::string& session, std::string_view prefix) {
  std::vector<std::string> found;
  const Shard& shard = shard_of(session);
  const std::lock_guard lock(shard.mutex);
  const auto entry = shard.sessions.find(session);
  if (entry == shard.sessions.end()) return found;
  const auto& values = entry->second.values;
  for (auto at = values.lower_bound(prefix); at != values.end() && at->first.starts_with(prefix); ++at) {
    found.push_back(at->first);
  }
  return found;
}

Result<void> MemoryStore::touch(const std::string& session, Duration ttl) {
  const TimePoint expires = Deadline::after(ttl, now_()).when();
  Shard& shard = shard_of(session);
  const std::lock_guard lock(shard.mutex);
  if (expires == TimePoint::max()) {
    const auto found = shard.sessions.find(session);
    if (found == shard.sessions.end()) return {};
    found->second.expires = expires;
    if (found->second.values.empty()) shard.sessions.erase(found);
    return {};
  }
  shard.sessions[session].expires = expires;
  return {};
}

Result<void> MemoryStore::drop(const std::string& session) {
  Sessions::node_type dropped;  // freed after unlocking
  Shard& shard = shard_of(session);
  const std::lock_guard lock(shard.mutex);
  dropped = shard.sessions.extract(session);
  if (!dropped.empty()) total_.fetch_sub(dropped.mapped().bytes, std::memory_order_relaxed);
  return {};
}

Result<std::vector<std::string>> MemoryStore::sweep() {
  const TimePoint now = now_();
  std::vector<std::string> names;
  for (Shard& shard : shards_) {
    std::vector<Sessions::node_type> dropped;
    {
      const std::lock_guard lock(shard.mutex);
      for (auto at = shard.sessions.begin(); at != shard.sessions.end();) {
        const auto next = std::next(at);
        if (at->second.expires <= now) {
          total_.fetch_sub(at->second.bytes, std::memory_order_relaxed);
          dropped.push_back(shard.sessions.extract(at));
        }
        at = next;
      }
    }
    for (auto& node : dropped) names.push_back(std::move(node.key()));
  }
  return names;
}

std::uint64_t MemoryStore::bytes(const std::string& session) const {
  const Shard& shard = shard_of(session);
  const std::lock_guard lock(shard.mutex);
  const auto found = shard.sessions.find(session);
  return found == shard.sessions.end() ? 0 : found->second.bytes;
}

std::vector<std::string> MemoryStore::sessions() const {
  std::vector<std::string> names;
  for (const Shard& shard : shards_) {
    const std::lock_guard lock(shard.mutex);
    for (const auto& [name, entry] : shard.sessions) {
      if (!entry.values.empty()) names.push_back(name);
    }
  }
  return names;
}

}  // namespace lair::store
