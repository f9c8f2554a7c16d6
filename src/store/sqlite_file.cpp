#include "store/sqlite_file.hpp"

#include <sqlite3.h>

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <system_error>
#include <utility>

#include "store/sqlite_error.hpp"

namespace lair::store {

namespace fs = std::filesystem;

namespace {

constexpr char kOpened[] = "be opened";
constexpr char kRead[] = "be read";
constexpr char kWritten[] = "be written";

// A file up to this size is looked through when it is opened: 64 MiB take about a tenth of a second.
constexpr std::int64_t kMostChecked = std::int64_t{64} << 20;

// One for each Sql.
constexpr const char* kTexts[] = {
    "BEGIN",
    "COMMIT",
    "SELECT value FROM entries WHERE session = ?1 AND key = ?2",
    "SELECT key FROM entries WHERE session = ?1 AND key >= ?2 ORDER BY key",
    "INSERT INTO entries (session, key, value) VALUES (?1, ?2, ?3) "
    "ON CONFLICT (session, key) DO UPDATE SET value = excluded.value",
    "DELETE FROM entries WHERE session = ?1 AND key = ?2",
    "DELETE FROM entries WHERE session = ?1",
    "SELECT id, expires_ms, bytes FROM sessions",
    "INSERT INTO sessions (id, expires_ms, bytes) VALUES (?1, ?2, ?3) "
    "ON CONFLICT (id) DO UPDATE SET expires_ms = excluded.expires_ms, bytes = excluded.bytes",
    "DELETE FROM sessions WHERE id = ?1",
};

constexpr char kSchema[] =
    "CREATE TABLE sessions (id TEXT NOT NULL PRIMARY KEY, expires_ms INTEGER NOT NULL,"
    " bytes INTEGER NOT NULL) STRICT, WITHOUT ROWID;"
    "CREATE TABLE entries (session TEXT NOT NULL, key TEXT NOT NULL, value TEXT NOT NULL,"
    " UNIQUE (session, key)) STRICT;";

bool is_missing(const fs::path& path) {
  std::error_code ignored;
  return !fs::exists(path, ignored);
}

}  // namespace

// One use of a statement, which is ready for the next one afterwards, whatever happens.
class SqliteFile::Use {
 public:
  Use(SqliteFile& file, Sql which) : statement_(file.statements_[which]) {}
  ~Use() {
    sqlite3_reset(statement_);
    sqlite3_clear_bindings(statement_);
  }
  Use(const Use&) = delete;
  Use& operator=(const Use&) = delete;

  // The text has to outlive this.
  Use& bind(int at, std::string_view text) {
    sqlite3_bind_text64(statement_, at, text.data(), text.size(), SQLITE_STATIC, SQLITE_UTF8);
    return *this;
  }
  Use& bind(int at, std::int64_t number) {
    sqlite3_bind_int64(statement_, at, number);
    return *this;
  }

  // SQLITE_ROW, SQLITE_DONE, or a failure.
  int step() { return sqlite3_step(statement_); }
  bool done() { return step() == SQLITE_DONE; }

  std::string text(int column) {
    const auto* data = sqlite3_column_text(statement_, column);
    const auto size = static_cast<std::size_t>(sqlite3_column_bytes(statement_, column));
    return data == nullptr ? std::string() : std::string(reinterpret_cast<const char*>(data), size);
  }
  std::int64_t number(int column) { return sqlite3_column_int64(statement_, column); }

 private:
  sqlite3_stmt* const statement_;
};

// --- Opening ---------------------------------------------------------------------------------------

Result<std::unique_ptr<SqliteFile>> SqliteFile::open(const std::string& path, const Opening& opening) {
  // An absolute path is nothing but a path to SQLite: ":memory:" and "file:" would be something else.
  std::error_code problem;
  const fs::path absolute = fs::absolute(path, problem);
  std::unique_ptr<SqliteFile> file(new SqliteFile(problem ? path : absolute.string()));
  if (path.find('\0') != std::string::npos) {
    return store_error(file->path_, kOpened, "its path has a zero byte; set session_store to another");
  }
  if (is_missing(absolute.parent_path())) {
    return store_error(
        file->path_, kOpened,
        "its directory does not exist, or may not be looked into; make it, or set session_store to "
        "another path");
  }
  if (fs::is_directory(absolute, problem)) {
    return store_error(file->path_, kOpened,
                       "it is a directory; set session_store to the path of a file in it");
  }
  if (auto done = file->connect(opening); !done) return std::move(done).error();
  if (auto done = file->check_format(); !done) {
    // It may be somebody else's: closing it must not change it either.
    sqlite3_db_config(file->db_, SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1, nullptr);
    return std::move(done).error();
  }
  if (auto done = file->take_hold(); !done) return std::move(done).error();
  if (file->is_new_) {
    if (auto done = file->create(); !done) return std::move(done).error();
  } else if (auto done = file->check_pages(); !done) {
    return std::move(done).error();
  }
  if (auto done = file->prepare(); !done) return std::move(done).error();
  return file;
}

SqliteFile::~SqliteFile() {
  for (sqlite3_stmt* statement : statements_) sqlite3_finalize(statement);
  sqlite3_close(db_);
}

Result<void> SqliteFile::connect(const Opening& opening) {
  const bool made = is_missing(path_);
  const int flags = SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_NOMUTEX | SQLITE_OPEN_EXRESCODE;
  const char* vfs = opening.vfs.empty() ? nullptr : opening.vfs.c_str();
  if (sqlite3_open_v2(path_.c_str(), &db_, flags, vfs) != SQLITE_OK) return failed(kOpened);
  if (made) {
    // What sessions store is nobody else's business. The files beside it get the same permissions from SQLite.
    std::error_code ignored;
    fs::permissions(path_, fs::perms::owner_read | fs::perms::owner_write, ignored);
  }
  sqlite3_busy_timeout(db_, static_cast<int>(opening.busy_timeout.count()));
  sqlite3_db_config(db_, SQLITE_DBCONFIG_DEFENSIVE, 1, nullptr);
  sqlite3_db_config(db_, SQLITE_DBCONFIG_TRUSTED_SCHEMA, 0, nullptr);
  if (sqlite3_db_readonly(db_, "main") == 1) {
    return sqlite_error(path_, kOpened, SQLITE_READONLY, 0, "opened for reading only");
  }
  return {};
}

Result<void> SqliteFile::check_format() {
  // Before the file is read: WAL then needs no memory that processes share, and so no file for it.
  if (auto done = run("PRAGMA locking_mode = EXCLUSIVE", kOpened); !done) return done;
  const auto application = number("PRAGMA application_id", kOpened);
  if (!application) return application.error();
  const auto format = number("PRAGMA user_version", kOpened);
  if (!format) return format.error();
  const auto tables = number("SELECT count(*) FROM sqlite_schema", kOpened);
  if (!tables) return tables.error();

  is_new_ = *application == 0 && *format == 0 && *tables == 0;
  if (is_new_ || (*application == kApplication && *format == kFormat)) return {};
  if (*application != kApplication) {
    return store_error(path_, kOpened,
                       "it is a database of another program (application_id " + std::to_string(*application) +
                           "), which was left as it is; set session_store to another path");
  }
  return store_error(path_, kOpened,
                     "its format is " + std::to_string(*format) +
                         ", and this version of Lair knows none but " + std::to_string(kFormat) +
                         ". It was left as it is: use the version of Lair that made it, or another path");
}

Result<void> SqliteFile::take_hold() {
  // The limit is what the WAL file shrinks to after a burst.
  for (const char* sql : {"PRAGMA synchronous = FULL", "PRAGMA temp_store = MEMORY",
                          "PRAGMA journal_size_limit = 16777216", "PRAGMA cell_size_check = ON"}) {
    if (auto done = run(sql, kOpened); !done) return done;
  }
  const auto mode = answer("PRAGMA journal_mode = WAL", kOpened);
  if (!mode) return mode.error();
  if (*mode != "wal") {
    return store_error(path_, kOpened,
                       "its file system does not allow a write-ahead log (SQLite stays in mode \"" + *mode +
                           "\"); set session_store to a path on another");
  }
  // Nobody else has it from here on, not only once it is first written to.
  if (auto done = run("BEGIN IMMEDIATE; COMMIT", kOpened); !done) return done;
  return {};
}

Result<void> SqliteFile::create() {
  const std::string sql = "BEGIN IMMEDIATE;" + std::string(kSchema) +
                          "PRAGMA application_id = " + std::to_string(kApplication) +
                          ";PRAGMA user_version = " + std::to_string(kFormat) + ";COMMIT";
  auto done = run(sql.c_str(), "be made");
  if (!done) rollback();
  return done;
}

Result<void> SqliteFile::check_pages() {
  const auto pages = number("PRAGMA page_count", kOpened);
  if (!pages) return pages.error();
  const auto size = number("PRAGMA page_size", kOpened);
  if (!size) return size.error();
  if (*pages * *size > kMostChecked) return {};
  const auto verdict = answer("PRAGMA quick_check(1)", kOpened);
  if (!verdict) return verdict.error();
  if (*verdict != "ok") return sqlite_error(path_, kOpened, SQLITE_CORRUPT, 0, *verdict);
  return {};
}

Result<void> SqliteFile::prepare() {
  for (std::size_t i = 0; i < statements_.size(); ++i) {
    if (sqlite3_prepare_v3(db_, kTexts[i], -1, SQLITE_PREPARE_PERSISTENT, &statements_[i], nullptr) !=
        SQLITE_OK) {
      return failed(kOpened);
    }
  }
  return {};
}

// --- Statements ------------------------------------------------------------------------------------

Error SqliteFile::failed(const char* doing) const {
  // Without memory there is no connection to ask.
  const int code = db_ == nullptr ? SQLITE_NOMEM : sqlite3_extended_errcode(db_);
  return sqlite_error(path_, doing, code, db_ == nullptr ? 0 : sqlite3_system_errno(db_),
                      db_ == nullptr ? sqlite3_errstr(code) : sqlite3_errmsg(db_));
}

Result<void> SqliteFile::run(const char* sql, const char* doing) {
  if (sqlite3_exec(db_, sql, nullptr, nullptr, nullptr) != SQLITE_OK) return failed(doing);
  return {};
}

Result<std::string> SqliteFile::answer(const char* sql, const char* doing) {
  sqlite3_stmt* statement = nullptr;
  if (sqlite3_prepare_v2(db_, sql, -1, &statement, nullptr) != SQLITE_OK) return failed(doing);
  std::string text;
  if (sqlite3_step(statement) == SQLITE_ROW) {
    const auto* data = sqlite3_column_text(statement, 0);
    if (data != nullptr) text = reinterpret_cast<const char*>(data);
  }
  if (sqlite3_finalize(statement) != SQLITE_OK) return failed(doing);
  return text;
}

Result<std::int64_t> SqliteFile::number(const char* sql, const char* doing) {
  const auto text = answer(sql, doing);
  if (!text) return text.error();
  return static_cast<std::int64_t>(std::strtoll(text->c_str(), nullptr, 10));
}

Result<std::vector<SqliteFile::Session>> SqliteFile::sessions() {
  std::vector<Session> found;
  Use use(*this, kSessions);
  int code = use.step();
  for (; code == SQLITE_ROW; code = use.step()) {
    found.push_back(
        {use.text(0), use.number(1), static_cast<std::uint64_t>(std::max<std::int64_t>(use.number(2), 0))});
  }
  if (code != SQLITE_DONE) return failed(kRead);
  return found;
}

Result<std::optional<std::string>> SqliteFile::value(const std::string& session, const std::string& key) {
  Use use(*this, kValue);
  const int code = use.bind(1, session).bind(2, key).step();
  if (code == SQLITE_DONE) return std::optional<std::string>{};
  if (code != SQLITE_ROW) return failed(kRead);
  return std::optional(use.text(0));
}

Result<std::vector<std::string>> SqliteFile::keys(const std::string& session, std::string_view prefix) {
  std::vector<std::string> found;
  Use use(*this, kKeys);
  int code = use.bind(1, session).bind(2, prefix.empty() ? std::string_view("") : prefix).step();
  for (; code == SQLITE_ROW; code = use.step()) {
    std::string key = use.text(0);
    if (!key.starts_with(prefix)) return found;
    found.push_back(std::move(key));
  }
  if (code != SQLITE_DONE) return failed(kRead);
  return found;
}

Result<void> SqliteFile::begin() {
  if (!Use(*this, kBegin).done()) return failed(kWritten);
  return {};
}

Result<void> SqliteFile::commit() {
  if (!Use(*this, kCommit).done()) return failed(kWritten);
  return {};
}

void SqliteFile::rollback() noexcept {
  // Some failures have already done it.
  if (sqlite3_get_autocommit(db_) == 0) sqlite3_exec(db_, "ROLLBACK", nullptr, nullptr, nullptr);
}

Result<void> SqliteFile::put(const std::string& session, const std::string& key, const std::string& value) {
  if (!Use(*this, kPut).bind(1, session).bind(2, key).bind(3, value).done()) return failed(kWritten);
  return {};
}

Result<void> SqliteFile::erase(const std::string& session, const std::string& key) {
  if (!Use(*this, kErase).bind(1, session).bind(2, key).done()) return failed(kWritten);
  return {};
}

Result<void> SqliteFile::erase_all(const std::string& session) {
  if (!Use(*this, kEraseAll).bind(1, session).done()) return failed(kWritten);
  return {};
}

Result<void> SqliteFile::save(const Session& session) {
  Use use(*this, kSave);
  use.bind(1, session.id).bind(2, session.expires_ms).bind(3, static_cast<std::int64_t>(session.bytes));
  if (!use.done()) return failed(kWritten);
  return {};
}

Result<void> SqliteFile::forget(const std::string& session) {
  if (!Use(*this, kForget).bind(1, session).done()) return failed(kWritten);
  return {};
}

}  // namespace lair::store
