// What a call costs, beside other ways to call Python: other pools of processes, a server, actors, an embedded interpreter. Each is a
// program of its own (bench/peers/), and each round measures it and Lair in turn. First all on one core, then on all.
//
//   peers [--rounds N] [--out FILE] [--python PROGRAM]
//
// PROGRAM has the packages of tools/requirements-peers.txt. What does not start is left out. docs/benchmarks.md says what each row means.
#include <cmath>
#include <filesystem>
#include <map>

#include "harness.hpp"
#include "processes.hpp"

namespace bench {

namespace {

constexpr std::array<std::size_t, 3> kSizes = {1, 2, 4};
constexpr std::size_t kTurns = 5;          // of one caller, in a round
constexpr std::size_t kCallsInTurn = 200;  // of an empty command, by one caller
constexpr std::size_t kCalls = 2000;       // of an empty command, by several
constexpr std::size_t kFloatCallsInTurn = 20;
constexpr double kMicro = 1e6;
constexpr const char* kAsFast = "as fast is Lair";

struct Command {
  std::string name;
  std::vector<std::string> words;
};

std::vector<Command> commands(const std::string& python) {
  const std::string folder = LAIR_BENCH_DIR "/peers/";
  std::vector<Command> all;
  const auto add = [&](const std::string& name, std::vector<std::string> words) {
    if (name != "pybind11") {
      for (const std::size_t size : kSizes) words.push_back(std::to_string(size));
    }
    all.push_back({name, std::move(words)});
  };
  for (const char* kind : {"multiprocessing", "executor", "loky"}) {
    add(kind, {python, folder + "python_pools.py", kind});
  }
  add("pyzmq", {python, folder + "zmq_pool.py"});
  add("grpc", {python, folder + "grpc_pool.py"});
  // Alone with the loopback, and nothing that it starts outlives it.
  add("ray", {"unshare", "--user", "--map-root-user", "--net", "--pid", "--fork", "--kill-child",
              "--mount-proc", python, folder + "ray_actors.py"});
  for (const char* kind : {"direct", "owned"}) {
    add(std::string("elixir_") + kind,
        {"elixir", folder + "port_pool.exs", kind, python, LAIR_BENCH_DIR "/workers/bare_json.py"});
  }
  add("pybind11", {std::filesystem::path(python).replace_filename("lair-embedded"), folder});
  return all;
}

class Lair {
 public:
  explicit Lair(const Settings& settings) {
    for (const std::size_t size : kSizes) {
      pools_.emplace(size, pool_options(settings, "bench_sleep", size)).first->second.wait_ready();
    }
    for (std::size_t i = 0; i < floats_.size(); ++i) floats_[i] = std::sqrt(static_cast<double>(i));
  }

  bool accelerated() { return pools_.at(1).call<std::string>("codec") != "json"; }
  Measured empty(std::size_t size, std::size_t callers, std::size_t calls) {
    const auto empty = pools_.at(size).fn<void()>("empty");
    return on_threads(callers, calls, [&](std::size_t, std::size_t) { empty(); });
  }
  Measured floats(std::size_t calls) {
    const auto same = pools_.at(1).fn<std::vector<double>(std::vector<double>)>("same");
    return on_threads(1, calls, [&](std::size_t, std::size_t) { (void)same(floats_); });
  }

 private:
  std::map<std::size_t, lair::Pool> pools_;
  std::vector<double> floats_ = std::vector<double>(10'000);
};

// A peer's rows have its value, and how many times as fast Lair was in the same round.
class Pair {
 public:
  Pair(Lair& lair, Peer& peer, std::string cores) : lair_(lair), peer_(peer), cores_(std::move(cores)) {}

  void measure(Rows& rows) {
    one_caller(rows, "p50_", "empty", kCallsInTurn);
    one_caller(rows, "floats_10k_", "floats", kFloatCallsInTurn);
    for (const std::size_t size : kSizes) {
      const double own = lair_.empty(size, size, kCalls).per_second();
      const double other = peer_.measure(size, size, kCalls, "empty").per_second;
      const std::string name = "empty_" + std::to_string(size) + '_';
      rows.add(name + "lair", cores_, own, "calls/s");
      rows.add(name + peer_.name(), cores_, other, "calls/s", Ratio{own / other, kAsFast});
    }
  }

 private:
  // In short turns, each with a new thread: where the kernel puts it decides more than anything else.
  void one_caller(Rows& rows, const std::string& name, const std::string& work, std::size_t calls) {
    std::vector<double> own;
    std::vector<double> other;
    for (std::size_t turn = 0; turn < kTurns; ++turn) {
      own.push_back(median((work == "empty" ? lair_.empty(1, 1, calls) : lair_.floats(calls)).latencies) *
                    kMicro);
      other.push_back(peer_.measure(1, 1, calls, work).p50_us);
    }
    rows.add(name + "lair", cores_, median(own), "us");
    rows.add(name + peer_.name(), cores_, median(other), "us", Ratio{median(other) / median(own), kAsFast});
  }

  Lair& lair_;
  Peer& peer_;
  const std::string cores_;
};

// One peer at a time: some have daemons, which are never quite idle.
void measure(const Settings& settings, Rows& rows, Json&) {
  const cpu_set_t all = all_cores();
  for (const std::string cores : {"one", "all"}) {
    run_on(cores == "one" ? one_core(all) : all);
    Lair lair(settings);
    if (!lair.accelerated()) {
      std::fprintf(stderr, "peers: no accelerator for %s, so Lair is measured without it\n",
                   settings.python.c_str());
    }
    for (const Command& command : commands(settings.python)) {
      Settings told = settings;
      told.program += ": " + command.name;
      try {
        Peer peer(command.name, command.words);
        Pair pair(lair, peer, cores);
        Rows warm_up;
        pair.measure(warm_up);
        for (int round = 0; round < settings.rounds; ++round) {
          tell(told, cores, round);
          pair.measure(rows);
        }
      } catch (const std::exception& error) {
        std::fprintf(stderr, "peers: %s is left out: %s\n", command.name.c_str(), error.what());
      }
    }
  }
}

}  // namespace

}  // namespace bench

int main(int argc, char** argv) { return bench::run(argc, argv, "peers", 10, bench::measure); }
