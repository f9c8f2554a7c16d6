#include "pool/notifier.hpp"

#include <spdlog/logger.h>
#include <spdlog/sinks/stdout_color_sinks.h>

#include <utility>

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

}  // namespace

std::shared_ptr<spdlog::logger> default_logger(const std::string& level) {
  auto sink = std::make_shared<spdlog::sinks::stderr_color_sink_mt>();
  auto logger = std::make_shared<spdlog::logger>("lair", std::move(sink));
  logger->set_pattern("%H:%M:%S.%e %^%-5l%$ %v");
  logger->set_level(spdlog::level::from_str(level));
  return logger;
}

Notifier::Notifier(std::shared_ptr<spdlog::logger> sink)
    : sink_(std::move(sink)), thread_([this] { run(); }) {}

Notifier::~Notifier() {
  {
    const std::lock_guard lock(mutex_);
    ending_ = true;
  }
  something_.notify_one();
  thread_.join();
}

void Notifier::post(base::LogLevel level, std::string text) noexcept {
  try {
    if (!sink_->should_log(level_of(level))) return;
    const std::lock_guard lock(mutex_);
    if (queue_.size() >= kMostQueued) {
      ++dropped_;
      ++dropped_unsaid_;
      return;
    }
    queue_.push_back({level, std::move(text)});
  } catch (...) {
    return;  // no memory for a line of log is no reason to fail a call
  }
  something_.notify_one();
}

std::uint64_t Notifier::dropped() const {
  const std::lock_guard lock(mutex_);
  return dropped_;
}

void Notifier::write(const Line& line) noexcept {
  try {
    sink_->log(level_of(line.level), line.text);
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
    for (const Line& line : lines) write(line);
    if (lost > 0) {
      write({base::LogLevel::kWarn,
             "the log's sink is too slow for what it is given: " + std::to_string(lost) + " lines dropped"});
    }
    lock.lock();
  }
  lock.unlock();
  sink_->flush();
}

}  // namespace lair::pool
