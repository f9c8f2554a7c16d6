// A program whose wall clock jumps by hours (see preload/wall_clock.c), and whose pool must not notice.
#include <atomic>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <thread>
#include <vector>

#include "support/pools.hpp"

using namespace std::chrono_literals;

int main() {
  const auto first = std::chrono::system_clock::now();
  const bool jumps = std::chrono::abs(std::chrono::system_clock::now() - first) > 30min;

  lair::WorkerSpec worker = lair::test::python_worker("plain");
  if (const char* preload = std::getenv("LD_PRELOAD")) worker.env["LD_PRELOAD"] = preload;
  lair::Pool pool(lair::test::options_for(worker, 4));
  pool.wait_ready();
  std::atomic<int> errors = 0;
  std::vector<std::thread> callers;
  for (int i = 0; i < 8; ++i) {
    callers.emplace_back([&, i] {
      for (int n = 0; n < 50; ++n) errors += pool.try_call<int>("add", i, n).value_or(-1) == i + n ? 0 : 1;
    });
  }
  for (std::thread& caller : callers) caller.join();

  const auto began = std::chrono::steady_clock::now();
  const auto late = pool.try_call({.timeout = 300ms}, "nap", 60);
  const auto took = std::chrono::steady_clock::now() - began;
  const bool on_time =
      !late && late.error().kind == lair::ErrorKind::kDeadlineExceeded && took >= 300ms && took < 10s;
  pool.shutdown(10s);
  std::printf("the wall clock %s; 400 calls, %d errors, %d timeout on time\n", jumps ? "jumped" : "stood",
              errors.load(), on_time ? 1 : 0);
}
