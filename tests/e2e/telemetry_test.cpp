// What a pool of real processes tells: alerts that are raised and cleared, and a log of JSON lines.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <future>
#include <lair/json.hpp>
#include <mutex>
#include <sstream>
#include <vector>

#include "support/pools.hpp"

namespace lair::test {
namespace {

using namespace std::chrono_literals;

struct Telemetry : LeakChecked {
  std::mutex mutex;
  std::vector<PoolEvent> alerts;

  // Under the mutex: "exhausted" raised or cleared, so many times.
  std::ptrdiff_t count(PoolEventKind kind) {
    const std::lock_guard lock(mutex);
    return std::count_if(alerts.begin(), alerts.end(), [&](const PoolEvent& event) {
      return event.kind == kind && event.reason == "exhausted";
    });
  }
};

TEST_F(Telemetry, AnExhaustedPoolSaysSoOnceAndThatItIsOverOnce) {
  PoolOptions options = options_for("plain", 1);
  options.on_event = [this](const PoolEvent& event) {
    const std::lock_guard lock(mutex);
    if (event.kind == PoolEventKind::kAlertRaised || event.kind == PoolEventKind::kAlertCleared) {
      alerts.push_back(event);
    }
  };
  Pool pool(options);
  pool.wait_ready();
  Lease lease = pool.checkout();
  auto waiting = std::async(std::launch::async, [&] { return pool.try_call<int>("add", 1, 2); });
  EXPECT_TRUE(eventually([&] { return count(PoolEventKind::kAlertRaised) == 1; }, 30s));
  EXPECT_EQ(count(PoolEventKind::kAlertCleared), 0);
  EXPECT_GE(pool.stats().exhausted_time, Duration(9s));
  lease.release();
  EXPECT_EQ(waiting.get().value_or(0), 3);
  EXPECT_TRUE(eventually([&] { return count(PoolEventKind::kAlertCleared) == 1; }, 30s));
  EXPECT_EQ(count(PoolEventKind::kAlertRaised), 1);
}

TEST_F(Telemetry, EveryLineOfAJsonLogIsAnObject) {
  PoolOptions options = options_for("plain", 1);
  options.log_format = "json";
  Lines lines(options);
  {
    Pool pool(options);
    pool.wait_ready();
    EXPECT_EQ(pool.call<int>("add", 1, 2), 3);
  }
  std::istringstream log(lines.text());
  std::vector<std::string> moves;
  for (std::string text; std::getline(log, text);) {
    const Json line = Json::parse(text);
    EXPECT_EQ(line.at("pool"), "test");
    EXPECT_TRUE(line.at("message").is_string());
    if (line.value("event", "") == "worker_moved") moves.push_back(line.at("to"));
  }
  EXPECT_THAT(moves, testing::ElementsAre("starting", "idle", "stopping", "dead"));
}

}  // namespace
}  // namespace lair::test
