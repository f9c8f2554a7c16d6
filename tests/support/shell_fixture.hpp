// A Shell over a FakeWorld, for tests of calls and lifecycles without processes.
//
// Thread-safety: `call`, `lease` and `stats` from any thread.
#pragma once

#include <gtest/gtest.h>

#include <memory>
#include <string>
#include <utility>

#include "base/options_table.hpp"
#include "pool/shell.hpp"
#include "support/fake_launcher.hpp"
#include "support/leak_check.hpp"

namespace lair::test {

using namespace std::chrono_literals;

inline Behaviour echo() {
  return protocol_two([](FakeWorker&, const std::string&, const Json& arguments) { return arguments; });
}
// Answers when the gate is opened.
inline Behaviour gated(const std::string& gate) {
  return protocol_two(
      [gate](FakeWorker& worker, const std::string&, const Json& arguments) -> std::optional<Json> {
        if (!worker.await(gate)) return std::nullopt;
        return arguments;
      });
}
// The first worker of each slot (or of slot 0 alone) is one thing, all others are another.
inline Behaviour first_generation(Behaviour first, Behaviour later, bool slot_zero_alone = false) {
  return [=](FakeWorker& worker) {
    const bool is_first = worker.generation() == 1 && (!slot_zero_alone || worker.key().slot == 0);
    (is_first ? first : later)(worker);
  };
}

// `Base`: testing::Test, or a fixture derived from it.
template <class Base>
class ShellTestOn : public Base {
 protected:
  struct Settings {
    std::size_t size = 1;
    std::size_t overflow = 0;
    bool lazy = false;
    std::size_t max_waiters = 100;
    Duration overflow_after = 250ms;
    Duration barging_window = 5ms;
    Duration start_timeout = 30s;
    Duration terminate_grace = 5s;
    Duration cancel_grace = 250ms;
    BreakerOptions breaker = {};
    std::size_t retry_percent = 10;
    std::string verify = {};
  };
  void TearDown() override {
    shell.reset();
    world.reset();
    Base::TearDown();
  }
  // Starts a pool (and ends the one before).
  void start(const Settings& settings, Behaviour behaviour = echo()) {
    if (shell != nullptr) shell->shutdown(0ms);
    shell.reset();
    world->behave(std::move(behaviour));
    PoolOptions options;
    options.worker = command({"/bin/sh"});  // looked up, never run
    options.size = settings.size;
    options.overflow = settings.overflow;
    options.lazy = settings.lazy;
    options.max_waiters = settings.max_waiters;
    options.overflow_after = settings.overflow_after;
    options.barging_window = settings.barging_window;
    options.start_timeout = settings.start_timeout;
    options.terminate_grace = settings.terminate_grace;
    options.cancel_grace = settings.cancel_grace;
    options.breaker = settings.breaker;
    options.retry_percent = settings.retry_percent;
    options.verify = settings.verify;
    options.shutdown_grace = 0ms;
    options.log_level = "off";
    shell = std::make_unique<pool::Shell>(base::resolve(options, 4), world->launcher());
  }

  Result<Json> call(std::string_view name = "echo", const Json& arguments = Json::array(),
                    const CallOptions& options = {}) {
    return shell->call(options, name, arguments);
  }
  pool::Hold lease() {
    return shell->take({.exclusive = true, .queue_deadline = Deadline::after(10s)}).value();
  }
  PoolStats stats() const { return shell->stats(); }
  std::uint64_t generation(std::size_t slot = 0) const { return stats().workers.at(slot).generation; }
  static ErrorKind kind(const Result<Json>& reply) {
    EXPECT_FALSE(reply.has_value());
    return reply ? ErrorKind::kInternal : reply.error().kind;
  }
  void expect_books_add_up() const {
    const PoolStats all = stats();
    EXPECT_EQ(all.admitted, all.ok + all.error + all.timeout + all.crashed + all.shed + all.cancelled);
    EXPECT_EQ(all.inflight, 0u);
    std::size_t slots = 0;
    for (const std::size_t count : all.slots) slots += count;
    EXPECT_EQ(slots, all.size + all.overflow);
  }

  std::unique_ptr<FakeWorld> world = std::make_unique<FakeWorld>(echo());
  std::unique_ptr<pool::Shell> shell;  // ends first
};
using ShellTest = ShellTestOn<testing::Test>;

}  // namespace lair::test
