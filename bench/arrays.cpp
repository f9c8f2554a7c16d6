// What a call with an array costs: copied into shared memory, beside memcpy; filled in place, and as a result, beside an empty call.
//
//   arrays [--rounds N] [--out FILE] [--python PROGRAM]
#include <unistd.h>

#include <cstring>
#include <span>

#include "harness.hpp"

namespace bench {

namespace {

constexpr double kMicro = 1e6;
constexpr std::size_t kCopied = 16u << 20;
constexpr int kTurns = 10;
constexpr int kCalls = 30;  // in a turn

void repeat(const std::function<void()>& work, std::vector<double>& took) {
  for (int i = 0; i < kCalls; ++i) took.push_back(seconds_of(work));
}

class Arrays {
 public:
  Arrays(const Settings& settings, std::size_t largest)
      : pool_(options(settings, largest)), largest_(largest) {
    pool_.wait_ready();
    std::memset(from_.data(), 1, from_.size());
    std::memset(to_.data(), 1, to_.size());
  }

  void measure(const std::string& cores, Rows& rows) {
    copied(cores, rows);
    calm();
    for (const auto& [name, size] : {std::pair<std::string, std::size_t>{"1KiB", 1u << 10},
                                     {"1MiB", 1u << 20},
                                     {largest_ < (1u << 30) ? "256MiB" : "1GiB", largest_}}) {
      in_place(name, size, cores, rows);
    }
  }

 private:
  static lair::PoolOptions options(const Settings& settings, std::size_t largest) {
    lair::PoolOptions options = pool_options(settings, "bench_arrays", 1);
    options.array_memory = largest + (256u << 20);
    return options;
  }

  void copied(const std::string& cores, Rows& rows) {
    std::vector<double> copies, calls;
    for (int i = 0; i < 40; ++i) {
      copies.push_back(seconds_of([&] { std::memcpy(to_.data(), from_.data(), from_.size()); }));
      calls.push_back(seconds_of(
          [&] { pool_.call("look", pool_.array_of<std::uint8_t>(std::span<const std::uint8_t>(from_))); }));
    }
    const double copy = median(copies);
    const double call = median(calls);
    rows.add("array_copied_16MiB", cores, kCopied / call / 1e9, "GB/s",
             Ratio{copy / call, "memcpy of 16 MiB"});
  }

  // While the copies were made, who waited lost its core for long, and sleeps for 50 ms at once (docs/adr/0022-spin.md).
  void calm() {
    const auto until = std::chrono::steady_clock::now() + 100ms;
    while (std::chrono::steady_clock::now() < until) pool_.call("nothing");
  }

  // In short turns, beside empty calls.
  void in_place(const std::string& name, std::size_t size, const std::string& cores, Rows& rows) {
    std::vector<double> empty, taken, given;
    {
      const lair::Array<std::uint8_t> array = pool_.array<std::uint8_t>({size});
      for (int turn = 0; turn < kTurns; ++turn) {
        repeat([&] { pool_.call("nothing"); }, empty);
        repeat([&] { pool_.call("look", array); }, taken);
      }
    }
    for (int turn = 0; turn < kTurns; ++turn) {
      repeat([&] { pool_.call("nothing"); }, empty);
      repeat([&] { pool_.call<lair::Array<std::uint8_t>>("blank", size); }, given);
    }
    const double floor = median(empty);
    const auto row = [&](const std::string& what, const std::vector<double>& took) {
      const double call = median(took);
      rows.add("array_" + what + '_' + name, cores, call * kMicro, "us",
               Ratio{call / floor, "an empty call"});
    };
    rows.add("array_empty_beside_" + name, cores, floor * kMicro, "us");
    row("in_place", taken);
    row("result", given);
  }

  lair::Pool pool_;
  const std::size_t largest_;
  std::vector<std::uint8_t> from_ = std::vector<std::uint8_t>(kCopied);
  std::vector<std::uint8_t> to_ = std::vector<std::uint8_t>(kCopied);
};

void measure(const Settings& settings, Rows& rows, Json& facts) {
  const auto page = static_cast<std::uint64_t>(::sysconf(_SC_PAGESIZE));
  const bool enough =
      static_cast<std::uint64_t>(::sysconf(_SC_AVPHYS_PAGES)) * page > (std::uint64_t{4} << 30);
  const std::size_t largest = enough ? std::size_t{1} << 30 : std::size_t{256} << 20;
  facts["largest_array"] = largest;
  const cpu_set_t all = all_cores();
  for (const std::string cores : {"one", "all"}) {
    run_on(cores == "one" ? one_core(all) : all);
    Arrays arrays(settings, largest);
    Rows warm_up;
    arrays.measure(cores, warm_up);
    for (int round = 0; round < settings.rounds; ++round) {
      tell(settings, cores, round);
      arrays.measure(cores, rows);
    }
  }
}

}  // namespace

}  // namespace bench

int main(int argc, char** argv) { return bench::run(argc, argv, "arrays", 10, bench::measure); }
