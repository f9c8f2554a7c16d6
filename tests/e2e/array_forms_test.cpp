// Arrays in typed calls: as the types of functions, in structs and containers, awaited. And what many calls leave behind: in CI
// 2,000 of them and 20 workers that are killed, with LAIR_LONG 100,000 and 1,000.
#include <gtest/gtest.h>
#include <lair/array.hpp>
#include <lair/async.hpp>
#include <lair/pool.hpp>

#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <future>
#include <numeric>

#include "support/coroutine.hpp"
#include "support/leak_check.hpp"
#include "support/pools.hpp"
#include "support/sanitized.hpp"

namespace lair::test {

struct Picture {
  Array<double> pixels;
  std::optional<Array<std::int32_t>> mask;
  std::string name;
};
LAIR_FIELDS(Picture, pixels, mask, name)
struct Plain {
  int x = 0;
};
LAIR_FIELDS(Plain, x)

namespace {

static_assert(holds_arrays<Array<float>> && holds_arrays<Inout<float>> && holds_arrays<Picture>);
static_assert(holds_arrays<std::vector<std::optional<Array<bool>>>> && holds_arrays<std::array<Picture, 2>>);
static_assert(holds_arrays<std::tuple<int, Picture>> && holds_arrays<std::map<std::string, Array<int>>>);
static_assert(!holds_arrays<Plain> && !holds_arrays<std::vector<double>> && !holds_arrays<Json> &&
              !holds_arrays<void>);

class ArrayForms : public LeakChecked {
 protected:
  static PoolOptions one_worker() {
    PoolOptions options = options_for("arrays", 1);
    options.array_memory = 64u << 20;
    return options;
  }
  static Array<double> counted(Pool& pool, std::size_t count) {
    Array<double> array = pool.array<double>({count});
    std::iota(array.data(), array.data() + count, 0.0);
    return array;
  }
};

TEST_F(ArrayForms, AreParametersAndResultsOfFunctions) {
  Pool pool(one_worker());
  const Array<double> array = counted(pool, 4);
  EXPECT_EQ(pool.fn<double(Array<double>)>("total")(array), 6);
  pool.fn<void(Inout<double>, int)>("scale")(inout(array), 2);
  EXPECT_EQ(array(3), 6);
  const auto fill = pool.fn<Array<double>(int, double)>("fill");
  EXPECT_EQ(fill(3, 1.5)(2), 1.5);
  EXPECT_EQ(fill.try_call(4, 2)->size(), 4u);
  EXPECT_EQ(fill.future_call(5, 2).get().size(), 5u);
  const std::vector<Array<double>> many = fill.map(std::vector<std::tuple<int, double>>{{1, 7}, {2, 8}});
  EXPECT_EQ(many[1](1), 8);
  const auto gone = pool.fn<Array<float>(int, double)>("fill").try_call(1, 1);
  ASSERT_FALSE(gone);
  EXPECT_EQ(gone.error().kind, ErrorKind::kInvalidArgument);
}

TEST_F(ArrayForms, AreFieldsOfStructs) {
  Pool pool(one_worker());
  const Picture sent{.pixels = counted(pool, 3), .mask = std::nullopt, .name = "a"};
  const Picture back = pool.call<Picture>("developed", sent);
  EXPECT_EQ(back.pixels(2), 2);
  ASSERT_TRUE(back.mask);
  EXPECT_EQ((*back.mask)(2), 1);
  EXPECT_EQ(back.name, "a!");
  const auto two = pool.call<std::vector<Picture>>("developed_all", std::vector<Picture>{sent, sent});
  ASSERT_EQ(two.size(), 2u);
  EXPECT_EQ(two[1].pixels(1), 1);
  const auto wrong = pool.try_call<Picture>("nothing");
  ASSERT_FALSE(wrong);
  EXPECT_EQ(wrong.error().delivery, Delivery::kExecuted);
}

TEST_F(ArrayForms, MayBeMissing) {
  Pool pool(one_worker());
  EXPECT_FALSE(pool.call<std::optional<Array<double>>>("nothing"));
  EXPECT_EQ((*pool.call<std::optional<Array<double>>>("fill", 2, 3))(1), 3);
  EXPECT_EQ(pool.call("nothing", std::optional<Array<double>>()), Json());
}

TEST_F(ArrayForms, AreItemsOfMaps) {
  Pool pool(one_worker());
  const Array<double> array = counted(pool, 3);
  const auto totals = pool.map<double>("total", std::vector<Array<double>>(5, array));
  EXPECT_EQ(totals, std::vector<double>(5, 3.0));
  pool.map("scale", std::vector<std::tuple<Inout<double>, int>>{{inout(array), 2}, {inout(array), 5}});
  EXPECT_EQ(array(2), 20);
  const auto each = pool.map_all<Array<double>>("echo", std::vector<Array<double>>{array});
  ASSERT_TRUE(each[0]) << each[0].error().message;
  EXPECT_EQ((*each[0])(2), 20);
}

Detached await_array(Pool& pool, Array<double> from, std::promise<Array<double>> got) {
  auto call = pool.co_call<Array<double>>("echo", from);
  got.set_value(co_await std::move(call));
}

TEST_F(ArrayForms, AreAwaited) {
  Pool pool(one_worker());
  std::promise<Array<double>> got;
  auto future = got.get_future();
  await_array(pool, counted(pool, 6), std::move(got));
  const Array<double> array = future.get();
  EXPECT_EQ(array(5), 5);
}

// --- Nothing is left behind ------------------------------------------------------------------------------

// What a process has; -1: this program.
struct Held {
  std::size_t files = 0;
  std::size_t mappings = 0;
  std::size_t of_arrays = 0;  // of the mappings
  std::size_t resident = 0;   // bytes

  explicit Held(int pid) {
    const std::string process = "/proc/" + (pid < 0 ? "self" : std::to_string(pid));
    const std::filesystem::directory_iterator all(process + "/fd");
    files = static_cast<std::size_t>(std::distance(begin(all), end(all)));
    std::ifstream maps(process + "/maps");
    for (std::string line; std::getline(maps, line); ++mappings)
      of_arrays += line.find("lair-arrays") != line.npos;
    std::ifstream statm(process + "/statm");
    statm >> resident >> resident;
    resident *= static_cast<std::size_t>(::sysconf(_SC_PAGESIZE));
  }
};

void expect_flat(const char* whose, const Held& before, const Held& after) {
  EXPECT_EQ(after.files, before.files) << whose;
  EXPECT_EQ(after.of_arrays, before.of_arrays) << whose;
  EXPECT_LE(after.mappings, before.mappings + 16) << whose;  // malloc and threads have theirs
  // A sanitizer keeps what has been freed.
  if (!kSanitized) {
    EXPECT_LE(after.resident, before.resident + (16u << 20)) << whose;
  }
  std::printf("%s: %zu descriptors, %zu mappings (%zu of arrays), %.1f -> %.1f MiB\n", whose, after.files,
              after.mappings, after.of_arrays, static_cast<double>(before.resident) / (1 << 20),
              static_cast<double>(after.resident) / (1 << 20));
}

int many(int usual, int with_long) { return std::getenv("LAIR_LONG") != nullptr ? with_long : usual; }

TEST_F(ArrayForms, OfManyCallsLeaveNothing) {
  PoolOptions options = one_worker();
  options.array_memory = 8u << 20;  // which 128 blocks that are not given back would use up
  Pool pool(options);
  const int pid = pool.call<int>("pid");
  const Array<double> kept = counted(pool, 8192);
  const auto round = [&](int times) {
    for (int i = 0; i < times; ++i) {
      Array<double> array = pool.array<double>({8192});
      array(0) = i;
      pool.call("nothing", array);
      ASSERT_EQ(pool.call<Array<double>>("echo", kept)(8191), 8191);
      ASSERT_EQ(pool.call<Array<std::uint8_t>>("blank", 65536).size(), 65536u);
      ASSERT_FALSE(pool.try_call("fail", inout(array)));
    }
  };
  round(100);
  const Held host(-1), worker(pid);
  round(many(2'000, 100'000) / 4);
  expect_flat("this program", host, Held(-1));
  expect_flat("the worker", worker, Held(pid));
}

TEST_F(ArrayForms, OfManyWorkersThatAreKilledLeaveNothing) {
  PoolOptions options = one_worker();
  options.array_memory = 8u << 20;
  Pool pool(options);
  const auto round = [&](int times) {
    for (int i = 0; i < times; ++i) {
      const Array<double> array = counted(pool, 65536);
      ASSERT_EQ(pool.call<int>("keep", array), 1);
      ASSERT_EQ(pool.call<Array<double>>("fill", 10, i)(9), i);
      const auto lost = pool.try_call<Array<double>>("die", array);
      ASSERT_FALSE(lost);
      ASSERT_EQ(lost.error().kind, ErrorKind::kWorkerLost) << lost.error().message;
    }
  };
  round(5);
  pool.wait_ready();
  const Held host(-1);
  round(many(20, 1'000));
  pool.wait_ready();
  expect_flat("this program", host, Held(-1));
}

}  // namespace
}  // namespace lair::test
