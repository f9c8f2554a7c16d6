// What every form of a call keeps to, on real pools: the outcome, the errors, deadlines, stops, deaths, callbacks, leases, and
// workers with several calls at a time. Instantiated for the forms of lair/async.hpp, and for that of lair/asio.hpp.
#pragma once

#include <gtest/gtest.h>

#include <chrono>
#include <random>
#include <stdexcept>
#include <stop_token>
#include <string>
#include <thread>
#include <vector>

#include "support/call_forms.hpp"
#include "support/leak_check.hpp"
#include "support/pools.hpp"

namespace lair::test {

using namespace std::chrono_literals;

template <class Form>
class CallForms : public LeakChecked {
 protected:
  template <class... Args>
  static Reply begin(Endpoint& endpoint, const CallOptions& options, const char* command, Args... args) {
    return Form::begin(endpoint, options, command, std::move(args)...);
  }
  template <class... Args>
  static Result<Json> call(Endpoint& endpoint, const CallOptions& options, const char* command,
                           Args... args) {
    return begin(endpoint, options, command, std::move(args)...).get();
  }
  template <class... Args>
  static Error failed(Endpoint& endpoint, const CallOptions& options, const char* command, Args... args) {
    const Result<Json> reply = call(endpoint, options, command, std::move(args)...);
    EXPECT_FALSE(reply.has_value()) << reply.value();
    return reply ? Error{} : reply.error();
  }

  // A worker has 60 s to give a call up: none is killed on a slow machine.
  static PoolOptions patient(const char* module, std::size_t size = 1) {
    PoolOptions options = options_for(module, size);
    options.cancel_grace = 60s;
    return options;
  }
};
TYPED_TEST_SUITE_P(CallForms);

TYPED_TEST_P(CallForms, GiveTheResult) {
  Pool pool(options_for("plain", 2));
  EXPECT_EQ(this->call(pool, {}, "add", 2, 3).value(), 5);
  EXPECT_EQ(this->call(pool, {}, "add", kwargs{{"a", 2}}).value(), 3);
  const Json nested = {
      {"text", "grüße 🦊"}, {"list", {1, -2.5, nullptr, true}}, {"empty", Json::object()}};
  EXPECT_EQ(this->call(pool, {}, "echo", nested).value(), nested);
  EXPECT_EQ(this->call(pool, {}, "echo", nullptr).value(), nullptr);
  EXPECT_EQ(this->call(pool, {}, "big", 3 << 20).value().template get<std::string>().size(), 3u << 20);
  const std::string text(2u << 20, 'y');
  EXPECT_EQ(this->call(pool, {}, "echo", text).value(), text);
  EXPECT_EQ(pool.stats().ok, 6u);
  EXPECT_EQ(pool.stats().inflight, 0u);
}

TYPED_TEST_P(CallForms, GiveManyCallsEachItsOwnResult) {
  PoolOptions options = options_for("plain", 2);
  options.max_waiters = 200;
  Pool pool(options);
  std::vector<Reply> replies;
  for (int i = 0; i < 60; ++i) replies.push_back(this->begin(pool, {}, "echo", i));
  for (int i = 0; i < 60; ++i) EXPECT_EQ(replies[static_cast<std::size_t>(i)].get().value(), i);
}

TYPED_TEST_P(CallForms, TellTheErrorOfThePythonCode) {
  Pool pool(options_for("plain", 1));
  const Error error = this->failed(pool, {}, "boom", "the reason");
  EXPECT_EQ(error.kind, ErrorKind::kRemote);
  EXPECT_EQ(error.delivery, Delivery::kExecuted);
  ASSERT_TRUE(error.python);
  EXPECT_EQ(error.python->type, "ValueError");
  EXPECT_EQ(error.python->message, "the reason");
  EXPECT_EQ(pool.stats().workers_started, 1u);
}

TYPED_TEST_P(CallForms, RefuseWhatCannotBeCalled) {
  Pool pool(options_for("plain", 1));
  pool.wait_ready();
  const Error unknown = this->failed(pool, {}, "ad", 1);
  EXPECT_EQ(unknown.kind, ErrorKind::kUnknownCommand);
  EXPECT_EQ(unknown.delivery, Delivery::kNotSent);
  EXPECT_NE(unknown.message.find("add"), std::string::npos) << unknown.message;
  EXPECT_EQ(this->failed(pool, {}, "add").kind, ErrorKind::kInvalidArgument);
  EXPECT_EQ(this->failed(pool, {}, "echo", "not UTF-8: \xff").kind, ErrorKind::kInvalidArgument);
  EXPECT_EQ(this->call(pool, {}, "echo", 1).value(), 1);
}

TYPED_TEST_P(CallForms, MissADeadlineInTheQueueAndOnTheWorker) {
  Pool pool(this->patient("cancel"));
  const int pid = pool.call<int>("pid");
  const Error late = this->failed(pool, {.timeout = 50ms}, "sleep");
  EXPECT_EQ(late.kind, ErrorKind::kDeadlineExceeded);
  EXPECT_EQ(late.delivery, Delivery::kMaybeExecuted);
  EXPECT_EQ(pool.call<int>("pid"), pid);

  const Lease lease = pool.checkout();
  const Error waited = this->failed(pool, {.timeout = 20ms}, "pid");
  EXPECT_EQ(waited.kind, ErrorKind::kDeadlineExceeded);
  EXPECT_EQ(waited.delivery, Delivery::kNotSent);
  const Error queued = this->failed(pool, {.timeout = 60s, .checkout_timeout = 20ms}, "pid");
  EXPECT_EQ(queued.delivery, Delivery::kNotSent);
  EXPECT_NE(queued.message, waited.message) << "which of the two it was";
  EXPECT_EQ(pool.stats().workers_started, 1u);
}

TYPED_TEST_P(CallForms, AreStoppedBeforeInTheQueueAndOnTheWorker) {
  PoolOptions options = this->patient("cancel");
  const Lines lines(options);
  Pool pool(options);
  const int pid = pool.call<int>("pid");
  std::stop_source before;
  before.request_stop();
  const Error never = this->failed(pool, {.stop = before.get_token()}, "pid");
  EXPECT_EQ(never.kind, ErrorKind::kCancelled);
  EXPECT_EQ(never.delivery, Delivery::kNotSent);

  std::stop_source on_worker;
  std::stop_source in_queue;
  Reply running = this->begin(pool, {.stop = on_worker.get_token()}, "sleep");
  Reply waiting;
  std::thread stopper([&] {
    EXPECT_TRUE(eventually([&] { return lines.contain("begun"); }));
    waiting = this->begin(pool, {.stop = in_queue.get_token()}, "pid");
    EXPECT_TRUE(eventually([&] { return pool.stats().waiters == 1; }));
    in_queue.request_stop();
    EXPECT_EQ(waiting.get().error().delivery, Delivery::kNotSent);
    on_worker.request_stop();
  });
  const Result<Json> stopped = running.get();
  stopper.join();
  EXPECT_EQ(stopped.error().kind, ErrorKind::kCancelled);
  EXPECT_EQ(stopped.error().delivery, Delivery::kMaybeExecuted);
  EXPECT_EQ(pool.call<int>("pid"), pid);
  EXPECT_EQ(pool.stats().cancelled, 3u);
}

TYPED_TEST_P(CallForms, AreStoppedAtAnyMoment) {
  PoolOptions options = this->patient("cancel", 2);
  options.max_waiters = 100;
  Pool pool(options);
  pool.wait_ready();
  std::mt19937 random(5);  // NOLINT(*-msc51-cpp): the same moments each time
  int stopped = 0;
  for (int round = 0; round < 40; ++round) {
    std::stop_source stop;
    std::vector<Reply> replies;
    for (int i = 0; i < 5; ++i) replies.push_back(this->begin(pool, {.stop = stop.get_token()}, "echo", i));
    std::jthread stopper([&stop, after = random() % 400] {
      const TimePoint until = SteadyClock::now() + std::chrono::microseconds(after);
      while (SteadyClock::now() < until) std::this_thread::yield();
      stop.request_stop();
    });
    for (int i = 0; i < 5; ++i) {
      const Result<Json> reply = replies[static_cast<std::size_t>(i)].get();
      if (reply) {
        EXPECT_EQ(*reply, i);
      } else {
        EXPECT_EQ(reply.error().kind, ErrorKind::kCancelled) << reply.error().report();
        ++stopped;
      }
    }
    EXPECT_EQ(pool.call("echo", round), round);
  }
  const PoolStats stats = pool.stats();
  EXPECT_EQ(stats.cancelled, static_cast<std::size_t>(stopped));
  EXPECT_EQ(stats.inflight, 0u);
  EXPECT_EQ(stats.workers_started, 2u);
}

TYPED_TEST_P(CallForms, TellOfALostWorkerAndTryAgainWhereTheyMay) {
  Pool pool(options_for("plain", 1));
  const Error lost = this->failed(pool, {}, "exit_now", 7);
  EXPECT_EQ(lost.kind, ErrorKind::kWorkerLost);
  EXPECT_EQ(lost.delivery, Delivery::kMaybeExecuted);
  EXPECT_NE(lost.message.find("exited with status 7"), std::string::npos) << lost.message;
  const Note note;
  // Its first worker dies of it, its second finds the note.
  EXPECT_EQ(this->call(pool, {.idempotent = true}, "dies_once", note.path()).value(), "second time");
  EXPECT_EQ(pool.stats().workers_started, 3u);
}

TYPED_TEST_P(CallForms, AreRefusedWhereTheQueueIsFullOrThePoolHasEnded) {
  PoolOptions options = options_for("plain", 1);
  options.max_waiters = 1;
  Pool pool(options);
  Lease lease = pool.checkout();
  Reply waiting = this->begin(pool, {}, "echo", 1);
  std::thread filler([&] {
    EXPECT_TRUE(eventually([&] { return pool.stats().waiters == 1; }));
    const Error full = this->failed(pool, {}, "echo", 2);
    EXPECT_EQ(full.kind, ErrorKind::kOverloaded);
    EXPECT_EQ(full.delivery, Delivery::kNotSent);
    lease.release();
  });
  filler.join();
  EXPECT_EQ(waiting.get().value(), 1);
  pool.shutdown();
  EXPECT_EQ(this->failed(pool, {}, "echo", 3).kind, ErrorKind::kUnavailable);
}

TYPED_TEST_P(CallForms, ServeWhatPythonCallsBack) {
  Pool pool(options_for("callbacks", 1));
  pool.expose("double", [](int x) { return 2 * x; });
  pool.expose("fail", []() -> int { throw std::out_of_range("too far"); });
  EXPECT_EQ(this->call(pool, {}, "twice", 5).value(), 20);
  EXPECT_EQ(this->call(pool, {}, "together", 3).value(), Json({0, 2, 4}));
  EXPECT_EQ(this->call(pool, {}, "report").value().at(2), "too far");
}

TYPED_TEST_P(CallForms, MayCallThePoolFromWhatPythonCallsBack) {
  Pool pool(options_for("callbacks", 2));
  pool.wait_ready();
  pool.expose("double",
              [&](int x) { return 2 * this->call(pool, {}, "echo", x).value().template get<int>(); });
  EXPECT_EQ(this->call(pool, {}, "twice", 5).value(), 20);
}

TYPED_TEST_P(CallForms, CarryTheirContext) {
  Pool pool(options_for("plain", 1));
  const std::string traceparent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
  const Json context =
      this->call(pool, {.timeout = 50s, .traceparent = TraceParent(traceparent)}, "context").value();
  EXPECT_EQ(context["traceparent"], traceparent);
  EXPECT_LE(context["remaining"], 50.0);
  EXPECT_EQ(this->call(pool, {.timeout = kForever}, "context").value()["remaining"], nullptr);
}

TYPED_TEST_P(CallForms, WorkOnALease) {
  Pool pool(this->patient("cancel", 2));
  pool.wait_ready();
  Lease lease = pool.checkout();
  const Json pid = this->call(lease, {}, "pid").value();
  EXPECT_EQ(this->failed(lease, {.timeout = 50ms}, "sleep").kind, ErrorKind::kDeadlineExceeded);
  lease.release();
  EXPECT_TRUE(eventually([&] { return pool.stats().ready() == 2; }));
  EXPECT_EQ(pool.stats().workers_started, 2u);
}

TYPED_TEST_P(CallForms, ShareAWorker) {
  PoolOptions options = this->patient("several");
  options.concurrency = 8;
  Pool pool(options);
  pool.wait_ready();
  std::stop_source stop;
  Reply first = this->begin(pool, {.stop = stop.get_token()}, "wait", "a");
  Reply second = this->begin(pool, {}, "wait", "b");
  std::thread other([&] {
    EXPECT_TRUE(eventually([&] { return pool.stats().inflight == 2; }));
    EXPECT_EQ(this->failed(pool, {.timeout = 30ms}, "wait", "c").kind, ErrorKind::kDeadlineExceeded);
    EXPECT_EQ(this->failed(pool, {}, "fail").kind, ErrorKind::kRemote);
    stop.request_stop();
    EXPECT_EQ(this->call(pool, {}, "open_gate", "b").value(), nullptr);
  });
  EXPECT_EQ(first.get().error().kind, ErrorKind::kCancelled);
  EXPECT_EQ(second.get().value(), "b");
  other.join();
  EXPECT_EQ(pool.stats().workers_started, 1u);
}

REGISTER_TYPED_TEST_SUITE_P(CallForms, GiveTheResult, GiveManyCallsEachItsOwnResult,
                            TellTheErrorOfThePythonCode, RefuseWhatCannotBeCalled,
                            MissADeadlineInTheQueueAndOnTheWorker, AreStoppedBeforeInTheQueueAndOnTheWorker,
                            AreStoppedAtAnyMoment, TellOfALostWorkerAndTryAgainWhereTheyMay,
                            AreRefusedWhereTheQueueIsFullOrThePoolHasEnded, ServeWhatPythonCallsBack,
                            MayCallThePoolFromWhatPythonCallsBack, CarryTheirContext, WorkOnALease,
                            ShareAWorker);

}  // namespace lair::test
