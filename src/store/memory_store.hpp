// MemoryStore: sessions' values in memory, for as long as the program lives.
//
// Sessions are spread over shards, so that those of different callers do not wait for each other. Values are parsed, copied and
// freed outside of the shards' mutexes.
//
// Thread-safety: as SessionStore.
#pragma once

#include <array>
#include <atomic>
#include <functional>
#include <map>
#include <mutex>
#include <unordered_map>

#include "store/session_store.hpp"

namespace lair::store {

class MemoryStore final : public SessionStore {
 public:
  explicit MemoryStore(const Limits& limits = {}, std::function<TimePoint()> now = SteadyClock::now);

  Result<std::optional<Json>> get(const std::string& session, const std::string& key) override;
  Result<void> put(const std::string& session, const std::string& key, const Json& value) override;
  Result<bool> erase(const std::string& session, const std::string& key) override;
  Result<bool> compare_and_set(const std::string& session, const std::string& key,
                               const std::optional<Json>& expected,
                               const std::optional<Json>& value) override;
  Result<std::vector<std::string>> keys(const std::string& session, std::string_view prefix) override;
  Result<void> touch(const std::string& session, Duration ttl) override;
  Result<void> drop(const std::string& session) override;
  Result<std::vector<std::string>> sweep() override;
  std::uint64_t bytes(const std::string& session) const override;
  std::uint64_t total_bytes() const override { return total_.load(std::memory_order_relaxed); }
  std::vector<std::string> sessions() const override;

 private:
  using Text = std::shared_ptr<const std::string>;
  struct Session {
    std::map<std::string, Text, std::less<>> values;
    std::uint64_t bytes = 0;
    TimePoint expires = TimePoint::max();
  };
  using Sessions = std::unordered_map<std::string, Session>;
  struct alignas(64) Shard {
    mutable std::mutex mutex;
    Sessions sessions;
  };
  struct Outcome {
    bool done;       // false: what was there is not what was expected
    bool was_there;  // before
  };

  Shard& shard_of(const std::string& session) const;
  // `expected`: nothing to expect, or what must be there (null: nothing). `value`: null erases.
  Result<Outcome> change(const std::string& session, const std::string& key,
                         const std::optional<Text>& expected, Text value);

  const Limits limits_;
  const std::function<TimePoint()> now_;
  std::atomic<std::uint64_t> total_ = 0;
  mutable std::array<Shard, 16> shards_;
};

}  // namespace lair::store
