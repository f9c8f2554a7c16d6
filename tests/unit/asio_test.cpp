// Calls and streams as operations of Boost.Asio. One file, for it takes long to compile.
#include <lair/asio.hpp>
#include <lair/testing.hpp>

#include <gtest/gtest.h>

#include <boost/asio/as_tuple.hpp>
#include <boost/asio/bind_cancellation_slot.hpp>
#include <boost/asio/bind_executor.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/experimental/awaitable_operators.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/strand.hpp>
#include <boost/asio/thread_pool.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <boost/asio/use_future.hpp>
#include <functional>
#include <memory>
#include <string>
#include <tuple>

namespace lair {
namespace {

namespace net = boost::asio;
using namespace std::chrono_literals;
using fake::returns;

struct Asio : ::testing::Test {
  FakeEndpoint endpoint{FakeTime::kStands};
  net::io_context io;

  // Runs the io_context until it has no more work. `body` must outlive its coroutine.
  void run(const std::function<net::awaitable<void>()>& body) {
    net::co_spawn(io, body, [](std::exception_ptr error) {
      if (error) std::rethrow_exception(error);
    });
    io.run();
    io.restart();
  }
  std::optional<ErrorKind> error_of_last_call() { return endpoint.calls().back().error; }
};

TEST_F(Asio, ACallIsAwaited) {
  endpoint.on("add", fake::computes([](int a, int b) { return a + b; }));
  endpoint.on("load", fake::raises("OSError", "no such file"));
  std::string thrown;
  run([&]() -> net::awaitable<void> {
    EXPECT_EQ(co_await asio::call<int>(endpoint, "add", 2, 3)(net::use_awaitable), 5);
    EXPECT_EQ(co_await asio::call(endpoint, {.timeout = 1s}, "add", 1, 1)(net::use_awaitable), Json(2));
    co_await asio::call<void>(endpoint, "add", 1, 1)(net::use_awaitable);
    EXPECT_TRUE(io.get_executor().running_in_this_thread());
    EXPECT_EQ((co_await asio::try_call<int>(endpoint, "load")).error().kind, ErrorKind::kRemote);
    EXPECT_EQ((co_await asio::try_call<std::string>(endpoint, "add", 1, 1)).error().kind,
              ErrorKind::kInvalidArgument);
    try {
      co_await asio::call<int>(endpoint, "load")(net::use_awaitable);
    } catch (const CallError& error) {
      thrown = error.error().python->type;
    }
  });
  EXPECT_EQ(thrown, "OSError");
}

TEST_F(Asio, AnyTokenWillDo) {
  endpoint.on("f", returns(7));
  endpoint.on("bad", fake::fails(ErrorKind::kWorkerLost));
  run([&]() -> net::awaitable<void> {
    EXPECT_EQ(co_await asio::call<int>(endpoint, "f")(net::use_awaitable), 7);
    const auto [error, value] = co_await asio::call<int>(endpoint, "bad")(net::as_tuple(net::use_awaitable));
    EXPECT_TRUE(error);
    EXPECT_EQ(value, 0);
    const auto [result] = co_await asio::try_call<int>(endpoint, "bad")(net::as_tuple(net::use_awaitable));
    EXPECT_EQ(result.error().kind, ErrorKind::kWorkerLost);
  });
  EXPECT_EQ(asio::call<int>(endpoint, "f")(net::use_future).get(), 7);
  EXPECT_THROW(asio::call<void>(endpoint, "bad")(net::use_future).get(), CallError);

  std::optional<int> got;
  const auto strand = net::make_strand(io);
  asio::try_call<int>(endpoint, "f")(
      net::bind_executor(strand, [&, own = std::make_unique<int>(1)](const Result<int>& result) {
        EXPECT_TRUE(strand.running_in_this_thread());
        got = *result;
      }));
  endpoint.settle();
  EXPECT_FALSE(got);
  io.run();
  EXPECT_EQ(got, 7);
}

TEST_F(Asio, AHandlerWithoutAnExecutorRunsWhereTheOptionsSayOrOnTheEndpointsThread) {
  endpoint.on("f", returns(7));
  std::function<void()> queued;
  std::optional<int> got;
  const auto handler = [&](std::exception_ptr, int value) { got = value; };
  asio::call<int>(endpoint, {.executor = [&](auto work) { queued = work; }}, "f")(handler);
  endpoint.settle();
  EXPECT_FALSE(got);
  queued();
  EXPECT_EQ(got, 7);
  got.reset();
  asio::call<int>(endpoint, "f")(handler);
  endpoint.settle();
  EXPECT_EQ(got, 7);
}

TEST_F(Asio, TheExecutorHasWorkUntilTheCallHasEnded) {
  endpoint.on("slow", returns(1).after(50ms));
  bool done = false;
  asio::call<int>(endpoint, "slow")(net::bind_executor(io, [&](std::exception_ptr, int) { done = true; }));
  io.poll();
  EXPECT_FALSE(io.stopped());
  endpoint.advance(50ms);
  io.run();
  EXPECT_TRUE(done);
}

TEST_F(Asio, ASlotCancelsAndTotalOnlyWhatMayRunTwice) {
  endpoint.on("stuck", fake::hangs());
  net::cancellation_signal signal;
  std::optional<ErrorKind> kind;
  const auto start = [&](const CallOptions& options) {
    kind.reset();
    asio::try_call(endpoint, options, "stuck")(net::bind_cancellation_slot(
        signal.slot(),
        net::bind_executor(io, [&](const Result<Json>& reply) { kind = reply.error().kind; })));
  };
  for (const auto type : {net::cancellation_type::terminal, net::cancellation_type::partial}) {
    start({});
    signal.emit(net::cancellation_type::total);
    EXPECT_EQ(endpoint.pending(), 1u);
    signal.emit(type);
    io.run();
    io.restart();
    EXPECT_EQ(kind, ErrorKind::kCancelled);
  }
  start({.idempotent = true});
  signal.emit(net::cancellation_type::total);
  io.run();
  io.restart();
  EXPECT_EQ(kind, ErrorKind::kCancelled);

  std::stop_source stop;
  start({.stop = stop.get_token()});
  stop.request_stop();
  io.run();
  EXPECT_EQ(kind, ErrorKind::kCancelled);
  signal.emit(net::cancellation_type::all);  // of nothing any more
}

TEST_F(Asio, OfTwoTheLoserIsCancelled) {
  using namespace net::experimental::awaitable_operators;
  endpoint.on("stuck", fake::hangs());
  endpoint.on("f", returns(7));
  run([&]() -> net::awaitable<void> {
    net::steady_timer timer(io, 1ms);
    const auto first = co_await (asio::call<int>(endpoint, "stuck")(net::use_awaitable) ||
                                 timer.async_wait(net::use_awaitable));
    EXPECT_EQ(first.index(), 1u);
    EXPECT_EQ(error_of_last_call(), ErrorKind::kCancelled);
    timer.expires_after(1h);
    const auto second =
        co_await (asio::call<int>(endpoint, "f")(net::use_awaitable) || timer.async_wait(net::use_awaitable));
    EXPECT_EQ(std::get<0>(second), 7);
    const auto [a, b] = co_await (asio::call<int>(endpoint, "f")(net::use_awaitable) &&
                                  asio::call<int>(endpoint, "f")(net::use_awaitable));
    EXPECT_EQ(a + b, 14);
  });
}

TEST_F(Asio, AStreamIsAwaitedItemByItemAndCancelledByASlot) {
  using namespace net::experimental::awaitable_operators;
  endpoint.on("rows", fake::yields({1, 2}));
  endpoint.on("stuck", fake::yields({1}).hangs());
  run([&]() -> net::awaitable<void> {
    int sum = 0;
    auto rows = endpoint.stream<int>("rows");
    while (const auto row = co_await asio::next(rows)(net::use_awaitable)) sum += *row;
    EXPECT_EQ(sum, 3);
    EXPECT_FALSE(*co_await asio::try_next(rows));

    auto stuck = endpoint.stream<int>("stuck");
    EXPECT_EQ(co_await asio::next(stuck)(net::use_awaitable), 1);
    net::steady_timer timer(io, 1ms);
    const auto first =
        co_await (asio::next(stuck)(net::use_awaitable) || timer.async_wait(net::use_awaitable));
    EXPECT_EQ(first.index(), 1u);
    EXPECT_EQ((co_await asio::try_next(stuck)).error().kind, ErrorKind::kCancelled);
  });
}

TEST_F(Asio, AContextMayGoBeforeItsCallsHaveEnded) {
  endpoint.on("stuck", fake::hangs());
  endpoint.on("f", returns(1).after(1ms));
  const auto held = std::make_shared<int>();
  {
    net::io_context own;
    asio::call<int>(endpoint, "f")(net::bind_executor(own, [held](std::exception_ptr, int) { FAIL(); }));
    const auto body = [&](std::shared_ptr<int>) -> net::awaitable<void> {
      co_await asio::call<int>(endpoint, "stuck")(net::use_awaitable);
    };
    net::co_spawn(own, body(held), net::detached);
    own.poll();
    EXPECT_EQ(held.use_count(), 3);
  }
  EXPECT_EQ(held.use_count(), 1);
  EXPECT_EQ(error_of_last_call(), ErrorKind::kCancelled);
  endpoint.advance(1s);  // finds nothing to complete
  EXPECT_EQ(endpoint.pending(), 0u);
}

TEST_F(Asio, RepliesRaceWithTheEndOfTheirContext) {
  endpoint.on("f", returns(1));
  for (int round = 0; round < 200; ++round) {
    net::io_context own;
    for (int i = 0; i < 3; ++i) {
      asio::call<int>(endpoint, "f")(net::bind_executor(own, [](std::exception_ptr, int) {}));
    }
    if (round % 2 == 0) own.poll();
  }
  endpoint.settle();
}

TEST_F(Asio, CallsOfManyThreadsAllEndOnce) {
  endpoint.on("f", fake::computes([](int i) { return i; }));
  std::atomic<int> sum = 0;
  {
    net::thread_pool threads(3);
    const auto body = [&]() -> net::awaitable<void> {
      for (int i = 0; i < 100; ++i) sum += co_await asio::call<int>(endpoint, "f", i)(net::use_awaitable);
    };
    for (int i = 0; i < 4; ++i) net::co_spawn(threads, body, net::detached);
    threads.join();
  }
  EXPECT_EQ(sum, 4 * 4950);
}

}  // namespace
}  // namespace lair
