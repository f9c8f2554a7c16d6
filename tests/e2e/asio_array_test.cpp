// Arrays by way of Boost.Asio: what keeps a result's memory until it is in its Array is the operation.
#include <gtest/gtest.h>

#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <boost/asio/use_future.hpp>
#include <lair/array.hpp>
#include <lair/asio.hpp>
#include <lair/pool.hpp>

#include <numeric>

#include "support/leak_check.hpp"
#include "support/pools.hpp"

namespace lair::test {
namespace {

class AsioArrays : public LeakChecked {};

TEST_F(AsioArrays, AreArgumentsAndResults) {
  PoolOptions options = options_for("arrays", 1);
  options.array_memory = 64u << 20;
  Pool pool(options);
  Array<double> array = pool.array<double>({100});
  std::iota(array.data(), array.data() + 100, 0.0);
  auto future = asio::call<Array<double>>(pool, "echo", array)(boost::asio::use_future);
  EXPECT_EQ(future.get()(99), 99);
  auto refused = asio::try_call<Array<float>>(pool, "fill", 3, 1)(boost::asio::use_future);
  EXPECT_EQ(refused.get().error().kind, ErrorKind::kInvalidArgument);
  boost::asio::io_context context;
  double last = 0;
  boost::asio::co_spawn(
      context,
      [&]() -> boost::asio::awaitable<void> {
        const auto filled =
            co_await asio::call<Array<double>>(pool, "fill", 5, 2.5)(boost::asio::use_awaitable);
        last = filled(4);
      },
      boost::asio::detached);
  context.run();
  EXPECT_EQ(last, 2.5);
}

}  // namespace
}  // namespace lair::test
