// The text for Prometheus, line by line. That promtool takes it is for tests/telemetry.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <lair/prometheus.hpp>
#include <string>
#include <vector>

namespace lair {
namespace {

using namespace std::chrono_literals;
using testing::HasSubstr;
using testing::Not;

PoolStats pool(const std::string& name) {
  PoolStats stats;
  stats.name = name;
  stats.size = 2;
  stats.slots[static_cast<std::size_t>(SlotState::kIdle)] = 2;
  stats.exits = {{"crash", 1}};
  stats.rejected = {{"queue_full", 4}};
  return stats;
}
CommandStats command(const std::string& name, CallOutcome outcome, Duration took) {
  CommandStats stats{.name = name};
  stats.calls[static_cast<std::size_t>(outcome)].add(took);
  return stats;
}
std::size_t occurrences(const std::string& text, const std::string& part) {
  std::size_t count = 0;
  for (auto at = text.find(part); at != text.npos; at = text.find(part, at + 1)) ++count;
  return count;
}

TEST(Prometheus, WritesGaugesAndCountersWithTheirPool) {
  PoolStats stats = pool("text");
  stats.waiters = 3;
  stats.oldest_wait = 1500ms;
  stats.busy_time = 90s;
  const std::string text = to_prometheus(stats);
  EXPECT_THAT(text, HasSubstr("\nlair_workers{pool=\"text\",state=\"idle\"} 2\n"));
  EXPECT_THAT(text, HasSubstr("\nlair_workers{pool=\"text\",state=\"busy\"} 0\n"));
  EXPECT_THAT(text, HasSubstr("\nlair_waiters{pool=\"text\"} 3\n"));
  EXPECT_THAT(text, HasSubstr("\nlair_oldest_wait_seconds{pool=\"text\"} 1.5\n"));
  EXPECT_THAT(text, HasSubstr("\nlair_worker_busy_seconds_total{pool=\"text\"} 90\n"));
  EXPECT_THAT(text, HasSubstr("\nlair_worker_exits_total{pool=\"text\",reason=\"crash\"} 1\n"));
  EXPECT_THAT(text, HasSubstr("\nlair_rejected_total{pool=\"text\",reason=\"queue_full\"} 4\n"));
}

TEST(Prometheus, WritesHistogramsCumulated) {
  PoolStats stats = pool("text");
  stats.commands = {command("parse", CallOutcome::kOk, 20us)};
  stats.commands[0].calls[0].add(3ms);
  stats.commands[0].calls[0].add(1h);
  const std::string text = to_prometheus(stats);
  const std::string labels = "{pool=\"text\",command=\"parse\",outcome=\"ok\"";
  EXPECT_THAT(text, HasSubstr("lair_call_duration_seconds_bucket" + labels + ",le=\"1e-05\"} 0\n"));
  EXPECT_THAT(text, HasSubstr("lair_call_duration_seconds_bucket" + labels + ",le=\"2.5e-05\"} 1\n"));
  EXPECT_THAT(text, HasSubstr("lair_call_duration_seconds_bucket" + labels + ",le=\"0.0025\"} 1\n"));
  EXPECT_THAT(text, HasSubstr("lair_call_duration_seconds_bucket" + labels + ",le=\"0.005\"} 2\n"));
  EXPECT_THAT(text, HasSubstr("lair_call_duration_seconds_bucket" + labels + ",le=\"100\"} 2\n"));
  EXPECT_THAT(text, HasSubstr("lair_call_duration_seconds_bucket" + labels + ",le=\"+Inf\"} 3\n"));
  EXPECT_THAT(text, HasSubstr("lair_call_duration_seconds_sum" + labels + "} 3600.00302\n"));
  EXPECT_THAT(text, HasSubstr("lair_call_duration_seconds_count" + labels + "} 3\n"));
  EXPECT_THAT(text, HasSubstr("lair_calls_total" + labels + "} 3\n"));
  EXPECT_THAT(text, Not(HasSubstr("outcome=\"error\""))) << "it has not happened";
}

TEST(Prometheus, SaysOnceWhatAFamilyIs) {
  const std::vector<PoolStats> pools = {pool("a"), pool("b")};
  const std::string text = to_prometheus(pools);
  EXPECT_EQ(occurrences(text, "# TYPE lair_waiters gauge\n"), 1u);
  EXPECT_EQ(occurrences(text, "# HELP lair_waiters "), 1u);
  const auto type = text.find("# TYPE lair_waiters gauge\n");
  const auto next = text.find("# HELP", type);
  const std::string family = text.substr(type, next - type);
  EXPECT_THAT(family, HasSubstr("lair_waiters{pool=\"a\"} 0\n"));
  EXPECT_THAT(family, HasSubstr("lair_waiters{pool=\"b\"} 0\n"));
}

TEST(Prometheus, EscapesWhatCallersMayHaveCalledTheirCommands) {
  PoolStats stats = pool("text");
  stats.commands = {command("a\"b\\c\nd", CallOutcome::kShed, 1ms),
                    command("\xffz\xc3\xa4", CallOutcome::kShed, 1ms)};
  const std::string text = to_prometheus(stats);
  EXPECT_THAT(text, HasSubstr("command=\"a\\\"b\\\\c\\nd\""));
  EXPECT_THAT(text, HasSubstr("command=\"\xef\xbf\xbdz\xc3\xa4\""));
}

TEST(Prometheus, AddsUpPoolsOfTheSameName) {
  PoolStats one = pool("lair");
  PoolStats two = pool("lair");
  one.oldest_wait = 1s;
  two.oldest_wait = 2s;
  one.commands = {command("parse", CallOutcome::kOk, 1ms)};
  two.commands = {command("count", CallOutcome::kOk, 1ms), command("parse", CallOutcome::kOk, 1ms)};
  const std::string text = to_prometheus(std::vector{one, two});
  EXPECT_EQ(occurrences(text, "\nlair_waiters{"), 1u);
  EXPECT_THAT(text, HasSubstr("lair_workers{pool=\"lair\",state=\"idle\"} 4\n"));
  EXPECT_THAT(text, HasSubstr("lair_oldest_wait_seconds{pool=\"lair\"} 2\n"));
  EXPECT_THAT(text, HasSubstr("lair_calls_total{pool=\"lair\",command=\"parse\",outcome=\"ok\"} 2\n"));
  EXPECT_THAT(text, HasSubstr("lair_calls_total{pool=\"lair\",command=\"count\",outcome=\"ok\"} 1\n"));
  EXPECT_THAT(text, HasSubstr("lair_worker_exits_total{pool=\"lair\",reason=\"crash\"} 2\n"));
}

TEST(Prometheus, TellsTheVersion) {
  EXPECT_THAT(to_prometheus(pool("text")), HasSubstr("\nlair_build_info{pool=\"text\",version=\""));
}

}  // namespace
}  // namespace lair
