// Session: calls that share state, and for that a worker or a store: docs/sessions.md.
//
//   lair::Session session = pool.session("user-42", {.affinity = lair::Affinity::kStrict});
//   session.call("load", lair::kwargs{{"path", "a.bin"}});   // one call of a session after another, in order of arrival
//   session.put("step", 3);                                  // also seen by Python, as context().session.shared["step"]
//   session.end();
//
// It is named by its id and lives in its pool until it is ended or nobody has used it for its `ttl`; this is a way to it, to
// be copied freely. What a strict or exclusive session keeps in its worker ends with that worker: from then on its calls
// are kSessionLost, until `reopen`. Values that are `put` outlast workers, and hosts where `session_store` names a file.
//
// Thread-safety: any number of threads.
#pragma once

#include <chrono>
#include <lair/endpoint.hpp>
#include <lair/session_options.hpp>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace lair {

class Pool;

namespace pool {
class Shell;
struct SessionEntry;
}  // namespace pool

class Session final : public Endpoint {
 public:
  const std::string& id() const noexcept;
  // As it is now; blocks for no one.
  SessionInfo info() const;

  // Errors besides those of any call: kSessionLost, kSessionBusy (its worker, or the calls before this one, took longer than
  // the call may wait), kInvalidArgument once it has ended.
  Result<Json> invoke(const CallOptions& options, std::string_view command, Json arguments) override;
  std::optional<Error> invoke_typed(const CallOptions& options, std::string_view command,
                                    const detail::TypedArguments& arguments,
                                    detail::ResultSink& result) override;
  void start(const CallOptions& options, std::string_view command, Json arguments, Completion done) override;
  std::unique_ptr<StreamSource> open(const CallOptions& options, std::string_view command,
                                     Json arguments) override;
  void run_map(const MapOptions& options, std::string_view command, detail::MapJob& job) override;

  // --- Its values. Each blocks until the store has answered: what has been put is kept -------------------------------------
  // Keys are UTF-8 of 1 to 256 bytes. kInvalidArgument: a limit, or the session is over; kUnavailable: the store failed.
  Result<std::optional<Json>> try_get(std::string_view key) const;
  Result<void> try_put(std::string_view key, const Json& value);
  Result<bool> try_erase(std::string_view key);  // false: there was none
  // Only if the value is `expected` (absent: there is none) it becomes `value` (absent: erased). False: it is another.
  Result<bool> try_compare_and_set(std::string_view key, const std::optional<Json>& expected,
                                   const std::optional<Json>& value);
  Result<std::vector<std::string>> try_keys(std::string_view prefix = {}) const;

  // The same, but errors are thrown. `get`: nothing where there is none; a value of another type is kInvalidArgument.
  template <class T = Json>
  std::optional<T> get(std::string_view key) const {
    auto found = try_get(key).value();
    if (!found) return std::nullopt;
    return detail::result_as<T>(key, *std::move(found)).value();
  }
  void put(std::string_view key, const Json& value) { try_put(key, value).value(); }
  bool erase(std::string_view key) { return try_erase(key).value(); }
  bool compare_and_set(std::string_view key, const std::optional<Json>& expected,
                       const std::optional<Json>& value) {
    return try_compare_and_set(key, expected, value).value();
  }
  std::vector<std::string> keys(std::string_view prefix = {}) const { return try_keys(prefix).value(); }

  // Ends it: after the calls before it, its worker runs `cleanup_session` (Python: on_session_end), its values are dropped,
  // and its id is free. Blocks for that, `timeout` at most; the session has ended in any case. Ending it twice is no error.
  static constexpr Duration kEndTimeout = std::chrono::seconds(5);
  Result<void> try_end(Duration timeout = kEndTimeout);
  void end(Duration timeout = kEndTimeout) { try_end(timeout).value(); }

  // Makes a session that was lost, or has expired, usable again, with a new number. What its worker kept is gone; values that
  // were put are there, unless it expired. Not lost: nothing happens. An ended one: kInvalidArgument, open it anew.
  Result<void> try_reopen();
  void reopen() { try_reopen().value(); }

 private:
  friend class Pool;
  Session(std::shared_ptr<pool::Shell> shell, std::shared_ptr<pool::SessionEntry> entry) noexcept;

  std::shared_ptr<pool::Shell> shell_;
  std::shared_ptr<pool::SessionEntry> entry_;
};

}  // namespace lair
