// SqliteFile: the file of a session store, opened for this process alone, and the statements that read and change it.
//
// The file is in WAL mode and every commit is on disk before it returns. It is held exclusively as long as it is open: what
// the store knows of it in memory (sizes, times) would not hold if another process changed it. The kernel lets go of it when
// the process ends, however it ends.
//
// Failures are Errors of kind kUnavailable that name the file, what went wrong and what to do.
//
// Thread-safety: one thread at a time.
#pragma once

#include <array>
#include <chrono>
#include <cstdint>
#include <lair/result.hpp>
#include <limits>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

struct sqlite3;
struct sqlite3_stmt;

namespace lair::store {

class SqliteFile {
 public:
  // The newest format that this version knows; in the file's user_version. Its application_id says that it is Lair's.
  static constexpr int kFormat = 1;
  static constexpr int kApplication = 0x4C414952;  // "LAIR"
  static constexpr std::int64_t kNever = std::numeric_limits<std::int64_t>::max();

  struct Opening {
    std::chrono::milliseconds busy_timeout = std::chrono::seconds(5);
    std::string vfs = {};  // SQLite's name of the file system to use, where a test has made one
  };
  struct Session {
    std::string id;
    std::int64_t expires_ms;  // of the wall clock, since 1970; or kNever
    std::uint64_t bytes;
  };

  static Result<std::unique_ptr<SqliteFile>> open(const std::string& path, const Opening& opening);
  ~SqliteFile();
  SqliteFile(const SqliteFile&) = delete;
  SqliteFile& operator=(const SqliteFile&) = delete;

  const std::string& path() const { return path_; }

  Result<std::vector<Session>> sessions();
  Result<std::optional<std::string>> value(const std::string& session, const std::string& key);
  Result<std::vector<std::string>> keys(const std::string& session, std::string_view prefix);

  // Changes happen between `begin` and `commit`. When one has failed, all have to be taken back.
  Result<void> begin();
  Result<void> commit();
  void rollback() noexcept;
  Result<void> put(const std::string& session, const std::string& key, const std::string& value);
  Result<void> erase(const std::string& session, const std::string& key);
  Result<void> erase_all(const std::string& session);
  Result<void> save(const Session& session);
  Result<void> forget(const std::string& session);

 private:
  enum Sql : std::size_t {
    kBegin,
    kCommit,
    kValue,
    kKeys,
    kPut,
    kErase,
    kEraseAll,
    kSessions,
    kSave,
    kForget,
    kCount
  };
  class Use;

  explicit SqliteFile(std::string path) : path_(std::move(path)) {}
  Result<void> connect(const Opening& opening);
  Result<void> take_hold();
  Result<void> check_format();
  Result<void> create();
  Result<void> check_pages();
  Result<void> prepare();
  Result<void> run(const char* sql, const char* doing);
  // The first column of the first row, as text; empty if there is none.
  Result<std::string> answer(const char* sql, const char* doing);
  Result<std::int64_t> number(const char* sql, const char* doing);
  Error failed(const char* doing) const;

  const std::string path_;
  sqlite3* db_ = nullptr;
  std::array<sqlite3_stmt*, kCount> statements_ = {};
  bool is_new_ = false;  // it has no tables yet
};

}  // namespace lair::store
