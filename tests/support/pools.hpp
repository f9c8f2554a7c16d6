// Pools as tests want them: silent, with the modules of tests/workers at hand.
#pragma once

#include <spdlog/logger.h>
#include <spdlog/sinks/base_sink.h>
#include <unistd.h>

#include <filesystem>
#include <lair/pool.hpp>
#include <memory>
#include <mutex>
#include <string>

#include "support/leak_check.hpp"
#include "support/paths.hpp"

namespace lair::test {

inline std::string workers_folder() { return in_source("tests/workers"); }

inline WorkerSpec python_worker(const std::string& module) {
  WorkerSpec spec = python(module);
  spec.python_path = {workers_folder()};
  return spec;
}

// Without breakers: most tests that kill workers do it again and again, with one command.
inline PoolOptions options_for(WorkerSpec worker, std::size_t size) {
  return {.name = "test",
          .worker = std::move(worker),
          .size = size,
          .breaker = {.enabled = false},
          .log_level = "off"};
}

inline PoolOptions options_for(const std::string& module, std::size_t size) {
  return options_for(python_worker(module), size);
}

// A program of tests/workers that speaks a protocol of its own on stdin and stdout.
inline WorkerSpec script_worker(const std::string& file) {
  return command(
      {"python3", workers_folder() + "/" + file, "--mode", "pool-worker", "--worker-id", "{worker_id}"});
}

// What a pool logs, kept. Made before the pool, of its options.
class Lines {
 public:
  explicit Lines(PoolOptions& options) : sink_(std::make_shared<Sink>()) {
    options.logger = std::make_shared<spdlog::logger>("test", sink_);
    options.logger->set_level(spdlog::level::debug);
  }
  std::string text() const { return sink_->text(); }
  bool contain(const std::string& part) const { return text().find(part) != std::string::npos; }

 private:
  class Sink : public spdlog::sinks::base_sink<std::mutex> {
   public:
    std::string text() {
      const std::lock_guard lock(mutex_);
      return text_;
    }

   private:
    void sink_it_(const spdlog::details::log_msg& message) override {
      text_.append(message.payload.data(), message.payload.size()).append("\n");
    }
    void flush_() override {}
    std::string text_;
  };
  std::shared_ptr<Sink> sink_;
};

// A file by which a worker says that it has begun with a call: `pool.call("nap", 60, note.path())`. A slot is busy
// before its worker has read anything, and a call that was not read goes to another worker when the first one dies.
class Note {
 public:
  Note() {
    std::string pattern = (std::filesystem::temp_directory_path() / "lair-note-XXXXXX").string();
    folder_ = ::mkdtemp(pattern.data());
  }
  ~Note() { std::filesystem::remove_all(folder_); }
  Note(const Note&) = delete;
  Note& operator=(const Note&) = delete;

  std::string path() const { return folder_ / "begun"; }
  bool comes() const {
    return eventually([this] { return std::filesystem::exists(path()); });
  }

 private:
  std::filesystem::path folder_;
};

}  // namespace lair::test
