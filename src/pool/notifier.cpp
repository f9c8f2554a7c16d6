#include "pool/notifier.hpp"

#include <spdlog/logger.h>
#include <spdlog/sinks/stdout_color_sinks.h>

#include <utility>

#include "base/wall_time.hpp"

namespace lair::pool {

namespace {

spdlog::level::level_enum level_of(base::LogLevel level) {
  switch (level) {
    case base::LogLevel::kDebug:
      return spdlog::level::debug;
    case base::LogLevel::kInfo:
      return spdlog::level::info;
    case base::LogLevel::kWarn:
      return spdlog::level::warn;
    case base::LogLevel::kError:
      break;
  }
  return spdlog::level::err;
}

const char* name_of(base::LogLevel level) {
  switch (level) {
    case base::LogLevel::kDebug:
      return "debug";
    case base::LogLevel::kInfo:
      return "info";
    case base::LogLevel::kWarn:
      return "warn";
    case base::LogLevel::kError:
      break;
  }
  return "error";
}

}  // namespace

std::shared_ptr<spdlog::logger> default_logger(const std::string& level, bool json) {
  auto sink = std::make_shared<spdlog::sinks::stderr_color_sink_mt>();
  auto logger = std::make_shared<spdlog::logger>("lair", std::move(sink));
  logger->set_pattern(json ? "%v" : "%H:%M:%S.%e %^%-5l%$ %v");
  logger->set_level(spdlog::level::from_str(level));
  return logger;
}

Notifier::Notifier(std::shared_ptr<spdlog::logger> sink, Settings settings)
    : sink_(std::move(sink)), settings_(std::move(settings)), thread_([this] { run(); }) {}

Notifier::~Notifier() {
  {
    const std::lock_guard lock(mutex_);
    ending_ = true;
  }
  something_.notify_one();
  thread_.join();
}

void Notifier::post(base::LogLevel level, std::string text, std::optional<PoolEvent> event) noexcept {
  try {
    const bool wanted = event && settings_.on_event;
    if (!wanted && !sink_->should_log(level_of(level))) return;
    const auto at = event ? event->at : std::chrono::system_clock::now();
    const std::lock_guard lock(mutex_);
    if (queue_.size() >= kMostQueued) {
      ++dropped_;
      if (event) ++events_dropped_;
      ++dropped_unsaid_;
      return;
    }
    queue_.push_back({level, std::move(text), at, std::move(event)});
  } catch (...) {
    return;  // no memory for a line of log is no reason to fail a call
  }
  something_.notify_one();
}

void Notifier::fill(PoolStats& stats) const {
  const std::lock_guard lock(mutex_);
  stats.log_lines_dropped = dropped_;
  stats.events_dropped = events_dropped_;
  stats.event_errors = event_errors_;
}

// The line's text is the message, in place of the event's own, which is a part of it.
std::string Notifier::json_of(const Line& line) const {
  Json value = line.event ? to_json_value(*line.event)
                          : Json{{"time", base::utc_text(line.at)}, {"pool", settings_.pool}};
  value["level"] = name_of(line.level);
  value["message"] = line.text;
  return value.dump(-1, ' ', false, Json::error_handler_t::replace);  // a worker's output may be any bytes
}

void Notifier::tell(const PoolEvent& event) noexcept {
  if (!settings_.on_event) return;
  try {
    settings_.on_event(event);
  } catch (...) {
    const std::lock_guard lock(mutex_);
    ++event_errors_;
  }
}

void Notifier::write(const Line& line) noexcept {
  try {
    const auto level = level_of(line.level);
    if (!settings_.json) {
      sink_->log(level, line.text);
    } else if (sink_->should_log(level)) {
      sink_->log(level, json_of(line));
    }
  } catch (...) {
    // A foreign sink's exception ends here.
  }
}

void Notifier::run() {
  std::unique_lock lock(mutex_);
  for (;;) {
    something_.wait(lock, [this] { return ending_ || !queue_.empty(); });
    if (queue_.empty()) break;  // ending, and all is written
    const std::deque<Line> lines = std::exchange(queue_, {});
    const std::uint64_t lost = std::exchange(dropped_unsaid_, 0);
    lock.unlock();
    for (const Line& line : lines) {
      write(line);
      if (line.event) tell(*line.event);
    }
    if (lost > 0) {
      write({base::LogLevel::kWarn,
             "the log's sink is too slow for what it is given: " + std::to_string(lost) + " lines dropped",
             std::chrono::system_clock::now()});
    }
    lock.lock();
  }
  lock.unlock();
  sink_->flush();
}

}  // namespace lair::pool
