// What calls that do not block cost, and cancels, streams and host functions: beside bare asyncio, calls that block, and each
// other.
//
//   inflight [--rounds N] [--out FILE] [--python PROGRAM]
#include <malloc.h>

#include <algorithm>
#include <atomic>
#include <condition_variable>
#include <lair/async.hpp>
#include <latch>
#include <mutex>
#include <optional>
#include <stop_token>
#include <thread>

#include "../tests/support/coroutine.hpp"
#include "harness.hpp"
#include "processes.hpp"

namespace bench {

namespace {

constexpr const char* kCores = "all";

// How many calls are under way, and who waits until there are fewer.
class Gate {
 public:
  void enter(std::size_t most) {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [&] { return inside_ < most; });
    ++inside_;
  }
  void leave() {
    {
      const std::lock_guard lock(mutex_);
      --inside_;
    }
    changed_.notify_one();
  }
  void wait_empty() {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [&] { return inside_ == 0; });
  }

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  std::size_t inside_ = 0;
};

// Of this process: "VmRSS" is what it has, "VmHWM" the most it had.
double resident_mib(const std::string& which) {
  std::ifstream status("/proc/self/status");
  for (std::string line; std::getline(status, line);) {
    if (line.rfind(which + ":", 0) == 0) return std::stod(line.substr(which.size() + 1)) / 1024;
  }
  return 0;
}
void forget_most_resident() { std::ofstream("/proc/self/clear_refs") << "5"; }

// 10,000 sleeps of 50 ms at once from one thread, on 4 workers; against as many in 4 bare processes.
void measure_many(const Settings& settings, Rows& rows) {
  constexpr std::size_t kWorkers = 4;
  constexpr std::size_t kEach = 2500;
  std::vector<Program> bare;
  for (std::size_t i = 0; i < kWorkers; ++i) {
    bare.emplace_back(std::vector<std::string>{settings.python, LAIR_BENCH_DIR "/workers/bare_asyncio.py",
                                               std::to_string(kEach), "0.05"});
  }
  const auto run_bare = [&] {
    return seconds_of([&] {
      for (Program& program : bare) program.write("go\n");
      for (Program& program : bare) {
        std::string line;
        while (line.find('\n') == std::string::npos) program.read(line);
      }
    });
  };
  lair::PoolOptions options = pool_options(settings, "bench_inflight", kWorkers);
  options.concurrency = kEach;
  options.max_waiters = kWorkers * kEach;
  lair::Pool pool(options);
  pool.wait_ready();
  Gate gate;
  const auto run_pool = [&](std::size_t count) {
    return seconds_of([&] {
      for (std::size_t i = 0; i < count; ++i) {
        gate.enter(count);
        pool.start({}, "nap", Json::array({0.05}), [&](const lair::Result<Json>&) { gate.leave(); });
      }
      gate.wait_empty();
    });
  };
  (void)run_bare();
  (void)run_pool(100);
  ::malloc_trim(0);  // what an earlier round has left
  const double before = resident_mib("VmRSS");
  const double bare_seconds = run_bare();
  forget_most_resident();
  const double pool_seconds = run_pool(kWorkers * kEach);
  rows.add("async_10000_sleeps", kCores, pool_seconds, "s",
           Ratio{pool_seconds / bare_seconds, "bare asyncio"});
  rows.add("async_10000_memory", kCores, resident_mib("VmHWM") - before, "MiB");
}

// One of the coroutines that share so many calls, each of them awaited before the next.
lair::Detached await_calls(lair::Pool& pool, std::atomic<long>& left, std::latch& done) {
  while (left.fetch_sub(1) > 0) co_await pool.co_try_call("empty");
  done.count_down();
}

// The same without coroutines: the end of each call begins the next.
void start_calls(lair::Pool& pool, std::atomic<long>& left, std::latch& done) {
  if (left.fetch_sub(1) <= 0) return done.count_down();
  pool.start({}, "empty", Json::array(), [&](const lair::Result<Json>&) { start_calls(pool, left, done); });
}

// Empty calls on 4 workers, in every form: threads that block; coroutines; callbacks; calls begun by one thread.
void measure_forms(const Settings& settings, Rows& rows) {
  constexpr std::size_t kWorkers = 4;
  constexpr std::size_t kCalls = 20'000;
  lair::Pool pool(pool_options(settings, "bench_inflight", kWorkers));
  pool.wait_ready();
  const auto blocking = [&] {
    return on_threads(kWorkers, kCalls, [&](std::size_t, std::size_t) { pool.call("empty"); }).per_second();
  };
  Gate gate;
  const auto async = [&](std::size_t in_flight) {
    const double seconds = seconds_of([&] {
      for (std::size_t i = 0; i < kCalls; ++i) {
        gate.enter(in_flight);
        pool.start({}, "empty", Json::array(), [&](const lair::Result<Json>&) { gate.leave(); });
      }
      gate.wait_empty();
    });
    return static_cast<double>(kCalls) / seconds;
  };
  const auto one_after_another = [&](std::size_t in_flight, auto& begin) {
    std::atomic<long> left = kCalls;
    std::latch done(static_cast<std::ptrdiff_t>(in_flight));
    const double seconds = seconds_of([&] {
      for (std::size_t i = 0; i < in_flight; ++i) begin(pool, left, done);
      done.wait();
    });
    return static_cast<double>(kCalls) / seconds;
  };
  (void)async(kWorkers);
  const double sync_rate = blocking();
  for (const std::size_t in_flight : {4, 16}) {
    const double coroutines = one_after_another(in_flight, await_calls);
    rows.add("async_coroutines_" + std::to_string(in_flight), kCores, coroutines, "calls/s",
             Ratio{coroutines / sync_rate, "4 threads that block"});
    const double callbacks = one_after_another(in_flight, start_calls);
    rows.add("async_callbacks_" + std::to_string(in_flight), kCores, callbacks, "calls/s",
             Ratio{callbacks / sync_rate, "4 threads that block"});
    const double rate = async(in_flight);
    rows.add("async_in_flight_" + std::to_string(in_flight), kCores, rate, "calls/s",
             Ratio{rate / sync_rate, "4 threads that block"});
  }
}

// From the stop request until the same worker has answered the next call.
void measure_cancels(const Settings& settings, Rows& rows) {
  constexpr int kTimes = 100;
  for (const char* command : {"sleeps", "loops", "reads", "awaits", "yields"}) {
    lair::PoolOptions options = pool_options(settings, "bench_inflight", 1);
    lair::Pool pool(options);
    std::stop_source stop;
    Clock::time_point requested;
    pool.expose("begun", [&] {
      std::jthread([&] {
        std::this_thread::sleep_for(2ms);  // until it sleeps, reads, or loops
        requested = Clock::now();
        stop.request_stop();
      }).detach();
    });
    int kept = 0;
    std::vector<double> took;
    for (int i = 0; i < kTimes; ++i) {
      stop = {};
      const int pid = pool.call<int>("pid");
      (void)pool.try_call({.timeout = 30s, .stop = stop.get_token()}, command);
      kept += pool.call<int>("pid") == pid;
      took.push_back(1000 * seconds_since(requested));
    }
    rows.add(std::string("cancel_") + command, kCores, median(took), "ms");
    rows.add(std::string("cancel_") + command + "_same_worker", kCores, 100.0 * kept / kTimes, "%");
  }
}

void measure_streams(const Settings& settings, Rows& rows) {
  constexpr int kItems = 200'000;
  lair::Pool pool(pool_options(settings, "bench_inflight", 1));
  pool.wait_ready();
  int got = 0;
  const double seconds = seconds_of([&] {
    for (const int item : pool.stream<int>({.stream_items = 4096}, "numbers", kItems)) got += item >= 0;
  });
  rows.add("stream_items", kCores, got / seconds, "items/s");
  std::vector<double> calls;
  std::vector<double> firsts;
  for (int i = 0; i < 1000; ++i) {
    calls.push_back(seconds_of([&] { pool.call("empty"); }));
    std::optional<lair::Stream<int>> stream;
    firsts.push_back(seconds_of([&] {
      stream.emplace(pool.stream<int>("numbers", 1));
      (void)stream->next();
    }));
    (void)stream->next();  // its end: nothing of it is left to the next call
  }
  rows.add("stream_first_item", kCores, 1e6 * median(firsts), "µs",
           Ratio{median(firsts) / median(calls), "a call"});
}

void measure_callbacks(const Settings& settings, Rows& rows) {
  constexpr int kTimes = 100'000;
  lair::Pool pool(pool_options(settings, "bench_inflight", 1));
  pool.wait_ready();
  std::vector<double> between;
  between.reserve(kTimes);
  auto last = Clock::now();
  pool.expose("tick", [&] {
    between.push_back(seconds_since(last));
    last = Clock::now();
  });
  std::vector<double> calls;
  for (int i = 0; i < 5000; ++i) calls.push_back(seconds_of([&] { pool.call("empty"); }));
  last = Clock::now();
  pool.call<void>({.timeout = 10min}, "calls_back", kTimes);
  rows.add("callback", kCores, 1e6 * median(between), "µs", Ratio{median(between) / median(calls), "a call"});
}

void measure(const Settings& settings, Rows& rows, Json&) {
  for (int round = 0; round < settings.rounds; ++round) {
    tell(settings, kCores, round);
    measure_many(settings, rows);
    measure_forms(settings, rows);
    measure_cancels(settings, rows);
    measure_streams(settings, rows);
    measure_callbacks(settings, rows);
  }
}

}  // namespace

}  // namespace bench

int main(int argc, char** argv) { return bench::run(argc, argv, "inflight", 10, bench::measure); }
