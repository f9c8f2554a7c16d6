// DSPy programs on pools, beside bare DSPy in as many processes: many at a time over a language model that takes 200 ms, one at a
// time for each worker, and over one that answers at once, where only what Lair adds is left.
//
//   dspy [--rounds N] [--out FILE] [--python PROGRAM]      the interpreter must have DSPy
#include <algorithm>
#include <atomic>
#include <latch>
#include <memory>
#include <sstream>
#include <stdexcept>

#include "harness.hpp"
#include "language_model.hpp"

namespace bench {

namespace {

constexpr const char* kAllCores = "all";
constexpr double kThinks = 0.2;  // seconds, as long as a quick language model
constexpr double kMilli = 1e3;

// A model whose price DSPy knows: for others it searches its whole list, twice for each answer.
lair::Json lm_settings(const LanguageModel& lm) {
  return {{"model", "openai/gpt-4o-mini"}, {"api_base", lm.url()}, {"api_key", "sk-bench"}, {"cache", false}};
}

// --- Lair ---------------------------------------------------------------------------------------------

// A pool with so many sessions, each of which has a program and a language model.
class Programs {
 public:
  Programs(const Settings& settings, const LanguageModel& lm, std::size_t workers, std::size_t concurrency,
           std::size_t sessions)
      : pool_(options_of(settings, workers, concurrency)) {
    pool_.wait_ready();
    for (std::size_t i = 0; i < sessions; ++i) {
      lair::Session session = pool_.session("user-" + std::to_string(i));
      session.call("configure_lm", lair::kwargs(lm_settings(lm)));
      session.call("create_program", lair::kwargs{{"id", "qa"}, {"signature", "question -> answer"}});
      sessions_.push_back(std::move(session));
    }
    const Json made =
        pool_.call("create_program", lair::kwargs{{"id", "qa"}, {"signature", "question -> answer"}});
    loose_ = {{"program_id", "qa"}, {"program_data", made.at("program_data")}, {"lm", lm_settings(lm)}};
  }

  // As the next, without sessions: program and language model come with each call, and nobody counts it.
  double seconds_of_loose_turns(std::size_t threads, std::size_t turns) {
    return on_threads(threads, threads,
                      [&](std::size_t, std::size_t) {
                        for (std::size_t turn = 0; turn < turns; ++turn) {
                          Json asked = loose_;
                          asked["inputs"] = question(turn);
                          check(pool_.invoke({}, kCommand, std::move(asked)));
                        }
                      })
        .seconds;
  }

  // A command that does nothing, without a session: what a call by itself costs.
  double seconds_of_pings(std::size_t threads, std::size_t turns) {
    return on_threads(threads, threads,
                      [&](std::size_t, std::size_t) {
                        for (std::size_t turn = 0; turn < turns; ++turn) {
                          const auto pong = pool_.invoke({}, "ping", Json::object());
                          if (!pong) throw std::runtime_error(pong.error().report());
                        }
                      })
        .seconds;
  }

  // Each of the first sessions runs `turns` executions, one after another, from a thread of its own.
  double seconds_of_turns(std::size_t sessions, std::size_t turns) {
    return on_threads(sessions, sessions,
                      [&](std::size_t, std::size_t i) {
                        for (std::size_t turn = 0; turn < turns; ++turn)
                          check(sessions_[i].invoke({}, kCommand, run(turn)));
                      })
        .seconds;
  }

  // Processor time of all workers.
  double cpu() const {
    double sum = 0;
    for (const lair::WorkerStats& worker : pool_.stats().workers) {
      if (worker.pid > 0) sum += cpu_seconds(worker.pid);
    }
    return sum;
  }

  // One execution of each session, all at once, from one thread.
  double seconds_of_wave() {
    std::latch done(static_cast<std::ptrdiff_t>(sessions_.size()));
    std::atomic<int> failed = 0;
    const double seconds = seconds_of([&] {
      std::size_t i = 0;
      for (lair::Session& session : sessions_) {
        session.start({}, kCommand, run(i++), [&](const lair::Result<Json>& result) {
          if (!result) ++failed;
          done.count_down();
        });
      }
      done.wait();
    });
    if (failed > 0) throw std::runtime_error(std::to_string(failed) + " executions failed");
    return seconds;
  }

 private:
  static constexpr const char* kCommand = "execute_program";

  static lair::PoolOptions options_of(const Settings& settings, std::size_t workers,
                                      std::size_t concurrency) {
    lair::PoolOptions options = pool_options(settings, "lair_dspy", workers);
    options.concurrency = concurrency;
    options.start_timeout = 5min;
    options.worker.start = "fork";  // DSPy is imported once for each pool, and not once for each worker
    options.worker.preload = {"lair_dspy"};
    return options;
  }
  static Json run(std::size_t i) { return {{"program_id", "qa"}, {"inputs", question(i)}}; }
  static Json question(std::size_t i) { return {{"question", "What is " + std::to_string(i) + "?"}}; }
  static void check(const lair::Result<Json>& result) {
    if (!result) throw std::runtime_error(result.error().report());
    if (result->at("outputs").at("answer") != "something")
      throw std::runtime_error("answered " + result->dump());
  }

  lair::Pool pool_;
  std::vector<lair::Session> sessions_;
  Json loose_;
};

// --- Bare DSPy ----------------------------------------------------------------------------------------

class BareProcesses {
 public:
  BareProcesses(const Settings& settings, const LanguageModel& lm, std::size_t count) {
    for (std::size_t i = 0; i < count; ++i) {
      processes_.emplace_back(
          std::vector<std::string>{settings.python, LAIR_BENCH_DIR "/peers/bare_dspy.py", lm.url()});
    }
    for (Program& process : processes_) {
      const std::string said = process.line();
      if (said.rfind("ready ", 0) != 0) throw std::runtime_error("bare DSPy says: " + said);
      version_ = said.substr(6);
    }
  }

  const std::string& version() const { return version_; }

  // Processor time of the first `processes`.
  double cpu(std::size_t processes) const {
    double sum = 0;
    for (std::size_t i = 0; i < processes; ++i) sum += cpu_seconds(processes_[i].pid());
    return sum;
  }

  // Each of the first `processes` runs so many, `concurrency` at a time; all of them at once.
  double seconds(std::size_t processes, std::size_t count, std::size_t concurrency) {
    const std::string order = std::to_string(count) + ' ' + std::to_string(concurrency) + '\n';
    return seconds_of([&] {
      for (std::size_t i = 0; i < processes; ++i) processes_[i].write(order);
      for (std::size_t i = 0; i < processes; ++i) {
        if (processes_[i].line() != "done") throw std::runtime_error("bare DSPy has failed");
      }
    });
  }

 private:
  std::vector<Program> processes_;
  std::string version_;
};

// --- What is measured ---------------------------------------------------------------------------------

class Measurements {
 public:
  explicit Measurements(const Settings& settings)
      : settings_(settings),
        lm_("python3"),
        bare_(settings, lm_, kMost),
        wave_(settings, lm_, kMost, 16, 64) {
    for (const std::size_t workers : {std::size_t{1}, std::size_t{2}, std::size_t{4}}) {
      by_workers_.push_back({.workers = workers,
                             .for_two = std::make_unique<Programs>(settings, lm_, workers, 1, 2 * workers),
                             .for_one = std::make_unique<Programs>(settings, lm_, workers, 1, workers)});
    }
  }

  const std::string& dspy_version() const { return bare_.version(); }

  void measure(Rows& rows, int round) {
    const bool bare_first = round % 2 == 0;
    lm_.set_latency(kThinks);
    measure_wave(rows, bare_first);
    measure_scaling(rows);
    lm_.set_latency(0);
    measure_overhead(rows, bare_first);
    measure_language_model(rows);
  }

 private:
  static constexpr std::size_t kMost = 4;

  struct Sized {
    std::size_t workers;
    std::unique_ptr<Programs> for_two;  // sessions for each worker
    std::unique_ptr<Programs> for_one;
  };

  // Both in turn, now the one and now the other first.
  template <class One, class Other>
  static std::pair<double, double> in_turn(bool first, One one, Other other) {
    double a = 0;
    if (first) a = one();
    const double b = other();
    if (!first) a = one();
    return {a, b};
  }

  void measure_wave(Rows& rows, bool bare_first) {
    const double before = lm_.cpu_seconds();
    const auto [bare, lair] = in_turn(
        bare_first, [&] { return bare_.seconds(kMost, 16, 16); }, [&] { return wave_.seconds_of_wave(); });
    rows.add("wave_64_bare", kAllCores, kMilli * bare, "ms");
    rows.add("wave_64", kAllCores, kMilli * lair, "ms", Ratio{lair / bare, "4 bare DSPy processes"});
    rows.add("wave_64_lm_busy", kAllCores, 100 * (lm_.cpu_seconds() - before) / (bare + lair), "% of a CPU");
  }

  void measure_scaling(Rows& rows) {
    double of_one = 0;
    for (const Sized& each : by_workers_) {
      constexpr std::size_t kTurns = 5;
      const double seconds = each.for_two->seconds_of_turns(2 * each.workers, kTurns);
      const double rate = static_cast<double>(2 * each.workers * kTurns) / seconds;
      if (each.workers == 1) of_one = rate;
      rows.add("lm_200ms_workers_" + std::to_string(each.workers), kAllCores, rate, "runs/s",
               Ratio{rate / (of_one * static_cast<double>(each.workers)), "N times one worker"});
    }
  }

  // Seconds, and processor time of the workers, or of the processes in their place.
  struct Spent {
    double seconds = 0;
    double cpu = 0;
  };
  template <class Cpu, class Run>
  static Spent spent(Cpu cpu, Run run) {
    const double before = cpu();
    const double seconds = run();
    return {seconds, cpu() - before};
  }

  // In slices, each of all three in turn: what else happens on the machine hits them alike.
  void measure_overhead(Rows& rows, bool bare_first) {
    for (const Sized& each : by_workers_) {
      constexpr std::size_t kSlices = 5;
      constexpr std::size_t kTurns = 40;
      const auto runs = static_cast<double>(each.workers * kTurns * kSlices);
      const double before = lm_.cpu_seconds();
      Spent bare;
      Spent session;
      Spent loose;
      Spent ping;
      const auto add = [](Spent& to, const Spent& more) {
        to.seconds += more.seconds;
        to.cpu += more.cpu;
      };
      const auto of_workers = [&] { return each.for_one->cpu(); };
      for (std::size_t slice = 0; slice < kSlices; ++slice) {
        const auto run_bare = [&] {
          add(bare, spent([&] { return bare_.cpu(each.workers); },
                          [&] { return bare_.seconds(each.workers, kTurns, 1); }));
        };
        const auto run_lair = [&] {
          add(session,
              spent(of_workers, [&] { return each.for_one->seconds_of_turns(each.workers, kTurns); }));
          add(loose,
              spent(of_workers, [&] { return each.for_one->seconds_of_loose_turns(each.workers, kTurns); }));
        };
        add(ping, spent(of_workers, [&] { return each.for_one->seconds_of_pings(each.workers, kTurns); }));
        const bool first = (slice % 2 == 0) == bare_first;
        if (first) run_bare();
        run_lair();
        if (!first) run_bare();
      }
      const std::string suffix = "_workers_" + std::to_string(each.workers);
      const std::string of = "as many bare DSPy processes";
      rows.add("lm_0ms_bare" + suffix, kAllCores, runs / bare.seconds, "runs/s");
      rows.add("lm_0ms" + suffix, kAllCores, runs / session.seconds, "runs/s",
               Ratio{bare.seconds / session.seconds, of});
      rows.add("lm_0ms_loose" + suffix, kAllCores, runs / loose.seconds, "runs/s",
               Ratio{bare.seconds / loose.seconds, of});
      rows.add("lm_0ms_cpu" + suffix, kAllCores, kMilli * session.cpu / runs, "ms",
               Ratio{session.cpu / bare.cpu, of});
      rows.add("lm_0ms_cpu_loose" + suffix, kAllCores, kMilli * loose.cpu / runs, "ms",
               Ratio{loose.cpu / bare.cpu, of});
      rows.add("ping_cpu" + suffix, kAllCores, kMilli * ping.cpu / runs, "ms",
               Ratio{ping.cpu / bare.cpu, of});
      const double all = bare.seconds + session.seconds + loose.seconds;
      rows.add("lm_0ms_busy" + suffix, kAllCores, 100 * (lm_.cpu_seconds() - before) / all, "% of a CPU");
    }
  }

  // How much the language model itself can do, asked by those who do nothing else.
  void measure_language_model(Rows& rows) {
    constexpr std::size_t kQuestions = 2000;
    const std::string question = LanguageModel::question();
    std::vector<std::unique_ptr<HttpConnection>> connections;
    for (std::size_t i = 0; i < kMost; ++i)
      connections.push_back(std::make_unique<HttpConnection>(lm_.port()));
    const Measured alone = on_threads(kMost, kQuestions, [&](std::size_t thread, std::size_t) {
      connections[thread]->post(LanguageModel::kPath, question);
    });
    rows.add("lm_alone", kAllCores, alone.per_second(), "answers/s");
  }

  const Settings& settings_;
  LanguageModel lm_;
  BareProcesses bare_;
  Programs wave_;
  std::vector<Sized> by_workers_;
};

void measure(const Settings& settings, Rows& rows, Json& machine) {
  Measurements measurements(settings);
  machine["dspy"] = measurements.dspy_version();
  Rows warm_up;
  for (int round = 0; round < 2; ++round) measurements.measure(warm_up, round);
  for (int round = 0; round < settings.rounds; ++round) {
    tell(settings, kAllCores, round);
    measurements.measure(rows, round);
  }
}

}  // namespace

}  // namespace bench

int main(int argc, char** argv) { return bench::run(argc, argv, "dspy", 10, bench::measure); }
