// The list of events: enumerators, table and docs agree; and what a time looks like in a log.
#include <lair/telemetry.hpp>

#include <gtest/gtest.h>

#include <fstream>
#include <regex>
#include <sstream>
#include <utility>
#include <vector>

#include "base/wall_time.hpp"
#include "support/paths.hpp"

namespace lair {
namespace {

using namespace std::chrono_literals;
using Rows = std::vector<std::pair<std::string, std::string>>;

TEST(PoolEvents, AreListedInTheDocsAsInTheTable) {
  std::ifstream in(test::in_source("docs/telemetry.md"));
  const std::string page = (std::ostringstream() << in.rdbuf()).str();
  const std::string list =
      page.substr(page.find("| kind | sets |"), page.find("\n## The log") - page.find("| kind | sets |"));
  static const std::regex kRow(R"(\n\| `(\w+)` \| ([^|]*) \|)");
  Rows documented;
  for (std::sregex_iterator it(list.begin(), list.end(), kRow), end; it != end; ++it)
    documented.emplace_back((*it)[1], (*it)[2]);
  Rows table;
  for (const PoolEventInfo& info : pool_event_table()) table.emplace_back(info.name, info.sets);
  EXPECT_EQ(documented, table);
}

TEST(PoolEvents, HaveNames) {
  EXPECT_EQ(to_string(PoolEventKind::kWorkerMoved), "worker_moved");
  EXPECT_EQ(to_string(PoolEventKind::kAlertCleared), "alert_cleared");
  EXPECT_EQ(to_string(PoolEventKind::kShed), "shed");
}

TEST(PoolEvents, BecomeJsonWithoutWhatIsEmpty) {
  const PoolEvent event{
      .kind = PoolEventKind::kStartFailed, .pool = "text", .stage = "spawn", .message = "no"};
  EXPECT_EQ(to_json_value(event), Json({{"event", "start_failed"},
                                        {"time", "1970-01-01T00:00:00.000Z"},
                                        {"pool", "text"},
                                        {"stage", "spawn"},
                                        {"message", "no"}}));
}

TEST(WallTime, IsUtcWithMilliseconds) {
  const std::chrono::system_clock::time_point epoch;
  EXPECT_EQ(base::utc_text(epoch + 951'826'154s + 7ms), "2000-02-29T12:09:14.007Z");
  EXPECT_EQ(base::utc_text(epoch - 1ms), "1969-12-31T23:59:59.999Z");
}

}  // namespace
}  // namespace lair
