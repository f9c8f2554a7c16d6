// SessionStore: what sessions keep between calls, values by key, each session apart from all others. In memory, or in a file
// that outlives the program (docs/sessions.md).
//
// A change that has been acknowledged is there for every later call, and in a file also after the program, or the machine,
// has come to a sudden end. One that failed has changed nothing.
//
// Values are held as compact JSON text, and compared as such: 1 and 1.0 differ, the order of an object's members does not count.
// Errors: kInvalidArgument for what can never be stored (a limit, a bad key, what JSON cannot say); kUnavailable when the
// store itself failed, naming its file.
//
// Thread-safety: all functions, from any thread. They take a moment; with a file, all but `touch`, `bytes`, `total_bytes` and
// `sessions` wait for the file's own thread, and changes until they are on disk.
#pragma once

#include <cstddef>
#include <cstdint>
#include <lair/deadline.hpp>
#include <lair/json.hpp>
#include <lair/result.hpp>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace lair::store {

// In bytes. A value counts as its JSON text, a session as all its keys and values.
struct Limits {
  std::size_t key = 256;
  std::size_t value = std::size_t{1} << 20;     // session_value_limit
  std::size_t session = std::size_t{16} << 20;  // session_limit
};

class SessionStore {
 public:
  SessionStore() = default;
  virtual ~SessionStore() = default;
  SessionStore(const SessionStore&) = delete;
  SessionStore& operator=(const SessionStore&) = delete;

  // Keys are valid UTF-8, neither empty nor longer than the limit.
  virtual Result<std::optional<Json>> get(const std::string& session, const std::string& key) = 0;
  virtual Result<void> put(const std::string& session, const std::string& key, const Json& value) = 0;
  // Whether it was there.
  virtual Result<bool> erase(const std::string& session, const std::string& key) = 0;
  // Puts `value` (none: erases) if what is there equals `expected` (none: if nothing is there); whether it did.
  virtual Result<bool> compare_and_set(const std::string& session, const std::string& key,
                                       const std::optional<Json>& expected,
                                       const std::optional<Json>& value) = 0;
  // Those that begin with `prefix`, in the order of their bytes.
  virtual Result<std::vector<std::string>> keys(const std::string& session, std::string_view prefix) = 0;

  // The session is to be kept for at least `ttl` from now; kForever: until it is dropped, as one that was never touched.
  // Never waits. In a file, how long is noted now and then, by its thread; an error tells that the last such note could
  // not be made, which each further touch tries again.
  virtual Result<void> touch(const std::string& session, Duration ttl) = 0;
  // Forgets everything of the session. One that is not known is no error.
  virtual Result<void> drop(const std::string& session) = 0;
  // Drops the sessions whose time is over, and says which; also those that were touched but hold nothing. Until then
  // they are there, and a touch keeps them.
  virtual Result<std::vector<std::string>> sweep() = 0;

  // Of keys and values, acknowledged so far; 0 for a session that is not known.
  virtual std::uint64_t bytes(const std::string& session) const = 0;
  virtual std::uint64_t total_bytes() const = 0;
  // Those that hold a value, in no order: just after opening, those that the file has kept. Sessions whose time ran out
  // while the file was closed are not among them; opening drops those.
  virtual std::vector<std::string> sessions() const = 0;
};

// Opens the file, or makes it; with an empty path, a store in memory. Waits up to 5 s for another program to let go of it.
// kUnavailable, with the path and what to do, if it cannot be opened, or is not a session store that this version knows.
Result<std::unique_ptr<SessionStore>> open_store(const std::string& path, const Limits& limits);

}  // namespace lair::store
