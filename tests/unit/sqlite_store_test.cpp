// The session store in a file: what outlives it, when it writes, and its thread.
#include "store/sqlite_store.hpp"

#include <sys/stat.h>

#include <future>

#include "support/faulty_vfs.hpp"
#include "support/leak_check.hpp"
#include "unit/store_suite.hpp"

namespace lair::test {
namespace {

using store::SqliteStore;
using Names = std::vector<std::string>;

struct InFile {
  std::unique_ptr<store::SessionStore> make(const store::Limits& limits, const StoreClock& clock) {
    auto config = clock.config(limits);
    config.opening.vfs = vfs.name();
    return SqliteStore::open(folder.file(), std::move(config)).value();
  }
  StoreFolder folder;
  FaultyVfs vfs;
};
INSTANTIATE_TYPED_TEST_SUITE_P(InFile, Stores, InFile);

class SqliteStoreTest : public LeakChecked {
 protected:
  std::unique_ptr<SqliteStore> open(SqliteStore::Config config) {
    if (with_vfs_) config.opening.vfs = vfs_.name();
    return SqliteStore::open(folder_.file(), std::move(config)).value();
  }
  std::unique_ptr<SqliteStore> open() { return open(clock_.config()); }

  // While the disk is waited for: `first` is being committed, and all that comes has to queue.
  std::future<void> begin_a_commit(SqliteStore& store) {
    vfs_.hold_syncs();
    auto put = std::async(std::launch::async, [&store] { store.put("first", "k", 0).value(); });
    EXPECT_TRUE(eventually([this] { return vfs_.is_holding(); }));
    return put;
  }

  StoreClock clock_;
  StoreFolder folder_;
  FaultyVfs vfs_;
  bool with_vfs_ = true;
};

// --- What outlives it ------------------------------------------------------------------------------
TEST_F(SqliteStoreTest, WhatWasPutIsThereAfterReopening) {
  with_vfs_ = false;
  auto store = open();
  EXPECT_TRUE(store->sessions().empty());
  store->touch("a", 1h).value();
  store->touch("c", 1h).value();
  store->put("a", "k", {1, 2}).value();
  store->put("a", "gone", 1).value();
  store->put("b", "k", "b").value();
  store->put("dropped", "k", 1).value();
  store->erase("a", "gone").value();
  store->drop("dropped").value();
  const std::uint64_t total = store->total_bytes();
  store.reset();

  store = open();
  EXPECT_EQ(store->get("a", "k").value(), Json({1, 2}));
  EXPECT_EQ(store->keys("a", "").value(), (Names{"k"}));
  EXPECT_EQ(store->get("b", "k").value(), Json("b"));
  Names names = store->sessions();
  std::sort(names.begin(), names.end());
  EXPECT_EQ(names, (Names{"a", "b"}));
  EXPECT_EQ(store->total_bytes(), total);
  EXPECT_EQ(store->bytes("a"), 6u);
}

TEST_F(SqliteStoreTest, OpenStoreOpensTheFileOfThePath) {
  {
    auto store = store::open_store(folder_.file("x.db"), {.session = 5}).value();
    store->put("s", "k", 1).value();
    EXPECT_EQ(store->put("s", "l", 1234).error().kind, ErrorKind::kInvalidArgument);
  }
  EXPECT_EQ(store::open_store(folder_.file("x.db"), {}).value()->get("s", "k").value(), Json(1));
}

TEST_F(SqliteStoreTest, NamesThatMeanSomethingToSqliteAreFilesLikeOthers) {
  // Relative to the working directory, which a library must not change: hence through the folder's path.
  for (const char* name : {":memory:", "file:x?mode=memory", "a b%20c.db"}) {
    SqliteStore::open(folder_.file(name), clock_.config()).value()->put("s", "k", 1).value();
    EXPECT_TRUE(std::filesystem::exists(folder_.path() / name)) << name;
    EXPECT_TRUE(SqliteStore::open(folder_.file(name), clock_.config()).value()->get("s", "k").value())
        << name;
  }
}

TEST_F(SqliteStoreTest, TheFileIsItsOwnersAlone) {
  with_vfs_ = false;
  const auto store = open();
  store->put("s", "k", 1).value();
  for (const char* name : {"sessions.db", "sessions.db-wal"}) {
    struct stat facts = {};
    ASSERT_EQ(::stat(folder_.file(name).c_str(), &facts), 0) << name;
    EXPECT_EQ(facts.st_mode & 0777, 0600u) << name;
  }
  EXPECT_FALSE(std::filesystem::exists(folder_.file("sessions.db-shm")));
}

TEST_F(SqliteStoreTest, ALowerLimitKeepsWhatIsThereAndLetsItShrink) {
  open()->put("s", "k", "1234567890").value();
  auto store = open(clock_.config({.session = 8}));
  EXPECT_EQ(store->get("s", "k").value(), Json("1234567890"));
  EXPECT_FALSE(store->put("s", "k", "12345678901"));
  store->put("s", "k", "123456789").value();
  EXPECT_FALSE(store->put("s", "l", 1));
}

// --- Time ------------------------------------------------------------------------------------------
TEST_F(SqliteStoreTest, TimeGoesOnWhileTheFileIsClosed) {
  auto store = open();
  for (const char* name : {"short", "long"}) {
    store->touch(name, name == std::string("short") ? 10s : 1h).value();
    store->put(name, "k", 1).value();
  }
  store->put("for ever", "k", 1).value();
  clock_.advance(5s);
  store.reset();
  store = open();
  EXPECT_EQ(store->sessions().size(), 3u);
  clock_.advance(5s);
  EXPECT_EQ(store->sweep().value(), (Names{"short"}));
  store->touch("short", 10s).value();
  store->put("short", "k", 2).value();
  store.reset();

  clock_.advance(10s);
  store = open();  // which drops it
  EXPECT_EQ(store->sessions().size(), 2u);
  EXPECT_FALSE(store->get("short", "k").value());
  EXPECT_TRUE(store->sweep().value().empty());
  clock_.advance(1h);
  EXPECT_EQ(store->sweep().value(), (Names{"long"}));
  clock_.advance(24h * 365 * 100);
  EXPECT_TRUE(store->sweep().value().empty());
  EXPECT_EQ(store->sessions(), (Names{"for ever"}));
}

TEST_F(SqliteStoreTest, AWallClockThatIsSetEndsNoSession) {
  auto store = open();
  store->touch("s", 1h).value();
  store->put("s", "k", 1).value();
  clock_.set_wall(24h * 30);
  EXPECT_TRUE(store->sweep().value().empty());
  // And the next touch has the file know the new time.
  store->touch("s", 1h).value();
  store.reset();
  clock_.advance(59min);
  store = open();
  EXPECT_EQ(store->sessions(), (Names{"s"}));
}

TEST_F(SqliteStoreTest, ATouchIsWrittenOnlyNowAndThen) {
  auto store = open();
  store->touch("s", 80s).value();
  const auto before = vfs_.writes();
  EXPECT_FALSE(store->get("s", "k").value());  // the thread is through with all that came before
  EXPECT_EQ(vfs_.writes(), before);            // a session that holds nothing is none of the file's business
  store->put("s", "k", 1).value();

  const auto touch_and_count = [&](const char* session, Duration ttl) {
    const auto writes = vfs_.syncs();
    store->touch(session, ttl).value();
    (void)store->sweep().value();  // the thread has looked
    return vfs_.syncs() - writes;
  };
  clock_.advance(10s);
  for (int i = 0; i < 3; ++i) EXPECT_EQ(touch_and_count("s", 80s), 0u);  // 10 s are ttl / 8
  clock_.advance(1ms);
  EXPECT_GE(touch_and_count("s", 80s), 1u);
  EXPECT_EQ(touch_and_count("s", 80s), 0u);
  EXPECT_GE(touch_and_count("s", 1h), 1u);
  clock_.advance(1min);
  EXPECT_EQ(touch_and_count("s", 1h), 0u);  // 1 min, though ttl / 8 is longer
  clock_.advance(1ms);
  EXPECT_GE(touch_and_count("s", 1h), 1u);
  EXPECT_GE(touch_and_count("s", kForever), 1u);
  EXPECT_EQ(touch_and_count("s", kForever), 0u);
  EXPECT_GE(touch_and_count("s", 10s), 1u);
  store.reset();

  clock_.advance(9s);
  EXPECT_EQ(open()->sessions(), (Names{"s"}));
  clock_.advance(1s);
  EXPECT_TRUE(open()->sessions().empty());
}

TEST_F(SqliteStoreTest, ATouchDoesNotWaitAndClosingWritesIt) {
  auto store = open();
  store->touch("s", 10s).value();
  store->put("s", "k", 1).value();
  auto put = begin_a_commit(*store);
  store->touch("s", 1h).value();  // returns, though the thread is busy
  vfs_.release_syncs();
  put.get();
  store.reset();
  clock_.advance(59min);
  EXPECT_EQ(open()->sessions().size(), 2u);
}

// --- Its thread ------------------------------------------------------------------------------------
TEST_F(SqliteStoreTest, CommitsTogetherWhatCameWhileItWasBusy) {
  auto store = open();
  auto first = begin_a_commit(*store);
  const auto syncs = vfs_.syncs();
  std::vector<std::future<void>> puts;
  for (int i = 0; i < 12; ++i) {
    puts.push_back(std::async(std::launch::async, [&, i] {
      store->put("s" + std::to_string(i % 3), "k" + std::to_string(i), i).value();
    }));
  }
  EXPECT_TRUE(eventually([&] { return store->queue().waiting() == 12; }));
  EXPECT_EQ(store->bytes("s0"), 0u);  // not acknowledged: not there
  vfs_.release_syncs();
  first.get();
  for (auto& put : puts) put.get();
  EXPECT_EQ(vfs_.syncs() - syncs, 2u);  // the first one's, and one for all others
  EXPECT_EQ(store->total_bytes(), 2 + 10 * 3 + 2 * 5u);
}

TEST_F(SqliteStoreTest, OneThatIsRefusedTakesNoOtherWithIt) {
  auto store = open(clock_.config({.session = 20}));
  auto first = begin_a_commit(*store);
  std::vector<std::future<Result<void>>> puts;
  for (int i = 0; i < 3; ++i) {
    puts.push_back(std::async(std::launch::async, [&, i] {
      return store->put("s", "k" + std::to_string(i), "12345");  // 9 bytes
    }));
  }
  EXPECT_TRUE(eventually([&] { return store->queue().waiting() == 3; }));
  vfs_.release_syncs();
  first.get();
  int done = 0;
  for (auto& put : puts) done += put.get() ? 1 : 0;
  EXPECT_EQ(done, 2);
  EXPECT_EQ(store->bytes("s"), 18u);
  store.reset();
  EXPECT_EQ(open()->keys("s", "").value().size(), 2u);
}

TEST_F(SqliteStoreTest, CallersWaitForRoomInTheQueue) {
  auto config = clock_.config();
  config.queue = 2;
  auto store = open(std::move(config));
  auto first = begin_a_commit(*store);
  std::vector<std::future<void>> puts;
  for (int i = 0; i < 8; ++i) {
    puts.push_back(
        std::async(std::launch::async, [&, i] { store->put("s", "k" + std::to_string(i), i).value(); }));
  }
  EXPECT_TRUE(eventually([&] { return store->queue().waiting_for_room() == 6; }));
  EXPECT_EQ(store->queue().waiting(), 2u);
  vfs_.release_syncs();
  first.get();
  for (auto& put : puts) put.get();
  EXPECT_EQ(store->keys("s", "").value().size(), 8u);
}

TEST_F(SqliteStoreTest, ClosingWaitsForWhatWasAcceptedAndRefusesTheRest) {
  auto config = clock_.config();
  config.queue = 2;
  auto store = open(std::move(config));
  auto first = begin_a_commit(*store);
  std::vector<std::future<Result<void>>> puts;
  for (int i = 0; i < 6; ++i) {
    puts.push_back(
        std::async(std::launch::async, [&, i] { return store->put("s", "k" + std::to_string(i), i); }));
  }
  EXPECT_TRUE(eventually([&] { return store->queue().waiting_for_room() == 4; }));
  auto closing = std::async(std::launch::async, [&] { delete store.release(); });
  vfs_.release_syncs();
  closing.get();
  first.get();
  std::size_t done = 0;
  for (auto& put : puts) {
    const auto result = put.get();
    done += result ? 1 : 0;
    if (!result) {
      EXPECT_NE(result.error().message.find("it is being closed"), std::string::npos);
    }
  }
  EXPECT_GE(done, 2u);
  EXPECT_EQ(open()->keys("s", "").value().size(), done);
}

TEST_F(SqliteStoreTest, AThreadThatCannotStartIsAnError) {
  auto config = clock_.config();
  config.start_thread = [](const auto&) -> std::thread {
    throw std::system_error(std::make_error_code(std::errc::resource_unavailable_try_again));
  };
  const auto failed = SqliteStore::open(folder_.file(), std::move(config));
  ASSERT_FALSE(failed);
  EXPECT_EQ(failed.error().kind, ErrorKind::kUnavailable);
  EXPECT_NE(failed.error().message.find("its thread could not be started"), std::string::npos);
  open()->put("s", "k", 1).value();  // and the file has been let go
}

}  // namespace
}  // namespace lair::test
