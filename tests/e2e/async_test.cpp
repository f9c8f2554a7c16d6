// Calls that do not block, and workers that have several of them at a time.
#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <future>
#include <latch>
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

std::future<Result<Json>> begin(Endpoint& endpoint, const CallOptions& options, std::string_view command,
                                Json arguments = Json::array()) {
  auto promise = std::make_shared<std::promise<Result<Json>>>();
  auto future = promise->get_future();
  endpoint.start(options, command, std::move(arguments),
                 [promise](Result<Json> reply) { promise->set_value(std::move(reply)); });
  return future;
}

class Async : public test::LeakChecked {};

TEST_F(Async, ManyCallsAreInFlightFromOneThread) {
  PoolOptions options = options_for("plain", 2);
  options.max_waiters = 2000;
  Pool pool(options);
  std::vector<std::future<Result<Json>>> calls;
  for (int i = 0; i < 1000; ++i) calls.push_back(begin(pool, {}, "echo", Json::array({i})));
  for (int i = 0; i < 1000; ++i) EXPECT_EQ(calls[static_cast<std::size_t>(i)].get().value(), i);
  const PoolStats stats = pool.stats();
  EXPECT_EQ(stats.ok, 1000u);
  EXPECT_EQ(stats.inflight, 0u);
}

TEST_F(Async, ErrorsAreThoseOfACallThatBlocks) {
  Pool pool(options_for("plain", 1));
  pool.wait_ready();
  EXPECT_EQ(begin(pool, {}, "nope").get().error().kind, ErrorKind::kUnknownCommand);
  EXPECT_EQ(begin(pool, {}, "echo", Json(3)).get().error().kind, ErrorKind::kInvalidArgument);
  EXPECT_EQ(begin(pool, {}, "fail").get().error().kind, begin(pool, {}, "fail").get().error().kind);
  PoolOptions options = options_for("cancel", 1);
  options.cancel_grace = 60s;
  Pool other(options);
  const int pid = other.call<int>("pid");
  const auto late = begin(other, {.timeout = 50ms}, "sleep").get();
  EXPECT_EQ(late.error().kind, ErrorKind::kDeadlineExceeded);
  EXPECT_EQ(other.call<int>("pid"), pid);
  EXPECT_EQ(other.stats().timeout, 1u);
}

TEST_F(Async, AWorkerThatDidNotHearTheBellIsRungAgain) {
  PoolOptions options = options_for("cancel", 1);
  options.cancel_grace = 60s;
  const test::Lines lines(options);
  Pool pool(options);
  std::stop_source stop;
  const int pid = pool.call<int>("pid");
  auto call = begin(pool, {.stop = stop.get_token()}, "hard_of_hearing");
  EXPECT_TRUE(eventually([&] { return lines.contain("begun"); }));
  stop.request_stop();
  EXPECT_EQ(call.get().error().kind, ErrorKind::kCancelled);
  EXPECT_EQ(begin(pool, {}, "pid").get().value(), pid);
}

TEST_F(Async, AStopEndsItInTheQueueAndOnTheWorker) {
  PoolOptions options = options_for("cancel", 1);
  options.cancel_grace = 60s;
  const test::Lines lines(options);
  Pool pool(options);
  std::stop_source first;
  std::stop_source second;
  auto on_worker = begin(pool, {.stop = first.get_token()}, "sleep");
  EXPECT_TRUE(eventually([&] { return lines.contain("begun"); }));
  auto waiting = begin(pool, {.stop = second.get_token()}, "echo");
  EXPECT_TRUE(eventually([&] { return pool.stats().waiters == 1; }));
  second.request_stop();
  EXPECT_EQ(waiting.get().error().delivery, Delivery::kNotSent);
  first.request_stop();
  EXPECT_EQ(on_worker.get().error().kind, ErrorKind::kCancelled);
  EXPECT_EQ(pool.call("echo", 7), 7);
  EXPECT_EQ(pool.stats().workers_started, 1u);
  EXPECT_EQ(pool.stats().cancelled, 2u);
}

TEST_F(Async, ALostWorkerIsToldOfWithItsEnd) {
  Pool pool(options_for("plain", 1));
  const auto reply = begin(pool, {}, "exit_now", Json::array({7})).get();
  ASSERT_FALSE(reply.has_value());
  EXPECT_EQ(reply.error().kind, ErrorKind::kWorkerLost);
  EXPECT_NE(reply.error().message.find("exited with status 7"), std::string::npos) << reply.error().message;
  EXPECT_EQ(begin(pool, {}, "echo", Json::array({1})).get().value(), 1);
}

TEST_F(Async, CompletionsRunOnTheExecutorAndMayThrow) {
  Pool pool(options_for("plain", 1));
  std::promise<std::function<void()>> posted;
  std::atomic<bool> done = false;
  pool.start({.executor = [&](std::function<void()> work) { posted.set_value(std::move(work)); }}, "echo",
             Json::array({1}), [&](const Result<Json>&) { done = true; });
  const auto work = posted.get_future().get();
  EXPECT_FALSE(done);
  work();
  EXPECT_TRUE(done);
  pool.start({}, "echo", Json::array({1}), [](const Result<Json>&) { throw std::runtime_error("mine"); });
  EXPECT_EQ(begin(pool, {}, "echo", Json::array({2})).get().value(), 2) << "nobody else is harmed";
}

// A thread that begins a call takes it to its worker itself while the pool's own thread waits: none of this may show.
TEST_F(Async, ACallThatEndsWhereItIsBegunIsToldOfElsewhere) {
  Pool pool(options_for("plain", 1));
  EXPECT_EQ(begin(pool, {}, "echo", Json::array({1})).get().value(), 1);
  for (int i = 0; i < 200; ++i) {
    const auto told = std::make_shared<std::promise<std::thread::id>>();
    pool.start({}, "nope", Json::array(),
               [told](const Result<Json>&) { told->set_value(std::this_thread::get_id()); });
    EXPECT_NE(told->get_future().get(), std::this_thread::get_id());
  }
}

TEST_F(Async, ADeadlineBeforeAllOthersIsKept) {
  Pool pool(options_for("cancel", 2));
  std::stop_source stop;
  auto patient = begin(pool, {.timeout = 1h, .stop = stop.get_token()}, "sleep");
  const auto late = begin(pool, {.timeout = 50ms}, "sleep").get();
  EXPECT_EQ(late.error().kind, ErrorKind::kDeadlineExceeded);
  auto queued = begin(pool, {.timeout = 1h, .stop = stop.get_token()}, "sleep");
  EXPECT_TRUE(eventually([&] { return pool.stats().inflight == 2; }));
  const auto waited = begin(pool, {.timeout = 50ms}, "sleep").get();
  EXPECT_EQ(waited.error().kind, ErrorKind::kDeadlineExceeded) << "in the queue, too";
  stop.request_stop();
  EXPECT_EQ(patient.get().error().kind, ErrorKind::kCancelled);
  EXPECT_EQ(queued.get().error().kind, ErrorKind::kCancelled);
}

TEST_F(Async, CallsOfManyThreadsWithCancelsAndDeathsEndOnceEach) {
  constexpr int kThreads = 4;
  constexpr int kCalls = 150;
  PoolOptions options = options_for("plain", 3);
  options.max_waiters = kThreads * kCalls;
  std::vector<std::atomic<int>> told(kThreads * kCalls);
  std::latch done(kThreads * kCalls);
  Pool pool(options);
  pool.wait_ready();
  {
    std::vector<std::jthread> threads;
    for (int t = 0; t < kThreads; ++t) {
      threads.emplace_back([&, t] {
        for (int i = 0; i < kCalls; ++i) {
          const auto index = static_cast<std::size_t>(t * kCalls + i);
          std::stop_source stop;
          const bool dies = t == 0 && i % 50 == 17;
          pool.start({.timeout = 60s, .stop = stop.get_token()}, dies ? "exit_now" : "echo",
                     Json::array({i % 100}), [&, index](const Result<Json>&) {
                       ++told[index];
                       done.count_down();
                     });
          if (i % 7 == 3) stop.request_stop();
        }
      });
    }
  }
  done.wait();
  for (const auto& times : told) EXPECT_EQ(times, 1);
  EXPECT_TRUE(eventually([&] { return pool.stats().inflight == 0; }));
  EXPECT_EQ(pool.call("echo", 7), 7);
}

TEST_F(Async, ABlockingCallOnThePoolsOwnThreadIsRefused) {
  Pool pool(options_for("plain", 2));
  std::promise<Result<Json>> nested;
  pool.start({}, "echo", Json::array({1}),
             [&](const Result<Json>&) { nested.set_value(pool.try_call("echo", 2)); });
  const auto reply = nested.get_future().get();
  ASSERT_FALSE(reply.has_value());
  EXPECT_EQ(reply.error().kind, ErrorKind::kInvalidArgument);
  EXPECT_NE(reply.error().message.find("executor"), std::string::npos) << reply.error().message;
}

TEST_F(Async, ShutdownEndsThemAll) {
  PoolOptions options = options_for("cancel", 1);
  options.shutdown_grace = 0ms;
  const test::Lines lines(options);
  auto pool = std::make_unique<Pool>(options);
  auto running = begin(*pool, {}, "sleep");
  EXPECT_TRUE(eventually([&] { return lines.contain("begun"); }));
  auto waiting = begin(*pool, {}, "echo");
  pool->shutdown();
  EXPECT_FALSE(running.get().has_value());
  EXPECT_FALSE(waiting.get().has_value());
  EXPECT_EQ(begin(*pool, {}, "echo").get().error().kind, ErrorKind::kUnavailable);
  pool.reset();
}

TEST_F(Async, ALeaseHasItsCallsOneAfterAnother) {
  PoolOptions options = options_for("cancel", 1);
  options.cancel_grace = 60s;
  const test::Lines lines(options);
  Pool pool(options);
  Lease lease = pool.checkout();
  EXPECT_EQ(begin(lease, {}, "echo", Json::array({1})).get().value(), 1);
  std::vector<int> numbers;
  for (const int x : lease.stream<int>({.stream_items = 1}, "numbers")) {
    numbers.push_back(x);
    break;
  }
  EXPECT_EQ(numbers, std::vector<int>{0});
  lease = pool.checkout();
  auto running = begin(lease, {}, "sleep");
  EXPECT_TRUE(eventually([&] { return lines.text().rfind("begun") != lines.text().find("begun"); }));
  const auto second = begin(lease, {}, "echo").get();
  ASSERT_FALSE(second.has_value());
  EXPECT_EQ(second.error().kind, ErrorKind::kInvalidArgument) << second.error().message;
  EXPECT_EQ(lease.try_call("echo").error().kind, ErrorKind::kInvalidArgument);
  lease.release();
  EXPECT_EQ(running.get().error().kind, ErrorKind::kCancelled);
  EXPECT_EQ(pool.call("echo", 3), 3);
  EXPECT_EQ(pool.stats().workers_started, 1u) << "the worker gave up both";
}

TEST_F(Async, ALeaseThatIsReleasedAtOnceTakesItsCallWithIt) {
  Pool pool(options_for("streams", 1));
  pool.wait_ready();
  for (int i = 0; i < 50; ++i) {
    std::future<Result<Json>> call;
    {
      Lease lease = pool.checkout();
      call = begin(lease, {}, "echo", Json::array({i}));
      if (i % 2 == 0) (void)lease.stream<int>("count", 1000);
    }
    const auto reply = call.get();
    if (!reply) {
      EXPECT_EQ(reply.error().kind, ErrorKind::kCancelled) << reply.error().message;
    }
    EXPECT_EQ(pool.call("echo", i), i);
  }
  EXPECT_EQ(pool.stats().inflight, 0u);
}

TEST_F(Async, NothingThatBlocksIsDoneOnThePoolsOwnThread) {
  Pool pool(options_for("streams", 2));
  pool.wait_ready();
  std::promise<std::vector<ErrorKind>> seen;
  Lease lease = pool.checkout();
  pool.start({}, "echo", Json::array({1}), [&](const Result<Json>&) {
    auto stream = pool.stream<int>("count", 3);
    seen.set_value({stream.try_next().error().kind, pool.try_checkout().error().kind,
                    lease.try_call("echo", 1).error().kind});
  });
  EXPECT_EQ(seen.get_future().get(), std::vector<ErrorKind>(3, ErrorKind::kInvalidArgument));
}

TEST_F(Async, AStreamThatOutlivesItsPoolHasAnEnd) {
  std::optional<Pool> pool;
  pool.emplace(options_for("streams", 1));
  auto stream = pool->stream<int>("count", 3);
  EXPECT_EQ(stream.next(), 0);
  pool.reset();
  std::promise<void> ended;
  std::function<void()> ask = [&] {
    stream.source().start_next([&](StreamSource::Item item) { item&&* item ? ask() : ended.set_value(); });
  };
  ask();
  ended.get_future().get();
}

// --- Several calls on one worker -----------------------------------------------------------------------

class Concurrent : public test::LeakChecked {
 protected:
  static PoolOptions several(std::size_t concurrency = 8) {
    PoolOptions options = options_for("several", 1);
    options.concurrency = concurrency;
    options.cancel_grace = 60s;
    return options;
  }
};

TEST_F(Concurrent, OneWorkerServesManyCallsAtOnce) {
  Pool pool(several());
  std::vector<std::future<Result<Json>>> waiting;
  for (int i = 0; i < 7; ++i) waiting.push_back(begin(pool, {}, "wait", Json::array({"gate"})));
  EXPECT_TRUE(eventually([&] { return pool.call("take_notes").size() < 100 && pool.stats().inflight == 7; }));
  pool.call<void>("open_gate", "gate");
  for (auto& call : waiting) EXPECT_EQ(call.get().value(), "gate");
  EXPECT_EQ(pool.stats().workers_started, 1u);
  EXPECT_EQ(pool.call<std::uint64_t>("plain", 10), pool.call<std::uint64_t>("plain", 10))
      << "not thread-safe: always the same thread";
}

// The worker writes all of them at once, and they are read at once; but they are not taken without a pause.
TEST_F(Concurrent, ManyRepliesThatComeTogetherAreAllTaken) {
  constexpr std::size_t kCalls = 150;
  Pool pool(several(2 * kCalls));
  pool.wait_ready();
  std::vector<std::future<Result<Json>>> waiting;
  for (std::size_t i = 0; i < kCalls; ++i) waiting.push_back(begin(pool, {}, "wait", Json::array({"gate"})));
  EXPECT_TRUE(eventually([&] { return pool.stats().inflight == kCalls; }));
  pool.call<void>("open_gate", "gate");
  for (auto& call : waiting) EXPECT_EQ(call.get().value(), "gate");
}

TEST_F(Concurrent, CallsThatBlockShareItToo) {
  Pool pool(several(4));
  pool.wait_ready();
  std::vector<std::jthread> threads;
  std::atomic<int> met = 0;
  for (int i = 0; i < 4; ++i) {
    threads.emplace_back([&] {
      if (pool.call({.timeout = 60s}, "t_meet", 4).is_string()) ++met;
    });
  }
  threads.clear();
  EXPECT_EQ(met, 4);
}

TEST_F(Concurrent, ACancelHitsOneCallOnly) {
  Pool pool(several());
  pool.wait_ready();
  std::stop_source stop;
  auto cancelled = begin(pool, {.stop = stop.get_token()}, "wait", Json::array({"a"}));
  auto other = begin(pool, {}, "wait", Json::array({"b"}));
  EXPECT_TRUE(eventually([&] { return pool.stats().inflight == 2; }));
  stop.request_stop();
  EXPECT_EQ(cancelled.get().error().kind, ErrorKind::kCancelled);
  pool.call<void>("open_gate", "b");
  EXPECT_EQ(other.get().value(), "b");
  const auto late = begin(pool, {.timeout = 30ms}, "wait", Json::array({"c"})).get();
  EXPECT_EQ(late.error().kind, ErrorKind::kDeadlineExceeded);
  EXPECT_EQ(pool.call("echo", 1), 1);
  EXPECT_EQ(pool.stats().workers_started, 1u);
}

TEST_F(Concurrent, OneThatIsNotGivenUpCostsTheWorkerAndItsOtherCalls) {
  PoolOptions options = several();
  options.cancel_grace = 50ms;
  const test::Lines lines(options);
  Pool pool(options);
  pool.wait_ready();
  auto sibling = begin(pool, {.timeout = kForever}, "wait", Json::array({"never"}));
  auto hanging = begin(pool, {.timeout = 100ms}, "t_hang");
  auto blocked = begin(pool, {.timeout = 100ms}, "block");
  EXPECT_EQ(hanging.get().error().kind, ErrorKind::kDeadlineExceeded);
  EXPECT_EQ(blocked.get().error().kind, ErrorKind::kDeadlineExceeded);
  const auto lost = sibling.get();
  ASSERT_FALSE(lost.has_value());
  EXPECT_EQ(lost.error().kind, ErrorKind::kWorkerLost) << lost.error().message;
  EXPECT_EQ(pool.call("echo", 1), 1);
}

TEST_F(Concurrent, HostFunctionsRunOnTheThreadThatWaits) {
  Pool pool(several());
  std::set<std::thread::id> ran;
  pool.expose("double", [&](int x) {
    ran.insert(std::this_thread::get_id());
    return 2 * x;
  });
  EXPECT_EQ(pool.call<int>("double", 4), 8);
  EXPECT_EQ(pool.call<int>("t_double", 4), 16);
  EXPECT_EQ(ran, std::set<std::thread::id>{std::this_thread::get_id()});
}

TEST_F(Concurrent, ALeaseHasTheWorkerToItself) {
  Pool pool(several());
  pool.wait_ready();
  auto waiting = begin(pool, {}, "wait", Json::array({"gate"}));
  EXPECT_TRUE(eventually([&] { return pool.stats().workers.front().state == SlotState::kBusy; }));
  auto lease = std::async(std::launch::async, [&] { return pool.checkout(); });
  EXPECT_TRUE(eventually([&] { return pool.stats().waiters == 1; }));
  EXPECT_EQ(pool.try_call({.timeout = 50ms}, "echo").error().kind, ErrorKind::kDeadlineExceeded)
      << "it is being drained";
  EXPECT_EQ(waiting.wait_for(0s), std::future_status::timeout);
  pool.shutdown(0ms);
  EXPECT_FALSE(waiting.get().has_value());
  EXPECT_THROW(lease.get(), CallError);
}

TEST_F(Concurrent, AModuleWithoutAsyncCommandsHasOneAtATime) {
  PoolOptions options = options_for("plain", 1);
  options.concurrency = 8;
  options.max_waiters = 100;
  Pool pool(options);
  std::vector<std::future<Result<Json>>> calls;
  for (int i = 0; i < 20; ++i) calls.push_back(begin(pool, {}, "echo", Json::array({i})));
  for (int i = 0; i < 20; ++i) EXPECT_EQ(calls[static_cast<std::size_t>(i)].get().value(), i);
  EXPECT_EQ(pool.call("echo", 3), 3);
}

}  // namespace
}  // namespace lair
