// SqliteStore: sessions' values in a file of SQLite's, which outlive the program.
//
// The file has a thread of its own. It takes all requests that have come while it was busy, answers those that read, and
// commits all others as one transaction (group commit): one wait for the disk, however many callers wait for it. A caller is
// answered when what it changed is on disk. If the transaction fails, each of its changes is tried alone, so that one
// that is too large for the room that is left does not take others with it.
//
// Thread-safety: as SessionStore. The destructor waits for what was accepted; nothing may be called once it has begun, but
// calls that still wait for their answers get them.
#pragma once

#include <chrono>
#include <functional>
#include <span>
#include <thread>

#include "store/commit_queue.hpp"
#include "store/session_index.hpp"
#include "store/session_store.hpp"
#include "store/sqlite_file.hpp"

namespace lair::store {

class SqliteStore final : public SessionStore {
 public:
  using WallTime = std::chrono::system_clock::time_point;

  struct Config {
    Limits limits = {};
    SqliteFile::Opening opening = {};
    std::size_t queue = 1024;  // requests; each is a caller that waits
    // For tests.
    std::function<TimePoint()> now = SteadyClock::now;
    std::function<WallTime()> wall_now = std::chrono::system_clock::now;
    std::function<std::thread(std::function<void()>)> start_thread = [](std::function<void()> run) {
      return std::thread(std::move(run));
    };
  };

  static Result<std::unique_ptr<SqliteStore>> open(const std::string& path, Config config);
  ~SqliteStore() override;

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
  std::uint64_t bytes(const std::string& session) const override { return index_.look(session).bytes; }
  std::uint64_t total_bytes() const override { return index_.total_bytes(); }
  std::vector<std::string> sessions() const override { return index_.with_data(); }

  const CommitQueue& queue() const { return queue_; }

 private:
  using Text = std::optional<std::string>;
  // `expected`: nothing to expect, or what must be there (none: nothing). `value`: none erases.
  struct Change {
    std::string session;
    std::string key;
    std::optional<Text> expected;
    Text value;
  };

  SqliteStore(std::unique_ptr<SqliteFile> file, Config config);
  Result<void> load();
  Result<Reply> ask(bool changes, std::function<Result<Reply>()> work);
  // Yes: it was done (with an expectation), or the key was there (without).
  Result<bool> ask_change(Change change);
  std::int64_t wall_ms(TimePoint when) const;

  // --- On the store's thread (and before it runs, where the file is opened)
  void run();
  void serve(std::vector<Request>& batch);
  void commit(std::span<Request*> requests);
  Result<void> try_commit(std::span<Request*> requests, std::vector<Result<Reply>>& replies);
  Result<void> save_sessions();
  Result<Reply> change(const Change& change);
  Result<Reply> drop(const std::string& session, const SessionFacts& facts);
  Result<Reply> drop_expired(TimePoint now);
  Result<Reply> note_expiries(const std::vector<std::string>& sessions);
  // As the transaction has left it so far.
  SessionChange& changed(const std::string& session);

  const Config config_;
  const std::unique_ptr<SqliteFile> file_;  // the thread's
  SessionChanges changes_;                  // of the transaction under way; the thread's
  SessionIndex index_;
  CommitQueue queue_;
  std::mutex note_mutex_;
  std::optional<Error> note_failure_;  // the last note of an expiry could not be made
  std::thread thread_;
};

}  // namespace lair::store
