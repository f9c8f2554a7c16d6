// Calls against real Python, through the public API alone.
#include <gtest/gtest.h>

#include <atomic>
#include <cmath>
#include <thread>
#include <vector>

#include "support/leak_check.hpp"
#include "support/pools.hpp"
#include "support/sanitized.hpp"

namespace lair {
namespace {

using namespace std::chrono_literals;
using test::options_for;
using test::script_worker;

struct Point {
  int x = 0;
  int y = 0;
  NLOHMANN_DEFINE_TYPE_INTRUSIVE(Point, x, y)
};

class Call : public test::LeakChecked {};

TEST_F(Call, TakesPositionsAndKeywordsAndReturnsTypes) {
  Pool pool(options_for("plain", 2));
  EXPECT_EQ(pool.call<int>("add", 2, 3), 5);
  EXPECT_EQ(pool.call<int>("add", 2), 3);
  EXPECT_EQ(pool.call<int>("add", kwargs{{"a", 40}, {"b", 2}}), 42);
  EXPECT_EQ(pool.call("echo", Json{{"a", 1}}), (Json{{"a", 1}}));  // an object is one positional argument
  EXPECT_EQ(pool.call<std::string>("echo", "grüß \"dich\"\n"), "grüß \"dich\"\n");
  const auto point = pool.call<Point>("echo", Point{.x = 3, .y = 4});
  EXPECT_EQ(point.x * 10 + point.y, 34);
  EXPECT_EQ(pool.call("echo", nullptr), Json());
  pool.call<void>("echo", 1);
}

TEST_F(Call, AThreadGetsTheWorkerBackThatItHadLast) {
  Pool pool(options_for("plain", 3));
  pool.wait_ready();
  std::vector<Lease> leases;
  for (int i = 0; i < 3; ++i) leases.push_back(pool.checkout());
  const std::uint32_t last = leases.back().worker().slot;
  for (auto lease = leases.rbegin(); lease != leases.rend(); ++lease)
    lease->release();  // it rests longest of all
  EXPECT_EQ(pool.checkout().worker().slot, last);
  std::thread([&] {
    const Lease held = pool.checkout();
    EXPECT_NE(pool.checkout().worker().slot, last) << "busy: any other will do";
    EXPECT_EQ(held.worker().slot, last) << "a thread without a past gets the one that was used last";
  }).join();
}

TEST_F(Call, CarriesExactIntegersAndLargeValues) {
  Pool pool(options_for("plain", 1));
  EXPECT_EQ(pool.call<std::uint64_t>("echo", std::uint64_t{18446744073709551615u}), 18446744073709551615u);
  EXPECT_EQ(pool.call<std::int64_t>("echo", std::int64_t{-9223372036854775807} - 1),
            std::int64_t{-9223372036854775807} - 1);
  const std::string large((test::kSanitized ? 2u : 20u) << 20, 'x');
  EXPECT_EQ(pool.call<std::string>("echo", large), large);
}

TEST_F(Call, APythonExceptionIsRemoteAndTheWorkerStays) {
  Pool pool(options_for("plain", 1));
  const int pid = pool.call<int>("pid");
  const auto result = pool.try_call("boom", "no more soup");
  ASSERT_FALSE(result);
  const Error& error = result.error();
  EXPECT_EQ(error.kind, ErrorKind::kRemote);
  EXPECT_EQ(error.delivery, Delivery::kExecuted);
  ASSERT_TRUE(error.python);
  EXPECT_EQ(error.python->type, "ValueError");
  EXPECT_EQ(error.python->message, "no more soup");
  EXPECT_NE(error.python->traceback.find("in boom"), std::string::npos);
  EXPECT_EQ(error.worker->pid, pid);
  EXPECT_EQ(pool.call<int>("pid"), pid);
}

struct Refusal {
  const char* name;
  const char* command;
  Json arguments;
  ErrorKind kind;
  Delivery delivery;
  const char* says;
};

class RefusedCall : public test::LeakChecked, public ::testing::WithParamInterface<Refusal> {};

TEST_P(RefusedCall, NamesWhatIsWrongAndCostsNoWorker) {
  PoolOptions options = options_for("plain", 1);
  options.max_frame = 1u << 20;
  Pool pool(std::move(options));
  const int pid = pool.call<int>("pid");
  const auto result = pool.invoke({}, GetParam().command, GetParam().arguments);
  ASSERT_FALSE(result);
  EXPECT_EQ(result.error().kind, GetParam().kind);
  EXPECT_EQ(result.error().delivery, GetParam().delivery);
  EXPECT_NE(result.error().report().find(GetParam().says), std::string::npos) << result.error().report();
  EXPECT_EQ(pool.call<int>("pid"), pid);
}

INSTANTIATE_TEST_SUITE_P(
    Each, RefusedCall,
    ::testing::Values(
        Refusal{"UnknownCommand", "ecko", Json::array(), ErrorKind::kUnknownCommand, Delivery::kNotSent,
                "did you mean \"echo\""},
        Refusal{"MissingArgument", "add", Json::array(), ErrorKind::kInvalidArgument, Delivery::kNotSent,
                "'a'"},
        Refusal{"WrongKeyword", "add", {{"z", 1}}, ErrorKind::kInvalidArgument, Delivery::kNotSent, "'z'"},
        Refusal{"TooMany",
                "add",
                {1, 2, 3},
                ErrorKind::kInvalidArgument,
                Delivery::kNotSent,
                "add(a: int, b: int = 1)"},
        Refusal{"Scalar", "add", 3, ErrorKind::kInvalidArgument, Delivery::kNotSent,
                "an object (keywords) or an array"},
        Refusal{"ArgumentNan",
                "echo",
                {{"value", {1.0, std::nan("")}}},
                ErrorKind::kInvalidArgument,
                Delivery::kNotSent,
                "argument.value[1] is NaN"},
        Refusal{"ArgumentNotUtf8", "echo", Json::array({"\xff"}), ErrorKind::kInvalidArgument,
                Delivery::kNotSent, "argument [0] is not valid UTF-8"},
        Refusal{"ArgumentTooLarge", "echo", Json::array({std::string(2u << 20, 'x')}),
                ErrorKind::kInvalidArgument, Delivery::kNotSent, "max_frame"},
        Refusal{"ResultNan", "nan", Json::array(), ErrorKind::kRemote, Delivery::kExecuted, "scores[1]"},
        Refusal{"ResultNotJson", "not_json", Json::array(), ErrorKind::kRemote, Delivery::kExecuted, "thing"},
        Refusal{"ResultSurrogate", "text_with_surrogate", Json::array(), ErrorKind::kRemote,
                Delivery::kExecuted, "surrogate"},
        Refusal{"ResultTooLarge", "big", Json::array({2u << 20}), ErrorKind::kRemote, Delivery::kExecuted,
                "max_frame"},
        Refusal{"ResultTooBigAnInteger", "big_int", Json::array({70}), ErrorKind::kRemote,
                Delivery::kExecuted, "result"}),
    [](const auto& instance) { return instance.param.name; });

TEST_F(Call, AResultOfTheWrongTypeSaysWhatCame) {
  Pool pool(options_for("plain", 1));
  const auto result = pool.try_call<int>("echo", "text");
  ASSERT_FALSE(result);
  EXPECT_EQ(result.error().kind, ErrorKind::kInvalidArgument);
  EXPECT_EQ(result.error().delivery, Delivery::kExecuted);
}

TEST_F(Call, ContextTellsTheWorkerWhoItIsAndHowLongItHas) {
  Pool pool(options_for("plain", 1));
  const Json context = pool.call(CallOptions{.timeout = 20s}, "context");
  EXPECT_EQ(context["worker_id"], "test-0-1");
  EXPECT_EQ(context["slot"], 0);
  EXPECT_EQ(context["generation"], 1);
  EXPECT_GT(context["remaining"].get<double>(), 1.0);
  EXPECT_LE(context["remaining"].get<double>(), 20.0);
  EXPECT_TRUE(pool.call(CallOptions{.timeout = kForever}, "context")["remaining"].is_null());
}

TEST_F(Call, PrintingDisturbsNothing) {
  Pool pool(options_for("plain", 2));
  std::vector<std::thread> callers;
  for (int i = 0; i < 2; ++i) {
    callers.emplace_back([&] { EXPECT_EQ(pool.call<int>("noise", 20'000), 20'000); });
  }
  for (auto& caller : callers) caller.join();
  EXPECT_EQ(pool.call<int>("add", 1, 1), 2);
}

TEST_F(Call, ManyThreadsShareFewWorkers) {
  PoolOptions options = options_for("plain", 3);
  options.max_waiters = 100;
  Pool pool(std::move(options));
  std::atomic<int> wrong = 0;
  std::vector<std::thread> callers;
  for (int i = 0; i < 16; ++i) {
    callers.emplace_back([&, i] {
      for (int n = 0; n < 50; ++n) wrong += pool.call<int>("add", i * 1000, n) == i * 1000 + n ? 0 : 1;
    });
  }
  for (auto& caller : callers) caller.join();
  EXPECT_EQ(wrong, 0);
  const PoolStats stats = pool.stats();
  EXPECT_EQ(stats.ok, 800u);
  EXPECT_EQ(stats.admitted,
            stats.ok + stats.error + stats.timeout + stats.crashed + stats.shed + stats.cancelled);
}

TEST_F(Call, AnnouncesCommandsWithTheirParameters) {
  Pool pool(options_for("plain", 1));
  pool.wait_ready();
  const auto commands = pool.commands();
  const auto add =
      std::find_if(commands.begin(), commands.end(), [](const CommandInfo& c) { return c.name == "add"; });
  ASSERT_NE(add, commands.end());
  EXPECT_EQ(add->doc, "The sum.");
  ASSERT_EQ(add->params.size(), 2u);
  EXPECT_EQ(add->params[0]["name"], "a");
  EXPECT_EQ(add->params[1]["required"], false);
}

TEST_F(Call, ALeaseKeepsOneWorkerAndGivesItBack) {
  Pool pool(options_for("plain", 2));
  pool.wait_ready();
  auto lease = pool.checkout();
  const int pid = lease.call<int>("pid");
  for (int i = 0; i < 5; ++i) EXPECT_EQ(lease.call<int>("pid"), pid);
  EXPECT_EQ(lease.worker().pid, pid);
  EXPECT_NE(pool.call<int>("pid"), pid);
  EXPECT_EQ(pool.stats().leases, 1u);
  lease.release();
  EXPECT_FALSE(lease.valid());
  EXPECT_EQ(pool.stats().leases, 0u);
  EXPECT_EQ(pool.stats().count(SlotState::kIdle), 2u);
}

TEST_F(Call, ALeaseWhoseWorkerIsLostSaysSoFromThenOn) {
  Pool pool(options_for("plain", 1));
  auto lease = pool.checkout();
  EXPECT_EQ(lease.try_call("crash").error().kind, ErrorKind::kWorkerLost);
  const auto after = lease.try_call("pid");
  ASSERT_FALSE(after);
  EXPECT_EQ(after.error().kind, ErrorKind::kWorkerLost);
  EXPECT_EQ(after.error().delivery, Delivery::kNotSent);
  EXPECT_GT(pool.call<int>("pid"), 0);  // the slot refills though the lease is still there
}

TEST_F(Call, ProgramsOfTheOriginalProtocolRunUnchanged) {
  for (const char* stdio : {"socket", "pipe"}) {
    WorkerSpec worker = script_worker("original.py");
    worker.stdio = stdio;
    Pool pool(options_for(std::move(worker), 2));
    EXPECT_EQ(pool.call("echo", kwargs{{"x", 1}}), (Json{{"x", 1}}));
    EXPECT_EQ(pool.call("ping")["worker_id"].get<std::string>().rfind("test-", 0), 0u);
    const auto failed = pool.try_call("fail");
    ASSERT_FALSE(failed);
    EXPECT_EQ(failed.error().kind, ErrorKind::kRemote);
    EXPECT_EQ(failed.error().python->message, "Program execution failed: no");
    EXPECT_EQ(pool.try_call("echo", 1).error().kind,
              ErrorKind::kInvalidArgument);  // no positions in protocol 1
    const std::string large((test::kSanitized ? 1u : 3u) << 20, 'y');
    EXPECT_EQ(pool.call("echo", kwargs{{"text", large}})["text"], large);
  }
}

}  // namespace
}  // namespace lair
