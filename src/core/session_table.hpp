// The sessions that are open: a number each, and what the core must know of it. Who gets which worker is decided in
// src/core/sessions.cpp.
//
// A session takes about 150 bytes. All is O(1); a worker's sessions hang on its row, so its end costs what it is home to.
//
// Thread-safety: none; it lives in the core, under the shell's lock.
#pragma once

#include <cstddef>
#include <cstdint>
#include <unordered_map>

#include "core/wait_queue.hpp"

namespace lair::core {

struct SessionRow {
  SessionKey key = 0;
  Affinity affinity = Affinity::kPrefer;
  Reason lost = Reason::kNone;  // why its worker has ended, and its state with it
  bool had_home = false;
  bool waits = false;            // `first` is in the line
  WorkerRef home = {};           // generation 0: none
  Epoch call = 0;                // of the hold that its one call in flight has; 0: there is none
  Token first = 0;               // its one waiter in the line
  WaitQueue::Lane behind;        // those that came after it
  SessionRow* before = nullptr;  // among those with the same home
  SessionRow* after = nullptr;

  bool has_home() const { return home.generation != 0; }
  // To its home: it cannot go on with another.
  bool bound() const { return affinity != Affinity::kPrefer; }
};

// The sessions that one worker is home to.
struct Homed {
  SessionRow* first = nullptr;
  std::uint32_t all = 0;
  std::uint32_t bound = 0;

  void add(SessionRow& session, WorkerRef home);
  void remove(SessionRow& session);
};

class SessionTable {
 public:
  SessionTable() = default;
  SessionTable(SessionTable&&) = default;  // not copied: waiters and workers point into it
  SessionTable& operator=(SessionTable&&) = default;

  std::size_t size() const { return sessions_.size(); }
  bool empty() const { return sessions_.empty(); }
  // Those that are not lost.
  std::size_t exclusive() const { return exclusive_; }
  SessionKey last_key() const { return last_key_; }

  void open(SessionKey key, Affinity affinity);
  void lose(SessionRow& session, Reason reason);
  void close(SessionRow& session);
  SessionRow* find(SessionKey key);
  const SessionRow* find(SessionKey key) const;

  auto begin() const { return sessions_.begin(); }
  auto end() const { return sessions_.end(); }

 private:
  std::unordered_map<SessionKey, SessionRow> sessions_;
  SessionKey last_key_ = 0;
  std::size_t exclusive_ = 0;
};

// How long a call of a `prefer` session waits for its home until another worker is as good: as long as ten calls take (at 70 %
// load fewer than one in a hundred calls waits so long), at least 25 ms, at most a tenth of the time that it has.
Duration patience_for_home(Duration typical_call, Duration remaining);

}  // namespace lair::core
