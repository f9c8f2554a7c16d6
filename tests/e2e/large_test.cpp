// As large as they may be: a whole frame of JSON, arrays of a gibibyte. Others are served meanwhile, and the memory is given back.
#include <gtest/gtest.h>

#include <malloc.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <fstream>
#include <functional>
#include <future>
#include <lair/array.hpp>
#include <lair/async.hpp>
#include <string>
#include <vector>

#include "os/machine.hpp"
#include "support/leak_check.hpp"
#include "support/pools.hpp"
#include "support/sanitized.hpp"

namespace lair {
namespace {

using namespace std::chrono_literals;
using test::eventually;
using test::options_for;

constexpr std::size_t kMiB = 1u << 20;
constexpr std::size_t kGiB = 1u << 30;
// The longest there is; with a sanitizer, which makes minutes of that, less of the same.
constexpr std::size_t kFrame = (test::kSanitized ? 2 : 64) * kMiB;
constexpr std::size_t kText = kFrame - 256;  // beside what a call says of itself

// Its own memory, in bytes: now, or (VmHWM) the most since `forget_peak`, which counts the pages of files as well.
std::size_t memory_of(int pid, const std::string& which = "RssAnon") {
  std::ifstream status("/proc/" + std::to_string(pid) + "/status");
  std::size_t kibibytes = 0;
  for (std::string word; status >> word;) {
    if (word == which + ":" && status >> kibibytes) break;
  }
  return kibibytes << 10;
}

// What this program has taken of the heap and not given back; malloc may keep more.
std::size_t taken() {
  const auto info = ::mallinfo2();
  return info.uordblks + info.hblkhd;
}

void forget_peak(int pid) { std::ofstream("/proc/" + std::to_string(pid) + "/clear_refs") << 5; }

class Large : public test::LeakChecked {
 protected:
  static PoolOptions with_frames(std::size_t size) {
    PoolOptions options = options_for("plain", size);
    options.max_frame = kFrame;
    return options;
  }

  // Others make calls until this one has ended. One that waited for that would take as long; usually there are thousands, but on a busy
  // machine that is for the kernel to say.
  struct Others {
    int calls = 0;
    Duration worst{};
    Duration whole{};
  };
  template <class T>
  static Others calls_during(Pool& pool, const std::future<T>& call) {
    Others others;
    const TimePoint began = SteadyClock::now();
    for (; call.wait_for(0s) != std::future_status::ready; ++others.calls) {
      const TimePoint before = SteadyClock::now();
      EXPECT_GT(pool.future_call<int>("pid").get(), 0);
      EXPECT_GT(pool.call<int>("pid"), 0);
      others.worst = std::max<Duration>(others.worst, SteadyClock::now() - before);
    }
    others.whole = SteadyClock::now() - began;
    return others;
  }
};

TEST_F(Large, AFrameOfTextGoesBothWaysWhileOthersAreServed) {
  Pool pool(with_frames(2));
  pool.wait_ready();
  const std::string sent(kText, 'x');
  EXPECT_TRUE(pool.call<std::string>("echo", sent) == sent);
  auto call = pool.future_call<std::string>("echo", sent);
  const Others others = calls_during(pool, call);
  EXPECT_GT(others.calls, 0) << "it was over when it could have been waited for";
  if (!test::kSanitized) {
    EXPECT_LT(others.worst, others.whole / 2) << others.calls;
  }
  EXPECT_TRUE(call.get() == sent);
  const auto too_long = pool.try_call<std::string>("echo", sent + std::string(1024, 'x'));
  ASSERT_FALSE(too_long);
  EXPECT_EQ(too_long.error().kind, ErrorKind::kInvalidArgument) << too_long.error().message;
  EXPECT_EQ(pool.stats().workers_started, 2u);
}

TEST_F(Large, FramesOfTextLeaveNoMemoryBehind) {
  if (test::kSanitized) GTEST_SKIP() << "a sanitizer keeps what has been freed";
  Pool pool(with_frames(1));
  const int host = ::getpid();
  const int worker = pool.call<int>("pid");
  const std::string sent(kText, 'x');
  const std::vector<std::string> items = {sent};
  const std::vector<std::function<void()>> calls = {
      [&] { EXPECT_TRUE(pool.call<std::string>("echo", sent) == sent); },
      [&] { EXPECT_TRUE(pool.checkout().call<std::string>("echo", sent) == sent); },
      [&] { EXPECT_TRUE(pool.future_call<std::string>("echo", sent).get() == sent); },
      [&] { EXPECT_TRUE(pool.map<std::string>("echo", items).front() == sent); },
  };
  const std::size_t workers = memory_of(worker);
  const std::size_t hosts = memory_of(host);
  const std::size_t before = taken();
  for (std::size_t i = 0; i < 2 * calls.size(); ++i) {
    forget_peak(host);
    calls[i % calls.size()]();
    // The request and the reply as they travel, the result, and what grows until it holds one of them.
    EXPECT_LT(memory_of(host, "VmHWM"), hosts + 6 * kFrame) << i;
    EXPECT_TRUE(eventually([&] { return taken() < before + kMiB; }))
        << i << ": " << taken() - before << " bytes";
    // It frees what it has sent when its caller has that already, and may keep 16 MiB.
    EXPECT_TRUE(eventually([&] { return memory_of(worker) < workers + kFrame / 2; })) << i;
  }
}

TEST_F(Large, ArraysOfAGibibyteAreFilledInPlaceWhileOthersAreServed) {
  // Where a gibibyte twice is not to be had, less of the same.
  const bool whole = !test::kSanitized && os::available_memory() > 4 * kGiB;
  const std::size_t size = whole ? kGiB : 64 * kMiB;
  PoolOptions options = options_for("arrays", 2);
  options.array_memory = 2 * size;
  Pool pool(options);
  pool.wait_ready();
  const std::vector<std::size_t> places = {0, size / 2, size - 1};
  const std::size_t own = memory_of(::getpid());
  for (int i = 1; i <= 3; ++i) {  // of which two at a time would be too many, with their results
    const auto array = pool.array<std::uint8_t>({size});
    for (const std::size_t place : places) array(place) = static_cast<std::uint8_t>(i);
    EXPECT_EQ(pool.call<std::vector<int>>("at", array, places), (std::vector<int>{i, i, i}));
    auto made = pool.future_call<Array<std::uint8_t>>("blank", size);
    const Others others = calls_during(pool, made);
    if (whole && i == 1) {  // later ones have its memory, which the system need not zero
      EXPECT_GT(others.calls, 0);
      EXPECT_LT(others.worst, others.whole / 2) << others.calls;
    }
    const auto result = made.get();
    EXPECT_EQ(result.size(), size);
    result(size - 1) = 7;
    EXPECT_EQ(pool.future_call<std::vector<int>>("at", result, places).get().back(), 7);
  }
  if (whole) {
    EXPECT_LT(memory_of(::getpid()), own + 16 * kMiB) << "they are the pool's, and nowhere else";
  }
  EXPECT_EQ(pool.stats().workers_started, 2u);
}

}  // namespace
}  // namespace lair
