// Pools as tests want them: silent, with the modules of tests/workers at hand.
#pragma once

#include <lair/pool.hpp>
#include <string>

namespace lair::test {

inline std::string workers_folder() { return std::string(LAIR_TEST_SOURCE_DIR) + "/tests/workers"; }

inline WorkerSpec python_worker(const std::string& module) {
  WorkerSpec spec = python(module);
  spec.python_path = {workers_folder()};
  return spec;
}

inline PoolOptions options_for(WorkerSpec worker, std::size_t size) {
  return {.name = "test", .worker = std::move(worker), .size = size, .log_level = "off"};
}

inline PoolOptions options_for(const std::string& module, std::size_t size) {
  return options_for(python_worker(module), size);
}

// A program of tests/workers that speaks a protocol of its own on stdin and stdout.
inline WorkerSpec script_worker(const std::string& file) {
  return command(
      {"python3", workers_folder() + "/" + file, "--mode", "pool-worker", "--worker-id", "{worker_id}"});
}

}  // namespace lair::test
