// What the programs of bench/ share: rounds, rows, the machine's facts.
//
// A row is {name, cores, value, unit, ratio, of, low, high, rounds}. `value` and `ratio` are medians over the rounds;
// what a ratio compares was measured in turn within the same round, so that a machine that is busy for a while slows
// down both. [low, high] holds the ratio's median with 95 % confidence (by order statistics, whatever the
// distribution; the extremes where there are fewer than six rounds).
//
// Thread-safety: one thread.
#pragma once

#include <lair/pool.hpp>
#include <lair/version.hpp>
#include <sched.h>
#include <sys/utsname.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <ctime>
#include <fstream>
#include <functional>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "measured.hpp"

namespace bench {

using namespace std::chrono_literals;
using lair::Json;

// Where the median of what was sampled lies, with 95 % confidence.
inline std::pair<double, double> interval(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  const auto n = static_cast<double>(values.size());
  const double rank = std::floor(n / 2 - 0.98 * std::sqrt(n));  // normal approximation of the binomial
  const std::size_t skipped = n < 6 ? 0 : static_cast<std::size_t>(std::max(rank, 1.0)) - 1;
  return {values[skipped], values[values.size() - 1 - skipped]};
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
