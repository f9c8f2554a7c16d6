// Long arguments and results: they are whole, cost nobody else his call, and their memory is given back.
#include <gtest/gtest.h>

#include <chrono>
#include <future>
#include <lair/async.hpp>
#include <stop_token>
#include <string>
#include <vector>

#include "support/leak_check.hpp"
#include "support/pools.hpp"

namespace lair {
namespace {

using namespace std::chrono_literals;
using test::options_for;

constexpr int kItems = 30'000;  // some 400 kB

std::vector<std::string> items() {
  std::vector<std::string> made;
  for (int i = 0; i < kItems; ++i) made.push_back("item " + std::to_string(i));
  return made;
}

class Long : public test::LeakChecked {};

TEST_F(Long, ResultsAndArgumentsAreWholeInAllForms) {
  Pool pool(options_for("plain", 2));
  const std::vector<std::string> sent = items();
  EXPECT_EQ(pool.call<std::vector<std::string>>("echo", sent), sent);
  std::vector<std::future<std::vector<std::string>>> calls;
  for (int i = 0; i < 6; ++i) calls.push_back(pool.future_call<std::vector<std::string>>("echo", sent));
  for (auto& call : calls) EXPECT_EQ(call.get(), sent);
}

// Behind a long result come the frames of other calls, which are heard in their order.
TEST_F(Long, AWorkerWithSeveralCallsGoesOnBehindOne) {
  PoolOptions options = options_for("several", 1);
  options.concurrency = 8;
  options.max_waiters = 1000;
  Pool pool(options);
  const std::vector<std::string> sent = items();
  std::vector<std::future<std::vector<std::string>>> longs;
  std::vector<std::future<int>> shorts;
  for (int i = 0; i < 4; ++i) {
    longs.push_back(pool.future_call<std::vector<std::string>>("echo", sent));
    for (int k = 0; k < 100; ++k) shorts.push_back(pool.future_call<int>("echo", 100 * i + k));
  }
  for (int i = 0; i < 400; ++i) EXPECT_EQ(shorts[static_cast<std::size_t>(i)].get(), i);
  for (auto& call : longs) EXPECT_EQ(call.get(), sent);
  EXPECT_EQ(pool.stats().workers_started, 1u);
}

// Neither a stop request nor a deadline that comes while the result is made, sent or read costs the worker. (One that finds half
// of a long request written does.)
TEST_F(Long, OneThatIsCancelledAtAnyMomentKeepsItsWorker) {
  PoolOptions options = options_for("plain", 1);
  options.cancel_grace = 60s;
  Pool pool(options);
  const int pid = pool.call<int>("pid");
  const std::vector<std::string> sent = items();
  int done = 0;
  for (int i = 0; i < 30; ++i) {
    std::stop_source stop;
    auto call = pool.future_call<std::vector<std::string>>({.stop = stop.get_token()}, "items", kItems);
    (void)call.wait_for(std::chrono::milliseconds(5 * i));
    stop.request_stop();
    try {
      EXPECT_EQ(call.get(), sent);
      ++done;
    } catch (const CallError& error) {
      EXPECT_EQ(error.error().kind, ErrorKind::kCancelled) << error.what();
    }
  }
  for (int i = 0; i < 10; ++i) {
    try {
      const auto timeout = std::chrono::milliseconds(20 + 20 * i);
      EXPECT_EQ(pool.future_call<std::vector<std::string>>({.timeout = timeout}, "items", kItems).get(),
                sent);
    } catch (const CallError& error) {
      EXPECT_EQ(error.error().kind, ErrorKind::kDeadlineExceeded) << error.what();
    }
  }
  EXPECT_EQ(pool.call<int>("pid"), pid);
}

TEST_F(Long, APoolEndsInTheMiddle) {
  for (int i = 0; i < 10; ++i) {
    std::future<std::vector<std::string>> call;
    {
      Pool pool(options_for("plain", 1));
      call = pool.future_call<std::vector<std::string>>("echo", items());
      (void)call.wait_for(std::chrono::milliseconds(30 * i));
      pool.shutdown(0ms);
    }
    try {
      EXPECT_EQ(call.get().size(), std::size_t{kItems});
    } catch (const CallError& error) {
      EXPECT_NE(error.error().kind, ErrorKind::kRemote) << error.what();
    }
  }
}

}  // namespace
}  // namespace lair
