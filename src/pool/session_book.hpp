// SessionBook: the pool's sessions by id and by number, what is known of each, and when it expires. Which worker a session has is
// the core's to know, and its values are the store's.
//
// A session's id may be used again; its number is used once. A number is gone when the session ends, expires, or is lost and
// opened again: whatever still carries it then, is refused.
//
// Thread-safety: none; the shell's mutex guards it, and all of an entry but what is constant or its own.
#pragma once

#include <atomic>
#include <chrono>
#include <cstdint>
#include <lair/result.hpp>
#include <lair/session_options.hpp>
#include <map>
#include <memory>
#include <mutex>
#include <set>
#include <string>
#include <string_view>
#include <tsl/robin_map.h>
#include <type_traits>
#include <unordered_map>
#include <utility>
#include <vector>

#include "core/types.hpp"

namespace lair::pool {

// How many changes there have been of a session's values, by anyone: what its calls are told, so that a worker knows whether a
// value that it remembers is still the one (docs/protocol.md, "Sessions"). Where a worker may count on a change of its own that
// has not been made, the number goes beyond what that worker has come to, and so never is what it believes.
//
// Thread-safety: any thread.
class SessionChanges {
 public:
  void changed() { count_ += 1; }
  // A change that was asked for has not been made.
  void failed() { count_ += 2; }
  // What the call that is being sent is told.
  std::uint64_t sent() {
    if (unheard_.exchange(true)) count_ += kUnheard;
    return count_;
  }
  // The call's last frame has come, and all that came before it has been done.
  void heard() { unheard_ = false; }

 private:
  // More changes than a call could have told of that nobody has listened to.
  static constexpr std::uint64_t kUnheard = std::uint64_t{1} << 32;

  std::atomic<std::uint64_t> count_{0};
  std::atomic<bool> unheard_{false};  // a call was sent, and what it has told last is not known
};

struct SessionEntry {
  enum class State : std::uint8_t {
    kOpen,
    kLost,    // until it is opened again
    kEnding,  // only its own end may still be called
    kEnded,
    kExpired,
  };

  SessionEntry(std::string name, Affinity bound) : id(std::move(name)), affinity(bound) {}

  const std::string id;
  const Affinity affinity;

  core::SessionKey number = 0;
  State state = State::kOpen;
  bool to_touch = false;  // used since the store was last told
  Duration ttl{};
  TimePoint last_used{};
  std::chrono::system_clock::time_point created{};
  std::string cause;  // of its loss
  std::uint64_t calls = 0;
  std::uint64_t hits = 0;
  std::uint64_t spills = 0;
  std::uint64_t moves = 0;

  // The hold of the call that may use the store now; 0: none may. A call that is over, or whose worker has been given up, is
  // shut out by it.
  std::atomic<core::Epoch> live{0};
  // Held while the store is used for this session: one use ends before the next begins, also that of a call which is over.
  std::mutex fence;
  // Counted under the fence.
  SessionChanges changes;
};

// Counts a change, if it was made or has failed.
template <class T>
Result<T> counted(SessionEntry& session, Result<T> done) {
  if (!done) {
    session.changes.failed();
  } else if constexpr (std::is_void_v<T>) {
    session.changes.changed();
  } else if (*done) {
    session.changes.changed();
  }
  return done;
}

using SessionPtr = std::shared_ptr<SessionEntry>;

class SessionBook {
 public:
  // --- Who there is --------------------------------------------------------------------------------
  SessionPtr find(std::string_view id) const;
  SessionEntry* find(core::SessionKey number) const;
  std::size_t size() const { return by_id_.size(); }
  std::vector<SessionPtr> all() const;  // in order of their numbers

  // --- What becomes of them ------------------------------------------------------------------------
  // `entry` has its `ttl`. Under a new number, which it returns.
  core::SessionKey open(const SessionPtr& entry, TimePoint now);
  void renumber(SessionEntry& entry);  // it was lost, and is opened again
  void close(SessionEntry& entry, SessionEntry::State why);
  void lost(core::SessionKey number, std::string_view cause);
  // The id of one that was lost, which may have another number by now. Once.
  std::string take_lost(core::SessionKey number);
  void used(SessionEntry& entry, TimePoint now);

  void granted(core::SessionKey number, core::Epoch epoch, core::Met how, TimePoint now);
  void set_ttl(SessionEntry& entry, Duration ttl, TimePoint now);

  // --- Time ----------------------------------------------------------------------------------------
  // Nobody has used them for their `ttl`.
  std::vector<SessionPtr> expired(TimePoint now);
  void look_again(const SessionPtr& entry);  // one of them, which is not to end now
  // Used since this was last asked.
  std::vector<SessionPtr> to_touch();

  void fill(SessionStats& stats) const;

 private:
  core::SessionKey next_number() { return ++last_number_; }

  // Views of the entries' own ids. Where sessions are many, each is looked up in memory that no cache has: a flat table asks
  // for less of it.
  tsl::robin_map<std::string_view, SessionPtr> by_id_;
  std::unordered_map<core::SessionKey, SessionEntry*> by_number_;
  // When to look whether they have expired, which is not put off by each use.
  std::set<std::pair<TimePoint, core::SessionKey>> looks_;
  std::vector<SessionPtr> to_touch_;
  std::unordered_map<core::SessionKey, std::string> lost_;  // ids, until they have been told
  core::SessionKey last_number_ = 0;
  SessionStats totals_;
};

}  // namespace lair::pool
