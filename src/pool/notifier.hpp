// The thread on which other people's code is called: log sinks. A slow one delays nobody; beyond a bounded queue,
// lines are dropped and counted.
//
// Thread-safety: `post` and `dropped` from any thread.
#pragma once

#include <condition_variable>
#include <cstdint>
#include <deque>
#include <memory>
#include <mutex>
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

  explicit Notifier(std::shared_ptr<spdlog::logger> sink);
  Notifier(const Notifier&) = delete;
  Notifier& operator=(const Notifier&) = delete;
  // Writes what is queued, then ends. Blocks for as long as the sink does.
  ~Notifier();

  // Never blocks, never throws.
  void post(base::LogLevel level, std::string text) noexcept;
  std::uint64_t dropped() const;

 private:
  struct Line {
    base::LogLevel level;
    std::string text;
  };
  void run();
  void write(const Line& line) noexcept;

  const std::shared_ptr<spdlog::logger> sink_;
  mutable std::mutex mutex_;
  std::condition_variable something_;
  std::deque<Line> queue_;
  std::uint64_t dropped_ = 0;
  std::uint64_t dropped_unsaid_ = 0;  // not yet reported in the log itself
  bool ending_ = false;
  std::thread thread_;  // last: it uses all of the above
};

// The sink for pools that bring none: colour on a terminal, to stderr.
std::shared_ptr<spdlog::logger> default_logger(const std::string& level);

}  // namespace lair::pool
