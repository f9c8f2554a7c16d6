// What an item of a map costs, beside a call of its own: with the accelerator (T2), and with the standard library alone (T0).
//
//   map [--rounds N] [--out FILE] [--python PROGRAM]
#include <numeric>

#include "harness.hpp"

namespace bench {

namespace {

constexpr double kMicro = 1e6;

class Items {
 public:
  Items(const Settings& settings, std::string cores, const char* tier, const char* native)
      : cores_(std::move(cores)), tier_(tier), pool_(options(settings, native)) {
    std::iota(numbers_.begin(), numbers_.end(), 0);
    pool_.wait_ready();
  }

  void measure(Rows& rows) {
    constexpr int kCalls = 3000;
    const double call = seconds_of([&] {
                          for (int i = 0; i < kCalls; ++i) pool_.call<int>("same", i);
                        }) /
                        kCalls;
    const double item =
        seconds_of([&] { pool_.map<int>("same", numbers_); }) / static_cast<double>(numbers_.size());
    rows.add("map_tiny_item_" + tier_, cores_, item * kMicro, "us", Ratio{item / call, "a call of its own"});
    // Items of 100 µs, on two workers: beside the work in them.
    const std::vector<double> work(2000, 100e-6);
    const double took = seconds_of([&] { pool_.map("work", work); });
    rows.add(
        "map_100us_items_" + tier_, cores_, took * 1e3, "ms",
        Ratio{took / (static_cast<double>(work.size()) * 100e-6), "the work in them, one after another"});
  }

 private:
  static lair::PoolOptions options(const Settings& settings, const char* native) {
    lair::PoolOptions options = pool_options(settings, "bench_batches", 2);
    options.worker.env["LAIR_NATIVE"] = native;
    return options;
  }

  const std::string cores_;
  const std::string tier_;
  lair::Pool pool_;
  std::vector<int> numbers_ = std::vector<int>(200'000);
};

void measure(const Settings& settings, Rows& rows, Json&) {
  const cpu_set_t all = all_cores();
  for (const std::string cores : {"one", "all"}) {
    run_on(cores == "one" ? one_core(all) : all);
    Items native(settings, cores, "t2", "on");
    Items plain(settings, cores, "t0", "off");
    Rows warm_up;
    native.measure(warm_up);
    plain.measure(warm_up);
    for (int round = 0; round < settings.rounds; ++round) {
      tell(settings, cores, round);
      native.measure(rows);
      plain.measure(rows);
    }
  }
}

}  // namespace

}  // namespace bench

int main(int argc, char** argv) { return bench::run(argc, argv, "map", 10, bench::measure); }
