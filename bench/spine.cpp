// What the spine promises, measured: N workers do N times the work, the demo keeps all cores as busy as bare Python
// loops do, workers start side by side, and forked ones sooner.
//
//   spine [--rounds N] [--out FILE] [--python PROGRAM]
#include <signal.h>

#include <algorithm>
#include <thread>

#include "harness.hpp"

namespace bench {

namespace {

constexpr const char* kCores = "all";

// 32 callers of a 50 ms sleep on N workers, against N times what one worker does.
void measure_scaling(const Settings& settings, Rows& rows) {
  double alone = 0;
  for (const std::size_t workers : {1, 2, 4, 8, 16}) {
    lair::Pool pool(pool_options(settings, "bench_sleep", workers));
    pool.wait_ready();
    const std::size_t calls = 20 * workers;
    const double rate =
        on_threads(32, calls, [&](std::size_t, std::size_t) { pool.call("nap", 0.05); }).per_second();
    if (workers == 1) alone = rate;
    rows.add("sleep_50ms_workers_" + std::to_string(workers), kCores, rate, "calls/s",
             Ratio{rate / (alone * static_cast<double>(workers)), "N times one worker"});
  }
}

// The demo's work: file by file through the pool, against one bare loop in each of as many processes.
void measure_demo(const Settings& settings, Rows& rows) {
  const std::size_t cores = usable_cores();
  lair::Pool pool(pool_options(settings, "bench_shards", cores));
  pool.wait_ready();
  const auto files = pool.call("list_files")["files"].get<std::vector<std::string>>();
  std::vector<std::vector<std::string>> shares(cores);
  for (std::size_t i = 0; i < files.size(); ++i) shares[i % cores].push_back(files[i]);

  const double bare = on_threads(cores, cores, [&](std::size_t, std::size_t i) {
                        pool.call("measure_share", shares[i]);
                      }).seconds;
  const Measured pooled = on_threads(
      cores, files.size(), [&](std::size_t, std::size_t i) { pool.call("measure_file", files[i]); });
  rows.add("demo_all_cores", kCores, pooled.per_second(), "files/s",
           Ratio{bare / pooled.seconds, "bare ast loops"});
}

void measure_starts(const Settings& settings, Rows& rows) {
  constexpr std::size_t kWorkers = 16;
  double cpu = 0;
  {
    lair::Pool pool(pool_options(settings, "bench_sleep", 1));
    pool.wait_ready();
    cpu = pool.call<double>("cpu_seconds");
  }
  {
    std::optional<lair::Pool> pool;
    const double together = seconds_of([&] {
      pool.emplace(pool_options(settings, "bench_sleep", kWorkers));
      pool->wait_ready();
    });
    const double share = static_cast<double>(kWorkers) / static_cast<double>(usable_cores()) * cpu;
    rows.add("start_16_workers", kCores, together, "s",
             Ratio{together / share, "(16 / cores) times one worker's CPU time"});
  }

  lair::PoolOptions slow = pool_options(settings, "bench_sleep", 1);
  slow.worker.env["BENCH_WARM_UP"] = "1";
  double one_by_one = 0;
  {
    std::vector<lair::Pool> pools;
    one_by_one = seconds_of([&] {
      for (std::size_t i = 0; i < kWorkers; ++i) pools.emplace_back(slow).wait_ready();
    });
  }
  slow.size = kWorkers;
  std::optional<lair::Pool> pool;
  const double side_by_side = seconds_of([&] {
    pool.emplace(slow);
    pool->wait_ready();
  });
  rows.add("start_16_workers_of_1s", kCores, side_by_side, "s",
           Ratio{side_by_side / one_by_one, "one after another"});
}

// From the kill of a worker that is busy, and whose module imports in 300 ms: until its caller knows, and until another is
// ready. The floor of the second is what a worker of that pool took to start.
void measure_recovery(const Settings& settings, Rows& rows) {
  constexpr int kKills = 10;
  lair::PoolOptions options = pool_options(settings, "bench_sleep", 4);
  options.worker.env["BENCH_IMPORT"] = "0.3";
  lair::Pool pool(options);
  pool.wait_ready();
  const double start = std::chrono::duration<double>(pool.stats().workers.front().start.whole()).count();
  std::vector<double> told;
  std::vector<double> recovered;
  for (int i = 0; i < kKills; ++i) {
    lair::Lease lease = pool.checkout();
    const int pid = lease.worker().pid;
    (void)lease.call("empty");  // one that has never answered is not replaced at once
    const auto ready = pool.stats().workers_ready;
    Clock::time_point known;
    std::thread caller([&] {
      (void)lease.try_call("nap", 60);
      known = Clock::now();
    });
    std::this_thread::sleep_for(20ms);
    const auto killed = Clock::now();
    ::kill(pid, SIGKILL);
    caller.join();
    told.push_back(std::chrono::duration<double>(known - killed).count());
    while (pool.stats().workers_ready == ready) std::this_thread::sleep_for(std::chrono::microseconds(200));
    recovered.push_back(seconds_since(killed));
  }
  rows.add("kill_detected_worst", kCores, 1000 * quantile(told, 1), "ms");
  rows.add("kill_recovered_300ms_import", kCores, 1000 * median(recovered), "ms",
           Ratio{median(recovered) / start, "one start"});
}

// A warm parent that has imported numpy, against workers that import it themselves.
void measure_warm_parent(const Settings& settings, Rows& rows) {
  constexpr std::size_t kWorkers = 50;
  constexpr int kReplacements = 20;
  const auto pool_of = [&](bool fork) {
    lair::PoolOptions options = pool_options(settings, "bench_numpy", kWorkers);
    options.start_timeout = std::chrono::minutes(2);
    if (fork) {
      options.worker.start = "fork";
      options.worker.preload = {"numpy", "bench_numpy"};
    }
    return options;
  };
  const auto start = [&](std::optional<lair::Pool>& pool, bool fork) {
    return seconds_of([&] {
      pool.emplace(pool_of(fork));
      pool->wait_ready();
    });
  };
  double spawned = 0;
  {
    std::optional<lair::Pool> pool;
    spawned = start(pool, false);
  }
  std::optional<lair::Pool> pool;
  const double forked = start(pool, true);
  rows.add("start_50_numpy_forked", kCores, forked, "s", Ratio{forked / spawned, "50 that are spawned"});

  double most = 0;
  {
    std::vector<lair::Lease> leases;
    for (std::size_t i = 0; i < kWorkers; ++i) leases.push_back(pool->checkout());
    for (lair::Lease& lease : leases) {
      (void)lease.call<double>("dot");
      most = std::max(most, lease.call<double>("private_bytes"));
    }
  }
  rows.add("private_numpy_forked", kCores, most / (1 << 20), "MiB");

  std::vector<double> replacements;
  for (int i = 0; i < kReplacements; ++i) {
    const auto before = pool->stats().workers_ready;
    const int pid = pool->call<int>("pid");
    replacements.push_back(1000 * seconds_of([&] {
                             ::kill(pid, SIGKILL);
                             while (pool->stats().workers_ready == before)
                               std::this_thread::sleep_for(std::chrono::microseconds(200));
                           }));
  }
  rows.add("replace_numpy_forked", kCores, median(replacements), "ms");
}

bool has_numpy(const Settings& settings) {
  lair::Pool pool(pool_options(settings, "bench_numpy", 1));
  if (pool.try_wait_ready({}, std::chrono::minutes(1))) return true;
  std::fprintf(stderr, "spine: %s has no numpy, so the warm parent is not measured\n",
               settings.python.c_str());
  return false;
}

void measure(const Settings& settings, Rows& rows, Json&) {
  const bool with_numpy = has_numpy(settings);
  for (int round = 0; round < settings.rounds; ++round) {
    tell(settings, kCores, round);
    measure_scaling(settings, rows);
    measure_demo(settings, rows);
    measure_starts(settings, rows);
    measure_recovery(settings, rows);
    if (with_numpy) measure_warm_parent(settings, rows);
  }
}

}  // namespace

}  // namespace bench

int main(int argc, char** argv) { return bench::run(argc, argv, "spine", 5, bench::measure); }
