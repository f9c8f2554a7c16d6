// Rows about calls that are cancelled or given up by their callers, and about streams.
#include <algorithm>
#include <atomic>
#include <future>
#include <memory>
#include <stop_token>
#include <thread>

#include "faults/row.hpp"
#include "support/shell_fixture.hpp"

namespace lair::test {
namespace {

using namespace std::chrono_literals;

class Flow : public FaultRow {
 protected:
  static Duration p99_of_echo(Pool& pool) {
    std::vector<Duration> times;
    for (int i = 0; i < 200; ++i) {
      const TimePoint began = now();
      EXPECT_EQ(pool.call<int>("echo", i), i);
      times.push_back(now() - began);
    }
    std::sort(times.begin(), times.end());
    return times[times.size() * 99 / 100];
  }
};

// Each item of this stream asks the host first, so that it is known how many have been made.
TEST_F(Flow, R13_AStreamsConsumerIsSlow) {
  PoolOptions options = options_for("callbacks", 2);
  options.cancel_grace = 60s;
  Pool pool(options);
  pool.wait_ready();
  (void)p99_of_echo(pool);
  const Duration alone = p99_of_echo(pool);
  std::atomic<int> made = 0;
  pool.expose("double", [&](int x) {
    ++made;
    return 2 * x;
  });
  constexpr int kCap = 16;
  Duration beside{};
  int most_ahead = 0;
  {
    auto stream = pool.stream<int>({.timeout = kForever, .stream_items = kCap}, "numbers", 1'000'000);
    for (int i = 0; i < 40; ++i) {
      EXPECT_EQ(stream.next(), 2 * i);
      if (i == 20) beside = p99_of_echo(pool);  // time enough to make as many as it may
      most_ahead = std::max(most_ahead, made - (i + 1));
    }
  }
  fact("items made ahead of the consumer, at most",
       std::to_string(most_ahead) + " of " + std::to_string(kCap));
  EXPECT_LE(most_ahead, kCap + 1) << "and one that it holds in its hand";
  took("another call meanwhile (p99)", beside, 2 * alone + 2ms);
  expect_whole(pool);
}

// A hundred calls at once, each with a stop request that comes at some time or other.
TEST_F(Flow, R28_AHundredRacingCancels) {
  PoolOptions options = options_for("cancel", 4);
  options.cancel_grace = 60s;
  options.max_waiters = 1000;
  Pool pool(options);
  pool.wait_ready();
  std::atomic<int> hits = 0;
  std::atomic<int> cancelled = 0;
  constexpr int kCalls = 100;
  for (int round = 0; round < rounds(10, 1000); ++round) {
    std::vector<std::stop_source> stops(kCalls);
    std::vector<std::future<void>> ended;
    for (int i = 0; i < kCalls; ++i) {
      auto told = std::make_shared<std::promise<void>>();
      ended.push_back(told->get_future());
      // Every other call nobody cancels.
      const bool target = i % 2 == 0;
      const CallOptions how = {
          .timeout = 10min,
          .stop = target ? stops[static_cast<std::size_t>(i)].get_token() : std::stop_token()};
      pool.start(how, "echo", Json::array({i}), [&, told, target, i](const Result<Json>& reply) {
        if (reply ? *reply != Json(i) : !target || reply.error().kind != ErrorKind::kCancelled) ++hits;
        if (!reply) ++cancelled;
        told->set_value();
      });
    }
    std::jthread canceller([&] {
      for (std::stop_source& stop : stops) stop.request_stop();
    });
    for (auto& each : ended) each.get();
  }
  fact("calls cancelled", std::to_string(cancelled));
  EXPECT_EQ(hits, 0) << "of calls that were not meant, or wrong replies";
  EXPECT_GT(cancelled, 0);
  EXPECT_EQ(pool.stats().workers_started, 4u) << "no cancel cost a worker";
  expect_whole(pool);
}

class RacingCancels : public ShellTestOn<FaultRow> {};

// The same on workers without processes, and with threads that block.
TEST_F(RacingCancels, R28_CallsThatBlock) {
  start({.size = 4, .max_waiters = 1000, .cancel_grace = 60s},
        protocol_two([](FakeWorker&, const std::string&, const Json& arguments) { return arguments; },
                     {"echo"}, {{"features", {"cancel"}}}));
  ASSERT_TRUE(eventually([&] { return stats().count(SlotState::kIdle) == 4; }));
  std::atomic<int> left = rounds(kSanitized ? 1'000 : 20'000, 100'000);
  std::atomic<int> hits = 0;
  std::atomic<int> cancelled = 0;
  std::vector<std::thread> callers;
  for (int i = 0; i < 8; ++i) {
    callers.emplace_back([&] {
      std::atomic<std::stop_source*> next = nullptr;
      std::atomic<bool> over = false;
      std::thread canceller([&] {
        while (!over) {
          if (std::stop_source* stop = next) {
            stop->request_stop();
            next = nullptr;
          } else if (!over) {
            std::this_thread::yield();
          }
        }
      });
      for (int n = left--; n > 0; n = left--) {
        std::stop_source stop;
        next = &stop;
        const auto reply = call("echo", {n}, {.timeout = 60s, .stop = stop.get_token()});
        while (next.load() != nullptr) std::this_thread::yield();
        if (reply ? *reply != Json({n}) : reply.error().kind != ErrorKind::kCancelled) ++hits;
        if (!reply) ++cancelled;
        if (call("echo", {-n}, {.timeout = 60s}).value() != Json({-n})) ++hits;
      }
      over = true;
      canceller.join();
    });
  }
  for (std::thread& caller : callers) caller.join();
  EXPECT_EQ(hits, 0);
  fact("calls cancelled", std::to_string(cancelled));
  EXPECT_TRUE(eventually([&] { return stats().count(SlotState::kIdle) == 4; })) << "a worker was lost";
  EXPECT_EQ(stats().workers_started, 4u);
  expect_books_add_up();
}

// Whoever waited for it is gone: a stream, here, of a worker that cannot be asked to give it up in time.
TEST_F(Flow, R30_TheCallerIsDestroyedInMidCall) {
  PoolOptions options = options_for("streams", 2);
  options.cancel_grace = 0ms;
  Pool pool(options);
  pool.wait_ready();
  for (int i = 0; i < 3; ++i) {
    const std::uint64_t exited = pool.stats().workers_exited;
    std::optional<Stream<int>> stream = pool.stream<int>({.timeout = kForever}, "two_then_rest");
    EXPECT_EQ(stream->next(), 1);
    const TimePoint destroyed = now();
    stream.reset();
    EXPECT_TRUE(eventually([&] { return pool.stats().workers_exited > exited; }));
    took("the worker is dead", now() - destroyed, 100ms, true);
  }
  pool.wait_ready();
  EXPECT_EQ(pool.stats().cancelled, 3u);
  expect_whole(pool);
}

}  // namespace
}  // namespace lair::test
