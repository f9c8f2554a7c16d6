// What a session store says of a file that it cannot use, and what it keeps when the disk fails: everything that it has
// acknowledged.
#include <gtest/gtest.h>
#include <sqlite3.h>
#include <sys/fsuid.h>
#include <unistd.h>

#include <future>
#include <map>
#include <string>
#include <vector>

#include "store/sqlite_store.hpp"
#include "support/faulty_vfs.hpp"
#include "support/leak_check.hpp"
#include "support/store_files.hpp"

namespace lair::test {
namespace {

using namespace std::chrono_literals;
using store::SqliteFile;
using store::SqliteStore;

constexpr uid_t kNobody = 65534;

class SqliteFailure : public LeakChecked {
 protected:
  std::unique_ptr<SqliteStore> open(const std::string& path) {
    auto config = clock_.config();
    config.opening = {.busy_timeout = 0ms, .vfs = vfs_.name()};
    return SqliteStore::open(path, std::move(config)).value();
  }
  std::unique_ptr<SqliteStore> open() { return open(folder_.file()); }

  // Why it cannot be opened, after the words that say which file.
  std::string refusal(const std::string& path) {
    auto config = clock_.config();
    config.opening.busy_timeout = 0ms;
    const auto store = SqliteStore::open(path, std::move(config));
    if (store) return "(opened)";
    return after("the session store " + path + " cannot be opened: ", store.error());
  }
  static std::string after(const std::string& words, const Error& error) {
    EXPECT_EQ(error.kind, ErrorKind::kUnavailable);
    EXPECT_EQ(error.message.find(words), 0u) << error.message;
    return error.message.substr(std::min(words.size(), error.message.size()));
  }
  std::string failure(const Result<void>& result) {
    if (result) return "(no failure)";
    return after("the session store " + folder_.file() + " cannot be written: ", result.error());
  }
  // As another program would.
  static void edit(const std::string& path, const std::string& sql) {
    sqlite3* db = nullptr;
    ASSERT_EQ(sqlite3_open(path.c_str(), &db), SQLITE_OK);
    char* problem = nullptr;
    EXPECT_EQ(sqlite3_exec(db, sql.c_str(), nullptr, nullptr, &problem), SQLITE_OK) << problem;
    sqlite3_close(db);
  }
  static void expect_begins(const std::string& text, const std::string& words) {
    EXPECT_EQ(text.substr(0, words.size()), words) << text;
  }

  StoreClock clock_;
  StoreFolder folder_;
  FaultyVfs vfs_;
};

// --- Opening ---------------------------------------------------------------------------------------
TEST_F(SqliteFailure, ADirectoryThatIsMissingIsNamed) {
  expect_begins(refusal(folder_.file("missing/sessions.db")), "its directory does not exist");
  EXPECT_FALSE(std::filesystem::exists(folder_.file("missing")));
  expect_begins(refusal(folder_.path().string()), "it is a directory");
  expect_begins(refusal(folder_.file(std::string("x\0y", 3))), "its path has a zero byte");
}

TEST_F(SqliteFailure, AFileThatIsNoDatabaseIsLeftAlone) {
  const std::string text(5000, 'x');
  expect_begins(refusal(folder_.write("notes.txt", text)), "it is not a database of SQLite's");
  EXPECT_EQ(folder_.read("notes.txt"), text);
}

TEST_F(SqliteFailure, AnotherProgramsDatabaseIsLeftAlone) {
  edit(folder_.file("other.db"),
       "PRAGMA journal_mode = WAL; CREATE TABLE sessions (id); PRAGMA user_version = 1");
  const std::string before = folder_.read("other.db");
  expect_begins(refusal(folder_.file("other.db")), "it is a database of another program (application_id 0)");
  edit(folder_.file("app.db"), "PRAGMA application_id = 77");
  expect_begins(refusal(folder_.file("app.db")), "it is a database of another program (application_id 77)");
  EXPECT_EQ(folder_.read("other.db"), before);
}

TEST_F(SqliteFailure, AnEmptyFileIsMadeAStore) {
  folder_.write("sessions.db", "");
  open()->put("s", "k", 1).value();
  EXPECT_EQ(open()->get("s", "k").value(), Json(1));
}

TEST_F(SqliteFailure, ANewerFormatIsLeftAlone) {
  open()->put("s", "k", 1).value();
  edit(folder_.file(), "PRAGMA user_version = 2");
  expect_begins(refusal(folder_.file()),
                "its format is 2, and this version of Lair knows none but 1. It was left");
  edit(folder_.file(), "PRAGMA user_version = 1");
  EXPECT_EQ(open()->get("s", "k").value(), Json(1));
}

TEST_F(SqliteFailure, AFileInUseIsRefusedUntilItIsLetGo) {
  auto store = open();
  const std::string why = refusal(folder_.file());
  expect_begins(why, "it is in use by another program or pool. A store belongs to one pool at a time");
  EXPECT_NE(why.find("database is locked"), std::string::npos) << why;
  store->put("s", "k", 1).value();
  store.reset();
  EXPECT_EQ(refusal(folder_.file()), "(opened)");
}

TEST_F(SqliteFailure, ADamagedFileIsNoticed) {
  {
    auto store = open();
    for (int i = 0; i < 200; ++i) store->put("s", "k" + std::to_string(i), std::string(500, 'x')).value();
  }
  std::string bytes = folder_.read("sessions.db");
  ASSERT_GT(bytes.size(), 40960u);
  std::string damaged = bytes;
  damaged.replace(4096 * 3, 4096 * 3, std::string(4096 * 3, '\x5a'));
  const std::string why = refusal(folder_.write("damaged.db", damaged));
  expect_begins(why, "it is damaged. Restore it from a copy");
  expect_begins(refusal(folder_.write("cut.db", bytes.substr(0, 4096 * 4))), "it is damaged");
  damaged = bytes;
  damaged.replace(0, 100, std::string(100, '\0'));
  expect_begins(refusal(folder_.write("head.db", damaged)),
                "it is not a database of SQLite's, or its beginning");
}

TEST_F(SqliteFailure, WhatSomebodyElseHasPutThereIsNoticedWhenItIsRead) {
  open()->put("s", "k", 1).value();
  edit(folder_.file(), "UPDATE entries SET value = '{oops'");
  auto store = open();
  const auto read = store->get("s", "k");
  ASSERT_FALSE(read);
  EXPECT_EQ(read.error().kind, ErrorKind::kUnavailable);
  EXPECT_NE(read.error().message.find(folder_.file()), std::string::npos);
  EXPECT_NE(read.error().message.find("key \"k\" of session \"s\" is not JSON"), std::string::npos);
  store->put("s", "k", 2).value();
  EXPECT_EQ(store->get("s", "k").value(), Json(2));
}

// As a user who is not root, who may do everything: only this thread, and the store's that it starts.
TEST_F(SqliteFailure, AFileThatMayNotBeWrittenIsRefused) {
  open()->put("s", "k", 1).value();
  namespace fs = std::filesystem;
  const auto as_somebody = [&](const std::string& path) {
    if (::geteuid() == 0) ::setfsuid(kNobody);
    const std::string why = refusal(path);
    if (::geteuid() == 0) ::setfsuid(0);
    return why;
  };
  fs::permissions(folder_.path(), fs::perms(0555));
  fs::permissions(folder_.file(), fs::perms(0444));
  expect_begins(as_somebody(folder_.file()),
                "it may only be read. Let this user write to the file and its directory");
  fs::permissions(folder_.file(), fs::perms(0000));
  expect_begins(as_somebody(folder_.file()), "this user may not read and write it there");
  expect_begins(as_somebody(folder_.file("new.db")),
                "this user may not read and write it there, or not make files");
  fs::permissions(folder_.file(), fs::perms(0666));  // but there is no place for its log
  expect_begins(as_somebody(folder_.file()),
                "it may only be read. Let this user write to the file and its directory");
  fs::permissions(folder_.path(), fs::perms(0000));
  expect_begins(as_somebody(folder_.file()), "this user may not read and write it there");
  fs::permissions(folder_.path(), fs::perms(0700));
  EXPECT_EQ(open()->get("s", "k").value(), Json(1));
}

// --- A disk that fails -----------------------------------------------------------------------------
TEST_F(SqliteFailure, AFullDiskLosesNothingAndServesAgainWhenThereIsRoom) {
  auto store = open();
  store->touch("s", 10s).value();
  store->put("s", "k", 1).value();
  vfs_.fill_up(true);
  const std::string why = failure(store->put("s", "k", std::string(20'000, 'x')));
  expect_begins(why,
                "there is no room left where it lies. Nothing that was stored before is lost; make room");
  EXPECT_EQ(store->erase("s", "k").error().kind, ErrorKind::kUnavailable);
  EXPECT_EQ(store->drop("s").error().kind, ErrorKind::kUnavailable);
  EXPECT_EQ(store->get("s", "k").value(), Json(1));
  EXPECT_EQ(store->bytes("s"), 2u);
  clock_.advance(10s);
  EXPECT_EQ(store->sweep().error().kind, ErrorKind::kUnavailable);
  EXPECT_EQ(store->get("s", "k").value(), Json(1));
  vfs_.fill_up(false);
  store->put("s", "k", 2).value();
  EXPECT_EQ(store->sweep().value(), (std::vector<std::string>{"s"}));
  EXPECT_EQ(store->total_bytes(), 0u);
}

TEST_F(SqliteFailure, ATouchTellsThatItsNoteFailedAndTriesAgain) {
  auto store = open();
  store->touch("s", 10s).value();
  store->put("s", "k", 1).value();
  vfs_.fill_up(true);
  store->touch("s", 1h).value();  // does not wait, and so cannot know
  EXPECT_TRUE(eventually([&] { return !store->touch("s", 1h); }));
  expect_begins(failure(store->touch("s", 1h)), "there is no room left");
  EXPECT_TRUE(store->sweep().value().empty());  // in memory it is kept
  vfs_.fill_up(false);
  EXPECT_TRUE(eventually([&] { return store->touch("s", 1h).has_value(); }));
  store.reset();
  clock_.advance(1min);
  EXPECT_EQ(open()->sessions().size(), 1u);
}

TEST_F(SqliteFailure, OneThatFindsNoRoomTakesNoOtherWithIt) {
  auto store = open();
  vfs_.hold_syncs();
  auto first = std::async(std::launch::async, [&] { store->put("s", "first", 0).value(); });
  EXPECT_TRUE(eventually([&] { return vfs_.is_holding(); }));
  std::vector<std::future<Result<void>>> puts;
  for (int i = 0; i < 4; ++i) {
    puts.push_back(
        std::async(std::launch::async, [&, i] { return store->put("s", "k" + std::to_string(i), i); }));
  }
  EXPECT_TRUE(eventually([&] { return store->queue().waiting() == 4; }));
  // One operation fails after the first commit's sync: something of the transaction of the four.
  vfs_.fail_after(1, 1, SQLITE_FULL);
  vfs_.release_syncs();
  first.get();
  for (auto& put : puts) EXPECT_TRUE(put.get());
  EXPECT_EQ(vfs_.failures(), 1u);
  store.reset();
  EXPECT_EQ(open()->keys("s", "").value().size(), 5u);
}

TEST_F(SqliteFailure, EachKindOfFailureSaysWhatToDo) {
  auto store = open();
  store->put("s", "k", 1).value();
  const std::map<int, std::string> words = {
      {SQLITE_IOERR_WRITE, "the disk, or what stands for it, failed. Look at the system's log"},
      {SQLITE_IOERR_FSYNC, "the disk, or what stands for it, failed"},
      {SQLITE_READONLY, "it may only be read"},
      {SQLITE_FULL, "there is no room left"},
  };
  for (const auto& [code, said] : words) {
    vfs_.fail_after(0, 1, code);
    const std::string why = failure(store->put("s", "k", 2));
    expect_begins(why, said);
    EXPECT_NE(why.find("SQLite code " + std::to_string(code) + ")"), std::string::npos) << why;
    EXPECT_EQ(store->get("s", "k").value(), Json(1));
  }
  store->put("s", "k", 3).value();
}

TEST_F(SqliteFailure, AReadThatFailsSaysSoAndTheNextOneMaySucceed) {
  auto store = open();
  const auto value = [](int i) { return Json(std::string(20'000, static_cast<char>('a' + i % 26))); };
  // Twice of what SQLite keeps in memory.
  for (int i = 0; i < 200; ++i) store->put("s", "k" + std::to_string(i), value(i)).value();
  vfs_.fail_reads(SQLITE_IOERR_READ);
  int failed = 0;
  for (int i = 0; i < 200; ++i) {
    const auto read = store->get("s", "k" + std::to_string(i));
    if (read) {
      EXPECT_EQ(*read, value(i));
    } else {
      ++failed;
      expect_begins(after("the session store " + folder_.file() + " cannot be read: ", read.error()),
                    "the disk, or what stands for it, failed");
    }
  }
  EXPECT_GT(failed, 50);
  EXPECT_EQ(store->put("s", "k0", 1).error().kind, ErrorKind::kUnavailable);  // it has to look what is there
  vfs_.fail_reads(SQLITE_OK);
  for (int i = 0; i < 200; ++i) EXPECT_EQ(store->get("s", "k" + std::to_string(i)).value(), value(i));
}

// Every operation on the disk fails in turn, once or from then on. What was acknowledged is there afterwards; what was not,
// wholly or not at all.
TEST_F(SqliteFailure, WhateverFailsNothingAcknowledgedIsLost) {
  int interrupted = 0;
  for (const std::uint64_t fails : {1ull, 1'000'000ull}) {
    for (const int code : {SQLITE_FULL, SQLITE_IOERR_WRITE, SQLITE_IOERR_FSYNC}) {
      for (std::uint64_t passes = 0;; ++passes) {
        const std::string path = folder_.file("sweep-" + std::to_string(fails) + "-" + std::to_string(code) +
                                              "-" + std::to_string(passes) + ".db");
        open(path)->put("s", "k", 0).value();  // makes it
        const auto before = vfs_.failures();
        Json acknowledged = 0, tried = 0;
        vfs_.fail_after(passes, fails, code);
        if (auto store = SqliteStore::open(path, {.opening = {.vfs = vfs_.name()}})) {
          for (int i = 1; i <= 4; ++i) {
            tried = std::string(static_cast<std::size_t>(i) * 3000, 'x');  // on pages of its own
            if ((*store)->put("s", "k", tried)) {
              acknowledged = tried;
            } else {
              EXPECT_EQ((*store)->get("s", "k").value(), acknowledged);
              break;
            }
          }
        }
        const bool failed = vfs_.failures() > before;
        vfs_.fail_after(0, 0, 0);
        auto store = open(path);
        const auto found = store->get("s", "k").value();
        EXPECT_TRUE(found == acknowledged || found == tried) << path;
        EXPECT_EQ(store->bytes("s"), 1 + found->dump().size()) << path;
        if (!failed) break;  // it got through without
        interrupted += acknowledged != tried ? 1 : 0;
      }
    }
  }
  EXPECT_GT(interrupted, 20);
}

}  // namespace
}  // namespace lair::test
