// What tests of session stores need: a folder of their own, and clocks that move when they are told to.
//
// Thread-safety: StoreClock, any thread; StoreFolder, one at a time.
#pragma once

#include <unistd.h>

#include <atomic>
#include <chrono>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <lair/deadline.hpp>
#include <string>

#include "store/sqlite_store.hpp"

namespace lair::test {

// In memory, where that can be written to: no test here cuts the power, and a busy disk takes its time for every sync.
class StoreFolder {
 public:
  StoreFolder() {
    const std::filesystem::path memory = "/dev/shm";
    const bool writable = ::access(memory.c_str(), W_OK) == 0;
    std::string pattern =
        ((writable ? memory : std::filesystem::temp_directory_path()) / "lair-store-XXXXXX").string();
    folder_ = ::mkdtemp(pattern.data());
  }
  ~StoreFolder() {
    std::error_code ignored;
    std::filesystem::remove_all(folder_, ignored);
  }
  StoreFolder(const StoreFolder&) = delete;
  StoreFolder& operator=(const StoreFolder&) = delete;

  const std::filesystem::path& path() const { return folder_; }
  std::string file(const std::string& name = "sessions.db") const { return (folder_ / name).string(); }
  std::string write(const std::string& name, const std::string& bytes) const {
    std::ofstream(folder_ / name, std::ios::binary) << bytes;
    return file(name);
  }
  std::string read(const std::string& name) const {
    std::ifstream stream(folder_ / name, std::ios::binary);
    return {std::istreambuf_iterator<char>(stream), {}};
  }

 private:
  std::filesystem::path folder_;
};

// Both clocks of a store. They move together, and the wall clock can be set as well.
class StoreClock {
 public:
  TimePoint now() const { return TimePoint(Duration(steady_.load())); }
  std::chrono::system_clock::time_point wall() const {
    return std::chrono::system_clock::time_point(std::chrono::milliseconds(wall_ms_.load()));
  }
  void advance(Duration by) {
    steady_ += by.count();
    wall_ms_ += std::chrono::duration_cast<std::chrono::milliseconds>(by).count();
  }
  void set_wall(std::chrono::milliseconds by) { wall_ms_ += by.count(); }

  store::SqliteStore::Config config(const store::Limits& limits = {}) const {
    store::SqliteStore::Config config;
    config.limits = limits;
    config.now = [this] { return now(); };
    config.wall_now = [this] { return wall(); };
    return config;
  }

 private:
  std::atomic<std::int64_t> steady_ = 3'600'000'000'000;
  std::atomic<std::int64_t> wall_ms_ = 1'750'000'000'000;
};

}  // namespace lair::test
