// The thread for other people's code: log lines as text and as JSON, events, and what is dropped.
#include "pool/notifier.hpp"

#include <gtest/gtest.h>
#include <spdlog/logger.h>
#include <spdlog/sinks/base_sink.h>

#include <future>
#include <lair/json.hpp>
#include <stdexcept>
#include <vector>

namespace lair::pool {
namespace {

using base::LogLevel;

class Sink : public spdlog::sinks::base_sink<std::mutex> {
 public:
  std::vector<std::string> lines;

 private:
  void sink_it_(const spdlog::details::log_msg& message) override {
    lines.emplace_back(message.payload.data(), message.payload.size());
  }
  void flush_() override {}
};

struct NotifierTest : testing::Test {
  std::shared_ptr<Sink> sink = std::make_shared<Sink>();
  std::shared_ptr<spdlog::logger> logger = std::make_shared<spdlog::logger>("test", sink);
  PoolStats stats;

  static PoolEvent event(const std::string& message) {
    return {.kind = PoolEventKind::kStartFailed, .pool = "text", .message = message};
  }
};

TEST_F(NotifierTest, WritesTextAsItIs) {
  { Notifier(logger, {}).post(LogLevel::kWarn, "one \"line\"", event("e")); }
  EXPECT_EQ(sink->lines, std::vector<std::string>{"one \"line\""});
}

TEST_F(NotifierTest, WritesALineAsOneJsonObject) {
  { Notifier(logger, {.pool = "text", .json = true}).post(LogLevel::kWarn, "a \"line\"\n\xff"); }
  ASSERT_EQ(sink->lines.size(), 1u);
  EXPECT_EQ(sink->lines[0].find('\n'), std::string::npos);
  const Json line = Json::parse(sink->lines[0]);
  EXPECT_EQ(line["level"], "warn");
  EXPECT_EQ(line["pool"], "text");
  EXPECT_EQ(line["message"], "a \"line\"\n\xef\xbf\xbd");
  EXPECT_EQ(line["time"].get<std::string>().size(), 24u);
  EXPECT_FALSE(line.contains("event"));
}

TEST_F(NotifierTest, WritesAnEventsFieldsIntoItsLine) {
  PoolEvent moved{.kind = PoolEventKind::kWorkerMoved,
                  .pool = "text",
                  .worker = PoolEvent::Worker{3, 7},
                  .from = "starting",
                  .to = "idle",
                  .took = std::chrono::milliseconds(250)};
  { Notifier(logger, {.pool = "text", .json = true}).post(LogLevel::kInfo, "story", moved); }
  ASSERT_EQ(sink->lines.size(), 1u);
  const Json line = Json::parse(sink->lines[0]);
  EXPECT_EQ(line, Json({{"event", "worker_moved"},
                        {"time", "1970-01-01T00:00:00.000Z"},
                        {"pool", "text"},
                        {"level", "info"},
                        {"message", "story"},
                        {"slot", 3},
                        {"generation", 7},
                        {"from", "starting"},
                        {"to", "idle"},
                        {"took_seconds", 0.25}}));
}

TEST_F(NotifierTest, TellsEventsInOrderWhateverTheLogsLevelIs) {
  logger->set_level(spdlog::level::off);
  std::vector<std::string> told;
  {
    Notifier notifier(logger, {.on_event = [&](const PoolEvent& e) { told.push_back(e.message); }});
    notifier.post(LogLevel::kDebug, "", event("one"));
    notifier.post(LogLevel::kDebug, "no event");
    notifier.post(LogLevel::kDebug, "", event("two"));
  }
  EXPECT_EQ(told, (std::vector<std::string>{"one", "two"}));
  EXPECT_TRUE(sink->lines.empty());
}

TEST_F(NotifierTest, CatchesAndCountsWhatACallbackThrows) {
  int told = 0;
  std::promise<void> both;
  Notifier notifier(logger, {.on_event = [&](const PoolEvent&) {
                      if (++told == 2) both.set_value();
                      throw std::runtime_error("no");
                    }});
  notifier.post(LogLevel::kWarn, "", event("one"));
  notifier.post(LogLevel::kWarn, "", event("two"));
  both.get_future().wait();
  notifier.fill(stats);
  EXPECT_GE(stats.event_errors, 1u) << "the second may still be under way";
  EXPECT_EQ(stats.events_dropped, 0u);
}

TEST_F(NotifierTest, DropsAndCountsWhatASlowCallbackLeavesLying) {
  std::promise<void> begun;
  std::promise<void> go;
  bool first = true;
  std::size_t told = 0;
  {
    Notifier notifier(logger, {.on_event = [&](const PoolEvent&) {
                        ++told;
                        if (!std::exchange(first, false)) return;
                        begun.set_value();
                        go.get_future().wait();
                      }});
    notifier.post(LogLevel::kDebug, "", event("first"));
    begun.get_future().wait();
    for (std::size_t i = 0; i < Notifier::kMostQueued + 5; ++i)
      notifier.post(LogLevel::kDebug, "", event("e"));
    notifier.post(LogLevel::kWarn, "a line");
    notifier.fill(stats);
    EXPECT_EQ(stats.events_dropped, 5u);
    EXPECT_EQ(stats.log_lines_dropped, 6u);
    go.set_value();
  }
  EXPECT_EQ(told, Notifier::kMostQueued + 1);
}

}  // namespace
}  // namespace lair::pool
