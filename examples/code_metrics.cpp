// Finds the most complex functions of Python's standard library: every file is parsed by Python workers, first by
// one, then by one for each core, and one of those is killed on the way. `lair demo` is this program.
#include <lair/pool.hpp>

#include <atomic>
#include <chrono>
#include <csignal>
#include <iostream>
#include <mutex>
#include <optional>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "code_metrics_report.hpp"
#include "progress.hpp"
#include "worker_file.hpp"

namespace code_metrics {

// Sends SIGKILL to a worker that is in the middle of a call, as the out-of-memory killer might.
std::optional<lair::WorkerStats> kill_a_busy_worker(const lair::Pool& pool) {
  const lair::PoolStats stats = pool.stats();
  for (const lair::WorkerStats& worker : stats.workers) {
    if (worker.state == lair::SlotState::kBusy && kill(worker.pid, SIGKILL) == 0) return worker;
  }
  return std::nullopt;
}

// Measures all files, as many at once as the pool has workers.
Run measure(lair::Pool& pool, const std::vector<std::string>& files, bool kill_one) {
  Run run{.workers = pool.options().size};
  std::mutex run_mutex;
  std::atomic<std::size_t> next = 0;
  std::atomic<std::size_t> done = 0;

  const auto measure_files = [&] {
    for (std::size_t i = next++; i < files.size(); i = next++) {
      auto metrics = pool.try_call<FileMetrics>("measure_file", files[i]);
      std::optional<lair::WorkerIdentity> lost;
      if (!metrics && metrics.error().kind == lair::ErrorKind::kWorkerLost) {
        // The call may have run, so Lair does not repeat it. Measuring twice does no harm, so we do.
        lost = metrics.error().worker;
        metrics = pool.try_call<FileMetrics>("measure_file", files[i]);
      }
      const std::lock_guard lock(run_mutex);
      if (lost) run.measured_again.push_back({*lost, files[i]});
      if (metrics) {
        run.metrics.push_back(*std::move(metrics));
      } else {
        run.refused.push_back(metrics.error());  // not Python: the library's tests have such files
      }
      ++done;
    }
  };

  const auto started = lair::SteadyClock::now();
  std::vector<std::jthread> callers;
  while (callers.size() < run.workers) callers.emplace_back(measure_files);
  for (Progress progress(count(run.workers, "worker"), files.size()); done < files.size();) {
    progress.show(done);
    const bool kill_now = kill_one && !run.killed && done > files.size() / 2;
    if (kill_now) run.killed = kill_a_busy_worker(pool);
    std::this_thread::sleep_for(std::chrono::milliseconds(kill_now ? 1 : 20));  // a call takes a few
  }
  callers.clear();  // joins them
  run.seconds = std::chrono::duration<double>(lair::SteadyClock::now() - started).count();
  return run;
}

// `most_files` 0: all.
int run(int most_files, bool json) {
  const lair::WorkerSpec worker = lair::python(worker_file("code_metrics.py"));
  lair::Pool alone{{.name = "alone", .worker = worker, .size = 1, .log_level = "off"}};
  lair::Pool team{{.name = "team", .worker = worker, .log_level = "off"}};  // size: one for each core
  alone.wait_ready();
  team.wait_ready();

  const auto library = alone.call<Library>("list_files", most_files);
  const Run by_one = measure(alone, library.files, false);
  const Run by_team = measure(team, library.files, true);

  std::cout << (json ? to_json(library, by_one, by_team).dump(2) + "\n" : to_text(library, by_one, by_team));
  return 0;
}

}  // namespace code_metrics

#ifndef LAIR_DEMO  // which has a main of its own
int main() {
  try {
    return code_metrics::run(0, false);
  } catch (const lair::CallError& error) {
    std::cerr << error.what() << '\n';
    return 1;
  }
}
#endif
