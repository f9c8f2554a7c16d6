// A program with three pools, which prints their metrics when it has had some calls: tests/telemetry gives them to
// promtool.
#include <chrono>
#include <cstdio>
#include <lair/prometheus.hpp>
#include <vector>

#include "support/pools.hpp"

using namespace std::chrono_literals;

namespace {

lair::PoolOptions options(const char* name, std::size_t size) {
  lair::PoolOptions options = lair::test::options_for("plain", size);
  options.name = name;
  return options;
}

}  // namespace

int main() {
  lair::PoolOptions unasked = options("text", 2);
  unasked.cancel_grace = lair::Duration::zero();  // so that a late call costs its worker
  lair::Pool text(unasked);
  lair::Pool twin(options("twin", 1));
  lair::Pool other_twin(options("twin", 1));
  text.wait_ready();
  for (int i = 0; i < 20; ++i) (void)text.call<int>("add", i, 1);
  (void)text.try_call({.timeout = 100ms}, "nap", 60);
  text.wait_ready();  // the worker that was lost to that call is replaced
  (void)twin.call<int>("add", 1, 2);
  (void)other_twin.call<int>("add", 1, 2);
  const std::vector<lair::PoolStats> stats = {text.stats(), twin.stats(), other_twin.stats()};
  std::fputs(lair::to_prometheus(stats).c_str(), stdout);
}
