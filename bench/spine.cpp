// What the spine promises, measured: N workers do N times the work, the demo keeps all cores as busy as bare Python
// loops do, and workers start side by side.
//
//   spine [--rounds N] [--out FILE]
//
// Rows {name, value, unit, ratio, of, low, high}: value and ratio are medians over the rounds, low and high the ratio's
// extremes. What a ratio compares was measured in turn within the same round.
#include <lair/pool.hpp>
#include <lair/version.hpp>
#include <sys/utsname.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdio>
#include <fstream>
#include <functional>
#include <string>
#include <thread>
#include <utility>
#include <vector>

namespace {

using namespace std::chrono_literals;
using lair::Json;
using Clock = std::chrono::steady_clock;

double seconds_of(const std::function<void()>& work) {
  const auto started = Clock::now();
  work();
  return std::chrono::duration<double>(Clock::now() - started).count();
}

double median(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  return values[values.size() / 2];
}

lair::PoolOptions options(const std::string& module, std::size_t size) {
  lair::WorkerSpec worker = lair::python(module);
  worker.python_path = {LAIR_BENCH_DIR "/workers"};
  return {.name = "bench", .worker = std::move(worker), .size = size, .max_waiters = 256, .log_level = "off"};
}

// Runs `work(i)` for i in [0, count) on `threads` threads.
void on_threads(std::size_t threads, std::size_t count, const std::function<void(std::size_t)>& work) {
  std::atomic<std::size_t> next = 0;
  std::vector<std::jthread> callers;
  for (std::size_t t = 0; t < threads; ++t) {
    callers.emplace_back([&] {
      for (std::size_t i = next++; i < count; i = next++) work(i);
    });
  }
}

// What the rounds have brought: by row, each round's value and the ratio it makes.
class Rows {
 public:
  void add(const std::string& name, const std::string& unit, double value, double ratio,
           const std::string& of) {
    const auto known =
        std::find_if(rows_.begin(), rows_.end(), [&](auto& entry) { return entry.first == name; });
    Row& row = known != rows_.end() ? known->second : rows_.emplace_back(name, Row{}).second;
    row.unit = unit;
    row.of = of;
    row.values.push_back(value);
    row.ratios.push_back(ratio);
  }

  Json to_json() const {
    Json rows = Json::array();
    for (const auto& [name, row] : rows_) {
      rows.push_back({{"name", name},
                      {"value", median(row.values)},
                      {"unit", row.unit},
                      {"ratio", median(row.ratios)},
                      {"of", row.of},
                      {"low", *std::min_element(row.ratios.begin(), row.ratios.end())},
                      {"high", *std::max_element(row.ratios.begin(), row.ratios.end())},
                      {"rounds", row.values.size()}});
    }
    return rows;
  }

  void print() const {
    for (const auto& [name, row] : rows_) {
      std::printf("%-28s %10.3f %-8s %7.3f × %s\n", name.c_str(), median(row.values), row.unit.c_str(),
                  median(row.ratios), row.of.c_str());
    }
  }

 private:
  struct Row {
    std::string unit;
    std::string of;
    std::vector<double> values;
    std::vector<double> ratios;
  };
  std::vector<std::pair<std::string, Row>> rows_;  // as they were first measured
};

// 32 callers of a 50 ms sleep on N workers, against N times what one worker does.
void measure_scaling(Rows& rows) {
  double alone = 0;
  for (const std::size_t workers : {1, 2, 4, 8, 16}) {
    lair::Pool pool(options("bench_sleep", workers));
    pool.wait_ready();
    const std::size_t calls = 20 * workers;
    const double seconds =
        seconds_of([&] { on_threads(32, calls, [&](std::size_t) { pool.call("nap", 0.05); }); });
    const double rate = static_cast<double>(calls) / seconds;
    if (workers == 1) alone = rate;
    rows.add("sleep_50ms_workers_" + std::to_string(workers), "calls/s", rate,
             rate / (alone * static_cast<double>(workers)), "N × one worker");
  }
}

// The demo's work: file by file through the pool, against one bare loop in each of as many processes.
void measure_demo(Rows& rows, std::size_t cores) {
  lair::Pool pool(options("bench_shards", cores));
  pool.wait_ready();
  const auto files = pool.call("list_files")["files"].get<std::vector<std::string>>();
  std::vector<std::vector<std::string>> shares(cores);
  for (std::size_t i = 0; i < files.size(); ++i) shares[i % cores].push_back(files[i]);

  const double bare = seconds_of(
      [&] { on_threads(cores, cores, [&](std::size_t i) { pool.call("measure_share", shares[i]); }); });
  const double pooled = seconds_of(
      [&] { on_threads(cores, files.size(), [&](std::size_t i) { pool.call("measure_file", files[i]); }); });
  rows.add("demo_all_cores", "files/s", static_cast<double>(files.size()) / pooled, bare / pooled,
           "bare ast loops");
}

void measure_starts(Rows& rows, std::size_t cores) {
  constexpr std::size_t kWorkers = 16;
  double cpu = 0;
  lair::PoolOptions sixteen = options("bench_sleep", kWorkers);
  {
    lair::Pool pool(options("bench_sleep", 1));
    pool.wait_ready();
    cpu = pool.call<double>("cpu_seconds");
    // A version manager's script in its place takes longer to say which Python it stands for than that takes to start.
    sixteen.worker.interpreter = pool.call<std::string>("interpreter");
  }
  double together = 0;
  {
    std::optional<lair::Pool> pool;
    together = seconds_of([&] { pool.emplace(sixteen), pool->wait_ready(); });
  }
  rows.add("start_16_workers", "s", together,
           together / (static_cast<double>(kWorkers) / static_cast<double>(cores) * cpu),
           "(16 / cores) × one worker's CPU time");

  lair::PoolOptions slow = options("bench_sleep", 1);
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
  const double side_by_side = seconds_of([&] { pool.emplace(slow), pool->wait_ready(); });
  rows.add("start_16_workers_of_1s", "s", side_by_side, one_by_one / side_by_side,
           "faster than one after another");
}

std::string cpu_model() {
  std::ifstream info("/proc/cpuinfo");
  for (std::string line; std::getline(info, line);) {
    if (line.rfind("model name", 0) == 0) return line.substr(line.find(':') + 2);
  }
  return "unknown";
}

Json machine(std::size_t cores) {
  utsname system{};
  ::uname(&system);
  return {{"cpu", cpu_model()}, {"cores", cores}, {"kernel", system.release}, {"compiler", __VERSION__}};
}

}  // namespace

int main(int argc, char** argv) {
  int rounds = 5;
  std::string out;
  for (int i = 1; i < argc; ++i) {
    const std::string argument = argv[i];
    if (argument == "--rounds" && i + 1 < argc) {
      rounds = std::atoi(argv[++i]);
    } else if (argument == "--out" && i + 1 < argc) {
      out = argv[++i];
    } else {
      std::fprintf(stderr, "spine: unknown option %s\nusage: spine [--rounds N] [--out FILE]\n",
                   argument.c_str());
      return 2;
    }
  }
  if (rounds < 1) {
    std::fputs("spine: --rounds takes a whole number from 1\n", stderr);
    return 2;
  }
  std::size_t cores = 0;
  {
    lair::PoolOptions asked = options("bench_sleep", 0);  // 0: one for each usable CPU
    asked.lazy = true;
    cores = lair::Pool(std::move(asked)).options().size;
  }
  Rows rows;
  for (int round = 0; round < rounds; ++round) {
    std::fprintf(stderr, "round %d of %d\n", round + 1, rounds);
    measure_scaling(rows);
    measure_demo(rows, cores);
    measure_starts(rows, cores);
  }
  rows.print();
  if (!out.empty()) {
    const Json report = {
        {"lair", LAIR_VERSION_STRING}, {"machine", machine(cores)}, {"rows", rows.to_json()}};
    std::ofstream(out) << report.dump(2) << '\n';
  }
  return 0;
}
