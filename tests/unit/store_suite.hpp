// What every session store keeps to. Instantiated for the store in memory and for the one in a file.
//
// A Kind has `make(limits, clock)`, and what the store needs besides.
#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <limits>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "support/store_files.hpp"

namespace lair::test {

using namespace std::chrono_literals;

template <class Kind>
class Stores : public ::testing::Test {
 protected:
  using Names = std::vector<std::string>;

  store::SessionStore& open(const store::Limits& limits = {}) {
    store_.reset();
    store_ = kind_.make(limits, clock_);
    return *store_;
  }
  static Json value(store::SessionStore& store, const std::string& session, const std::string& key) {
    auto found = store.get(session, key).value();
    return found ? *found : Json("(nothing)");
  }
  static Names sorted(Names names) {
    std::sort(names.begin(), names.end());
    return names;
  }
  static std::string refused(const Result<void>& result) {
    if (result) return "(not refused)";
    EXPECT_EQ(result.error().kind, ErrorKind::kInvalidArgument);
    return result.error().message;
  }

  StoreClock clock_;
  Kind kind_;
  std::unique_ptr<store::SessionStore> store_;
};
TYPED_TEST_SUITE_P(Stores);

TYPED_TEST_P(Stores, GiveBackWhatWasPut) {
  auto& store = this->open();
  EXPECT_FALSE(store.get("a", "k").value());
  const Json values[] = {nullptr,
                         true,
                         -1,
                         1u << 31,
                         0.1,
                         "text \u00e4 \0 zero",
                         Json::array(),
                         Json{{"b", {1, 2, {{"c", nullptr}}}}, {"a", ""}}};
  for (const Json& value : values) {
    store.put("a", "k", value).value();
    EXPECT_EQ(this->value(store, "a", "k").dump(), value.dump());
  }
  store.put("a", std::string("zero\0key", 8), "z").value();
  EXPECT_EQ(this->value(store, "a", std::string("zero\0key", 8)), "z");
  EXPECT_EQ(this->value(store, "a", "zero"), "(nothing)");
}

TYPED_TEST_P(Stores, KeepSessionsApart) {
  auto& store = this->open();
  store.put("a", "k", 1).value();
  store.put("b", "k", 2).value();
  store.put("", "k", 3).value();
  EXPECT_EQ(this->value(store, "a", "k"), 1);
  EXPECT_EQ(this->value(store, "b", "k"), 2);
  EXPECT_EQ(this->value(store, "", "k"), 3);
  store.drop("a").value();
  EXPECT_EQ(this->value(store, "a", "k"), "(nothing)");
  EXPECT_EQ(this->value(store, "b", "k"), 2);
  EXPECT_EQ(this->sorted(store.sessions()), (std::vector<std::string>{"", "b"}));
}

TYPED_TEST_P(Stores, SayWhetherWhatIsErasedWasThere) {
  auto& store = this->open();
  EXPECT_FALSE(store.erase("a", "k").value());
  store.put("a", "k", nullptr).value();
  EXPECT_TRUE(store.erase("a", "k").value());
  EXPECT_FALSE(store.erase("a", "k").value());
  EXPECT_FALSE(store.get("a", "k").value());
  EXPECT_TRUE(store.sessions().empty());
}

TYPED_TEST_P(Stores, CompareAndSet) {
  auto& store = this->open();
  EXPECT_FALSE(store.compare_and_set("a", "k", Json(1), Json(2)).value());  // nothing is there
  EXPECT_TRUE(store.compare_and_set("a", "k", {}, Json(1)).value());
  EXPECT_FALSE(store.compare_and_set("a", "k", {}, Json(2)).value());  // something is
  EXPECT_EQ(this->value(store, "a", "k"), 1);
  EXPECT_FALSE(store.compare_and_set("a", "k", Json(1.0), Json(2)).value());  // as text
  EXPECT_FALSE(store.compare_and_set("a", "k", Json("1"), Json(2)).value());
  EXPECT_TRUE(store.compare_and_set("a", "k", Json(1u), Json{{"x", 1}, {"y", 2}}).value());
  EXPECT_TRUE(store.compare_and_set("a", "k", Json{{"y", 2}, {"x", 1}}, Json(nullptr)).value());
  EXPECT_FALSE(store.compare_and_set("a", "k", {}, {}).value());  // null is a value, which is there
  EXPECT_TRUE(store.compare_and_set("a", "k", Json(nullptr), {}).value());
  EXPECT_FALSE(store.get("a", "k").value());
  EXPECT_TRUE(store.compare_and_set("a", "k", {}, {}).value());
  EXPECT_TRUE(store.sessions().empty());
}

TYPED_TEST_P(Stores, ListKeysByPrefixInTheOrderOfBytes) {
  auto& store = this->open();
  EXPECT_TRUE(store.keys("a", "").value().empty());
  for (const char* key : {"b", "a/2", "a/10", "a", "\u00e4", "a0", "B"}) store.put("a", key, 0).value();
  store.put("other", "a/3", 0).value();
  EXPECT_EQ(store.keys("a", "").value(),
            (std::vector<std::string>{"B", "a", "a/10", "a/2", "a0", "b", "\u00e4"}));
  EXPECT_EQ(store.keys("a", "a/").value(), (std::vector<std::string>{"a/10", "a/2"}));
  EXPECT_EQ(store.keys("a", "\u00e4").value(), (std::vector<std::string>{"\u00e4"}));
  EXPECT_TRUE(store.keys("a", "c").value().empty());
}

TYPED_TEST_P(Stores, CountBytesOfKeysAndValues) {
  auto& store = this->open();
  EXPECT_EQ(store.bytes("a"), 0u);
  store.put("a", "key", "12345").value();  // 3 + 7, for JSON's quotes count
  EXPECT_EQ(store.bytes("a"), 10u);
  store.put("a", "key", 1).value();
  EXPECT_EQ(store.bytes("a"), 4u);
  store.put("b", "k", 1).value();
  EXPECT_TRUE(store.compare_and_set("a", "other", {}, Json("x")).value());
  EXPECT_EQ(store.bytes("a"), 12u);
  EXPECT_EQ(store.total_bytes(), 14u);
  store.erase("a", "key").value();
  EXPECT_EQ(store.bytes("a"), 8u);
  store.drop("a").value();
  EXPECT_EQ(store.bytes("a"), 0u);
  EXPECT_EQ(store.total_bytes(), 2u);
}

TYPED_TEST_P(Stores, RefuseBadKeys) {
  auto& store = this->open({.key = 8});
  EXPECT_NE(this->refused(store.put("s", "", 1)).find("session \"s\" is empty"), std::string::npos);
  const std::string long_key = this->refused(store.put("s", "123456789", 1));
  EXPECT_NE(long_key.find("has 9 bytes; at most 8 bytes are allowed"), std::string::npos) << long_key;
  EXPECT_NE(this->refused(store.put("s", "a\xff", 1)).find("not valid UTF-8"), std::string::npos);
  EXPECT_NE(this->refused(store.put("s", "a\xc3", 1)).find("not valid UTF-8"), std::string::npos);
  store.put("s", "12345678", 1).value();
  for (const std::string key : {"", "123456789", "\xff"}) {
    EXPECT_EQ(store.get("s", key).error().kind, ErrorKind::kInvalidArgument);
    EXPECT_EQ(store.erase("s", key).error().kind, ErrorKind::kInvalidArgument);
    EXPECT_EQ(store.compare_and_set("s", key, {}, {}).error().kind, ErrorKind::kInvalidArgument);
  }
  EXPECT_EQ(store.total_bytes(), 9u);
}

TYPED_TEST_P(Stores, RefuseValuesThatAreTooLongOrCannotBeSaid) {
  auto& store = this->open({.value = 10});
  store.put("s", "k", std::string(8, 'x')).value();
  const std::string long_value = this->refused(store.put("s", "k", std::string(9, 'x')));
  EXPECT_NE(long_value.find("\"k\" of session \"s\": its value has 11 bytes as JSON; at most 10 bytes"),
            std::string::npos)
      << long_value;
  EXPECT_NE(long_value.find("session_value_limit"), std::string::npos);
  const Json unsayable[] = {std::numeric_limits<double>::quiet_NaN(), Json::binary({1, 2}), "\xff"};
  for (const Json& value : unsayable) {
    EXPECT_NE(this->refused(store.put("s", "k", value)).find("the value"), std::string::npos);
    EXPECT_EQ(store.compare_and_set("s", "k", value, Json(1)).error().kind, ErrorKind::kInvalidArgument);
    EXPECT_EQ(store.compare_and_set("s", "k", Json(1), value).error().kind, ErrorKind::kInvalidArgument);
  }
  EXPECT_EQ(this->value(store, "s", "k"), "xxxxxxxx");
}

TYPED_TEST_P(Stores, RefuseWhatMakesASessionTooLarge) {
  auto& store = this->open({.session = 20});
  store.put("s", "a", "1234567").value();  // 10
  store.put("s", "b", "1234567").value();  // 20
  const std::string full = this->refused(store.put("s", "c", 1));
  EXPECT_NE(full.find("session \"s\" holds 20 bytes and would hold 22 bytes with this value of key \"c\"; at "
                      "most 20 bytes"),
            std::string::npos)
      << full;
  EXPECT_NE(full.find("session_limit"), std::string::npos);
  EXPECT_EQ(store.compare_and_set("s", "c", {}, Json(1)).error().kind, ErrorKind::kInvalidArgument);
  EXPECT_FALSE(store.compare_and_set("s", "c", Json(0), Json(1)).value());  // not even asked for
  EXPECT_EQ(this->value(store, "s", "c"), "(nothing)");
  store.put("other", "c", 1).value();
  store.put("s", "b", "123456").value();  // smaller
  EXPECT_EQ(store.bytes("s"), 19u);
  EXPECT_FALSE(store.put("s", "b", "12345678"));
  store.erase("s", "a").value();
  store.put("s", "b", "12345678").value();
}

TYPED_TEST_P(Stores, SweepDropsSessionsThatNobodyTouched) {
  auto& store = this->open();
  store.touch("short", 10s).value();
  store.touch("long", 1h).value();
  store.touch("empty", 10s).value();
  store.touch("for ever", kForever).value();
  for (const char* name : {"short", "long", "for ever", "untouched"}) store.put(name, "k", name).value();
  this->clock_.advance(10s - 1ms);
  EXPECT_TRUE(store.sweep().value().empty());
  this->clock_.advance(1ms);
  EXPECT_EQ(this->value(store, "short", "k"), "short");  // it is the sweep that drops
  EXPECT_EQ(this->sorted(store.sweep().value()), (std::vector<std::string>{"empty", "short"}));
  EXPECT_TRUE(store.sweep().value().empty());
  EXPECT_EQ(this->value(store, "short", "k"), "(nothing)");
  EXPECT_EQ(this->value(store, "long", "k"), "long");
  this->clock_.advance(24h * 365);
  EXPECT_EQ(store.sweep().value(), (std::vector<std::string>{"long"}));
  EXPECT_EQ(this->sorted(store.sessions()), (std::vector<std::string>{"for ever", "untouched"}));
  EXPECT_EQ(store.bytes("long"), 0u);
  EXPECT_EQ(store.total_bytes(), 1 + 10 + 1 + 11u);
}

TYPED_TEST_P(Stores, ATouchSlidesTheEnd) {
  auto& store = this->open();
  store.touch("s", 10s).value();
  store.put("s", "k", 1).value();
  for (int i = 0; i < 5; ++i) {
    this->clock_.advance(9s);
    EXPECT_TRUE(store.sweep().value().empty());
    store.touch("s", 10s).value();
  }
  store.touch("s", 1s).value();  // sooner, too
  this->clock_.advance(1s);
  EXPECT_EQ(store.sweep().value().size(), 1u);
  // Its name may be used again, and nothing of it is left.
  store.touch("s", 10s).value();
  EXPECT_EQ(this->value(store, "s", "k"), "(nothing)");
  store.put("s", "k", 2).value();
  this->clock_.advance(5s);
  EXPECT_TRUE(store.sweep().value().empty());
  store.drop("s").value();
  this->clock_.advance(1h);
  EXPECT_TRUE(store.sweep().value().empty());  // what was dropped does not come up again
}

TYPED_TEST_P(Stores, ServeManyThreads) {
  auto& store = this->open();
  constexpr int kThreads = 6, kRounds = 30;
  std::atomic<int> won = 0;
  std::vector<std::thread> threads;
  for (int t = 0; t < kThreads; ++t) {
    threads.emplace_back([&, t] {
      const std::string own = "own " + std::to_string(t);
      for (int i = 0; i < kRounds; ++i) {
        // A counter of all, by compare and set; none of its steps is lost.
        for (bool done = false; !done; won += done ? 1 : 0) {
          const auto seen = store.get("all", "counter").value();
          done = store.compare_and_set("all", "counter", seen, Json(seen ? seen->template get<int>() + 1 : 1))
                     .value();
        }
        store.put(own, "k" + std::to_string(i % 4), t * 1000 + i).value();
        EXPECT_EQ(store.get(own, "k" + std::to_string(i % 4)).value(), Json(t * 1000 + i));
        store.touch(own, 1h).value();
        if (i % 10 == 9) {
          store.drop(own).value();
          EXPECT_TRUE(store.keys(own, "").value().empty());
        }
        (void)store.total_bytes();
        if (i % 10 == 5) {
          EXPECT_TRUE(store.sweep().value().empty());
        }
      }
    });
  }
  for (auto& thread : threads) thread.join();
  EXPECT_EQ(won, kThreads * kRounds);
  EXPECT_EQ(this->value(store, "all", "counter"), kThreads * kRounds);
  EXPECT_EQ(store.sessions(), (std::vector<std::string>{"all"}));
  EXPECT_EQ(store.total_bytes(), store.bytes("all"));
}

REGISTER_TYPED_TEST_SUITE_P(Stores, GiveBackWhatWasPut, KeepSessionsApart, SayWhetherWhatIsErasedWasThere,
                            CompareAndSet, ListKeysByPrefixInTheOrderOfBytes, CountBytesOfKeysAndValues,
                            RefuseBadKeys, RefuseValuesThatAreTooLongOrCannotBeSaid,
                            RefuseWhatMakesASessionTooLarge, SweepDropsSessionsThatNobodyTouched,
                            ATouchSlidesTheEnd, ServeManyThreads);

}  // namespace lair::test
