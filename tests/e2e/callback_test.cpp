// Functions of the host's that Python calls, in the middle of a call.
#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <future>
#include <string>
#include <thread>

#include "support/leak_check.hpp"
#include "support/pools.hpp"

namespace lair {
namespace {

using namespace std::chrono_literals;
using test::eventually;
using test::options_for;

int twice_as_much(int x) noexcept { return 2 * x; }

class Callback : public test::LeakChecked {};

TEST_F(Callback, RunsOnTheCallingThread) {
  Pool pool(options_for("callbacks", 1));
  std::thread::id ran;
  pool.expose("double", [&](int x) {
    ran = std::this_thread::get_id();
    return 2 * x;
  });
  EXPECT_EQ(pool.call<int>("twice", 5), 20);
  EXPECT_EQ(ran, std::this_thread::get_id());
  EXPECT_EQ(pool.call<int>("atwice", 5), 20);
  EXPECT_EQ(pool.call<int>("many", 10), 90);
  EXPECT_EQ(pool.call("together", 3), Json({0, 2, 4}));
  pool.expose("double", twice_as_much);
  EXPECT_EQ(pool.call<int>("twice", 3), 12);
  Lease lease = pool.checkout();
  EXPECT_EQ(lease.call<int>("twice", 1), 4);
}

TEST_F(Callback, TakesArgumentsAsTheyCome) {
  Pool pool(options_for("callbacks", 1));
  pool.expose("odd-name", [](const Json& arguments) { return arguments; });
  EXPECT_EQ(pool.call("by_name"), (Json{{"a", 1}, {"b", {2}}}));
  pool.expose("odd-name", [] {});
  const auto keywords = pool.try_call("by_name");
  ASSERT_FALSE(keywords.has_value());
  EXPECT_NE(keywords.error().message.find("by position"), std::string::npos) << keywords.error().message;
  pool.expose("double", [](int, int) { return 0; });
  const auto too_few = pool.try_call("twice", 1);
  ASSERT_FALSE(too_few.has_value());
  EXPECT_NE(too_few.error().message.find("takes 2 arguments, not 1"), std::string::npos)
      << too_few.error().message;
  pool.expose("double", [](const std::string&) { return 0; });
  const auto wrong = pool.try_call("twice", 1);
  ASSERT_FALSE(wrong.has_value());
  EXPECT_NE(wrong.error().message.find("argument 1 (number) does not fit"), std::string::npos)
      << wrong.error().message;
}

TEST_F(Callback, WhatItThrowsIsAHostErrorInPython) {
  Pool pool(options_for("callbacks", 1));
  pool.expose("fail", []() -> int { throw std::out_of_range("too far"); });
  for (const char* command : {"report", "areport"}) {
    const Json report = pool.call(command);
    EXPECT_EQ(report.at(1), "std::out_of_range");
    EXPECT_EQ(report.at(2), "too far");
    EXPECT_EQ(report.at(3), "remote");
  }
  const auto uncaught = pool.try_call("uncaught");
  ASSERT_FALSE(uncaught.has_value());
  EXPECT_EQ(uncaught.error().kind, ErrorKind::kRemote);
  EXPECT_NE(uncaught.error().message.find("too far"), std::string::npos) << uncaught.error().message;
  pool.expose("fail", []() -> int { throw 3; });
  EXPECT_EQ(pool.call("report").at(1), "int");
  pool.expose_json("fail", {});
  const Json unknown = pool.call("report");
  EXPECT_EQ(unknown.at(3), "unknown_command");
}

TEST_F(Callback, MayCallThePoolItself) {
  Pool pool(options_for("callbacks", 2));
  pool.wait_ready();
  pool.expose("double", [&](int x) { return 2 * pool.call<int>("echo", x); });
  EXPECT_EQ(pool.call<int>("twice", 5), 20);
}

TEST_F(Callback, ACallThatWouldWaitForItselfIsRefusedAtOnce) {
  Pool pool(options_for("callbacks", 1));
  pool.wait_ready();
  Error seen;
  pool.expose("double", [&](int x) {
    const auto nested = pool.try_call<int>({.timeout = kForever, .checkout_timeout = kForever}, "echo", x);
    if (!nested) seen = nested.error();
    return nested ? *nested : -1;
  });
  EXPECT_EQ(pool.call<int>({.timeout = kForever}, "twice", 5), -1);
  EXPECT_EQ(seen.kind, ErrorKind::kUnavailable);
  EXPECT_EQ(seen.delivery, Delivery::kNotSent);
  EXPECT_NE(seen.message.find("wait for itself"), std::string::npos) << seen.message;
}

// Two calls that each hold one of two workers and want another: one of them has to do without.
TEST_F(Callback, CallsThatWaitForEachOtherAreNoDeadlock) {
  Pool pool(options_for("callbacks", 2));
  pool.wait_ready();
  std::atomic<int> there = 0;
  pool.expose("double", [&](int x) {
    ++there;
    EXPECT_TRUE(eventually([&] { return there >= 2; }));
    const auto nested = pool.try_call<int>({.timeout = kForever, .checkout_timeout = kForever}, "echo", x);
    return nested ? 2 * *nested : -1;
  });
  auto other =
      std::async(std::launch::async, [&] { return pool.call<int>({.timeout = kForever}, "many", 1); });
  const int one = pool.call<int>({.timeout = kForever}, "many", 1);
  const int two = other.get();
  EXPECT_TRUE(one != -1 || two != -1);
}

TEST_F(Callback, IsNestedToALimit) {
  PoolOptions options = options_for("callbacks", 4);
  options.max_nesting = 2;
  Pool pool(options);
  pool.wait_ready();
  std::string refused;
  pool.expose("double", [&](int x) {
    const auto nested = pool.try_call<int>("many", 1);
    if (!nested && refused.empty()) refused = nested.error().message;
    return nested ? *nested : x;
  });
  (void)pool.call<int>("many", 1);
  EXPECT_NE(refused.find("nested too deep"), std::string::npos) << refused;
}

TEST_F(Callback, ANestedCallEndsByTheDeadlineOfTheOuter) {
  Pool pool(options_for("callbacks", 2));
  pool.wait_ready();
  ErrorKind kind{};
  pool.expose("slow", [&] {
    const auto nested = pool.try_call<void>({.timeout = kForever}, "sleep", 600);
    if (!nested) kind = nested.error().kind;
  });
  const auto outer = pool.try_call({.timeout = 300ms}, "wait");
  ASSERT_FALSE(outer.has_value()) << *outer << to_string(kind);
  EXPECT_EQ(outer.error().kind, ErrorKind::kDeadlineExceeded) << outer.error().message;
  EXPECT_EQ(kind, ErrorKind::kDeadlineExceeded);
}

TEST_F(Callback, TheTraceContextGoesAllTheWay) {
  Pool pool(options_for("plain", 2));
  pool.wait_ready();
  constexpr const char* kTrace = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
  EXPECT_EQ(pool.call({.traceparent = kTrace}, "context").at("traceparent"), kTrace);
  EXPECT_EQ(pool.call("context").at("traceparent"), Json());
  Pool caller(options_for("callbacks", 1));
  Json inner;
  caller.expose("double", [&](int x) {
    inner = pool.call("context").at("traceparent");
    return x;
  });
  EXPECT_EQ(caller.call<int>({.traceparent = std::string(kTrace)}, "many", 1), 0);
  EXPECT_EQ(inner, kTrace);
  const auto refused = pool.try_call({.traceparent = std::string(64, 'x')}, "context");
  ASSERT_FALSE(refused.has_value());
  EXPECT_EQ(refused.error().kind, ErrorKind::kInvalidArgument);
}

TEST_F(Callback, OfACallThatDoesNotBlockRunsOnItsExecutorOrAThreadOfThePool) {
  Pool pool(options_for("callbacks", 1));
  std::thread::id ran;
  pool.expose("double", [&](int x) {
    ran = std::this_thread::get_id();
    return 2 * x;
  });
  std::promise<std::pair<Result<Json>, std::thread::id>> done;
  pool.start({}, "twice", Json::array({5}), [&](Result<Json> reply) {
    done.set_value({std::move(reply), std::this_thread::get_id()});
  });
  const auto [reply, completed_on] = done.get_future().get();
  EXPECT_EQ(reply.value(), 20);
  EXPECT_NE(ran, completed_on) << "the reactor goes on meanwhile";
  EXPECT_NE(ran, std::this_thread::get_id());
}

TEST_F(Callback, AStreamCallsBackToo) {
  Pool pool(options_for("callbacks", 1));
  pool.expose("double", [](int x) { return 2 * x; });
  for (const char* command : {"numbers", "anumbers"}) {
    std::vector<int> got;
    for (const int x : pool.stream<int>(command, 4)) got.push_back(x);
    EXPECT_EQ(got, (std::vector<int>{0, 2, 4, 6})) << command;
  }
}

TEST_F(Callback, AShieldedSectionWhoseCallerHasGoneIsAnswered) {
  PoolOptions options = options_for("callbacks", 1);
  options.cancel_grace = 60s;
  Pool pool(options);
  std::stop_source stop;
  std::promise<Result<Json>> ended;
  const std::shared_future<Result<Json>> reply = ended.get_future().share();
  pool.expose("slow", [&stop, reply] {
    stop.request_stop();
    reply.wait();
    return "for nobody";
  });
  pool.start({.stop = stop.get_token()}, "shielded", Json::array(),
             [&](Result<Json> outcome) { ended.set_value(std::move(outcome)); });
  reply.wait();
  EXPECT_EQ(pool.call("take_notes"), Json::array()) << "it was told that nobody answers any more";
  const Result<Json>& outcome = reply.get();
  ASSERT_FALSE(outcome.has_value());
  EXPECT_EQ(outcome.error().kind, ErrorKind::kCancelled);
  EXPECT_EQ(pool.stats().workers_started, 1u);
}

}  // namespace
}  // namespace lair
