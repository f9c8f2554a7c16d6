// The number of changes of a session's values, which its calls are told; and what they leave to be put at their end.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <lair/async.hpp>
#include <lair/map.hpp>
#include <mutex>
#include <stop_token>
#include <string>
#include <vector>

#include "support/sessions.hpp"
#include "support/store_files.hpp"

namespace lair::test {
namespace {

using testing::HasSubstr;

constexpr std::uint64_t kUnheard = std::uint64_t{1} << 32;

struct Where {
  std::size_t concurrency;  // above 1, calls go by the reactor
  bool file;
};

// In each way to call, and in each kind of store.
class SessionChanges : public SessionTest, public testing::WithParamInterface<Where> {
 protected:
  PoolOptions options_of(std::size_t size = 1) {
    PoolOptions options = SessionTest::options_of(size);
    options.concurrency = static_cast<std::uint32_t>(GetParam().concurrency);
    if (GetParam().file) options.session_store = folder_.file();
    options.on_event = [this](const PoolEvent& event) {
      if (event.kind != PoolEventKind::kNotStored) return;
      const std::lock_guard lock(mutex_);
      told_.push_back(event);
    };
    return options;
  }
  std::vector<PoolEvent> told() {
    const std::lock_guard lock(mutex_);
    return told_;
  }
  static std::uint64_t changes(Session& session) { return session.call("changes").get<std::uint64_t>(); }

 private:
  const StoreFolder folder_;
  std::mutex mutex_;
  std::vector<PoolEvent> told_;
};

INSTANTIATE_TEST_SUITE_P(Everywhere, SessionChanges,
                         testing::Values(Where{1, false}, Where{1, true}, Where{4, false}, Where{4, true}),
                         [](const auto& one) {
                           return std::string(one.param.concurrency == 1 ? "OneAtATime" : "Several") +
                                  (one.param.file ? "InAFile" : "InMemory");
                         });

TEST_P(SessionChanges, AreCountedWhoeverMakesThem) {
  Pool pool(options_of());
  Session session = pool.session("s");
  Session other = pool.session("other");
  std::uint64_t count = changes(session);
  const auto one_more = [&](const char* what) { EXPECT_EQ(changes(session), ++count) << what; };
  const auto no_more = [&](const char* what) { EXPECT_EQ(changes(session), count) << what; };
  no_more("nothing was changed");
  session.put("a", 1);
  one_more("put by C++");
  session.put("a", 1);
  one_more("to the same value");
  session.erase("nothing");
  no_more("there was none");
  EXPECT_FALSE(session.compare_and_set("a", 2, 3));
  no_more("it was another");
  EXPECT_TRUE(session.compare_and_set("a", 1, 2));
  one_more("set by C++");
  session.call("put", "b", 1);
  one_more("put by a worker");
  EXPECT_EQ(session.call("cas", "b", 1, 2), true);
  one_more("set by a worker");
  EXPECT_EQ(session.call("cas", "b", 1, 2), false);
  EXPECT_EQ(session.call("delete", "nothing"), false);
  (void)session.call("get", "a");
  (void)session.call("keys");
  no_more("reads, and what was refused");
  EXPECT_EQ(session.call("delete", "b"), true);
  EXPECT_TRUE(session.erase("a"));
  ++count;
  one_more("erased by both");
  other.put("a", 1);
  no_more("of another session");
}

TEST_P(SessionChanges, AreTheSameForTheCallThatMakesThem) {
  Pool pool(options_of());
  Session session = pool.session("s");
  const std::uint64_t before = changes(session);
  // In mid-call, and as the next call is told.
  EXPECT_EQ(session.call("change_and_count"), Json(before + 4));
  EXPECT_EQ(changes(session), before + 4);
}

TEST_P(SessionChanges, BelongToAnOpening) {
  Pool pool(options_of());
  Session session = pool.session("s");
  session.put("a", 1);
  const Json first = session.call("number_and_changes");
  session.end();
  Session again = pool.session("s");
  again.put("a", 2);
  const Json second = again.call("number_and_changes");
  EXPECT_NE(first.at(0), second.at(0)) << "whoever remembers, remembers the number, too";
  EXPECT_EQ(second.at(1), 1);
}

TEST_P(SessionChanges, AnItemOfABatchIsNotToldThem) {
  Pool pool(options_of());
  Session session = pool.session("s");
  session.put("a", 1);
  const bool batch = GetParam().concurrency == 1;
  for (const Json& one : session.map<Json>("changes_of", std::vector<int>{1, 2, 3}))
    EXPECT_EQ(one.is_null(), batch) << one;
}

TEST_P(SessionChanges, WhatIsPutAtTheEndIsThereWhenTheCallerHasTheResult) {
  Pool pool(options_of(2));
  Session session = pool.session("s");
  std::uint64_t count = changes(session);
  for (int i = 0; i < 100; ++i) {
    for (const char* command : {"put_at_end", "aput_at_end"}) {
      SCOPED_TRACE(command);
      const Json result = session.call(command, "a", i);
      EXPECT_EQ(session.get<int>("a"), i);
      EXPECT_EQ(result.at(1), Json(++count)) << "what the worker believes";
    }
  }
  EXPECT_EQ(changes(session), count) << "is true";
  // Also where it is an error, a stream, or more than one; and whoever waits for it.
  EXPECT_FALSE(session.try_call("put_at_end_and_raise", "a", "raised"));
  EXPECT_EQ(session.get<std::string>("a"), "raised");
  int items = 0;
  for (auto& item : session.stream("put_at_end_of_stream", "a", 3)) items += item.is_number() ? 1 : 0;
  EXPECT_EQ(items, 3);
  EXPECT_EQ(session.get<int>("a"), 2);
  session.future_call<Json>("put_at_end", "a", "async").get();
  EXPECT_EQ(session.get<std::string>("a"), "async");
  EXPECT_TRUE(told().empty());
}

TEST_P(SessionChanges, InMidCallTheOldValueIsThere) {
  Pool pool(options_of());
  Session session = pool.session("s");
  session.put("a", "old");
  EXPECT_EQ(session.call("put_at_end", "a", "new").at(0), "old");
  EXPECT_EQ(session.call("get", "a"), "new");
}

TEST_P(SessionChanges, WhatCannotBePutAtTheEndIsToldAndNotBelieved) {
  PoolOptions options = options_of();
  options.session_value_limit = 1024;
  Pool pool(options);
  Session session = pool.session("s");
  session.call("put_at_end", "a", "short");
  const Json result = session.call("put_at_end", "a", std::string(2000, 'x'));
  EXPECT_EQ(result.at(0), "short") << "the call's outcome stands";
  EXPECT_EQ(session.get<std::string>("a"), "short");
  const auto believed = result.at(1).get<std::uint64_t>();
  EXPECT_GT(changes(session), believed);
  session.put("a", "another's");
  EXPECT_GT(changes(session), believed) << "nor does it come to that later";
  EXPECT_TRUE(eventually([&] { return told().size() == 1; }));
  EXPECT_EQ(told().at(0).command, "put_at_end");
  EXPECT_EQ(told().at(0).reason, "invalid_argument");
  EXPECT_THAT(told().at(0).message, HasSubstr("session_value_limit"));
}

TEST_P(SessionChanges, OfACallThatIsCancelledNothingIsPutAndNothingBelieved) {
  Pool pool(options_of());
  Gate gate(pool);
  Session session = pool.session("s");
  const std::uint64_t before = changes(session);
  std::stop_source stop;
  auto pending = session.future_call<Json>({.stop = stop.get_token()}, "put_at_end_at_gate", "a", 1, "g");
  ASSERT_TRUE(gate.reached("g"));
  stop.request_stop();
  gate.open("g");
  EXPECT_THROW(pending.get(), CallError);
  EXPECT_EQ(session.get("a"), std::nullopt);
  EXPECT_GE(changes(session), before + kUnheard);
  EXPECT_TRUE(told().empty()) << "its caller knows";
}

TEST_P(SessionChanges, OfAWorkerThatDiesNothingIsPut) {
  Pool pool(options_of());
  Session session = pool.session("s");
  session.call("put_at_end", "a", 1);
  EXPECT_EQ(outcome_of(session.try_call("put_at_end_and_die", "a", 2)), "worker_lost");
  EXPECT_EQ(session.get<int>("a"), 1) << "what a caller was told is there";
  session.call("put_at_end", "a", 3);
  EXPECT_EQ(session.get<int>("a"), 3);
}

TEST_P(SessionChanges, AWorkerThatLiesIsNotBelieved) {
  Pool pool(options_of());
  Session session = pool.session("s");
  EXPECT_EQ(pool.call("tell_by_force", "put", Json{{"key", "a"}, {"value", 1}}), "told");
  EXPECT_EQ(session.call("tell_by_force", "nonsense", Json{{"key", "a"}}), "told");
  EXPECT_EQ(session.call("tell_by_force", "get", Json{{"key", 7}}), "told");
  EXPECT_EQ(session.get("a"), std::nullopt);
  EXPECT_TRUE(eventually([&] { return told().size() == 3; }));
  EXPECT_EQ(session.call("put_at_end", "a", 1).at(0), Json());
  EXPECT_EQ(session.get<int>("a"), 1);
}

}  // namespace
}  // namespace lair::test
