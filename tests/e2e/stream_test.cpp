// Streams: items as they come, back-pressure, errors in the middle, and their end.
#include <gtest/gtest.h>

#include <chrono>
#include <future>
#include <string>
#include <vector>

#include "support/leak_check.hpp"
#include "support/pools.hpp"

namespace lair {
namespace {

using namespace std::chrono_literals;
using test::eventually;
using test::options_for;

class Streams : public test::LeakChecked {
 protected:
  static PoolOptions streams(std::size_t size = 1) {
    PoolOptions options = options_for("streams", size);
    options.cancel_grace = 60s;
    return options;
  }
  template <class T = int>
  static std::vector<T> all(Stream<T> stream) {
    std::vector<T> items;
    for (T& item : stream) items.push_back(std::move(item));
    return items;
  }
};

TEST_F(Streams, GiveTheirItemsInOrder) {
  Pool pool(streams());
  for (const char* command : {"count", "acount", "returns_a_generator"}) {
    const auto items = all(pool.stream<int>(command, 1000));
    ASSERT_EQ(items.size(), 1000u) << command;
    EXPECT_EQ(items[30], std::string(command) == "returns_a_generator" ? 900 : 30);
  }
  EXPECT_TRUE(all(pool.stream<int>("count", 0)).empty());
  EXPECT_EQ(pool.stats().ok, 4u);
  EXPECT_EQ(pool.call("count", 3), Json({0, 1, 2})) << "called, it is a list";
}

TEST_F(Streams, TheFirstItemsComeWhileTheCommandRuns) {
  Pool pool(streams());
  for (const char* command : {"two_then_rest", "atwo_then_rest"}) {
    auto stream = pool.stream<int>(command);
    EXPECT_EQ(stream.next(), 1);
    EXPECT_EQ(stream.next(), 2);
    EXPECT_EQ(stream.next(), 3) << "none waits for the next one";
  }
  EXPECT_EQ(pool.call("echo", 1), 1);
  EXPECT_EQ(pool.stats().workers_started, 1u) << "both were closed";
  EXPECT_EQ(pool.stats().cancelled, 2u);
}

TEST_F(Streams, AnErrorInTheMiddleKeepsWhatCameBefore) {
  Pool pool(streams());
  for (const char* command : {"fail_after", "afail_after"}) {
    auto stream = pool.stream<int>(command, 5);
    for (int i = 0; i < 5; ++i) EXPECT_EQ(stream.next(), i);
    const auto end = stream.try_next();
    ASSERT_FALSE(end.has_value());
    EXPECT_EQ(end.error().kind, ErrorKind::kRemote);
    EXPECT_NE(end.error().message.find("in mid-stream"), std::string::npos);
    EXPECT_FALSE(stream.try_next().has_value()) << "it is said again";
  }
  EXPECT_THROW(all(pool.stream<int>("fail_after", 1)), CallError);
  EXPECT_THROW(all(pool.stream<int>("nan_after", 1)), CallError);
}

TEST_F(Streams, AWorkerWaitsForASlowConsumer) {
  Pool pool(streams());
  CallOptions options;
  options.stream_items = 4;
  auto stream = pool.stream<int>(options, "count_and_say", 100);
  EXPECT_EQ(stream.next(), 0);
  for (int i = 1; i < 100; ++i) EXPECT_EQ(stream.next(), i);
  EXPECT_EQ(stream.next(), std::nullopt);
  // Bytes count, too: one long item at a time.
  options.stream_items = 1000;
  options.stream_bytes = 1000;
  const Json lengths = {100, 5000, 10, 0, 70000, 1};
  const auto texts = all(pool.stream<std::string>(options, "texts", lengths));
  ASSERT_EQ(texts.size(), 6u);
  for (std::size_t i = 0; i < 6; ++i) EXPECT_EQ(texts[i].size(), lengths[i].get<std::size_t>());
}

TEST_F(Streams, DestroyingOneClosesTheGenerator) {
  Pool pool(streams());
  {
    CallOptions options;
    options.stream_items = 2;
    auto stream = pool.stream<int>(options, "count", 1000000);
    EXPECT_EQ(stream.next(), 0);
  }
  EXPECT_EQ(pool.call("take_notes"), Json({"closed"}));
  EXPECT_EQ(pool.stats().workers_started, 1u);
}

TEST_F(Streams, DeadlinesAndRefusalsAreErrorsOfNext) {
  Pool pool(streams());
  pool.wait_ready();
  auto late = pool.stream<int>({.timeout = 300ms}, "two_then_rest");
  for (int i = 1; i <= 3; ++i) EXPECT_EQ(late.next(), i);
  EXPECT_EQ(late.try_next().error().kind, ErrorKind::kDeadlineExceeded);
  EXPECT_EQ(pool.stream<int>("nope").try_next().error().kind, ErrorKind::kUnknownCommand);
  EXPECT_EQ(pool.stream<std::string>("count", 2).try_next().error().kind, ErrorKind::kInvalidArgument);
  const auto not_one = pool.stream<int>("echo", 1).try_next();
  ASSERT_FALSE(not_one.has_value());
  EXPECT_EQ(not_one.error().kind, ErrorKind::kRemote) << not_one.error().message;
}

TEST_F(Streams, AWorkerThatDiesIsAnErrorAfterTheItems) {
  Pool pool(streams());
  auto stream = pool.stream<int>("two_then_rest");
  EXPECT_EQ(stream.next(), 1);
  EXPECT_EQ(stream.next(), 2);
  EXPECT_EQ(stream.next(), 3);
  pool.shutdown(0ms);
  EXPECT_FALSE(stream.try_next().has_value());
}

TEST_F(Streams, NeedNotBlock) {
  Pool pool(streams());
  auto stream = pool.stream<int>("count", 3);
  std::vector<Json> got;
  std::promise<void> ended;
  std::function<void()> ask = [&] {
    stream.source().start_next([&](StreamSource::Item item) {
      if (item && *item) {
        got.push_back(**item);
        ask();
      } else {
        ended.set_value();
      }
    });
  };
  ask();
  ended.get_future().get();
  EXPECT_EQ(got, (std::vector<Json>{0, 1, 2}));
}

TEST_F(Streams, SeveralShareAWorkerThatCan) {
  PoolOptions options = options_for("several", 1);
  options.concurrency = 4;
  Pool pool(options);
  auto one = pool.stream<int>("count", 500);
  auto two = pool.stream<int>("count", 500);
  for (int i = 0; i < 500; ++i) {
    EXPECT_EQ(one.next(), i);
    EXPECT_EQ(two.next(), i);
  }
  EXPECT_EQ(one.next(), std::nullopt);
  EXPECT_EQ(two.next(), std::nullopt);
}

TEST_F(Streams, AProgramOfProtocolOneHasNone) {
  Pool pool(options_for(test::script_worker("original.py"), 1));
  pool.wait_ready();
  const auto none = pool.stream("ping").try_next();
  ASSERT_FALSE(none.has_value());
  EXPECT_EQ(none.error().kind, ErrorKind::kInvalidArgument);
}

}  // namespace
}  // namespace lair
