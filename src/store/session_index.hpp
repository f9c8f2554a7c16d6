// SessionIndex: what a store with a file knows in memory of each session: its size, how long it is kept, and how long it is
// kept as far as the file knows. Sizes are those of the last commit.
//
// Times are the steady clock's, so that a wall clock that is set does not end sessions; the file has the wall clock's, which
// alone means something to the next process.
//
// Thread-safety: all functions, from any thread.
#pragma once

#include <cstdint>
#include <lair/deadline.hpp>
#include <map>
#include <mutex>
#include <optional>
#include <string>
#include <unordered_map>
#include <vector>

namespace lair::store {

struct SessionFacts {
  std::uint64_t bytes = 0;
  TimePoint expires = TimePoint::max();
  std::optional<std::int64_t> stored_ms = {};  // when it expires, in the file; none: it is not in the file
  std::uint64_t touches = 0;                   // number of its last touch: was it touched in between?
  bool queued = false;                         // its expiry is to be written
};

// What a transaction makes of a session.
struct SessionChange {
  std::uint64_t bytes = 0;
  std::optional<std::uint64_t> dropped_at = {};  // it was dropped; SessionFacts::touches then
  std::optional<std::int64_t> stored_ms = {};    // as in the file after the commit
};
using SessionChanges = std::map<std::string, SessionChange>;

class SessionIndex {
 public:
  // Expiry by both clocks. Whether the file should be told: it knows of the session, and of an expiry that differs by more
  // than `slack_ms`. True only once until take_due().
  bool touch(const std::string& session, TimePoint expires, std::int64_t expires_ms, std::uint64_t slack_ms);
  std::vector<std::string> take_due();

  SessionFacts look(const std::string& session) const;
  std::vector<std::string> expired(TimePoint now) const;
  std::vector<std::string> with_data() const;
  std::uint64_t total_bytes() const;

  // A session that the file had when it was opened.
  void load(std::string session, const SessionFacts& facts);
  // The changes have been committed.
  void publish(const SessionChanges& changes);

 private:
  mutable std::mutex mutex_;
  std::unordered_map<std::string, SessionFacts> sessions_;
  std::vector<std::string> due_;
  std::uint64_t total_ = 0;
  std::uint64_t touches_ = 0;
};

}  // namespace lair::store
