// Arrays between this program and real workers: in, out, in place; who holds them, and for how long.
#include <gtest/gtest.h>
#include <lair/array.hpp>
#include <lair/async.hpp>
#include <lair/pool.hpp>
#include <unistd.h>

#include <complex>
#include <filesystem>
#include <fstream>
#include <future>
#include <numeric>
#include <thread>

#include "support/pools.hpp"

namespace lair::test {
namespace {

using namespace std::chrono_literals;

// With the accelerator, and without.
class Arrays : public testing::TestWithParam<const char*> {
 protected:
  static PoolOptions arrays_pool(std::size_t size = 1) {
    PoolOptions options = options_for("arrays", size);
    options.worker.env["LAIR_NATIVE"] = GetParam();
    options.array_memory = 1u << 30;
    options.cancel_grace = 60s;  // which a loaded machine keeps, too
    return options;
  }
  void TearDown() override { EXPECT_EQ(leak_check_.leaked(), ""); }

 private:
  LeakCheck leak_check_;
};
INSTANTIATE_TEST_SUITE_P(Native, Arrays, testing::Values("on", "off"));

Array<double> counted(Pool& pool, std::size_t count) {
  Array<double> array = pool.array<double>({count});
  std::iota(array.data(), array.data() + count, 0.0);
  return array;
}

std::size_t open_files() {
  const std::filesystem::directory_iterator all("/proc/self/fd");
  return static_cast<std::size_t>(std::distance(begin(all), end(all)));
}

std::size_t mappings_of(int pid) {
  std::ifstream maps("/proc/" + std::to_string(pid) + "/maps");
  std::size_t count = 0;
  for (std::string line; std::getline(maps, line);) count += line.find("lair-arrays") != line.npos;
  return count;
}

template <class T>
void comes_as(Pool& pool, const char* dtype) {
  Array<T> array = pool.array<T>({2, 3});
  std::fill_n(array.data(), 6, T(1));
  const Json said = pool.call("describe", array);
  EXPECT_EQ(said["dtype"], dtype);
  EXPECT_EQ(said["shape"], Json({2, 3}));
  EXPECT_EQ(said["nbytes"], 6 * sizeof(T));
  EXPECT_EQ(said["readonly"], true);
  const auto back = pool.call<Array<T>>("blank", 5, dtype);
  EXPECT_EQ(back.shape(), Shape({5}));
}

TEST_P(Arrays, OfEveryTypeTravelBothWays) {
  Pool pool(arrays_pool());
  comes_as<bool>(pool, "bool");
  comes_as<std::int8_t>(pool, "int8");
  comes_as<std::int16_t>(pool, "int16");
  comes_as<std::int32_t>(pool, "int32");
  comes_as<std::int64_t>(pool, "int64");
  comes_as<std::uint8_t>(pool, "uint8");
  comes_as<std::uint16_t>(pool, "uint16");
  comes_as<std::uint32_t>(pool, "uint32");
  comes_as<std::uint64_t>(pool, "uint64");
  comes_as<float>(pool, "float32");
  comes_as<double>(pool, "float64");
  comes_as<std::complex<float>>(pool, "complex64");
  comes_as<std::complex<double>>(pool, "complex128");
}

TEST_P(Arrays, HaveAnyShape) {
  Pool pool(arrays_pool());
  Array<double> scalar = pool.array<double>({});
  *scalar.data() = 2.5;
  EXPECT_EQ(pool.call("values", scalar), Json(2.5));
  EXPECT_EQ(pool.call("values", pool.array<double>({0})), Json::array());
  EXPECT_EQ(pool.call("values", pool.array<double>({2, 0})), Json::parse("[[],[]]"));
  EXPECT_EQ(pool.call("describe", pool.array<double>({3, 0, 2}))["shape"], Json({3, 0, 2}));
  const std::vector<double> six = {1, 2, 3, 4, 5, 6};
  const Array<double> array = pool.array_of<double>(six, {2, 3});
  EXPECT_EQ(pool.call("values", array), Json::parse("[[1.0,2.0,3.0],[4.0,5.0,6.0]]"));
  EXPECT_EQ(array(1, 2), 6);
  const Json turned = pool.call("describe", array.transposed());
  EXPECT_EQ(turned["shape"], Json({3, 2}));
  EXPECT_EQ(turned["strides"], Json({8, 24}));
  EXPECT_EQ(pool.call("values", array.view({2}, {1}, 1)), Json({2.0, 3.0}));
  EXPECT_THROW((void)array.view({9}, {1}), std::invalid_argument);
}

TEST_P(Arrays, MayBeAnywhereAmongTheArguments) {
  Pool pool(arrays_pool());
  const Array<double> array = counted(pool, 3);
  const Json expected = {Json({0.0, 1.0, 2.0}), "x"};
  EXPECT_EQ(pool.call("nested", Json{{"rows", {1, array}}, {"name", "x"}}), expected);
  EXPECT_EQ(pool.call("nested", kwargs{{"value", {{"rows", {1, array}}, {"name", "x"}}}}), expected);
  EXPECT_EQ(pool.call<double>("total", kwargs{{"array", array}}), 3);
}

TEST_P(Arrays, OfTheProgramsOwnMemoryAreCopied) {
  Pool pool(arrays_pool());
  for (const std::size_t count : {1u, 100u, 2047u, 2048u, 2049u, 100'000u}) {  // below and above 16 KiB
    std::vector<double> own(count, 0.5);
    EXPECT_EQ(pool.call<double>("total", Array<double>::copy_of(own)), 0.5 * static_cast<double>(count));
  }
  Pool other(arrays_pool());
  EXPECT_EQ(other.call<double>("total", counted(pool, 4).transposed()), 6);
  const auto refused = other.try_call("scale", inout(counted(pool, 4)), 2);
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().kind, ErrorKind::kInvalidArgument);
  EXPECT_NE(refused.error().message.find("argument[0] is inout"), std::string::npos)
      << refused.error().message;
}

TEST_P(Arrays, AreReadOnlyUnlessInout) {
  Pool pool(arrays_pool());
  const Array<double> array = counted(pool, 4);
  const auto refused = pool.try_call("write_to", array);
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().kind, ErrorKind::kRemote);
  EXPECT_EQ(array(0), 0);
  pool.call("scale", inout(array), 3);
  EXPECT_EQ(array(3), 9);
}

TEST_P(Arrays, ThatAreGoneAreRefused) {
  Pool pool(arrays_pool());
  const Json stale = Json::array({counted(pool, 4)})[0];
  const auto refused = pool.try_call("total", stale);
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().kind, ErrorKind::kInvalidArgument);
  EXPECT_NE(refused.error().message.find("is gone"), std::string::npos) << refused.error().message;
}

TEST_P(Arrays, AreResultsWithoutACopy) {
  Pool pool(arrays_pool());
  for (int i = 0; i < 3; ++i) {  // the first has to ask for room, the others are given it
    const auto filled = pool.call<Array<double>>("fill", 3, i);
    EXPECT_EQ(filled.shape(), Shape({3}));
    EXPECT_EQ(filled(2), i);
  }
  EXPECT_EQ(pool.call<Array<double>>("part", 8).size(), 2u);
  const Array<double> four = counted(pool, 4);
  EXPECT_EQ(pool.call<Array<double>>("echo", four)(3), 3);
  EXPECT_EQ(pool.call<Array<double>>("later", four)(3), 3);
  EXPECT_EQ(pool.call<Array<std::uint8_t>>("raw")(1), 'b');
  EXPECT_EQ(pool.call<Array<double>>("fill", 0, 0).size(), 0u);
}

struct Parts {
  std::vector<Array<std::int32_t>> parts;
  int count = 0;
};
void from_json(const Json& json, Parts& parts) {
  json.at("parts").get_to(parts.parts);
  json.at("count").get_to(parts.count);
}

}  // namespace
}  // namespace lair::test
template <>
inline constexpr bool lair::holds_arrays<lair::test::Parts> = true;
namespace lair::test {
namespace {

TEST_P(Arrays, MayBeSomeOfAResult) {
  Pool pool(arrays_pool());
  const Parts parts = pool.call<Parts>("some", std::vector<int>{1, 5000, 3});
  ASSERT_EQ(parts.parts.size(), 3u);
  EXPECT_EQ(parts.parts[1].size(), 5000u);
  EXPECT_EQ(parts.parts[1](4999), 0);
  EXPECT_EQ(parts.count, 3);
}

TEST_P(Arrays, ThatAreNotWhatWasAskedForAreRefused) {
  Pool pool(arrays_pool());
  const auto floats = pool.try_call<Array<float>>("fill", 3, 1);
  ASSERT_FALSE(floats);
  EXPECT_EQ(floats.error().kind, ErrorKind::kInvalidArgument);
  EXPECT_EQ(floats.error().delivery, Delivery::kExecuted);
  EXPECT_NE(floats.error().message.find("elements of float64 and shape (3)"), std::string::npos)
      << floats.error().message;
  const auto none = pool.try_call<Array<float>>("nothing");
  ASSERT_FALSE(none);
  EXPECT_EQ(none.error().kind, ErrorKind::kInvalidArgument);
  const auto unasked = pool.try_call("fill", 3, 1);
  ASSERT_FALSE(unasked);
  EXPECT_EQ(unasked.error().kind, ErrorKind::kRemote);
}

TEST_P(Arrays, StayWhileTheWorkerHasAView) {
  Pool pool(arrays_pool());
  {
    const Array<double> first = counted(pool, 1000);
    EXPECT_EQ(pool.call<int>("keep", first), 1);
  }
  {
    Array<double> second = counted(pool, 1000);  // not in the place of the first
    std::fill_n(second.data(), 1000, 7.0);
    pool.call("nothing", second);
  }
  EXPECT_EQ(pool.call("kept_totals"), Json({499500.0}));
  pool.call("forget");
}

TEST_P(Arrays, OutliveTheirPool) {
  Array<double> result;
  {
    Pool pool(arrays_pool());
    result = pool.call<Array<double>>("fill", 100'000, 4);
  }
  EXPECT_EQ(result(99'999), 4);
}

TEST_P(Arrays, GoWithEveryFormOfCall) {
  Pool pool(arrays_pool(2));
  const Array<double> array = counted(pool, 1000);
  EXPECT_EQ(pool.future_call<double>("total", array).get(), 499500);
  std::vector<std::future<Array<double>>> many;
  for (int i = 0; i < 10; ++i) many.push_back(pool.future_call<Array<double>>("fill", 100 + i, i));
  for (int i = 0; i < 10; ++i) EXPECT_EQ(many[static_cast<std::size_t>(i)].get()(99), i);
  EXPECT_EQ(pool.checkout().call<Array<double>>("echo", array)(999), 999);
  EXPECT_EQ(pool.session("s").call<Array<double>>("echo", array)(999), 999);
  double sum = 0;
  for (const double each : pool.stream<double>("count_up", array)) sum += each;
  EXPECT_EQ(sum, 499500);
  const auto mapped = pool.map<Array<double>>("fill", std::vector<std::tuple<int, int>>{{3, 1}, {4, 2}});
  EXPECT_EQ(mapped[1](3), 2);
  const std::vector<double> totals = pool.map<double>("total", std::vector<Array<double>>{array, array});
  EXPECT_EQ(totals[1], 499500);
}

TEST_P(Arrays, AreNotItemsOfStreams) {
  Pool pool(arrays_pool());
  const Array<double> array = counted(pool, 3);
  for (const char* command : {"count_up_and_give", "acount_up_and_give"}) {
    Stream<double> stream = pool.stream<double>(command, array);
    for (int i = 0; i < 3; ++i) EXPECT_EQ(stream.next(), i) << command;
    const auto refused = stream.try_next();
    ASSERT_FALSE(refused) << command;
    EXPECT_EQ(refused.error().kind, ErrorKind::kRemote) << command;
    EXPECT_NE(refused.error().message.find("tolist()"), std::string::npos) << refused.error().message;
  }
  EXPECT_EQ(pool.call<double>("total", array), 3) << "and cost no worker";
  EXPECT_EQ(pool.stats().workers_started, 1u);
}

TEST_P(Arrays, AreNotForHostFunctions) {
  Pool pool(arrays_pool());
  const Array<double> array = counted(pool, 3);
  bool taken = false;
  pool.expose("take", [&](const Json&) { taken = true; });
  pool.expose("give", [&] { return array; });
  const auto told = pool.try_call("tell_host", array);
  ASSERT_FALSE(told);
  EXPECT_FALSE(taken);
  EXPECT_NE(told.error().message.find("tolist()"), std::string::npos) << told.error().message;
  const auto given = pool.try_call("ask_host");
  ASSERT_FALSE(given);
  EXPECT_NE(given.error().message.find("lair::Array"), std::string::npos) << given.error().message;
  EXPECT_EQ(pool.stats().workers_started, 1u);
}

TEST_P(Arrays, AreRefusedByWorkersThatTakeNone) {
  Pool pool(options_for(script_worker("original.py"), 1));
  const auto refused =
      pool.try_call("echo", kwargs{{"message", Array<double>::copy_of(std::vector<double>{1})}});
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().kind, ErrorKind::kInvalidArgument);
}

TEST_P(Arrays, AreAnErrorWhereThereIsNoMemory) {
  PoolOptions options = arrays_pool();
  options.array_memory = 8u << 20;
  Pool pool(options);
  const auto large = pool.try_array<double>({2u << 20});
  ASSERT_FALSE(large);
  EXPECT_EQ(large.error().kind, ErrorKind::kUnavailable);
  EXPECT_NE(large.error().message.find("array_memory"), std::string::npos) << large.error().message;
  const auto result = pool.try_call<Array<std::uint8_t>>("blank", 16 << 20);
  ASSERT_FALSE(result);
  EXPECT_NE(result.error().message.find("array_memory"), std::string::npos) << result.error().message;
  EXPECT_EQ(pool.call<Array<std::uint8_t>>("blank", 4 << 20).size(), 4u << 20);
  EXPECT_FALSE(pool.try_array<double>({SIZE_MAX / 2, 4}));
}

TEST_P(Arrays, OfManyCallsLeaveNothingBehind) {
  Pool pool(arrays_pool());
  const Array<double> array = counted(pool, 100'000);
  const auto round = [&](int times) {
    for (int i = 0; i < times; ++i) {
      pool.call("nothing", array);
      EXPECT_EQ(pool.call<Array<std::uint8_t>>("blank", 1 << 20).size(), 1u << 20);
      (void)pool.try_call("fail", array);
    }
  };
  round(20);
  const std::size_t files = open_files();
  const std::size_t own = mappings_of(::getpid());
  const int pid = pool.call<int>("pid");
  const std::size_t theirs = mappings_of(pid);
  EXPECT_GT(theirs, 0u);
  round(1000);
  EXPECT_EQ(open_files(), files);
  EXPECT_EQ(mappings_of(::getpid()), own);
  EXPECT_EQ(mappings_of(pid), theirs);
}

TEST_P(Arrays, OfWorkersThatDieAreFree) {
  PoolOptions options = arrays_pool();
  options.array_memory = 16u << 20;
  Pool pool(options);
  for (int i = 0; i < 10; ++i) {  // of which 4 at a time would be too many
    const Array<double> array = pool.array<double>({512u << 10});
    const auto lost = pool.try_call("die", array);
    ASSERT_FALSE(lost);
    EXPECT_EQ(lost.error().kind, ErrorKind::kWorkerLost) << lost.error().message;
    pool.call("keep", array);
    pool.recycle(0);
  }
  EXPECT_EQ(pool.call<double>("total", counted(pool, 10)), 45);
}

TEST_P(Arrays, OfACallThatIsLateComeBackWithItsWorker) {
  PoolOptions options = arrays_pool();
  Pool pool(options);
  pool.wait_ready();
  const int pid = pool.call<int>("pid");
  const Array<double> array = counted(pool, 1000);
  for (const bool blocks : {true, false}) {
    const Note note;
    std::stop_source stop;
    const CallOptions options_of_call{.timeout = kForever, .stop = stop.get_token()};
    std::thread late([&] {
      if (blocks) {
        EXPECT_FALSE(pool.try_call(options_of_call, "hang", array, note.path()));
      } else {
        auto future = pool.future_call<Array<double>>(options_of_call, "hang", array, note.path());
        EXPECT_THROW((void)future.get(), CallError);
      }
    });
    EXPECT_TRUE(note.comes());
    stop.request_stop();
    late.join();
    EXPECT_EQ(pool.call<double>("total", array), 499500);
    EXPECT_EQ(pool.call<int>("pid"), pid);
  }
}

}  // namespace
}  // namespace lair::test
