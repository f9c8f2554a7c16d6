// A Python module on disk that tests write anew while a pool serves it, and callers that call it all the time.
//
//   ServiceModule service;
//   Pool pool(service.options(2));
//   service.write(ServiceModule::version(2));
//   call_all_the_time(pool, 4, [&] { pool.reload(); });
//
// Thread-safety: one thread at a time.
#pragma once

#include <gtest/gtest.h>

#include <atomic>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "support/pools.hpp"

namespace lair::test {

class ServiceModule {
 public:
  ServiceModule() {
    std::string pattern = (std::filesystem::temp_directory_path() / "lair-service-XXXXXX").string();
    folder_ = ::mkdtemp(pattern.data());
    write(version(1));
  }
  ~ServiceModule() { std::filesystem::remove_all(folder_); }
  ServiceModule(const ServiceModule&) = delete;
  ServiceModule& operator=(const ServiceModule&) = delete;

  // Code whose command `version` gives this number.
  static std::string version(int number) {
    return "def version():\n    return " + std::to_string(number) + "\n";
  }
  std::filesystem::path folder() const { return folder_; }
  std::filesystem::path file() const { return folder_ / "service.py"; }
  void write(const std::string& text) const { std::ofstream(file()) << text; }
  // As editors do: a new file takes the old one's name.
  void replace(const std::string& text) const {
    const std::filesystem::path beside = folder_ / ".service.py.swp";
    std::ofstream(beside) << text;
    std::filesystem::rename(beside, file());
  }
  PoolOptions options(std::size_t size) const {
    WorkerSpec worker = python("service");
    worker.python_path = {folder_.string()};
    // Two versions of one size within one second would look the same to the cache.
    worker.env["PYTHONDONTWRITEBYTECODE"] = "1";
    return options_for(std::move(worker), size);
  }

 private:
  std::filesystem::path folder_;
};

// Does `change` while so many threads call `version`, as fast as they can; every call must succeed. `each`, if there is one, is
// told how long each call took, on its thread. Returns how many calls there were.
template <class Change, class Each>
std::size_t call_all_the_time(Pool& pool, int threads, Change change, Each each) {
  std::atomic<bool> done = false;
  std::atomic<std::size_t> calls = 0;
  std::vector<std::thread> callers;
  for (int t = 0; t < threads; ++t) {
    callers.emplace_back([&, t] {
      while (!done) {
        const TimePoint began = SteadyClock::now();
        const auto version = pool.try_call<int>("version");
        EXPECT_TRUE(version) << version.error().report();
        if (!version) return;
        each(t, began, SteadyClock::now());
        ++calls;
      }
    });
  }
  change();
  done = true;
  for (std::thread& caller : callers) caller.join();
  return calls;
}
template <class Change>
std::size_t call_all_the_time(Pool& pool, int threads, Change change) {
  return call_all_the_time(pool, threads, std::move(change), [](int, TimePoint, TimePoint) {});
}

}  // namespace lair::test
