// What sessions cost: their calls beside anonymous ones, sessions by themselves, their store; and how often a session finds
// the worker that it had before.
//
//   sessions [--rounds N] [--out FILE] [--python PROGRAM]
#include <malloc.h>
#include <unistd.h>

#include <atomic>
#include <filesystem>
#include <latch>
#include <map>
#include <random>
#include <stdexcept>
#include <thread>

#include "harness.hpp"

namespace bench {

namespace {

constexpr const char* kAllCores = "all";
constexpr double kMicro = 1e6;

// Long enough not to fit into the string object itself.
std::string id_of(std::size_t number) { return "a user of the program, " + std::to_string(number); }

// --- Calls --------------------------------------------------------------------------------------------

// One caller, one worker, calls of each kind in turn; then four of both, each caller with a session of its own.
class Calls {
 public:
  Calls(const Settings& settings, std::string cores)
      : cores_(std::move(cores)),
        one_(pool_options(settings, "bench_sessions", 1)),
        four_(pool_options(settings, "bench_sessions", kFour)) {
    one_.wait_ready();
    four_.wait_ready();
  }

  void measure(Rows& rows) {
    measure_latency(rows);
    measure_throughput(rows);
  }

 private:
  static constexpr std::size_t kFour = 4;

  void measure_latency(Rows& rows) {
    constexpr int kCalls = 3000;
    lair::Session prefer = one_.session("prefer");
    lair::Session strict = one_.session("strict", {.affinity = lair::Affinity::kStrict});
    std::vector<double> plain;
    std::vector<double> preferring;
    std::vector<double> bound;
    for (int i = 0; i < kCalls; ++i) {
      plain.push_back(seconds_of([&] { one_.call("empty"); }));
      preferring.push_back(seconds_of([&] { prefer.call("empty"); }));
      bound.push_back(seconds_of([&] { strict.call("empty"); }));
    }
    const double base = median(plain);
    rows.add("p50_anonymous", cores_, kMicro * base, "us");
    rows.add("p50_prefer", cores_, kMicro * median(preferring), "us",
             Ratio{median(preferring) / base, "an anonymous call"});
    rows.add("p50_strict", cores_, kMicro * median(bound), "us",
             Ratio{median(bound) / base, "an anonymous call"});
  }

  void measure_throughput(Rows& rows) {
    constexpr std::size_t kCalls = 6000;
    const auto rate = [&](std::vector<lair::Endpoint*> endpoints) {
      return on_threads(kFour, kCalls,
                        [&](std::size_t thread, std::size_t) { endpoints[thread]->call("empty"); })
          .per_second();
    };
    const auto rate_of_sessions = [&](lair::Affinity affinity) {
      std::vector<lair::Session> sessions;
      std::vector<lair::Endpoint*> endpoints;
      for (std::size_t i = 0; i < kFour; ++i) {
        sessions.push_back(four_.session(to_string(affinity) + std::to_string(i), {.affinity = affinity}));
      }
      for (lair::Session& session : sessions) endpoints.push_back(&session);
      return rate(endpoints);
    };
    const double base = rate(std::vector<lair::Endpoint*>(kFour, &four_));
    rows.add("empty_4_4_anonymous", cores_, base, "calls/s");
    for (const auto affinity : {lair::Affinity::kPrefer, lair::Affinity::kStrict}) {
      const double value = rate_of_sessions(affinity);
      rows.add(std::string("empty_4_4_") + to_string(affinity), cores_, value, "calls/s",
               Ratio{value / base, "anonymous calls"});
    }
  }

  const std::string cores_;
  lair::Pool one_;
  lair::Pool four_;
};

// --- Sessions by themselves -----------------------------------------------------------------------------

double heap() {
  const auto info = ::mallinfo2();
  return static_cast<double>(info.uordblks + info.hblkhd);
}

void measure_many(const Settings& settings, Rows& rows) {
  constexpr std::size_t kSessions = 10'000;
  constexpr std::size_t kTimes = 10;
  lair::Pool pool(pool_options(settings, "bench_sessions", 1));
  pool.wait_ready();
  (void)pool.session("what all of them share is there now").call("empty");
  std::vector<std::string> ids;
  for (std::size_t i = 0; i < kSessions; ++i) ids.push_back(id_of(i));

  const double before = heap();
  const double created = seconds_of([&] {
    for (const std::string& id : ids) (void)pool.session(id);
  });
  const double open = heap();

  // In any order; who asks has the id at hand.
  std::vector<std::string> asked(ids);
  std::shuffle(asked.begin(), asked.end(), std::mt19937_64(1));
  asked = std::vector<std::string>(asked.begin(), asked.end());
  const double found = seconds_of([&] {
    for (std::size_t i = 0; i < kTimes; ++i) {
      for (const std::string& id : asked) (void)pool.session(id);
    }
  });

  for (const std::string& id : ids) pool.session(id).call("empty");
  const double used = heap();
  rows.add("session_create", kAllCores, kMicro * created / kSessions, "us");
  rows.add("session_lookup", kAllCores, kMicro * found / (kSessions * kTimes), "us");
  rows.add("session_memory", kAllCores, (open - before) / kSessions, "bytes");
  rows.add("session_memory_used", kAllCores, (used - before) / kSessions, "bytes");
}

// --- Affinity -------------------------------------------------------------------------------------------

// Calls of 5 ms come at random times, from sessions picked at random, whether those before have ended or not.
class Arrivals {
 public:
  Arrivals(const Settings& settings, lair::Affinity affinity)
      : affinity_(affinity), pool_(options_of(settings)) {
    pool_.wait_ready();
    std::vector<double> naps;
    for (int i = 0; i < 200; ++i) naps.push_back(seconds_of([&] { pool_.call("nap", kNap); }));
    mean_gap_ = gap_for(median(naps));
    for (std::size_t i = 0; i < kSessions; ++i) {
      sessions_.push_back(pool_.session(id_of(i), {.affinity = affinity}));
      sessions_.back().call("empty");  // its first worker
    }
    // Calls take longer when eight workers are busy than one after another.
    for (int i = 0; i < 2; ++i) mean_gap_ = gap_for(run().call);
  }

  void measure(Rows& rows) {
    const Reached reached = run();
    const std::string name = std::string("affinity_") + to_string(affinity_);
    rows.add(name, kAllCores, 100 * reached.hits, "% hits");
    rows.add(name + "_load", kAllCores, 100 * reached.load, "% busy");
  }

 private:
  static constexpr std::size_t kWorkers = 8;
  static constexpr std::size_t kSessions = 1000;
  static constexpr std::size_t kCalls = 3000;
  static constexpr double kNap = 0.005;
  static constexpr double kLoad = 0.7;

  static lair::PoolOptions options_of(const Settings& settings) {
    lair::PoolOptions options = pool_options(settings, "bench_sessions", kWorkers);
    options.max_waiters = 2 * kCalls;  // those that wait behind their session may fill half of it
    return options;
  }

  struct Reached {
    double load;  // share of the workers' time
    double hits;  // share of the calls
    double call;  // seconds that each had its worker
  };

  static double gap_for(double call) { return call / (kLoad * kWorkers); }

  Reached run() {
    const lair::PoolStats before = pool_.stats();
    const double seconds = seconds_of([&] { make_calls(); });
    const lair::PoolStats after = pool_.stats();
    const auto grown = [&](std::uint64_t lair::SessionStats::*count) {
      return static_cast<double>(after.sessions.*count - before.sessions.*count);
    };
    using S = lair::SessionStats;
    const double busy = std::chrono::duration<double>(after.busy_time - before.busy_time).count();
    const double hits = grown(&S::hits);
    return {.load = busy / (seconds * kWorkers),
            .hits = hits / (hits + grown(&S::spills) + grown(&S::moves)),
            .call = busy / kCalls};
  }

  void make_calls() {
    std::exponential_distribution<double> gap(1 / mean_gap_);
    std::uniform_int_distribution<std::size_t> any(0, kSessions - 1);
    std::latch done(kCalls);
    std::atomic<int> failed = 0;
    Clock::time_point next = Clock::now();
    for (std::size_t i = 0; i < kCalls; ++i) {
      next += std::chrono::duration_cast<Clock::duration>(std::chrono::duration<double>(gap(random_)));
      std::this_thread::sleep_until(next);
      sessions_[any(random_)].start({}, "nap", Json::array({kNap}), [&](const lair::Result<Json>& result) {
        if (!result) ++failed;
        done.count_down();
      });
    }
    done.wait();
    if (failed > 0) throw std::runtime_error(std::to_string(failed) + " calls failed");
  }

  const lair::Affinity affinity_;
  lair::Pool pool_;
  double mean_gap_ = 0;  // seconds
  std::vector<lair::Session> sessions_;
  std::mt19937_64 random_{1};
};

// --- The store ------------------------------------------------------------------------------------------

// In the working directory, whose disk is what a change waits for.
class StoreFile {
 public:
  StoreFile() { remove(); }
  ~StoreFile() { remove(); }
  const std::string& name() const { return name_; }

 private:
  void remove() {
    std::error_code gone;
    for (const char* suffix : {"", "-wal", "-shm"}) std::filesystem::remove(name_ + suffix, gone);
  }
  const std::string name_ = "bench_sessions." + std::to_string(::getpid()) + ".db";
};

void measure_store(const Settings& settings, Rows& rows, const std::string& file, int times) {
  const std::string name = file.empty() ? "store_memory_" : "store_file_";
  const std::string value(100, 'x');
  lair::PoolOptions options = pool_options(settings, "bench_sessions", 1);
  options.session_store = file;
  lair::Pool pool(options);
  lair::Session session = pool.session("s");
  session.call("empty");
  std::vector<double> puts;
  std::vector<double> gets;
  for (int i = 0; i < times; ++i) {
    const std::string key = "key " + std::to_string(i % 16);
    const std::string other =
        value + std::to_string(i);  // to write what is there already costs a file nothing
    puts.push_back(seconds_of([&] { session.put(key, other); }));
    gets.push_back(seconds_of([&] { (void)session.get(key); }));
  }
  rows.add(name + "put", kAllCores, kMicro * median(puts), "us");
  rows.add(name + "get", kAllCores, kMicro * median(gets), "us");
  const auto took = session.call<std::map<std::string, double>>("use_store", times, value);
  rows.add(name + "put_in_call", kAllCores, kMicro * took.at("put"), "us");
  rows.add(name + "get_in_call", kAllCores, kMicro * took.at("get"), "us");
}

// --- All of it ------------------------------------------------------------------------------------------

void measure(const Settings& settings, Rows& rows, Json&) {
  const cpu_set_t all = all_cores();
  for (const std::string cores : {"one", "all"}) {
    run_on(cores == "one" ? one_core(all) : all);
    Calls calls(settings, cores);
    Rows warm_up;
    calls.measure(warm_up);
    for (int round = 0; round < settings.rounds; ++round) {
      tell(settings, cores, round);
      calls.measure(rows);
      if (cores == "one") continue;
      measure_many(settings, rows);
      measure_store(settings, rows, "", 2000);
      const StoreFile file;
      measure_store(settings, rows, file.name(), 200);
    }
  }
  for (const auto affinity : {lair::Affinity::kPrefer, lair::Affinity::kStrict}) {
    Arrivals arrivals(settings, affinity);
    for (int round = 0; round < settings.rounds; ++round) arrivals.measure(rows);
  }
}

}  // namespace

}  // namespace bench

int main(int argc, char** argv) { return bench::run(argc, argv, "sessions", 10, bench::measure); }
