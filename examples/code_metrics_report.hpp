// What code_metrics measures, and how it shows it: as text for people, as JSON for programs.
#pragma once

#include <lair/error.hpp>
#include <lair/json.hpp>
#include <lair/stats.hpp>

#include <algorithm>
#include <cstdio>
#include <optional>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

namespace code_metrics {

// What the commands of code_metrics.py return; nlohmann::json fills the members by name.
struct Library {
  std::string python, root;
  std::vector<std::string> files;
};
NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE(Library, python, root, files)

struct Function {
  std::string name, file;
  int line = 0, complexity = 0;
};
NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE(Function, name, file, line, complexity)

struct FileMetrics {
  int lines = 0, classes = 0, functions = 0;
  std::vector<Function> most_complex;
};
NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE(FileMetrics, lines, classes, functions, most_complex)

// One run over all files.
struct Run {
  struct Again {
    lair::WorkerIdentity lost;
    std::string file;
  };

  std::size_t workers = 0;
  double seconds = 0;
  std::vector<FileMetrics> metrics = {};
  std::vector<lair::Error> refused = {};
  std::optional<lair::WorkerStats> killed = {};
  std::vector<Again> measured_again = {};

  double files_per_second() const {
    return static_cast<double>(metrics.size() + refused.size()) / std::max(seconds, 1e-9);
  }
};

inline std::string count(std::size_t number, const std::string& what) {
  return std::to_string(number) + ' ' + what + (number == 1 ? "" : "s");
}

inline std::string identity(std::uint32_t slot, std::uint64_t generation, int pid) {
  return "worker " + std::to_string(slot) + '.' + std::to_string(generation) + " (pid " +
         std::to_string(pid) + ")";
}

inline std::string within(const Library& library, const std::string& file) {
  return file.starts_with(library.root + "/") ? file.substr(library.root.size() + 1) : file;
}

inline std::vector<Function> most_complex(const Run& run, std::size_t most = 10) {
  std::vector<Function> all;
  for (const FileMetrics& file : run.metrics) {
    all.insert(all.end(), file.most_complex.begin(), file.most_complex.end());
  }
  std::sort(all.begin(), all.end(), [](const Function& a, const Function& b) {
    return std::tie(b.complexity, a.file, a.line) < std::tie(a.complexity, b.file, b.line);
  });
  all.resize(std::min(all.size(), most));
  return all;
}

inline FileMetrics total(const Run& run) {
  FileMetrics sum;
  for (const FileMetrics& file : run.metrics) {
    sum.lines += file.lines;
    sum.classes += file.classes;
    sum.functions += file.functions;
  }
  return sum;
}

// --- For people ---------------------------------------------------------------------------------------
template <class... Values>
std::string formatted(const char* format, Values... values) {
  char line[512];
  std::snprintf(line, sizeof line, format, values...);
  return line;
}

inline std::string speed_line(const Run& run) {
  return formatted("%-12s %7.1f s %8.0f files/s", (count(run.workers, "worker") + ":").c_str(), run.seconds,
                   run.files_per_second());
}

inline std::string kill_line(const Library& library, const Run& run) {
  std::string text;
  for (const Run::Again& again : run.measured_again) {
    text += identity(again.lost.slot, again.lost.generation, again.lost.pid) + " was killed: its file, " +
            within(library, again.file) + ", was parsed again by another\n";
  }
  if (!text.empty()) return text;
  if (!run.killed) return "too few files to kill a worker in the middle\n";
  return identity(run.killed->slot, run.killed->generation, run.killed->pid) +
         " was killed just between two files: nothing was lost\n";
}

inline std::string to_text(const Library& library, const Run& by_one, const Run& by_team) {
  const FileMetrics sum = total(by_team);
  std::string text = "Python " + library.python + ": " + count(library.files.size(), "file") + " in " +
                     library.root + "\n\n";
  text += speed_line(by_one) + '\n';
  text += speed_line(by_team) + formatted("   %.2f times as fast\n", by_one.seconds / by_team.seconds);
  text += kill_line(library, by_team);
  text += formatted("\n%d functions, %d classes, %d lines", sum.functions, sum.classes, sum.lines);
  if (!by_team.refused.empty()) text += "; not parsed: " + count(by_team.refused.size(), "file");
  text +=
      "\nThe most complex functions:\n\n  complexity  function                                     where\n";
  for (const Function& function : most_complex(by_team)) {
    text += formatted("  %10d  %-44s ", function.complexity, function.name.c_str()) +
            within(library, function.file) + ':' + std::to_string(function.line) + '\n';
  }
  return text;
}

// --- For programs -------------------------------------------------------------------------------------
inline lair::Json run_json(const Run& run) {
  return {{"workers", run.workers}, {"seconds", run.seconds}, {"files_per_second", run.files_per_second()}};
}

inline lair::Json to_json(const Library& library, const Run& by_one, const Run& by_team) {
  lair::Json again = lair::Json::array();
  for (const Run::Again& each : by_team.measured_again) {
    again.push_back({{"slot", each.lost.slot},
                     {"generation", each.lost.generation},
                     {"pid", each.lost.pid},
                     {"file", each.file}});
  }
  lair::Json killed;  // null: none
  if (const auto& worker = by_team.killed) {
    killed = {{"slot", worker->slot}, {"generation", worker->generation}, {"pid", worker->pid}};
  }
  lair::Json refused = lair::Json::array();
  for (const lair::Error& error : by_team.refused) refused.push_back(error.message);

  const FileMetrics sum = total(by_team);
  return {{"python", library.python},
          {"root", library.root},
          {"files", library.files.size()},
          {"not_parsed", std::move(refused)},
          {"lines", sum.lines},
          {"classes", sum.classes},
          {"functions", sum.functions},
          {"most_complex", most_complex(by_team)},
          {"runs", {run_json(by_one), run_json(by_team)}},
          {"speed_up", by_one.seconds / by_team.seconds},
          {"killed", std::move(killed)},
          {"measured_again", std::move(again)}};
}

}  // namespace code_metrics
