// `lair bench`: one command, called over and over by several threads; how many calls a second, how long they took,
// and what went wrong.
#include <algorithm>
#include <atomic>
#include <condition_variable>
#include <csignal>
#include <cstdio>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <thread>
#include <utility>

#include "../../examples/progress.hpp"
#include "../../examples/worker_file.hpp"
#include "base/duration.hpp"
#include "base/histogram.hpp"
#include "common.hpp"

namespace lair::cli {

namespace {

using namespace std::chrono_literals;

struct BenchArguments {
  std::size_t callers = 0;  // 0: one for each worker
  std::uint64_t calls = 0;
  std::string duration;
  std::string command;
  std::string json_arguments;
  bool as_json = false;
};

// What is to be done, whole and checked.
struct Plan {
  PoolOptions options;
  std::string command;
  Json arguments;
  std::optional<std::uint64_t> calls;
  Duration duration = kForever;
  std::size_t callers = 0;
};

// What the callers have measured. Latencies are those of calls that succeeded: an error may be quicker than any call.
struct Tally {
  struct Failure {
    std::uint64_t count = 0;
    Error first;
  };

  base::Histogram latencies;
  std::mutex mutex;
  std::map<ErrorKind, Failure> failures;  // under the mutex
};

struct Report {
  std::size_t workers = 0;
  std::size_t callers = 0;
  std::string command;
  Duration start{};
  Duration elapsed{};
  bool interrupted = false;
};

// Ctrl-C asks for the report; a second one ends the program at once.
std::atomic<bool> interrupted = false;
static_assert(std::atomic<bool>::is_always_lock_free, "a signal handler writes it");

extern "C" void on_interrupt(int number) {
  interrupted = true;
  std::signal(number, SIG_DFL);
}

Duration duration_of(const BenchArguments& bench) {
  if (bench.duration.empty()) return bench.calls > 0 ? kForever : Duration(5s);
  const Result<Duration> duration = base::parse_duration(bench.duration);
  if (!duration) throw UsageError("--duration: " + duration.error().message);
  if (*duration == Duration::zero())
    throw UsageError("--duration '" + bench.duration + "': nothing would run");
  return *duration;
}

Plan plan_of(WorkerArguments worker, const BenchArguments& bench) {
  Plan plan{.command = bench.command, .duration = duration_of(bench)};
  if (bench.calls > 0) plan.calls = bench.calls;
  if (worker.module.empty() && !worker.argv_given) {
    worker.module = worker_file("echo.py");
    if (plan.command.empty()) plan.command = "echo";
  }
  plan.options = pool_options(worker);
  if (plan.command.empty()) throw UsageError("which command? Give --command NAME");
  plan.arguments = call_arguments(bench.json_arguments);
  plan.options.lazy = false;
  plan.callers = bench.callers;
  // Callers that wait are what is measured here; only a setting of the user's own may turn them away.
  if (plan.options.max_waiters == 0) plan.options.max_waiters = plan.callers;
  return plan;
}

// --- Measuring ----------------------------------------------------------------------------------------
void call_once(Pool& pool, const Plan& plan, Tally& tally) {
  Json arguments = plan.arguments;
  const auto began = SteadyClock::now();
  const Result<Json> result = pool.invoke({}, plan.command, std::move(arguments));
  const Duration took = SteadyClock::now() - began;
  if (result) {
    tally.latencies.add(took);
    return;
  }
  const std::lock_guard lock(tally.mutex);
  Tally::Failure& failure = tally.failures[result.error().kind];
  if (failure.count++ == 0) failure.first = result.error();
}

// The callers, from their start to the last one's end, which is when there is nothing left to call.
class Callers {
 public:
  Callers(Pool& pool, const Plan& plan, Tally& tally)
      : began_(SteadyClock::now()),
        deadline_(Deadline::after(plan.duration, began_)),
        running_(plan.callers) {
    for (std::size_t i = 0; i < plan.callers; ++i) {
      threads_.emplace_back([this, &pool, &plan, &tally] {
        while (!stopped_ && !deadline_.passed() && (!plan.calls || next_++ < *plan.calls)) {
          call_once(pool, plan, tally);
          ++done_;
        }
        const std::lock_guard lock(mutex_);
        ended_ = SteadyClock::now();
        --running_;
        all_ended_.notify_all();
      });
    }
  }
  Callers(const Callers&) = delete;
  Callers& operator=(const Callers&) = delete;
  ~Callers() { stopped_ = true; }  // and joins them

  // True when all have ended, false when `patience` has passed.
  bool wait(Duration patience) {
    std::unique_lock lock(mutex_);
    return all_ended_.wait_for(lock, patience, [this] { return running_ == 0; });
  }

  std::uint64_t done() const { return done_; }
  Duration elapsed() {
    const std::lock_guard lock(mutex_);
    return (running_ == 0 ? ended_ : SteadyClock::now()) - began_;
  }

 private:
  const TimePoint began_;
  const Deadline deadline_;
  std::atomic<bool> stopped_ = false;
  std::atomic<std::uint64_t> next_ = 0;
  std::atomic<std::uint64_t> done_ = 0;
  std::mutex mutex_;
  std::condition_variable all_ended_;
  std::size_t running_;
  TimePoint ended_;
  std::vector<std::jthread> threads_;  // last: they use the others
};

void watch(Callers& callers, const Plan& plan) {
  constexpr Duration kLook = 50ms;  // also how long Ctrl-C may go unnoticed
  const auto in_ms = [](Duration duration) {
    return static_cast<std::size_t>(duration / std::chrono::milliseconds(1));
  };
  std::optional<Progress> progress;  // of something that has an end
  if (plan.calls) {
    progress.emplace("calls", *plan.calls);
  } else if (plan.duration != kForever) {
    progress.emplace("ms", in_ms(plan.duration));
  }
  while (!interrupted && !callers.wait(kLook)) {
    if (progress) progress->show(plan.calls ? callers.done() : in_ms(callers.elapsed()));
  }
}

// --- Reporting ----------------------------------------------------------------------------------------
double seconds(Duration duration) { return std::chrono::duration<double>(duration).count(); }

double rate(std::uint64_t calls, Duration elapsed) {
  return elapsed > Duration::zero() ? static_cast<double>(calls) / seconds(elapsed) : 0;
}

std::string as_json(const Report& report, Tally& tally) {
  const base::Histogram& latencies = tally.latencies;
  const std::uint64_t calls = latencies.count();
  const auto us = [&](Duration duration) {
    return calls == 0 ? Json() : Json(std::chrono::duration<double, std::micro>(duration).count());
  };
  Json errors = Json::object();
  const std::lock_guard lock(tally.mutex);
  for (const auto& [kind, failure] : tally.failures) {
    errors[std::string(to_string(kind))] = {{"count", failure.count}, {"first", to_json(failure.first)}};
  }
  const Json json = {{"workers", report.workers},
                     {"callers", report.callers},
                     {"command", report.command},
                     {"start_s", seconds(report.start)},
                     {"elapsed_s", seconds(report.elapsed)},
                     {"calls", calls},
                     {"calls_per_s", rate(calls, report.elapsed)},
                     {"latency_us",
                      {{"p50", us(latencies.quantile(0.5))},
                       {"p99", us(latencies.quantile(0.99))},
                       {"p999", us(latencies.quantile(0.999))},
                       {"max", us(latencies.max())}}},
                     {"errors", std::move(errors)},
                     {"interrupted", report.interrupted}};
  return json.dump(2, ' ', false, Json::error_handler_t::replace) + '\n';
}

std::string count_of(std::size_t number, const char* thing) {
  return std::to_string(number) + ' ' + thing + (number == 1 ? "" : "s");
}

std::string as_table(const Report& report, Tally& tally) {
  const base::Histogram& latencies = tally.latencies;
  const std::uint64_t calls = latencies.count();
  std::string text = count_of(report.workers, "worker") + ", " + count_of(report.callers, "caller") +
                     ", command " + printable(report.command) +
                     (report.interrupted ? "; interrupted, so this is what there was\n" : "\n");
  const auto row = [&](std::string name, const std::string& value, const std::string& note = "") {
    name.resize(std::max<std::size_t>(name.size(), 20), ' ');
    const std::string padding(value.size() < 12 ? 12 - value.size() : 0, ' ');
    text += "  " + name + ' ' + padding + value + (note.empty() ? "" : "  " + note) + '\n';
  };
  const auto latency = [&](const char* name, Duration duration) {
    row(name, calls == 0 ? "-" : base::format_duration(duration));
  };
  char per_second[32];
  std::snprintf(per_second, sizeof per_second, "%.1f", rate(calls, report.elapsed));

  row("start", base::format_duration(report.start), "until every worker was ready");
  row("calls", std::to_string(calls), "in " + base::format_duration(report.elapsed));
  row("calls/s", per_second);
  latency("latency p50", latencies.quantile(0.5));
  latency("latency p99", latencies.quantile(0.99));
  latency("latency p999", latencies.quantile(0.999));
  latency("latency max", latencies.max());
  const std::lock_guard lock(tally.mutex);
  if (tally.failures.empty()) row("errors", "0");
  for (const auto& [kind, failure] : tally.failures) {
    const std::string& message = failure.first.message;
    row("errors: " + std::string(to_string(kind)), std::to_string(failure.count),
        "the first: " + printable(message.substr(0, message.find('\n'))));
  }
  return text;
}

// Zero where at least one call succeeded; else that of an error, which is then shown in full.
int status_of(Tally& tally, bool worker_output_shown) {
  const std::lock_guard lock(tally.mutex);
  if (tally.latencies.count() > 0 || tally.failures.empty()) return kOk;
  const Error& error = tally.failures.begin()->second.first;
  report("bench", error, worker_output_shown);
  return exit_status(error.kind);
}

int bench(Plan plan, bool json, bool worker_output_shown) {
  const auto fail = [&](const Error& error) {
    if (json)
      print(Json{{"error", to_json(error)}}.dump(2, ' ', false, Json::error_handler_t::replace) + '\n');
    report("bench", error, worker_output_shown);
    return exit_status(error.kind);
  };
  const auto began = SteadyClock::now();
  auto pool = Pool::create(plan.options);
  if (!pool) return fail(pool.error());
  const std::size_t workers = pool->options().size;
  if (auto ready = start(*pool, workers); !ready) return fail(ready.error());
  Report measured{.workers = workers, .command = plan.command, .start = SteadyClock::now() - began};
  if (plan.callers == 0) plan.callers = workers;
  measured.callers = plan.callers;

  // Not where somebody has had it ignored, as a shell does for a job in the background.
  if (std::signal(SIGINT, on_interrupt) == SIG_IGN) std::signal(SIGINT, SIG_IGN);
  Tally tally;
  Callers callers(*pool, plan, tally);
  watch(callers, plan);
  measured.interrupted = interrupted;
  measured.elapsed = callers.elapsed();
  print(json ? as_json(measured, tally) : as_table(measured, tally));
  if (measured.interrupted) {
    // Ended by the signal, as the shell expects of a program that was interrupted (it shows 130). Calls may still be
    // under way; lair-keeper ends their workers.
    std::signal(SIGINT, SIG_DFL);
    std::raise(SIGINT);
  }
  return status_of(tally, worker_output_shown);
}

}  // namespace

void add_bench(CLI::App& program, WorkerArguments& worker, int& status) {
  auto arguments = std::make_shared<BenchArguments>();
  CLI::App* command =
      program.add_subcommand("bench", "Calls one command over and over, and says how long it took");
  command->add_option("--callers", arguments->callers, "Threads that call [as many as workers]")
      ->type_name("N")
      ->check(CLI::Range(1, 1024));
  auto* calls = command->add_option("--calls", arguments->calls, "Ends after so many calls")
                    ->type_name("N")
                    ->check(CLI::PositiveNumber);
  command->add_option("--duration", arguments->duration, "Ends after so long: 500ms, 10s, forever [5s]")
      ->type_name("TIME")
      ->excludes(calls);
  command->add_option("--command", arguments->command, "The command to call: for --module, a function's")
      ->type_name("NAME");
  command
      ->add_option("--args", arguments->json_arguments,
                   "Its arguments: {keywords} or [positions]; - is stdin, @FILE a file")
      ->type_name("JSON");
  add_worker_options(*command, worker);
  command->add_flag("--json", arguments->as_json, "Prints the report as JSON");
  command->footer(R"(Without a worker it calls a function that gives back what it is given (examples/echo.py).
Ctrl-C ends it early; what was measured so far is reported.

Examples:
  lair bench --workers 4 --callers 16
  lair bench --calls 10000 --module textstats --command count_words --args '["to be or not"]'
  lair bench --duration 10s --command ping -- python3 worker.py --worker-id {worker_id})");
  command->callback([&worker, &status, arguments] {
    status = bench(plan_of(worker, *arguments), arguments->as_json, !worker.quiet);
  });
}

}  // namespace lair::cli
