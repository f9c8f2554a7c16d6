// The testing kit keeps its word: replies, faults, streams, and a time that only tests move.
#include <lair/async.hpp>
#include <lair/testing.hpp>

#include <gtest/gtest.h>

#include <atomic>
#include <future>
#include <latch>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

#include "support/coroutine.hpp"

namespace lair {
namespace {

using namespace std::chrono_literals;
using fake::returns;

struct Fake : ::testing::Test {
  FakeEndpoint endpoint;

  ErrorKind kind_of(const char* command, const CallOptions& options = {}) {
    return endpoint.try_call(options, command).error().kind;
  }
};

// Where only `advance` moves the time.
struct FakeStanding : ::testing::Test {
  FakeEndpoint endpoint{FakeTime::kStands};
  std::vector<std::string> story;  // written on the endpoint's thread, read when it has settled

  void start(const char* command, const CallOptions& options = {}) {
    endpoint.start(options, command, Json::array(), [this, command](Result<Json> reply) {
      story.push_back(std::string(command) + ": " +
                      (reply ? reply->dump() : std::string(to_string(reply.error().kind))));
    });
  }
};

TEST_F(Fake, GivesWhatIsScripted) {
  endpoint.on("count", returns(6));
  endpoint.on("nothing", returns(nullptr));
  EXPECT_EQ(endpoint.call<int>("count", "a text"), 6);
  EXPECT_EQ(endpoint.call<int>("count"), 6);
  endpoint.call<void>("nothing");
  endpoint.on("count", returns(7));
  EXPECT_EQ(endpoint.call<int>("count"), 7);
}

TEST_F(Fake, GivesRepliesInOrderAndTheLastOneFromThenOn) {
  endpoint.on("flaky", fake::fails(ErrorKind::kWorkerLost), returns(1), returns(2));
  EXPECT_EQ(kind_of("flaky"), ErrorKind::kWorkerLost);
  EXPECT_EQ(endpoint.call<int>("flaky"), 1);
  EXPECT_EQ(endpoint.call<int>("flaky"), 2);
  EXPECT_EQ(endpoint.call<int>("flaky"), 2);
}

TEST_F(Fake, ScriptsForCertainArgumentsGoFirst) {
  endpoint.on("load", fake::with("a.csv"), fake::raises("OSError", "no such file"));
  endpoint.on("load", returns("rows"));
  endpoint.on("load", fake::with(kwargs{{"path", "b.csv"}}), returns("b"));
  EXPECT_EQ(endpoint.try_call("load", "a.csv").error().python->type, "OSError");
  EXPECT_EQ(endpoint.call("load", "c.csv"), Json("rows"));
  EXPECT_EQ(endpoint.call("load", kwargs{{"path", "b.csv"}}), Json("b"));
}

TEST_F(Fake, ComputesFromTheArguments) {
  endpoint.on("scale", fake::computes([](double x, double by) { return x * by; }));
  endpoint.on("all", fake::computes([](const Json& arguments) { return arguments; }));
  endpoint.on("void", fake::computes([] {}));
  endpoint.on("maybe", fake::computes([](int n) -> Result<int> {
                if (n < 0) return Error{.kind = ErrorKind::kOverloaded};
                return n;
              }));
  endpoint.on("choose", fake::computes([](const std::string& name) {
                return name == "slow" ? returns(1).after(2min) : returns(2);
              }));
  EXPECT_EQ(endpoint.call<double>("scale", 1.5, 2), 3.0);
  EXPECT_EQ(endpoint.call("all", 1, "b"), Json({1, "b"}));
  EXPECT_EQ(endpoint.call("all", kwargs{{"n", 1}}), Json({{"n", 1}}));
  EXPECT_EQ(endpoint.call("void"), Json());
  EXPECT_EQ(endpoint.call<int>("maybe", 3), 3);
  EXPECT_EQ(endpoint.try_call("maybe", -1).error().kind, ErrorKind::kOverloaded);
  EXPECT_EQ(endpoint.call<int>("choose", "quick"), 2);
  EXPECT_EQ(endpoint.try_call("choose", "slow").error().kind, ErrorKind::kDeadlineExceeded);
}

TEST_F(Fake, AFunctionsExceptionsAndWrongArgumentsAreErrorsAsPythonsAre) {
  endpoint.on("half", fake::computes([](int n) {
                if (n % 2 != 0) throw std::invalid_argument("odd");
                return n / 2;
              }));
  endpoint.on("lost", fake::computes([]() -> int { throw CallError({.kind = ErrorKind::kWorkerLost}); }));
  const Error odd = endpoint.try_call("half", 3).error();
  EXPECT_EQ(odd.kind, ErrorKind::kRemote);
  EXPECT_EQ(odd.python->message, "odd");
  EXPECT_EQ(endpoint.try_call("half", "x").error().python->type, "TypeError");
  EXPECT_NE(endpoint.try_call("half", 1, 2).error().message.find("1 by position"), std::string::npos);
  EXPECT_EQ(kind_of("lost"), ErrorKind::kWorkerLost);
}

TEST_F(Fake, FailsInEveryWayWithTheRightDelivery) {
  const std::vector<std::pair<ErrorKind, Delivery>> all = {
      {ErrorKind::kInvalidArgument, Delivery::kNotSent},
      {ErrorKind::kOverloaded, Delivery::kNotSent},
      {ErrorKind::kUnavailable, Delivery::kNotSent},
      {ErrorKind::kSessionBusy, Delivery::kNotSent},
      {ErrorKind::kUnknownCommand, Delivery::kNotSent},
      {ErrorKind::kInternal, Delivery::kNotSent},
      {ErrorKind::kDeadlineExceeded, Delivery::kMaybeExecuted},
      {ErrorKind::kCancelled, Delivery::kMaybeExecuted},
      {ErrorKind::kWorkerLost, Delivery::kMaybeExecuted},
      {ErrorKind::kSessionLost, Delivery::kMaybeExecuted},
      {ErrorKind::kProtocol, Delivery::kMaybeExecuted},
      {ErrorKind::kRemote, Delivery::kExecuted}};
  for (const auto& [kind, delivery] : all) {
    endpoint.on("f", fake::fails(kind));
    const Error error = endpoint.try_call("f").error();
    EXPECT_EQ(error.kind, kind);
    EXPECT_EQ(error.delivery, delivery) << to_string(kind);
    EXPECT_EQ(error.worker.has_value(), kind == ErrorKind::kWorkerLost || kind == ErrorKind::kSessionLost);
    EXPECT_EQ(error.python.has_value(), kind == ErrorKind::kRemote);
  }
  endpoint.on("f", fake::fails(ErrorKind::kWorkerLost, Delivery::kNotSent));
  EXPECT_EQ(endpoint.try_call("f").error().delivery, Delivery::kNotSent);
  endpoint.on("f", fake::raises("ValueError", "no"));
  EXPECT_EQ(endpoint.try_call("f").error().message, "\"f\" raised ValueError: no");
}

TEST_F(Fake, SaysWhatWasCalledAndWhatIsScripted) {
  const auto message = [&](auto... arguments) { return endpoint.try_call(arguments...).error().message; };
  EXPECT_EQ(message("f"), "\"f\" with [] is not scripted; nothing is; add on(\"f\", ...) to the test");
  endpoint.on("count_words", fake::with("x"), returns(1));
  endpoint.on("load", returns(1));
  EXPECT_EQ(
      message("count_word", 7),
      "\"count_word\" with [7] is not scripted (did you mean 'count_words'?); \"count_words\" with [\"x\"], "
      "\"load\" are; add on(\"count_word\", ...) to the test");
  EXPECT_EQ(kind_of("f"), ErrorKind::kUnknownCommand);
  EXPECT_FALSE(endpoint.calls().back().scripted);
}

TEST_F(Fake, RecordsCalls) {
  endpoint.on("f", returns(1).after(5ms));
  endpoint.on("rows", fake::yields({1}));
  endpoint.call({.timeout = 20ms, .idempotent = true}, "f", "x", 2);
  (void)endpoint.future_call("f").get();
  { auto stream = endpoint.stream("rows", kwargs{{"n", 1}}); }
  const auto calls = endpoint.calls();
  ASSERT_EQ(calls.size(), 3u);
  EXPECT_EQ(calls[0].command, "f");
  EXPECT_EQ(calls[0].arguments, Json({"x", 2}));
  EXPECT_EQ(calls[0].options.timeout, Duration(20ms));
  EXPECT_TRUE(calls[0].options.idempotent);
  EXPECT_EQ(calls[0].began, Duration(0));
  EXPECT_EQ(calls[0].ended, Duration(5ms));
  EXPECT_EQ(calls[0].error, std::nullopt);
  EXPECT_EQ(calls[1].how, FakeCall::How::kStart);
  EXPECT_EQ(calls[2].how, FakeCall::How::kOpen);
  EXPECT_EQ(calls[2].error, ErrorKind::kCancelled);
  EXPECT_EQ(endpoint.calls("f").size(), 2u);
  endpoint.forget_calls();
  EXPECT_TRUE(endpoint.calls().empty());
}

// --- Time -----------------------------------------------------------------------------------------------------------------------

TEST_F(Fake, TimeJumpsToTheEndOfABlockingCall) {
  endpoint.on("slow", returns(1).after(50ms));
  endpoint.on("stuck", fake::hangs());
  EXPECT_EQ(endpoint.call<int>("slow"), 1);
  EXPECT_EQ(endpoint.now(), Duration(50ms));
  EXPECT_EQ(kind_of("slow", {.timeout = 20ms}), ErrorKind::kDeadlineExceeded);
  EXPECT_EQ(endpoint.now(), Duration(70ms));
  EXPECT_EQ(kind_of("stuck"), ErrorKind::kDeadlineExceeded);
  EXPECT_EQ(endpoint.now(), Duration(60s + 70ms));
  EXPECT_EQ(endpoint.try_call({.timeout = 0ms}, "slow").error().delivery, Delivery::kNotSent);
}

TEST_F(Fake, AJumpPassesByWhatHappensEarlier) {
  endpoint.on("slow", returns(1).after(50ms));
  endpoint.on("quick", returns(2).after(10ms));
  std::vector<Duration> when;
  endpoint.start({}, "quick", Json::array(), [&](Result<Json>) {
    when.push_back(endpoint.now());
    endpoint.start({}, "quick", Json::array(), [&](Result<Json>) { when.push_back(endpoint.now()); });
  });
  endpoint.call("slow");
  endpoint.settle();
  EXPECT_EQ(when, (std::vector<Duration>{10ms, 20ms}));
}

TEST_F(Fake, TimeJumpsForThoseWhoDoNotBlockToo) {
  endpoint.on("slow", returns(1).after(1h));
  endpoint.on("stuck", fake::hangs());
  EXPECT_EQ(endpoint.future_call<int>({.timeout = 2h}, "slow").get(), 1);
  EXPECT_THROW(endpoint.future_call("stuck").get(), CallError);
  EXPECT_EQ(endpoint.now(), Duration(1h + 60s));
}

TEST_F(Fake, ACallThatNothingCanEndIsAnError) {
  endpoint.on("stuck", fake::hangs());
  EXPECT_EQ(kind_of("stuck", {.timeout = kForever}), ErrorKind::kInternal);
}

TEST_F(Fake, ABlockedCallIsCancelled) {
  endpoint.on("stuck", fake::hangs());
  std::stop_source stop;
  std::jthread canceller([&] {
    while (endpoint.pending() == 0) std::this_thread::yield();
    stop.request_stop();
  });
  const Error error = endpoint.try_call({.timeout = kForever, .stop = stop.get_token()}, "stuck").error();
  EXPECT_EQ(error.kind, ErrorKind::kCancelled);
  EXPECT_EQ(error.delivery, Delivery::kMaybeExecuted);
  EXPECT_EQ(endpoint.try_call({.stop = stop.get_token()}, "stuck").error().delivery, Delivery::kNotSent);
}

TEST_F(FakeStanding, ACallWithATimeoutEndsWhenTheTestAdvancesTheClock) {
  endpoint.on("slow", returns(1).after(50ms));
  start("slow", {.timeout = 20ms});
  start("slow");
  endpoint.advance(19ms);
  EXPECT_TRUE(story.empty());
  endpoint.advance(1ms);
  EXPECT_EQ(story, (std::vector<std::string>{"slow: deadline_exceeded"}));
  EXPECT_TRUE(endpoint.advance_to_next());
  EXPECT_EQ(story.back(), "slow: 1");
  EXPECT_EQ(endpoint.now(), Duration(50ms));
  EXPECT_FALSE(endpoint.advance_to_next());
  EXPECT_EQ(endpoint.pending(), 0u);
}

TEST_F(FakeStanding, ThingsHappenInTheOrderOfTimeAndOneAdvancePassesManySteps) {
  endpoint.on("late", returns("late").after(30ms));
  endpoint.on("early", returns("early").after(10ms));
  start("late");
  start("early");
  endpoint.start({}, "early", Json::array(), [this](Result<Json>) { start("early"); });
  endpoint.advance(1s);
  EXPECT_EQ(story, (std::vector<std::string>{"early: \"early\"", "early: \"early\"", "late: \"late\""}));
  EXPECT_EQ(endpoint.now(), Duration(1s));
}

TEST_F(FakeStanding, BlockedCallersWaitForTheTest) {
  endpoint.on("slow", returns(1).after(50ms));
  auto blocked = std::async(std::launch::async, [&] { return endpoint.call<int>("slow"); });
  while (endpoint.pending() == 0) std::this_thread::yield();
  EXPECT_EQ(endpoint.now(), Duration(0));
  // Known to have begun, not yet to wait: time may move before it does.
  while (endpoint.pending() != 0) endpoint.advance(10ms);
  EXPECT_EQ(blocked.get(), 1);
}

TEST_F(FakeStanding, CompletionsRunOnTheExecutorAndNeverWithinStart) {
  endpoint.on("f", returns(1));
  Loop loop;
  start("f", {.executor = loop.executor()});
  endpoint.settle();
  EXPECT_TRUE(story.empty());
  loop.run(1);
  EXPECT_EQ(story.size(), 1u);

  std::promise<std::thread::id> where;
  endpoint.start({}, "f", Json::array(), [&](Result<Json>) { where.set_value(std::this_thread::get_id()); });
  EXPECT_NE(where.get_future().get(), std::this_thread::get_id());
}

TEST_F(FakeStanding, WhatIsUnderWayAtItsEndIsUnavailable) {
  std::vector<ErrorKind> kinds;
  {
    FakeEndpoint own(FakeTime::kStands);
    own.on("stuck", fake::hangs());
    own.start({}, "stuck", Json::array(), [&](Result<Json> reply) { kinds.push_back(reply.error().kind); });
  }
  EXPECT_EQ(kinds, (std::vector{ErrorKind::kUnavailable}));
}

// --- Streams --------------------------------------------------------------------------------------------------------------------

TEST_F(Fake, StreamsItemsPausesAndAnErrorInTheMiddle) {
  endpoint.on("rows", fake::yields({1, 2}).pause(10ms).yields({3}).raises("ValueError", "row 4 is torn"));
  auto stream = endpoint.stream<int>("rows");
  std::vector<std::pair<int, Duration>> rows;
  try {
    for (const int row : stream) rows.emplace_back(row, endpoint.now());
    FAIL();
  } catch (const CallError& error) {
    EXPECT_EQ(error.error().python->type, "ValueError");
  }
  EXPECT_EQ(rows, (std::vector<std::pair<int, Duration>>{{1, 0ms}, {2, 0ms}, {3, 10ms}}));
  EXPECT_EQ(stream.try_next().error().kind, ErrorKind::kRemote);  // and says so again
  EXPECT_EQ(endpoint.calls().back().error, ErrorKind::kRemote);
}

TEST_F(Fake, AStreamsEndIsToldAgainAndAgainAlsoWhenItIsCancelledThen) {
  endpoint.on("rows", fake::yields({}));
  auto stream = endpoint.stream("rows");
  EXPECT_EQ(stream.next(), std::nullopt);
  EXPECT_EQ(endpoint.pending(), 0u);
  stream.cancel();
  EXPECT_EQ(stream.next(), std::nullopt);
}

TEST_F(Fake, AStreamHasADeadlineAsAWholeAndItsEarlierItemsComeBeforeThat) {
  endpoint.on("rows", fake::yields({1}).pause(20ms).yields({2}).pause(20ms).yields({3}));
  auto stream = endpoint.stream<int>({.timeout = 30ms}, "rows");
  endpoint.advance(1s);
  EXPECT_EQ(stream.next(), 1);
  EXPECT_EQ(stream.next(), 2);
  EXPECT_EQ(stream.try_next().error().kind, ErrorKind::kDeadlineExceeded);
}

TEST_F(Fake, AStreamIsCancelledByItsTokenOrItself) {
  endpoint.on("rows", fake::yields({1}).hangs());
  std::stop_source stop;
  auto stream = endpoint.stream<int>({.stop = stop.get_token()}, "rows");
  auto other = endpoint.stream<int>("rows");
  EXPECT_EQ(stream.next(), 1);
  stop.request_stop();
  EXPECT_EQ(stream.try_next().error().kind, ErrorKind::kCancelled);
  EXPECT_EQ(other.next(), 1);
  other.cancel();
  EXPECT_EQ(other.try_next().error().kind, ErrorKind::kCancelled);
}

TEST_F(Fake, StreamsAndCallsAreToldApart) {
  endpoint.on("rows", fake::yields({1, 2}).pause(5ms));
  endpoint.on("value", returns(1));
  EXPECT_EQ(endpoint.call("rows"), Json({1, 2}));
  EXPECT_EQ(endpoint.now(), Duration(5ms));
  EXPECT_EQ(endpoint.stream("value").try_next().error().kind, ErrorKind::kRemote);
  EXPECT_EQ(endpoint.stream("unknown").try_next().error().kind, ErrorKind::kUnknownCommand);
}

TEST_F(FakeStanding, AStreamThatIsDestroyedWhileAnItemIsAwaitedSaysCancelled) {
  endpoint.on("rows", fake::yields({}).hangs());
  auto stream = std::make_unique<Stream<>>(endpoint.stream("rows"));
  std::vector<ErrorKind> kinds;
  stream->source().start_next([&](StreamSource::Item item) { kinds.push_back(item.error().kind); });
  stream.reset();
  endpoint.settle();
  EXPECT_EQ(kinds, (std::vector{ErrorKind::kCancelled}));
}

TEST_F(FakeStanding, AStreamMayOutliveTheEndpoint) {
  auto own = std::make_unique<FakeEndpoint>();
  own->on("rows", fake::yields({1}));
  auto stream = own->stream("rows");
  own.reset();
  EXPECT_EQ(stream.try_next().error().kind, ErrorKind::kUnavailable);
  std::promise<ErrorKind> kind;
  stream.source().start_next([&](StreamSource::Item item) { kind.set_value(item.error().kind); });
  EXPECT_EQ(kind.get_future().get(), ErrorKind::kUnavailable);
}

// --- Many threads ---------------------------------------------------------------------------------------------------------------

TEST_F(FakeStanding, EveryCallEndsOnceWhateverThreadsDo) {
  endpoint.on("f", returns(1).after(1ms));
  endpoint.on("stuck", fake::hangs());
  constexpr int kThreads = 3;
  constexpr int kCalls = 200;
  std::atomic<int> ended = 0;
  std::atomic<bool> stop_clock = false;
  std::jthread clock([&] {
    while (!stop_clock) endpoint.advance(1ms);
  });
  {
    std::vector<std::jthread> callers;
    for (int i = 0; i < kThreads; ++i) {
      callers.emplace_back([&, i] {
        for (int n = 0; n < kCalls; ++n) {
          std::stop_source stop;
          const CallOptions options = {.timeout = std::chrono::milliseconds(n % 3), .stop = stop.get_token()};
          endpoint.start(options, n % 2 == 0 ? "f" : "stuck", Json::array(), [&](Result<Json>) { ++ended; });
          if (n % 5 == i) stop.request_stop();
          if (n % 50 != 0) continue;
          EXPECT_EQ(endpoint.call<int>("f"), 1);
        }
      });
    }
  }
  while (endpoint.pending() > 0) std::this_thread::yield();
  stop_clock = true;
  clock.join();
  endpoint.settle();
  EXPECT_EQ(ended, kThreads * kCalls);
}

}  // namespace
}  // namespace lair
