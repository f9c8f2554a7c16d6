// Maps on real workers: order, errors, deaths, deadlines, cancels; and workers that take no batches.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <filesystem>
#include <lair/pool.hpp>
#include <numeric>
#include <ranges>
#include <set>
#include <string>
#include <tuple>
#include <vector>

#include "support/pools.hpp"

namespace lair::test {
namespace {

using namespace std::chrono_literals;
using testing::AllOf;
using testing::Each;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::SizeIs;

std::vector<int> numbers(int count) {
  std::vector<int> all(static_cast<std::size_t>(count));
  std::iota(all.begin(), all.end(), 0);
  return all;
}
// (n, at) for each n.
std::vector<std::tuple<int, int>> with(int at, int count) {
  std::vector<std::tuple<int, int>> all;
  for (int n = 0; n < count; ++n) all.emplace_back(n, at);
  return all;
}

// `make` of 0, 1, …, each made when it is read, and not again for whoever reads on.
template <class Make>
class Made {
 public:
  Made(int count, Make make) : count_(count), make_(std::move(make)) {}

  class Iterator {
   public:
    using iterator_concept = std::input_iterator_tag;
    using value_type = std::invoke_result_t<const Make&, int>;
    using difference_type = std::ptrdiff_t;
    Iterator() = default;
    Iterator(const Made& items, int at) : items_(&items), at_(at) {}
    value_type operator*() const { return items_->make_(at_); }
    Iterator& operator++() {
      ++at_;
      return *this;
    }
    void operator++(int) { ++at_; }
    bool operator==(const Iterator& other) const { return at_ == other.at_; }

   private:
    const Made* items_ = nullptr;
    int at_ = 0;
  };
  Iterator begin() const { return {*this, 0}; }
  Iterator end() const { return {*this, count_}; }

 private:
  int count_;
  Make make_;
};

void expect_books_add_up(const PoolStats& stats) {
  EXPECT_EQ(stats.admitted,
            stats.ok + stats.error + stats.timeout + stats.crashed + stats.shed + stats.cancelled);
}

class Map : public testing::TestWithParam<const char*> {
 protected:
  // With the accelerator, and without.
  PoolOptions options(std::size_t size) {
    PoolOptions options = options_for("batches", size);
    options.worker.env["LAIR_NATIVE"] = GetParam();
    options.cancel_grace = 60s;  // which a loaded machine keeps, too
    return options;
  }
  // A path where nothing is.
  static std::filesystem::path scratch() {
    const auto path =
        std::filesystem::temp_directory_path() / ("lair-map-" + std::to_string(::getpid()) + GetParam());
    std::filesystem::remove_all(path);
    return path;
  }
};
INSTANTIATE_TEST_SUITE_P(Tiers, Map, testing::Values("on", "off"),
                         [](const auto& tier) { return std::string(tier.param); });

TEST_P(Map, ResultsKeepTheOrderOfTheItems) {
  Pool pool(options(3));
  const auto sums = pool.map<int>("add", numbers(20'000));
  ASSERT_EQ(sums.size(), 20'000u);
  for (int i = 0; i < 20'000; ++i) ASSERT_EQ(sums[static_cast<std::size_t>(i)], i + 1);
  const PoolStats stats = pool.stats();
  EXPECT_EQ(stats.ok, 20'000u);
  expect_books_add_up(stats);
}

TEST_P(Map, AnItemIsOneArgumentOrSeveralOrKeywords) {
  Pool pool(options(1));
  EXPECT_THAT(pool.map<int>("add", std::vector{1, 2}), ElementsAre(2, 3));
  EXPECT_THAT(pool.map<int>("add", std::vector<std::tuple<int, int>>{{1, 2}, {3, 4}}), ElementsAre(3, 7));
  EXPECT_THAT(pool.map<int>("add", std::vector{kwargs{{"b", 5}, {"a", 1}}}), ElementsAre(6));
}

TEST_P(Map, ItemsAndResultsAreOfAnyType) {
  Pool pool(options(1));
  const std::vector<bool> bits{true, false, true};
  EXPECT_EQ(pool.map<bool>("same", bits), bits);
  const std::vector<Json> any{1, "two", {{"three", nullptr}}, Json::array({0.5})};
  EXPECT_EQ(pool.map<Json>("same", any), any);
  const std::vector<std::optional<std::string>> texts{"a", std::nullopt, "\u00e9"};
  EXPECT_EQ(pool.map<std::optional<std::string>>("same", texts), texts);
  const std::vector<std::vector<double>> rows{{}, {1, -2.5}, {1e300}};
  EXPECT_EQ(pool.map<std::vector<double>>("same", rows), rows);
  EXPECT_THAT(pool.map<std::string>("same", std::vector<const char*>{"x", "y"}), ElementsAre("x", "y"));
}

TEST_P(Map, AResultOfAnotherTypeIsItsItemsError) {
  Pool pool(options(1));
  const auto all = pool.map_all<int>("same", std::vector<Json>{1, "two", 3, 1e10, 5});
  ASSERT_THAT(all, SizeIs(5));
  for (const std::size_t good : {0, 2, 4}) EXPECT_EQ(all[good].value(), static_cast<int>(good) + 1);
  for (const std::size_t bad : {1, 3}) EXPECT_FALSE(all[bad]);
  expect_books_add_up(pool.stats());
}

TEST_P(Map, AnItemIsReadOnce) {
  Pool pool(options(2));
  std::atomic<int> read = 0;
  const Made items(5000, [&](int n) {
    ++read;
    return n % 100 == 7 ? std::nan("") : n;
  });
  const auto all = pool.map_all<double>("same", items);
  ASSERT_THAT(all, SizeIs(5000));
  for (std::size_t i = 0; i < all.size(); ++i) {
    ASSERT_EQ(all[i].has_value(), i % 100 != 7);
    if (all[i]) {
      ASSERT_EQ(*all[i], static_cast<double>(i));
    }
  }
  EXPECT_EQ(read, 5000);
}

TEST_P(Map, NoItemsAreNoResultsAndNoCalls) {
  Pool pool(options(1));
  EXPECT_THAT(pool.map<int>("add", std::vector<int>()), IsEmpty());
  EXPECT_EQ(pool.stats().admitted, 0u);
}

TEST_P(Map, ItUsesAllWorkers) {
  Pool pool(options(2));
  pool.wait_ready();
  const auto folder = scratch();
  std::filesystem::create_directory(folder);
  const auto pids = pool.map<int>("meet", std::vector(2, folder.string()));
  EXPECT_THAT(std::set<int>(pids.begin(), pids.end()), SizeIs(2));
  std::filesystem::remove_all(folder);
}

TEST_P(Map, TheFirstErrorEndsIt) {
  Pool pool(options(2));
  const auto sum = pool.try_map<int>("odd", numbers(100'000));
  ASSERT_FALSE(sum);
  EXPECT_EQ(sum.error().kind, ErrorKind::kRemote);
  EXPECT_THAT(sum.error().message, AllOf(HasSubstr("item "), HasSubstr("is odd")));
  EXPECT_EQ(sum.error().python->type, "ValueError");
  EXPECT_LT(pool.stats().admitted, 100'000u);
  EXPECT_THROW((void)pool.map<int>("odd", numbers(3)), CallError);
  expect_books_add_up(pool.stats());
}

TEST_P(Map, AllErrorsAreTheirItems) {
  Pool pool(options(2));
  const auto all = pool.map_all<int>("odd", numbers(1000));
  ASSERT_EQ(all.size(), 1000u);
  for (std::size_t i = 0; i < all.size(); ++i) {
    ASSERT_EQ(all[i].has_value(), i % 2 == 0) << i;
    if (!all[i]) {
      EXPECT_EQ(all[i].error().python->message, std::to_string(i) + " is odd");
    }
  }
  EXPECT_EQ(pool.stats().error, 500u);
}

TEST_P(Map, ADeathLosesTheItemThatItHits) {
  Pool pool(options(2));
  pool.wait_ready();
  const auto all = pool.map_all<int>("die_at", with(700, 2000));
  ASSERT_EQ(all.size(), 2000u);
  for (int i = 0; i < 2000; ++i) {
    const auto& one = all[static_cast<std::size_t>(i)];
    if (i == 700) {
      ASSERT_FALSE(one);
      EXPECT_EQ(one.error().kind, ErrorKind::kWorkerLost);
      EXPECT_EQ(one.error().delivery, Delivery::kMaybeExecuted);
      EXPECT_THAT(one.error().message, HasSubstr("status 3"));
    } else {
      ASSERT_TRUE(one) << i << ": " << one.error().message;
      EXPECT_EQ(*one, i);
    }
  }
  EXPECT_EQ(pool.stats().crashed, 1u);
  expect_books_add_up(pool.stats());
}

TEST_P(Map, AnIdempotentItemIsMadeAgain) {
  const auto flag = scratch();
  Pool pool(options(2));
  std::vector<std::tuple<int, int, std::string>> items;
  for (int n = 0; n < 100; ++n) items.emplace_back(n, 50, flag.string());
  EXPECT_EQ(pool.map<int>({.call = {.idempotent = true}}, "die_once_at", items), numbers(100));
  std::filesystem::remove(flag);
}

TEST_P(Map, ADeadlineIsItsItemsAndTheWorkerStays) {
  Pool pool(options(1));
  pool.wait_ready();
  const auto all = pool.map_all<int>({.call = {.timeout = 5s}}, "hang_at", with(30, 100));
  ASSERT_EQ(all.size(), 100u);
  for (int i = 0; i < 100; ++i) {
    const auto& one = all[static_cast<std::size_t>(i)];
    ASSERT_EQ(one.has_value(), i != 30) << i;
  }
  EXPECT_EQ(all[30].error().kind, ErrorKind::kDeadlineExceeded);
  EXPECT_EQ(pool.stats().timeout, 1u);
  EXPECT_EQ(pool.stats().workers_started, 1u);
  expect_books_add_up(pool.stats());
}

TEST_P(Map, AStopEndsItAndTheWorkersStay) {
  Pool pool(options(2));
  pool.wait_ready();
  std::stop_source stop;
  std::atomic<std::size_t> told = 0;
  const auto progress = [&](std::size_t done) {
    told = done;
    if (done >= 20) stop.request_stop();
  };
  const auto ended = pool.try_map<int>({.call = {.stop = stop.get_token()}, .progress = progress}, "hang_at",
                                       with(30, 100'000));
  ASSERT_FALSE(ended);
  EXPECT_EQ(ended.error().kind, ErrorKind::kCancelled);
  EXPECT_GE(told, 20u);
  EXPECT_EQ(pool.call<int>("add", 1), 2);
  EXPECT_EQ(pool.stats().workers_started, 2u);
  expect_books_add_up(pool.stats());
}

TEST_P(Map, TheRangeIsReadAsItIsNeeded) {
  Pool pool(options(2));
  pool.wait_ready();
  std::atomic<int> read = 0;
  std::atomic<std::size_t> ended = 0;
  std::atomic<int> ahead = 0;
  const std::string large(100'000, 'x');
  const Made items(300, [&](int n) {
    ahead = std::max<int>(ahead, ++read - static_cast<int>(ended.load()));
    return std::make_tuple(large, std::to_string(n));
  });
  const auto sums =
      pool.map<std::string>({.progress = [&](std::size_t done) { ended = done; }}, "add", items);
  ASSERT_EQ(sums.size(), 300u);
  EXPECT_EQ(sums[299], large + "299");
  EXPECT_LE(ahead, 40) << "a batch has 256 KiB of arguments at most";
}

TEST_P(Map, LargeResultsAreSplitIntoFrames) {
  PoolOptions small = options(2);
  small.max_frame = 64 << 10;
  Pool pool(std::move(small));
  const auto texts = pool.map<std::string>("text", std::vector(100, 20'000));
  EXPECT_THAT(texts, AllOf(SizeIs(100), Each(SizeIs(20'000))));
}

#ifndef __clang__  // clang 14 can't compile libstdc++'s views
TEST_P(Map, AViewIsARange) {
  Pool pool(options(1));
  auto odd =
      std::views::iota(0, 100) | std::views::filter([](int n) { return n % 2 == 1; }) | std::views::take(3);
  EXPECT_THAT(pool.map<int>("same", odd), ElementsAre(1, 3, 5));
}
#endif

TEST_P(Map, WhatTheRangeThrowsIsThrownOn) {
  Pool pool(options(2));
  const Made items(100, [](int n) {
    if (n == 50) throw std::runtime_error("torn");
    return n;
  });
  EXPECT_THROW((void)pool.map<int>("add", items), std::runtime_error);
  EXPECT_EQ(pool.call<int>("add", 1), 2);
}

TEST_P(Map, ItemsMayCallTheHost) {
  Pool pool(options(2));
  pool.expose("twice", [](int n) { return 2 * n; });
  const auto doubled = pool.map<int>("ask", numbers(200));
  for (int i = 0; i < 200; ++i) ASSERT_EQ(doubled[static_cast<std::size_t>(i)], 2 * i);
}

TEST_P(Map, ASessionGoesWithEachItem) {
  Pool pool(options(2));
  Session session = pool.session("s", {.affinity = Affinity::kStrict});
  EXPECT_THAT(session.map<std::string>("session", numbers(50)), AllOf(SizeIs(50), Each("s")));
  const auto pids = session.map<int>("pid", numbers(50));
  EXPECT_THAT(std::set<int>(pids.begin(), pids.end()), SizeIs(1));
}

TEST_P(Map, AGeneratorIsRefusedAndACoroutineIsCalled) {
  Pool pool(options(1));
  const auto refused = pool.try_map("items", numbers(3));
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().kind, ErrorKind::kInvalidArgument);
  EXPECT_THAT(refused.error().message, HasSubstr("stream it"));
  EXPECT_EQ(pool.map<int>("later", numbers(20)), numbers(20));
  const auto unknown = pool.try_map("subtract", numbers(3));
  ASSERT_FALSE(unknown);
  EXPECT_EQ(unknown.error().kind, ErrorKind::kUnknownCommand);
}

TEST_P(Map, OneItemThatCannotTravelIsOneError) {
  Pool pool(options(1));
  const auto all = pool.map_all<double>("add", std::vector{1.0, std::nan(""), 3.0});
  EXPECT_TRUE(all[0] && all[2]);
  ASSERT_FALSE(all[1]);
  EXPECT_EQ(all[1].error().kind, ErrorKind::kInvalidArgument);
}

TEST_P(Map, ALeaseAndSeveralCallsAtATimeHaveACallForEachItem) {
  PoolOptions several = options(1);
  several.concurrency = 4;
  Pool pool(std::move(several));
  EXPECT_EQ(pool.map<int>("later", numbers(30)), numbers(30));
  Pool plain(options(1));
  Lease lease = plain.checkout();
  EXPECT_THAT(lease.map<int>("add", numbers(3)), ElementsAre(1, 2, 3));
}

TEST(MapProtocolOne, ItemsAreCalls) {
  Pool pool(options_for(script_worker("original.py"), 2));
  std::vector<kwargs> items;
  for (int i = 0; i < 20; ++i) items.push_back(kwargs{{"n", i}});
  const auto pongs = pool.map_all("ping", items);
  ASSERT_EQ(pongs.size(), 20u);
  for (const auto& pong : pongs) EXPECT_TRUE(pong) << pong.error().message;
}

}  // namespace
}  // namespace lair::test
