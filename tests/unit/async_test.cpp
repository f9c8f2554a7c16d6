// Coroutines and futures over an endpoint: where they go on, what ends them, and who may be gone by then.
#include <lair/async.hpp>
#include <lair/testing.hpp>

#include <gtest/gtest.h>

#include <atomic>
#include <latch>
#include <stdexcept>
#include <string>
#include <thread>

#include "support/coroutine.hpp"

namespace lair {
namespace {

using namespace std::chrono_literals;
using fake::returns;

struct Async : ::testing::Test {
  FakeEndpoint endpoint{FakeTime::kStands};
  Loop loop;
  CallOptions on_loop = {.executor = loop.executor()};

  std::optional<ErrorKind> error_of_last_call() { return endpoint.calls().back().error; }
};

TEST_F(Async, ACallIsAwaitedForItsValue) {
  endpoint.on("add", fake::computes([](int a, int b) { return a + b; }));
  int sum = 0;
  const auto body = [&]() -> Task { sum = co_await endpoint.co_call<int>(on_loop, "add", 2, 3); };
  Task task = body();
  EXPECT_EQ(sum, 0);
  loop.run(1);
  EXPECT_EQ(sum, 5);
}

TEST_F(Async, AnErrorIsThrownOrReturned) {
  endpoint.on("load", fake::raises("OSError", "no such file"));
  std::string thrown;
  std::optional<Error> returned;
  const auto body = [&]() -> Task {
    try {
      co_await endpoint.co_call(on_loop, "load");
    } catch (const CallError& error) {
      thrown = error.error().python->type;
    }
    returned = (co_await endpoint.co_try_call<int>(on_loop, "load")).error();
  };
  Task task = body();
  loop.run(2);
  EXPECT_EQ(thrown, "OSError");
  EXPECT_EQ(returned->kind, ErrorKind::kRemote);
}

TEST_F(Async, AResultOfTheWrongTypeIsAnError) {
  endpoint.on("name", returns("a text"));
  endpoint.on("nothing", returns(nullptr));
  ErrorKind kind = ErrorKind::kInternal;
  bool nothing = false;
  const auto body = [&]() -> Task {
    kind = (co_await endpoint.co_try_call<int>(on_loop, "name")).error().kind;
    co_await endpoint.co_call<void>(on_loop, "nothing");
    nothing = true;
  };
  Task task = body();
  loop.run(2);
  EXPECT_EQ(kind, ErrorKind::kInvalidArgument);
  EXPECT_TRUE(nothing);
}

TEST_F(Async, NothingIsCalledBeforeTheAwaitAndNoArgumentIsReferredToAfterTheCall) {
  endpoint.on("size", fake::computes([](const std::string& text) { return text.size(); }));
  std::size_t size = 0;
  auto text = std::make_unique<std::string>(100, 'x');
  auto command = std::make_unique<std::string>("size");
  auto call = endpoint.co_call<std::size_t>(on_loop, *command, *text);
  text.reset();
  command.reset();
  EXPECT_TRUE(endpoint.calls().empty());
  const auto body = [&]() -> Task { size = co_await std::move(call); };
  Task task = body();
  EXPECT_EQ(endpoint.calls().size(), 1u);
  loop.run(1);
  EXPECT_EQ(size, 100u);
}

TEST_F(Async, TemporariesOfTheCallAreDestroyedOnce) {
  endpoint.on("f", fake::computes([](const Json& arguments) { return arguments; }));
  const auto owned = std::make_shared<int>(7);
  Json got;
  const auto body = [&]() -> Task {
    const CallOptions options = {.timeout = 1s,
                                 .executor = [this, owned](auto work) { loop.executor()(work); }};
    got = co_await endpoint.co_call(options, "f", std::string(40, 'y'));
    got = co_await endpoint.co_call({.timeout = 1s, .executor = on_loop.executor}, "f", std::string(40, 'z'));
  };
  Task task = body();
  loop.run(2);
  EXPECT_EQ(got, Json({std::string(40, 'z')}));
  endpoint.forget_calls();
  endpoint.settle();
  task = {};
  EXPECT_EQ(owned.use_count(), 1);
}

TEST_F(Async, WithoutAnExecutorItGoesOnOnAThreadOfTheEndpoints) {
  endpoint.on("f", returns(1));
  std::promise<std::thread::id> where;
  const auto body = [&]() -> Task {
    co_await endpoint.co_call("f");
    where.set_value(std::this_thread::get_id());
  };
  Task task = body();
  EXPECT_NE(where.get_future().get(), std::this_thread::get_id());
  endpoint.settle();
}

TEST_F(Async, ACoroutineThatIsDestroyedWhileItWaitsCancelsItsCall) {
  endpoint.on("stuck", fake::hangs());
  bool resumed = false;
  {
    const auto body = [&]() -> Task {
      (void)co_await endpoint.co_try_call(on_loop, "stuck");
      resumed = true;
    };
    Task task = body();
    EXPECT_EQ(endpoint.pending(), 1u);
  }
  EXPECT_EQ(error_of_last_call(), ErrorKind::kCancelled);
  loop.run(1);
  EXPECT_FALSE(resumed);
}

TEST_F(Async, ACoroutineThatIsDestroyedWithItsOutcomeAlreadyQueuedIsNotResumed) {
  endpoint.on("f", returns(1));
  bool resumed = false;
  {
    const auto body = [&]() -> Task {
      co_await endpoint.co_call(on_loop, "f");
      resumed = true;
    };
    Task task = body();
    loop.wait_for_work();
  }
  loop.run(1);
  EXPECT_FALSE(resumed);
  EXPECT_EQ(error_of_last_call(), std::nullopt);
}

TEST_F(Async, AnExecutorThatDropsItsWorkLeavesTheCoroutineToItsOwner) {
  endpoint.on("f", returns(1));
  const auto held = std::make_shared<int>();
  const auto body = [&](std::shared_ptr<int>) -> Task { co_await endpoint.co_call(on_loop, "f"); };
  Task task = body(held);
  loop.wait_for_work();
  endpoint.settle();
  loop.drop();
  EXPECT_EQ(held.use_count(), 2);
  task = {};
  EXPECT_EQ(held.use_count(), 1);
}

TEST_F(Async, TheCallersStopTokenCancels) {
  endpoint.on("stuck", fake::hangs());
  std::stop_source stop;
  on_loop.stop = stop.get_token();
  std::vector<Delivery> deliveries;
  const auto body = [&]() -> Task {
    for (int i = 0; i < 2; ++i) {
      const auto result = co_await endpoint.co_try_call(on_loop, "stuck");
      EXPECT_EQ(result.error().kind, ErrorKind::kCancelled);
      deliveries.push_back(result.error().delivery);
    }
  };
  Task task = body();
  EXPECT_EQ(loop.size(), 0u);
  stop.request_stop();
  loop.run(2);
  EXPECT_EQ(deliveries, (std::vector{Delivery::kMaybeExecuted, Delivery::kNotSent}));
}

TEST_F(Async, TheCoroutineMayOwnTheEndpointAndEndOnItsThread) {
  std::promise<int> done;
  [](std::promise<int>& result) -> Detached {
    FakeEndpoint own;
    own.on("f", returns(3));
    const int value = co_await own.co_call<int>("f");
    result.set_value(value);
  }(done);
  EXPECT_EQ(done.get_future().get(), 3);
}

TEST_F(Async, ThousandsOfCompletionsRaceWithTheirSuspensions) {
  endpoint.on("f", fake::computes([](int i) { return i; }));
  constexpr int kCoroutines = 4;
  constexpr int kCalls = 500;
  std::atomic<int> sum = 0;
  std::latch done(kCoroutines);
  std::vector<std::jthread> threads;
  for (int i = 0; i < kCoroutines; ++i) {
    threads.emplace_back([&] {
      [](FakeEndpoint& own, std::atomic<int>& total, std::latch& latch) -> Detached {
        for (int n = 0; n < kCalls; ++n) total += co_await own.co_call<int>("f", n);
        latch.count_down();
      }(endpoint, sum, done);
    });
  }
  done.wait();
  endpoint.settle();
  EXPECT_EQ(sum, kCoroutines * kCalls * (kCalls - 1) / 2);
}

// A reply, a stop request from elsewhere and the end of the coroutine, in every order.
TEST_F(Async, RepliesCancellationsAndDestructionsRace) {
  endpoint.on("f", returns(1).after(1ms));
  constexpr int kRounds = 300;
  int resumed = 0;
  for (int round = 0; round < kRounds; ++round) {
    std::stop_source stop;
    on_loop.stop = stop.get_token();
    const auto body = [&]() -> Task {
      const auto result = co_await endpoint.co_try_call<int>(on_loop, "f");
      EXPECT_TRUE(result || result.error().kind == ErrorKind::kCancelled);
      ++resumed;
    };
    Task task = body();
    const int before = resumed;
    std::latch go(2);
    std::jthread canceller([&] {
      go.arrive_and_wait();
      stop.request_stop();
    });
    std::jthread replier([&] { endpoint.advance(1ms); });
    go.arrive_and_wait();
    if (round % 3 == 0) loop.run(1);
    task = {};
    if (round % 3 != 0) loop.run(1);  // and nothing is resumed
    EXPECT_EQ(resumed, before + (round % 3 == 0 ? 1 : 0));
  }
  EXPECT_EQ(resumed, kRounds / 3);
}

struct Torn {};
void from_json(const Json&, Torn&) { throw std::logic_error("torn"); }

TEST_F(Async, AFutureHasTheValueOrThrows) {
  endpoint.on("f", returns(5));
  endpoint.on("bad", fake::fails(ErrorKind::kWorkerLost));
  EXPECT_EQ(endpoint.future_call<int>("f").get(), 5);
  EXPECT_EQ(endpoint.future_call("f").get(), Json(5));
  endpoint.future_call<void>("f").get();
  EXPECT_THROW(endpoint.future_call<int>({.timeout = 1s}, "bad").get(), CallError);
  EXPECT_THROW(endpoint.future_call<void>("bad").get(), CallError);
  EXPECT_THROW(endpoint.future_call<Torn>("f").get(), std::logic_error);
}

TEST_F(Async, AFutureNeedsNoExecutorToBeFulfilled) {
  endpoint.on("f", returns(5));
  EXPECT_EQ(endpoint.future_call<int>(on_loop, "f").get(), 5);
  EXPECT_EQ(loop.size(), 0u);
}

TEST_F(Async, AFutureIsFulfilledWhenItsEndpointGoes) {
  std::future<int> future;
  {
    FakeEndpoint own(FakeTime::kStands);
    own.on("stuck", fake::hangs());
    future = own.future_call<int>("stuck");
  }
  try {
    future.get();
    FAIL();
  } catch (const CallError& error) {
    EXPECT_EQ(error.error().kind, ErrorKind::kUnavailable);
  }
}

TEST_F(Async, AStreamIsAwaitedItemByItem) {
  endpoint.on("rows", fake::yields({1, 2, 3}));
  std::vector<int> rows;
  bool complete = false;
  const auto body = [&]() -> Task {
    auto stream = endpoint.stream<int>(on_loop, "rows");
    while (auto row = co_await stream.co_next()) rows.push_back(*row);
    complete = !*co_await stream.co_try_next();
  };
  Task task = body();
  loop.run(5);
  EXPECT_EQ(rows, (std::vector{1, 2, 3}));
  EXPECT_TRUE(complete);
}

TEST_F(Async, AStreamsErrorComesAfterItsItems) {
  endpoint.on("rows", fake::yields({1}).raises("ValueError", "row 2 is torn"));
  std::string story;
  const auto body = [&]() -> Task {
    auto stream = endpoint.stream<int>(on_loop, "rows");
    try {
      while (auto row = co_await stream.co_next()) story += std::to_string(*row) + ' ';
    } catch (const CallError& error) {
      story += error.error().python->type;
    }
    story += (co_await stream.co_try_next()) ? "" : " again";
  };
  Task task = body();
  loop.run(3);
  EXPECT_EQ(story, "1 ValueError again");
}

TEST_F(Async, ACoroutineThatIsDestroyedWhileItWaitsForAnItemCancelsTheStream) {
  endpoint.on("rows", fake::yields({1}).hangs());
  auto stream = endpoint.stream<int>(on_loop, "rows");
  int items = 0;
  const auto body = [&]() -> Task {
    while (co_await stream.co_next()) ++items;
  };
  Task task = body();
  loop.run(1);
  EXPECT_EQ(endpoint.pending(), 1u);
  task = {};
  EXPECT_EQ(error_of_last_call(), ErrorKind::kCancelled);
  loop.run(1);
  EXPECT_EQ(items, 1);
  EXPECT_EQ(stream.try_next().error().kind, ErrorKind::kCancelled);
}

TEST_F(Async, TheStreamMayEndWithTheCoroutineOnTheEndpointsThread) {
  endpoint.on("rows", fake::yields({1, 2}));
  for (int round = 0; round < 300; ++round) {
    std::promise<int> done;
    [](FakeEndpoint& own, std::promise<int>& result) -> Detached {
      int sum = 0;
      {
        auto stream = own.stream<int>("rows");
        while (auto row = co_await stream.co_next()) sum += *row;
      }
      result.set_value(sum);
    }(endpoint, done);
    EXPECT_EQ(done.get_future().get(), 3);
  }
  endpoint.settle();
}

}  // namespace
}  // namespace lair
