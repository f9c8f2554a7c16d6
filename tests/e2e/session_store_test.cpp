// What sessions put into their store, from C++ and from Python: values, limits, isolation, and what is refused.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <fstream>
#include <string>
#include <thread>
#include <vector>

#include "store/session_store.hpp"
#include "support/sessions.hpp"

namespace lair::test {
namespace {

using namespace std::chrono_literals;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

class SessionStore : public SessionTest {
 protected:
  // What is to be refused as a mistake of the caller's.
  template <class T>
  static void expect_invalid(const Result<T>& outcome, const std::string& why) {
    ASSERT_FALSE(outcome);
    EXPECT_EQ(outcome.error().kind, ErrorKind::kInvalidArgument) << outcome.error().message;
    EXPECT_THAT(outcome.error().message, HasSubstr(why));
  }
};

TEST_F(SessionStore, BothSidesSeeTheSame) {
  Pool pool(options_of(2));
  Session session = pool.session("s");
  const std::vector<Json> values = {nullptr,
                                    true,
                                    0,
                                    -1,
                                    18446744073709551615u,
                                    0.1,
                                    "",
                                    "täxt \"in quotes\"",
                                    Json::array(),
                                    Json::object(),
                                    {1, {2}},
                                    {{"a", {{"b", nullptr}}}}};
  for (const Json& value : values) {
    SCOPED_TRACE(value.dump());
    session.put("from C++", value);
    EXPECT_EQ(session.call("get", "from C++", "default"), value);
    session.call("put", "from Python", value);
    EXPECT_EQ(session.try_get("from Python").value(), std::optional<Json>(value)) << "null is a value";
  }
  EXPECT_EQ(session.try_get("nothing").value(), std::nullopt);
  EXPECT_EQ(session.call("get", "nothing", "default"), "default");
  EXPECT_EQ(session.get<int>("nothing"), std::nullopt);
  EXPECT_THAT(session.keys(), ElementsAre("from C++", "from Python"));
  EXPECT_EQ(session.call("keys"), Json({"from C++", "from Python"}));
}

TEST_F(SessionStore, EachUseDoesWhatItSays) {
  Pool pool(options_of(1));
  Session session = pool.session("s");
  EXPECT_FALSE(session.erase("a")) << "there was none";
  session.put("a", 1);
  EXPECT_TRUE(session.erase("a"));
  EXPECT_EQ(session.get("a"), std::nullopt);

  EXPECT_FALSE(session.compare_and_set("a", 1, 2)) << "there is none";
  EXPECT_TRUE(session.compare_and_set("a", std::nullopt, 1)) << "made";
  EXPECT_FALSE(session.compare_and_set("a", std::nullopt, 2)) << "there is one";
  EXPECT_FALSE(session.compare_and_set("a", 3, 2));
  EXPECT_EQ(session.get<int>("a"), 1);
  EXPECT_TRUE(session.compare_and_set("a", 1, Json{{"x", 1}, {"y", 2}}));
  EXPECT_TRUE(session.compare_and_set("a", Json{{"y", 2}, {"x", 1}}, nullptr)) << "in whatever order";
  EXPECT_FALSE(session.compare_and_set("a", std::nullopt, 1)) << "null is a value";
  EXPECT_TRUE(session.compare_and_set("a", Json(), std::nullopt)) << "erased";
  EXPECT_THAT(session.keys(), IsEmpty());

  EXPECT_EQ(session.call("delete", "a"), false);
  EXPECT_EQ(session.call("create", "a", 1), true);
  EXPECT_EQ(session.call("create", "a", 2), false);
  EXPECT_EQ(session.call("cas", "a", 2, 3), false);
  EXPECT_EQ(session.call("cas", "a", 1, nullptr), true);
  EXPECT_EQ(session.call("delete_if", "a", 1), false);
  EXPECT_EQ(session.call("delete_if", "a", nullptr), true);
  EXPECT_EQ(session.call("put", "a", 1), Json());
  EXPECT_EQ(session.call("delete", "a"), true);
  EXPECT_EQ(session.call("keys"), Json::array());
}

TEST_F(SessionStore, CoroutinesUseItToo) {
  PoolOptions options = options_of(1);
  options.concurrency = 4;
  Pool pool(options);
  Session session = pool.session("s");
  EXPECT_EQ(session.call("aget", "a", "default"), "default");
  session.call("aput", "a", 1);
  EXPECT_EQ(session.call("aget", "a"), 1);
  EXPECT_EQ(session.call("acas", "a", 2, 3), false);
  EXPECT_EQ(session.call("acas", "a", 1, 3), true);
  EXPECT_EQ(session.call("akeys"), Json({"a"}));
  EXPECT_EQ(session.call("adelete", "a"), true);
  EXPECT_EQ(session.call("adelete", "a"), false);
}

TEST_F(SessionStore, KeysAreSortedAndFoundByTheirBeginning) {
  Pool pool(options_of(1));
  Session session = pool.session("s");
  for (const char* key : {"b/2", "a", "b/10", "b", "ä", "b/1", "B", "c%_"}) session.put(key, 0);
  EXPECT_THAT(session.keys(), ElementsAre("B", "a", "b", "b/1", "b/10", "b/2", "c%_", "ä"));
  EXPECT_THAT(session.keys("b/"), ElementsAre("b/1", "b/10", "b/2"));
  EXPECT_THAT(session.keys("c%"), ElementsAre("c%_")) << "no pattern";
  EXPECT_THAT(session.keys("%"), IsEmpty());
  EXPECT_THAT(session.keys("\xc3\xa4"), ElementsAre("ä"));
  EXPECT_EQ(session.call("keys", "b/"), Json({"b/1", "b/10", "b/2"}));
}

TEST_F(SessionStore, SessionsAreApart) {
  Pool pool(options_of(1));
  Session a = pool.session("a");
  Session b = pool.session("b", kStrictly);
  Session prefix = pool.session("a/b");
  a.put("key", "a's");
  b.call("put", "key", "b's");
  EXPECT_EQ(prefix.get("key"), std::nullopt);
  EXPECT_EQ(a.call("get", "key"), "a's");
  EXPECT_EQ(b.get("key"), "b's");
  a.end();
  EXPECT_EQ(b.get("key"), "b's");
  // Who says so in the arguments, is not believed.
  const Json forced =
      prefix.call("by_force", "get", Json{{"key", "key"}, {"session", "b"}, {"session_id", "b"}});
  EXPECT_NE(forced.dump().find("found\":false"), std::string::npos) << forced;
}

// --- Limits --------------------------------------------------------------------------------------------

TEST_F(SessionStore, KeysHave1To256BytesOfText) {
  Pool pool(options_of(1));
  Session session = pool.session("s");
  const std::string longest(256, 'k');
  session.put(longest, 1);
  EXPECT_EQ(session.call("get", longest), 1);
  for (const std::string& key :
       {std::string(), std::string(257, 'k'), std::string("\xff\xfe"), std::string("\xed\xa0\x80")}) {
    SCOPED_TRACE(key.size());
    expect_invalid(session.try_put(key, 1), "key");
    expect_invalid(session.try_get(key), "key");
    expect_invalid(session.try_erase(key), "key");
    expect_invalid(session.try_compare_and_set(key, std::nullopt, 1), "key");
  }
  for (const std::string& key : {std::string(), std::string(257, 'k')}) {
    for (const char* what : {"put", "get", "delete", "compare_and_set"}) {
      const Json said = session.call("by_force", what, Json{{"key", key}, {"value", 1}});
      EXPECT_EQ(said.at(0), "invalid_argument") << what << ' ' << said;
      EXPECT_THAT(said.at(1).get<std::string>(), HasSubstr("key"));
    }
  }
  EXPECT_THAT(session.keys(), ElementsAre(longest));
}

TEST_F(SessionStore, AValueMayHaveSoManyBytesOfJson) {
  PoolOptions options = options_of(1);
  options.session_value_limit = 1024;
  Pool pool(options);
  Session session = pool.session("s");
  const std::string fits(1022, 'v');  // and the quotes
  session.put("fits", fits);
  EXPECT_EQ(session.call("report", "put", "fits too", fits), Json());
  for (const Json& value :
       {Json(fits + "v"), Json(std::string(400, '\x01')), Json(std::vector<int>(600, 1))}) {
    expect_invalid(session.try_put("fits", value), "session_value_limit");
    expect_invalid(session.try_compare_and_set("fits", fits, value), "session_value_limit");
    const Json said = session.call("report", "put", "fits", value);
    ASSERT_TRUE(said.is_array()) << said;
    EXPECT_EQ(said.at(1), "invalid_argument");
  }
  EXPECT_EQ(session.get("fits"), fits) << "nothing has changed";
}

TEST_F(SessionStore, ASessionMayHoldSoMuch) {
  PoolOptions options = options_of(1);
  options.session_value_limit = 1024;
  options.session_limit = 2048;
  Pool pool(options);
  Session session = pool.session("s");
  Session other = pool.session("other");
  const std::string value(998, 'v');  // 1000 of JSON, 24 are left for the key and something more
  session.put("k1", value);
  session.put("k2", value);
  EXPECT_EQ(session.info().stored_bytes, 2004u);
  expect_invalid(session.try_put("k3", value), "session_limit");
  EXPECT_EQ(session.call("report", "put", "k3", value).at(1), "invalid_argument");
  other.put("k3", value);
  session.put("k3", std::string(40, 'v'));  // 2 + 42: exactly full
  EXPECT_EQ(session.info().stored_bytes, 2048u);
  expect_invalid(session.try_put("k3", std::string(41, 'v')), "session_limit");
  session.put("k1", "less");
  session.put("k4", value.substr(0, 900));
  EXPECT_TRUE(session.erase("k2"));
  session.put("k2", value);
  EXPECT_THAT(session.keys(), ElementsAre("k1", "k2", "k3", "k4"));
}

TEST_F(SessionStore, WhatIsNoJsonIsRefused) {
  Pool pool(options_of(1));
  Session session = pool.session("s");
  for (const Json& value :
       {Json(NAN), Json(INFINITY), Json("\xff"), Json{{"deep", {NAN}}}, Json::binary({1, 2})}) {
    expect_invalid(session.try_put("key", value), "");
    expect_invalid(session.try_compare_and_set("key", std::nullopt, value), "");
  }
  const auto outcome = session.try_get("key");
  ASSERT_TRUE(outcome);
  EXPECT_EQ(*outcome, std::nullopt);
  session.put("key", "text");
  EXPECT_THROW((void)session.get<int>("key"), CallError);
}

TEST_F(SessionStore, ItsSizeIsKnownExactly) {
  Pool pool(options_of(2));
  Session a = pool.session("a");
  Session b = pool.session("b");
  EXPECT_EQ(a.info().stored_bytes, 0u);
  a.put("key", "xyz");  // 3 + 5
  EXPECT_EQ(a.info().stored_bytes, 8u);
  b.call("put", "é", Json{{"n", 1}});  // 2 + {"n":1}
  EXPECT_EQ(b.info().stored_bytes, 9u);
  a.put("key", 1);
  EXPECT_EQ(a.info().stored_bytes, 4u);
  EXPECT_EQ(pool.stats().sessions.stored_bytes, 13u);
  std::uint64_t sum = 0;
  for (const SessionInfo& info : pool.sessions()) sum += info.stored_bytes;
  EXPECT_EQ(sum, 13u);
  a.erase("key");
  EXPECT_EQ(a.info().stored_bytes, 0u);
  b.end();
  EXPECT_EQ(pool.stats().sessions.stored_bytes, 0u);
}

// --- Who may --------------------------------------------------------------------------------------------

TEST_F(SessionStore, IsForCallsOfSessionsOnly) {
  Pool pool(options_of(1));
  const Json said = pool.call("by_force", "get", Json{{"key", "a"}});
  EXPECT_EQ(said.at(0), "invalid_argument") << said;
  EXPECT_THAT(said.at(1).get<std::string>(), HasSubstr("no session"));
  Lease lease = pool.checkout();
  EXPECT_EQ(lease.call("by_force", "put", Json{{"key", "a"}, {"value", 1}}).at(0), "invalid_argument");
}

TEST_F(SessionStore, RefusesWhatIsNoUseOfIt) {
  Pool pool(options_of(1));
  Session session = pool.session("s");
  const auto refused = [&](const char* what, const Json& arguments) {
    const Json said = session.call("by_force", what, arguments);
    EXPECT_EQ(said.at(0), "invalid_argument") << said;
  };
  refused("get", Json{{"key", 1}});
  refused("get", Json{{"nothing", 1}});
  refused("put", Json{{"key", "a"}});
  refused("put", Json{{"key", nullptr}, {"value", 1}});
  refused("list", Json{{"prefix", 1}});
  refused("compare_and_set", Json{{"expected", 1}});
  refused("steal", Json{{"key", "a"}});
  EXPECT_EQ(session.call("by_position", "get", Json({"a"})).at(0), "invalid_argument");
  EXPECT_THAT(session.keys(), IsEmpty());
}

TEST_F(SessionStore, CountersOfManyWritersAreExact) {
  Pool pool(options_of(2));
  Session session = pool.session("s");
  session.put("n", 0);
  {
    std::vector<std::jthread> threads;
    for (int t = 0; t < 4; ++t) {
      threads.emplace_back([&, t] {
        for (int i = 0; i < 50; ++i) {
          for (bool done = false; !done;) {
            const int seen = session.get<int>("n").value();
            done = t % 2 == 0 ? session.compare_and_set("n", seen, seen + 1)
                              : session.call<bool>("cas", "n", seen, seen + 1);
          }
        }
      });
    }
  }
  EXPECT_EQ(session.get<int>("n"), 200);
}

// --- On disk --------------------------------------------------------------------------------------------

TEST_F(SessionStore, AFileOutlastsThePool) {
  const Note folder;
  PoolOptions options = options_of(1);
  options.session_store = folder.path();
  {
    Pool pool(options);
    pool.session("kept").call("put", "key", "from Python");
    Session strict = pool.session("strict", kStrictly);
    strict.put("key", Json{{"from", "C++"}});
    Session ended = pool.session("ended");
    ended.put("key", 1);
    ended.end();
    pool.session("forever", {.ttl = kForever}).put("key", 2);
  }
  Pool pool(options);
  EXPECT_THAT(pool.sessions(), IsEmpty()) << "values are kept, sessions are opened anew";
  EXPECT_EQ(pool.session("kept").get("key"), "from Python");
  EXPECT_EQ(pool.session("strict", kStrictly).call("get", "key"), (Json{{"from", "C++"}}));
  EXPECT_EQ(pool.session("ended").get("key"), std::nullopt);
  EXPECT_EQ(pool.session("forever").get<int>("key"), 2);
  EXPECT_EQ(pool.session("kept").info().stored_bytes, 16u);
}

TEST_F(SessionStore, AFileOutlastsWorkersAndReloads) {
  const Note folder;
  PoolOptions options = options_of(2);
  options.session_store = folder.path();
  Pool pool(options);
  pool.wait_ready();
  Session session = pool.session("s");
  session.call("put", "key", 1);
  kill_home(pool, session);
  EXPECT_EQ(session.call("add", "key", 1), 2);
  pool.reload();
  EXPECT_EQ(session.call("add", "key", 1), 3);
  EXPECT_EQ(session.get<int>("key"), 3);
}

TEST_F(SessionStore, AFileThatIsNoStoreIsRefusedByName) {
  const Note folder;
  std::ofstream(folder.path()) << std::string(5000, 'x');
  for (const std::string& path : {folder.path(), std::string("/"), folder.path() + "/in/a/file"}) {
    PoolOptions options = options_of(1);
    options.session_store = path;
    const auto pool = Pool::create(options);
    ASSERT_FALSE(pool) << path;
    EXPECT_EQ(pool.error().kind, ErrorKind::kUnavailable) << pool.error().message;
    EXPECT_THAT(pool.error().message, HasSubstr(path));
  }
  std::ifstream file(folder.path());
  EXPECT_EQ(std::string(std::istreambuf_iterator<char>(file), {}), std::string(5000, 'x'))
      << "it is as it was";
}

// A program that ends soon after has had no time to note it later.
TEST_F(SessionStore, TheFileKnowsHowLongToKeepASession) {
  const Note folder;
  PoolOptions options = options_of(1);
  options.session_store = folder.path();
  options.lazy = true;
  {
    Pool pool(options);
    pool.session("short", {.ttl = 300ms}).put("key", 1);
    pool.session("long").put("key", 2);
    pool.session("forever", {.ttl = kForever}).put("key", 3);
  }
  const auto kept = [&] {
    const auto store = store::open_store(folder.path(), {});
    EXPECT_TRUE(store) << store.error().report();
    auto sessions = (*store)->sessions();
    std::sort(sessions.begin(), sessions.end());
    return sessions;
  };
  EXPECT_TRUE(eventually([&] { return kept() == std::vector<std::string>({"forever", "long"}); }));
}

// The sessions that expire meanwhile tell that the first time would have been over.
// False if they had ended before their time was made longer.
bool are_kept_longer(Pool& pool, std::chrono::milliseconds ttl) {
  const auto expired = pool.stats().sessions.expired;
  const std::string at = " of " + std::to_string(ttl.count());
  Session forever = pool.session("forever" + at, {.ttl = ttl});
  Session longer = pool.session("longer" + at, {.ttl = ttl});
  for (Session* each : {&forever, &longer}) {
    const auto stored = each->try_put("key", 1);
    if (stored) continue;
    EXPECT_EQ(stored.error().kind, ErrorKind::kSessionLost) << stored.error().message;
    return false;
  }
  // The sweep has told the store of their time.
  (void)pool.session("first" + at, {.ttl = ttl / 10});
  EXPECT_TRUE(eventually([&] { return pool.stats().sessions.expired > expired; }));
  (void)pool.session("forever" + at, {.ttl = kForever});
  (void)pool.session("longer" + at, {.ttl = 1h});
  if (pool.stats().sessions.expired != expired + 1) return false;
  (void)pool.session("second" + at, {.ttl = ttl * 2});
  EXPECT_TRUE(eventually([&] { return pool.stats().sessions.expired == expired + 2; }));
  EXPECT_EQ(forever.get<int>("key"), 1);
  EXPECT_EQ(longer.get<int>("key"), 1);
  forever.end();
  longer.end();
  return true;
}

TEST_F(SessionStore, ASessionThatIsToBeKeptLongerIs) {
  const Note folder;
  for (const std::string& path : {std::string(), folder.path()}) {
    SCOPED_TRACE(path);
    PoolOptions options = options_of(1);
    options.session_store = path;
    options.lazy = true;
    Pool pool(options);
    // On a machine that stands still for longer than the first has, all are over at once: there, more of it.
    std::chrono::milliseconds ttl = 500ms;
    while (!are_kept_longer(pool, ttl)) {
      ttl *= 4;
      ASSERT_LT(ttl, 1min);
    }
  }
}

}  // namespace
}  // namespace lair::test
