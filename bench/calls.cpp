// What a call costs, beside the floor under it: bare Python loops on a socketpair, without a pool. (Beside other pools:
// peers.cpp.) Each round measures every path once, first pinned to one core (host and workers alike), then on all.
//
//   calls [--rounds N] [--out FILE] [--python PROGRAM]
//
// docs/benchmarks.md says what each row means.
#include <ctime>
#include <deque>
#include <map>
#include <mutex>

#include "harness.hpp"
#include "processes.hpp"

namespace bench {

namespace {

constexpr std::array<std::size_t, 3> kSizes = {1, 2, 4};
constexpr std::array<std::size_t, 3> kCallers = {1, 4, 16};
constexpr std::size_t kCalls = 3000;        // of an empty command, by one caller
constexpr std::size_t kMany = 10'000;       // in one measurement of calls a second
constexpr std::size_t kNapsPerWorker = 60;  // of 1 ms
constexpr double kMicro = 1e6;

std::string script(const std::string& name) { return LAIR_BENCH_DIR "/" + name; }

std::string loops(std::size_t count) {
  return count == 1 ? "bare JSON loop" : std::to_string(count) + " bare JSON loops";
}

// Everything that a round measures, started once: pools and bare loops.
class Rig {
 public:
  Rig(const Settings& settings, std::string cores) : settings_(settings), cores_(std::move(cores)) {
    for (std::size_t i = 0; i < kSizes.back(); ++i) {
      loops_.emplace_back(settings.python, script("workers/bare_json.py"));
    }
    bytes_.emplace_back(settings.python, script("workers/bare_bytes.py"));
    for (const std::size_t size : kSizes) {
      lair::PoolOptions options = pool_options(settings, "bench_sleep", size);
      native_.emplace(size, options).first->second.wait_ready();
      if (size == 1) {
        options.worker.env["LAIR_NATIVE"] = "codec";
        codec_.emplace(size, options).first->second.wait_ready();
      }
      options.worker.env["LAIR_NATIVE"] = "off";
      pools_.emplace(size, options).first->second.wait_ready();
    }
    if (native_.at(1).call<std::string>("codec") == "json") {
      std::fprintf(stderr, "calls: no accelerator for %s, so nothing is measured with it\n",
                   settings.python.c_str());
      native_.clear();
      codec_.clear();
    }
  }

  void measure(Rows& rows) {
    measure_one_caller(rows);
    measure_floats(rows);
    measure_throughput(rows, "empty", kMany);
    measure_throughput(rows, "nap_1ms", 0);
    measure_checkout(rows);
    measure_idle(rows);
    measure_starts(rows);
  }

 private:
  // `threads` bare loops, each with a thread of its own.
  Measured bare(std::size_t threads, const std::string& frame, std::size_t count) {
    return on_threads(threads, count,
                      [&](std::size_t thread, std::size_t) { loops_[thread].exchange(frame); });
  }
  static Measured pooled(lair::Pool& pool, std::size_t callers, bool nap, std::size_t count) {
    return on_threads(callers, count, [&](std::size_t, std::size_t) {
      if (nap) {
        pool.call("nap", 0.001);
      } else {
        pool.call("empty");
      }
    });
  }

  // In short turns, each with a new thread: where the kernel puts it decides more than anything else.
  void measure_one_caller(Rows& rows) {
    constexpr std::size_t kTurns = 10;
    Measured bytes;
    Measured json;
    Measured call;
    Measured codec;
    Measured native;
    Measured typed;
    const auto add = [](Measured& sum, const Measured& turn) {
      sum.latencies.insert(sum.latencies.end(), turn.latencies.begin(), turn.latencies.end());
    };
    for (std::size_t turn = 0; turn < kTurns; ++turn) {
      add(bytes,
          on_threads(1, kCalls / kTurns, [&](std::size_t, std::size_t) { bytes_.front().exchange(empty_); }));
      add(json, bare(1, empty_, kCalls / kTurns));
      add(call, pooled(pools_.at(1), 1, false, kCalls / kTurns));
      if (native_.empty()) continue;
      const auto empty = codec_.at(1).fn<void()>("empty");
      add(codec, on_threads(1, kCalls / kTurns, [&](std::size_t, std::size_t) { empty(); }));
      add(native, pooled(native_.at(1), 1, false, kCalls / kTurns));
      const auto sum = native_.at(1).fn<int(int, int)>("add");
      add(typed, on_threads(1, kCalls / kTurns, [&](std::size_t, std::size_t) { (void)sum(2, 3); }));
    }
    const double json_p50 = median(json.latencies);
    const auto row = [&](const char* name, const Measured& measured) {
      const double p50 = median(measured.latencies);
      rows.add(name, cores_, p50 * kMicro, "us", Ratio{p50 / json_p50, "bare JSON loop"});
    };
    row("p50_bare_bytes", bytes);
    row("p50_bare_json", json);
    row("p50_call", call);
    if (!native_.empty()) {
      row("p50_codec", codec);
      row("p50_native", native);
      const double native_p50 = median(native.latencies);
      rows.add("p50_native_to_bytes", cores_, native_p50 * kMicro, "us",
               Ratio{native_p50 / median(bytes.latencies), "bare loop of raw bytes"});
      const double typed_p50 = median(typed.latencies);
      rows.add("p50_typed", cores_, typed_p50 * kMicro, "us",
               Ratio{typed_p50 / median(bytes.latencies), "bare loop of raw bytes"});
    }
    const double p99 = quantile(call.latencies, 0.99);
    rows.add("p99_call", cores_, p99 * kMicro, "us",
             Ratio{p99 / quantile(json.latencies, 0.99), "bare JSON loop's p99"});
  }

  // Ten thousand of them, as values, to the worker and back.
  void measure_floats(Rows& rows) {
    constexpr std::size_t kTimes = 100;
    std::vector<double> floats(10'000);
    for (std::size_t i = 0; i < floats.size(); ++i) floats[i] = std::sqrt(static_cast<double>(i));
    const auto there_and_back = [&](lair::Pool& pool) {
      const auto same = pool.fn<std::vector<double>(std::vector<double>)>("same");
      return median(on_threads(1, kTimes, [&](std::size_t, std::size_t) { (void)same(floats); }).latencies);
    };
    const double plain = there_and_back(pools_.at(1));
    rows.add("floats_10k", cores_, plain * kMicro, "us");
    if (native_.empty()) return;
    const double native = there_and_back(native_.at(1));
    rows.add("floats_10k_native", cores_, native * kMicro, "us",
             Ratio{plain / native, "the same without the accelerator (times as fast)"});
  }

  // Calls a second, beside as many bare loops as there can be calls at once.
  void measure_throughput(Rows& rows, const std::string& work, std::size_t calls) {
    const bool nap = calls == 0;
    std::map<std::size_t, double> floors;
    for (const std::size_t size : kSizes) {
      const Measured floor = bare(size, nap ? nap_ : empty_, nap ? kNapsPerWorker * size : calls);
      floors[size] = floor.per_second();
      rows.add(
          work + "_bare_" + std::to_string(size), cores_, floor.per_second(), "calls/s",
          Ratio{floor.per_second() / (static_cast<double>(size) * floors[1]), "N times one bare JSON loop"});
    }
    for (const std::size_t size : kSizes) {
      for (const std::size_t callers : kCallers) {
        const std::size_t at_once = std::min(size, callers);
        const Measured measured =
            pooled(pools_.at(size), callers, nap, nap ? kNapsPerWorker * at_once : calls);
        const double rate = measured.per_second();
        rows.add(work + "_callers_" + std::to_string(callers) + "_workers_" + std::to_string(size), cores_,
                 rate, "calls/s", Ratio{rate / floors[at_once], loops(at_once)});
      }
      if (nap || native_.empty()) continue;
      const auto empty = native_.at(size).fn<void()>("empty");
      const double rate = on_threads(size, calls, [&](std::size_t, std::size_t) { empty(); }).per_second();
      rows.add("empty_native_" + std::to_string(size), cores_, rate, "calls/s",
               Ratio{rate / floors[size], loops(size)});
    }
  }

  void measure_checkout(Rows& rows) {
    constexpr int kTimes = 20'000;
    lair::Pool& pool = pools_.at(4);
    const double pair = seconds_of([&] {
                          for (int i = 0; i < kTimes; ++i) pool.checkout().release();
                        }) /
                        kTimes;
    std::mutex mutex;
    const double locks = seconds_of([&] {
                           for (int i = 0; i < 2 * kTimes; ++i) const std::lock_guard lock(mutex);
                         }) /
                         kTimes;
    rows.add("checkout_checkin", cores_, pair * kMicro, "us",
             Ratio{pair / locks, "two locks of a free std::mutex"});
  }

  // Nanoseconds on a CPU so far.
  static double cpu_time_of(int pid) {
    std::ifstream file("/proc/" + std::to_string(pid) + "/schedstat");
    double nanoseconds = 0;
    file >> nanoseconds;
    return nanoseconds;
  }

  // The host (its three pools), and of the pool of four its keeper and workers.
  void measure_idle(Rows& rows) {
    std::vector<int> pids;
    for (const lair::WorkerStats& worker : pools_.at(4).stats().workers) pids.push_back(worker.pid);
    std::ifstream stat("/proc/" + std::to_string(pids.front()) + "/stat");
    std::string text;
    std::getline(stat, text);
    std::istringstream after_name(text.substr(text.rfind(')') + 1));
    std::string state;
    int keeper = 0;
    after_name >> state >> keeper;
    pids.push_back(keeper);

    const auto used = [&] {
      timespec own{};
      ::clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &own);
      double nanoseconds = static_cast<double>(own.tv_sec) * 1e9 + static_cast<double>(own.tv_nsec);
      for (const int pid : pids) nanoseconds += cpu_time_of(pid);
      return nanoseconds;
    };
    const double before = used();
    const double seconds = seconds_of([] { std::this_thread::sleep_for(500ms); });
    rows.add("idle_pool_of_4", cores_, (used() - before) / (seconds * 1e9) * 100, "% of a CPU");
  }

  void measure_starts(Rows& rows) {
    for (const std::size_t count : {std::size_t{1}, std::size_t{16}}) {
      const double bare_seconds = seconds_of([&] {
        std::deque<BareLoop> loops;
        for (std::size_t i = 0; i < count; ++i)
          loops.emplace_back(settings_.python, script("workers/bare_json.py"));
        for (BareLoop& loop : loops) loop.exchange(empty_);
      });
      std::optional<lair::Pool> pool;
      const double seconds = seconds_of([&] {
        pool.emplace(pool_options(settings_, "bench_sleep", count));
        pool->wait_ready();
      });
      rows.add("start_" + std::to_string(count), cores_, seconds * 1e3, "ms",
               Ratio{seconds / bare_seconds, loops(count) + ", to the first reply"});
    }
  }

  const Settings& settings_;
  const std::string cores_;
  const std::string empty_ = framed(R"([1,1234,1,"empty",[],{"ms":59999}])");
  const std::string nap_ = framed(R"([1,1234,1,"nap",[0.001],{"ms":59999}])");
  std::deque<BareLoop> loops_;
  std::deque<BareLoop> bytes_;
  std::map<std::size_t, lair::Pool> pools_;   // without the accelerator
  std::map<std::size_t, lair::Pool> native_;  // with it, if there is one
  std::map<std::size_t, lair::Pool> codec_;   // with its codec alone
};

void measure(const Settings& settings, Rows& rows, Json&) {
  const cpu_set_t all = all_cores();
  for (const std::string cores : {"one", "all"}) {
    run_on(cores == "one" ? one_core(all) : all);
    Rig rig(settings, cores);
    Rows warm_up;
    rig.measure(warm_up);
    for (int round = 0; round < settings.rounds; ++round) {
      tell(settings, cores, round);
      rig.measure(rows);
    }
  }
}

}  // namespace

}  // namespace bench

int main(int argc, char** argv) { return bench::run(argc, argv, "calls", 20, bench::measure); }
