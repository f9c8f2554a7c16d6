// A consumer that waits for its worker by itself: whatever ends the wait, and what is done by whom meanwhile.
#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <csignal>
#include <functional>
#include <future>
#include <latch>
#include <optional>
#include <stop_token>
#include <string>
#include <thread>
#include <vector>

#include "support/leak_check.hpp"
#include "support/pools.hpp"

namespace lair {
namespace {

using namespace std::chrono_literals;
using test::eventually;
using test::options_for;

class StreamWaits : public test::LeakChecked {
 protected:
  static PoolOptions streams(std::size_t size = 1) {
    PoolOptions options = options_for("streams", size);
    options.cancel_grace = 60s;
    return options;
  }
  // What a stream that has no item yet comes to when `end` is done while it is waited for.
  static Error ended_by(Pool& pool, const CallOptions& options,
                        const std::function<void(std::stop_source)>& end) {
    std::promise<std::stop_source> cancels;
    std::latch ended(1);
    pool.expose("begun", [&] {
      end(cancels.get_future().get());
      ended.count_down();
    });
    auto stream = pool.stream<int>(options, "asks_then_rests");
    cancels.set_value(stream.stop_source());
    const Error error = stream.try_next().error();
    ended.wait();
    return error;
  }
};

TEST_F(StreamWaits, OneThatEndsAtOnceNeedsNobodyElse) {
  Pool pool(streams());
  for (int i = 0; i < 200; ++i) {
    std::vector<int> got;
    for (const int item : pool.stream<int>("count", i % 4)) got.push_back(item);
    ASSERT_EQ(got.size(), static_cast<std::size_t>(i % 4));
    ASSERT_EQ(pool.call("echo", i), i) << "the channel is a call's again";
  }
  EXPECT_EQ(pool.stats().ok, 400u);
  EXPECT_EQ(pool.stats().inflight, 0u);
  EXPECT_EQ(pool.stats().workers_started, 1u);
}

TEST_F(StreamWaits, ManyShortOnesInThreads) {
  Pool pool(streams(2));
  std::atomic<int> items = 0;
  std::vector<std::jthread> threads;
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([&] {
      for (int i = 0; i < 100; ++i) {
        for (const int item : pool.stream<int>("count", 3)) items += item;
        if (i % 10 == 0) (void)pool.stream<int>("count", 100000).next();  // and left
        if (i % 10 == 5) (void)pool.stream<int>("fail_after", 0).try_next();
      }
    });
  }
  threads.clear();
  EXPECT_EQ(items, 4 * 100 * 3);
  EXPECT_TRUE(eventually([&] { return pool.stats().inflight == 0; }));
  EXPECT_EQ(pool.stats().ok + pool.stats().cancelled, 440u);
  EXPECT_EQ(pool.stats().error, 40u);
  EXPECT_EQ(pool.stats().workers_started, 2u);
}

TEST_F(StreamWaits, AnErrorMayBeAllThereIs) {
  Pool pool(streams());
  pool.wait_ready();
  for (const char* command : {"fail_after", "nan_after", "afail_after"}) {
    auto stream = pool.stream<int>(command, 0);
    EXPECT_EQ(stream.try_next().error().kind, ErrorKind::kRemote) << command;
    EXPECT_EQ(stream.try_next().error().kind, ErrorKind::kRemote) << command;
  }
  EXPECT_EQ(pool.call("echo", 1), 1);
  EXPECT_EQ(pool.stats().error, 3u);
}

TEST_F(StreamWaits, ItEndsAtTheDeadlineAndTheWorkerGivesTheCallUp) {
  Pool pool(streams());
  pool.wait_ready();
  pool.expose("begun", [] {});
  const Error late = pool.stream<int>({.timeout = 300ms}, "asks_then_rests").try_next().error();
  EXPECT_EQ(late.kind, ErrorKind::kDeadlineExceeded) << late.message;
  EXPECT_EQ(pool.call("echo", 1), 1);
  EXPECT_EQ(pool.stats().workers_started, 1u);
  EXPECT_EQ(pool.stats().timeout, 1u);
}

TEST_F(StreamWaits, ACancelEndsIt) {
  Pool pool(streams());
  const auto cancel = [](std::stop_source stream) { stream.request_stop(); };
  EXPECT_EQ(ended_by(pool, {}, cancel).kind, ErrorKind::kCancelled);
  std::stop_source stop;
  const auto ask_to_stop = [&](const std::stop_source&) { stop.request_stop(); };
  const Error stopped = ended_by(pool, {.stop = stop.get_token()}, ask_to_stop);
  EXPECT_EQ(stopped.kind, ErrorKind::kCancelled);
  EXPECT_EQ(stopped.delivery, Delivery::kMaybeExecuted);
  EXPECT_EQ(pool.call("echo", 1), 1);
  EXPECT_EQ(pool.stats().workers_started, 1u);
}

TEST_F(StreamWaits, TheWorkersDeathEndsIt) {
  Pool pool(streams());
  const int pid = pool.call<int>("pid");
  const Error lost = ended_by(pool, {}, [&](const std::stop_source&) { ::kill(pid, SIGKILL); });
  EXPECT_EQ(lost.kind, ErrorKind::kWorkerLost);
  EXPECT_NE(lost.message.find("SIGKILL"), std::string::npos) << lost.message;
  EXPECT_NE(pool.call<int>("pid"), pid);
}

TEST_F(StreamWaits, TheEndOfThePoolEndsIt) {
  std::optional<Pool> pool(streams());
  pool->wait_ready();
  std::jthread ends;
  const auto shut_down = [&](const std::stop_source&) { ends = std::jthread([&] { pool->shutdown(0ms); }); };
  const Error gone = ended_by(*pool, {}, shut_down);
  ends.join();
  EXPECT_TRUE(gone.kind == ErrorKind::kWorkerLost || gone.kind == ErrorKind::kUnavailable) << gone.message;
}

TEST_F(StreamWaits, AReloadWaitsForIt) {
  Pool pool(streams());
  pool.wait_ready();
  std::jthread reloads;
  std::atomic<bool> reloaded = false;
  pool.expose("begun", [&] { reloads = std::jthread([&] { reloaded = pool.try_reload(30s).has_value(); }); });
  std::vector<int> got;
  for (const int item : pool.stream<int>("asks_then_counts", 3)) got.push_back(item);
  EXPECT_EQ(got, (std::vector<int>{0, 1, 2}));
  reloads.join();
  EXPECT_TRUE(reloaded);
}

// An executor is user code: not for whoever happens to read the worker's channel.
TEST_F(StreamWaits, HostFunctionsRunWhereTheExecutorSaysAndNeverOnTheConsumer) {
  Pool pool(streams());
  std::atomic<std::thread::id> asked{};
  std::atomic<std::thread::id> ran{};
  pool.expose("begun", [&] { ran = std::this_thread::get_id(); });
  const Executor executor = [&](auto work) {
    asked = std::this_thread::get_id();
    work();
  };
  for (int i = 0; i < 20; ++i) {
    int sum = 0;
    for (const int item : pool.stream<int>({.executor = executor}, "asks_then_counts", 3)) sum += item;
    EXPECT_EQ(sum, 3);
    EXPECT_NE(asked.load(), std::thread::id{});
    EXPECT_NE(asked.load(), std::this_thread::get_id());
    EXPECT_EQ(asked.load(), ran.load());
  }
  for (const int item : pool.stream<int>("asks_then_counts", 1)) EXPECT_EQ(item, 0);
  EXPECT_NE(ran.load(), std::this_thread::get_id());
  EXPECT_NE(ran.load(), asked.load()) << "a thread for host functions";
}

TEST_F(StreamWaits, LongItemsComeInPieces) {
  Pool pool(streams());
  const Json lengths = {400'000, 1, 3'000'000, 70'000, 0};
  std::size_t i = 0;
  for (const auto& text : pool.stream<std::string>("texts", lengths)) {
    ASSERT_EQ(text.size(), lengths[i++].get<std::size_t>());
  }
  EXPECT_EQ(i, lengths.size());
}

// Items that are waited for one by one, and then many that have come meanwhile.
TEST_F(StreamWaits, AConsumerMayChangeItsPace) {
  Pool pool(streams());
  auto stream = pool.stream<int>({.stream_items = 16}, "bursts", 20);
  for (int i = 0; i < 60; ++i) ASSERT_EQ(stream.next(), i);
  stream.cancel();
  EXPECT_EQ(stream.try_next().error().kind, ErrorKind::kCancelled);
  EXPECT_EQ(pool.call("echo", 1), 1);
  EXPECT_EQ(pool.stats().workers_started, 1u);
}

// The reactor still knows the channel of a worker that has served streams in this way.
TEST_F(StreamWaits, AWorkerThatDiesAtRestIsForgotten) {
  Pool pool(streams());
  for (int i = 0; i < 3; ++i) {
    for (const int item : pool.stream<int>("count", 1)) EXPECT_EQ(item, 0);
    ::kill(pool.call<int>("pid"), SIGKILL);
    ASSERT_TRUE(eventually([&] { return pool.stats().workers_started == static_cast<unsigned>(i) + 2; }));
    pool.wait_ready();
  }
  for (const int item : pool.stream<int>("count", 1)) EXPECT_EQ(item, 0);
}

TEST_F(StreamWaits, ALeaseThatEndsTakesItsStreamWithIt) {
  Pool pool(streams());
  std::optional<Lease> lease(pool.checkout());
  pool.expose("begun", [&] { lease.reset(); });
  auto stream = lease->stream<int>("asks_then_rests");
  EXPECT_EQ(stream.try_next().error().kind, ErrorKind::kCancelled);
  EXPECT_EQ(pool.call("echo", 1), 1);
}

}  // namespace
}  // namespace lair
