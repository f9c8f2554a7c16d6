// What the programs of bench/ share: rounds, rows, the machine's facts, threads that call.
//
// A row is {name, cores, value, unit, ratio, of, low, high, rounds}. `value` and `ratio` are medians over the rounds;
// what a ratio compares was measured in turn within the same round, so that a machine that is busy for a while slows
// down both. [low, high] holds the ratio's median with 95 % confidence (by order statistics, whatever the
// distribution; the extremes where there are fewer than six rounds).
//
// Thread-safety: one thread, but for what on_threads() runs.
#pragma once

#include <lair/pool.hpp>
#include <lair/version.hpp>
#include <sched.h>
#include <sys/utsname.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <ctime>
#include <fstream>
#include <functional>
#include <latch>
#include <limits>
#include <optional>
#include <string>
#include <thread>
#include <utility>
#include <vector>

namespace bench {

using namespace std::chrono_literals;
using lair::Json;
using Clock = std::chrono::steady_clock;

inline double seconds_since(Clock::time_point began) {
  return std::chrono::duration<double>(Clock::now() - began).count();
}

inline double seconds_of(const std::function<void()>& work) {
  const auto began = Clock::now();
  work();
  return seconds_since(began);
}

inline double quantile(std::vector<double> values, double fraction) {
  const auto at = static_cast<std::ptrdiff_t>(fraction * static_cast<double>(values.size() - 1) + 0.5);
  std::nth_element(values.begin(), values.begin() + at, values.end());
  return values[static_cast<std::size_t>(at)];
}

inline double median(const std::vector<double>& values) {
  const double upper = quantile(values, 0.5);  // of two in the middle
  if (values.size() % 2 == 1) return upper;
  double lower = -std::numeric_limits<double>::infinity();
  std::size_t below = 0;
  for (const double value : values) {
    if (value >= upper) continue;
    ++below;
    lower = std::max(lower, value);
  }
  return below == values.size() / 2 ? (lower + upper) / 2 : upper;  // fewer below: the lower one is its equal
}

// Where the median of what was sampled lies, with 95 % confidence.
inline std::pair<double, double> interval(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  const auto n = static_cast<double>(values.size());
  const double rank = std::floor(n / 2 - 0.98 * std::sqrt(n));  // normal approximation of the binomial
  const std::size_t skipped = n < 6 ? 0 : static_cast<std::size_t>(std::max(rank, 1.0)) - 1;
  return {values[skipped], values[values.size() - 1 - skipped]};
}

// --- Callers ------------------------------------------------------------------------------------------
struct Measured {
  double seconds = 0;
  std::vector<double> latencies = {};  // seconds, one for each piece of work
  double per_second() const { return static_cast<double>(latencies.size()) / seconds; }
};

// Runs `work(thread, i)` for i in [0, count), shared out among `threads` as they come. The clock starts when all
// threads are there.
inline Measured on_threads(std::size_t threads, std::size_t count,
                           const std::function<void(std::size_t, std::size_t)>& work) {
  std::atomic<std::size_t> next = 0;
  std::vector<std::vector<double>> latencies(threads);
  std::latch ready(static_cast<std::ptrdiff_t>(threads) + 1);
  std::vector<std::jthread> callers;
  for (std::size_t t = 0; t < threads; ++t) {
    latencies[t].reserve(count);
    callers.emplace_back([&, t] {
      ready.arrive_and_wait();
      for (std::size_t i = next++; i < count; i = next++) {
        latencies[t].push_back(seconds_of([&] { work(t, i); }));
      }
    });
  }
  ready.arrive_and_wait();
  Measured measured;
  measured.seconds = seconds_of([&] { callers.clear(); });  // joins them
  for (const auto& each : latencies)
    measured.latencies.insert(measured.latencies.end(), each.begin(), each.end());
  return measured;
}

// --- Rows ---------------------------------------------------------------------------------------------
struct Ratio {
  double value;
  std::string of;  // what it was measured against
};

class Rows {
 public:
  // One round's value. `cores`: "one" or "all".
  void add(const std::string& name, const std::string& cores, double value, const std::string& unit,
           std::optional<Ratio> ratio = std::nullopt) {
    const auto known = std::find_if(rows_.begin(), rows_.end(),
                                    [&](const Row& row) { return row.name == name && row.cores == cores; });
    Row& row = known != rows_.end() ? *known : rows_.emplace_back();
    row.name = name;
    row.cores = cores;
    row.unit = unit;
    row.values.push_back(value);
    if (!ratio) return;
    row.of = ratio->of;
    row.ratios.push_back(ratio->value);
  }

  Json to_json() const {
    Json list = Json::array();
    for (const Row& row : rows_) {
      Json json = {{"name", row.name},
                   {"cores", row.cores},
                   {"value", median(row.values)},
                   {"unit", row.unit},
                   {"ratio", nullptr},
                   {"of", nullptr},
                   {"low", nullptr},
                   {"high", nullptr},
                   {"rounds", row.values.size()},
                   {"values", interval(row.values)}};
      if (!row.ratios.empty()) {
        const auto [low, high] = interval(row.ratios);
        json["ratio"] = median(row.ratios);
        json["of"] = row.of;
        json["low"] = low;
        json["high"] = high;
      }
      list.push_back(std::move(json));
    }
    return list;
  }

  void print() const {
    for (const Row& row : rows_) {
      std::printf("%-38s %-3s %12.3f %-8s", row.name.c_str(), row.cores.c_str(), median(row.values),
                  row.unit.c_str());
      if (!row.ratios.empty()) {
        const auto [low, high] = interval(row.ratios);
        std::printf(" %8.3f [%.3f, %.3f] × %s", median(row.ratios), low, high, row.of.c_str());
      }
      std::printf("\n");
    }
  }

 private:
  struct Row {
    std::string name;
    std::string cores;
    std::string unit;
    std::string of;
    std::vector<double> values;
    std::vector<double> ratios;
  };
  std::vector<Row> rows_;  // as they were first measured
};

// --- The program --------------------------------------------------------------------------------------
struct Settings {
  std::string program;
  int rounds = 0;
  std::string out;
  std::string python = "python3";
};

// Reads `[--rounds N] [--out FILE] [--python PROGRAM]`; ends the program where they are wrong.
inline Settings settings_of(int argc, char** argv, const std::string& program, int rounds) {
  Settings settings{.program = program, .rounds = rounds};
  const auto refuse = [&](const std::string& what) {
    std::fprintf(stderr, "%s: %s\nusage: %s [--rounds N] [--out FILE] [--python PROGRAM]\n", program.c_str(),
                 what.c_str(), program.c_str());
    std::exit(2);
  };
  for (int i = 1; i < argc; ++i) {
    const std::string option = argv[i];
    if (option != "--rounds" && option != "--out" && option != "--python") refuse("unknown option " + option);
    if (i + 1 == argc) refuse(option + " takes a value");
    const std::string value = argv[++i];
    if (option == "--out") settings.out = value;
    if (option == "--python") settings.python = value;
    if (option == "--rounds") settings.rounds = std::atoi(value.c_str());
  }
  if (settings.rounds < 1) refuse("--rounds takes a whole number from 1");
  return settings;
}

inline lair::PoolOptions pool_options(const Settings& settings, const std::string& module, std::size_t size) {
  lair::WorkerSpec worker = lair::python(module);
  worker.interpreter = settings.python;
  worker.python_path = {LAIR_BENCH_DIR "/workers"};
  return {.name = "bench", .worker = std::move(worker), .size = size, .max_waiters = 256, .log_level = "off"};
}

// A version manager's script in the interpreter's place takes longer to say which Python it stands for than that
// takes to start: from here on it is called by its real name. Returns its version.
inline std::string resolve_python(Settings& settings) {
  lair::Pool pool(pool_options(settings, "bench_sleep", 1));
  pool.wait_ready();
  settings.python = pool.call<std::string>("interpreter");
  return pool.call<std::string>("version");
}

inline cpu_set_t all_cores() {
  cpu_set_t set;
  ::sched_getaffinity(0, sizeof set, &set);
  return set;
}

inline cpu_set_t one_core(const cpu_set_t& all) {
  cpu_set_t one;
  CPU_ZERO(&one);
  for (int cpu = CPU_SETSIZE - 1; cpu >= 0 && CPU_COUNT(&one) == 0; --cpu) {
    if (CPU_ISSET(cpu, &all)) CPU_SET(cpu, &one);  // the last: interrupts like the first
  }
  return one;
}

// This thread, and with it whatever it starts from here on.
inline void run_on(const cpu_set_t& set) { ::sched_setaffinity(0, sizeof set, &set); }

inline std::size_t usable_cores() {
  const cpu_set_t set = all_cores();
  return static_cast<std::size_t>(CPU_COUNT(&set));
}

inline Json machine_facts(const std::string& python) {
  utsname system{};
  ::uname(&system);
  std::string cpu = "unknown";
  std::ifstream info("/proc/cpuinfo");
  for (std::string line; std::getline(info, line);) {
    if (line.rfind("model name", 0) != 0) continue;
    cpu = line.substr(line.find(':') + 2);
    break;
  }
  std::array<double, 3> load{};
  ::getloadavg(load.data(), 3);
  std::array<char, 16> day{};
  const std::time_t now = std::time(nullptr);
  std::strftime(day.data(), day.size(), "%Y-%m-%d", std::gmtime(&now));
  return {{"date", day.data()},          {"cpu", cpu},       {"cores", usable_cores()},
          {"kernel", system.release},    {"python", python}, {"compiler", "g++ " __VERSION__},
          {"load_at_the_start", load[0]}};
}

inline void tell(const Settings& settings, const std::string& cores, int round) {
  std::fprintf(stderr, "%s: %s, round %d of %d\n", settings.program.c_str(),
               cores == "one" ? "one core" : "all cores", round + 1, settings.rounds);
}

inline int finish(const Settings& settings, const Rows& rows, const Json& machine) {
  rows.print();
  if (settings.out.empty()) return 0;
  std::ofstream file(settings.out);
  file << Json{{"lair", LAIR_VERSION_STRING}, {"machine", machine}, {"rows", rows.to_json()}}.dump(2) << '\n';
  file.flush();
  if (file) return 0;
  std::fprintf(stderr, "%s: can't write %s\n", settings.program.c_str(), settings.out.c_str());
  return 1;
}

// A program of bench/: `measure` adds to the rows, and may add to the machine's facts.
inline int run(int argc, char** argv, const std::string& program, int rounds,
               const std::function<void(const Settings&, Rows&, Json&)>& measure) {
  Settings settings = settings_of(argc, argv, program, rounds);
  try {
    Json machine = machine_facts(resolve_python(settings));
    Rows rows;
    measure(settings, rows, machine);
    return finish(settings, rows, machine);
  } catch (const std::exception& error) {
    std::fprintf(stderr, "%s: %s\n", program.c_str(), error.what());
    return 1;
  }
}

}  // namespace bench
