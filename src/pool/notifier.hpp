// The thread on which other people's code is called: log sinks and the callback for events. A slow one delays nobody;
// beyond a bounded queue, lines and events are dropped and counted.
//
// Thread-safety: `post` and `fill` from any thread.
#pragma once

#include <condition_variable>
#include <cstdint>
#include <deque>
#include <lair/stats.hpp>
#include <lair/telemetry.hpp>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <thread>

#include "base/log.hpp"

namespace spdlog {
class logger;
}

namespace lair::pool {

class Notifier {
 public:
  static constexpr std::size_t kMostQueued = 8192;

  struct Settings {
    std::string pool = {};  // named in JSON lines
    bool json = false;
    PoolEventCallback on_event = {};
  };
  Notifier(std::shared_ptr<spdlog::logger> sink, Settings settings);
  Notifier(const Notifier&) = delete;
  Notifier& operator=(const Notifier&) = delete;
  // Delivers what is queued, then ends. Blocks for as long as the sink and the callback do.
  ~Notifier();

  // Never blocks, never throws. An event goes to the callback whatever the log's level is.
  void post(base::LogLevel level, std::string text, std::optional<PoolEvent> event = {}) noexcept;
  // Sets the fields of `stats` that are counted here.
  void fill(PoolStats& stats) const;

 private:
  struct Line {
    base::LogLevel level;
    std::string text;
    std::chrono::system_clock::time_point at;
    std::optional<PoolEvent> event = {};
  };
  void run();
  void write(const Line& line) noexcept;
  std::string json_of(const Line& line) const;
  void tell(const PoolEvent& event) noexcept;

  const std::shared_ptr<spdlog::logger> sink_;
  const Settings settings_;
  mutable std::mutex mutex_;
  std::condition_variable something_;
  std::deque<Line> queue_;
  std::uint64_t dropped_ = 0;         // lines and events
  std::uint64_t events_dropped_ = 0;  // of these, events
  std::uint64_t event_errors_ = 0;    // exceptions of the callback
  std::uint64_t dropped_unsaid_ = 0;  // not yet reported in the log itself
  bool ending_ = false;
  std::thread thread_;  // last: it uses all of the above
};

// The sink for pools that bring none: to stderr, in colour on a terminal; or (`json`) nothing but the message.
std::shared_ptr<spdlog::logger> default_logger(const std::string& level, bool json);

}  // namespace lair::pool
