// Sessions in a storm: a thousand of them, eight workers that are killed, sixteen threads. Each session keeps a secret in its
// worker (the strict ones) and in the store; nobody ever finds another's, nothing that was acknowledged is missing,
// and whatever was lost has been reported, once.
#include <gtest/gtest.h>
#include <signal.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cstdio>
#include <cstdlib>
#include <map>
#include <mutex>
#include <random>
#include <set>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "support/leak_check.hpp"
#include "support/pools.hpp"
#include "support/sanitized.hpp"
#include "support/tormentor.hpp"

namespace lair::test {
namespace {

using namespace std::chrono_literals;

constexpr std::size_t kStormSize = 8;
constexpr std::size_t kSessions = 1000;
constexpr unsigned kThreads = 16;

struct StormExtent {
  std::uint64_t calls;
  unsigned kills;
};
StormExtent storm_extent() {
  if (std::getenv("LAIR_LONG") != nullptr)
    return kSanitized ? StormExtent{50'000, 300} : StormExtent{1'000'000, 2'000};
  return kSanitized ? StormExtent{2'500, 15} : StormExtent{10'000, 40};
}

// What has been acknowledged to callers of one session. Several threads use it.
struct Ledger {
  std::mutex mutex;
  std::set<int> shared;                          // counts: each only once
  std::map<std::uint64_t, std::set<int>> local;  // by the session's number: each only once
  std::uint64_t in_doubt = 0;                    // calls that may have been executed
  std::uint64_t losses_seen = 0;                 // kSessionLost that led to a reopening, or would have
};

class SessionStorm : public LeakChecked {
 protected:
  static std::string id_of(std::size_t i) { return "session " + std::to_string(i); }
  static bool is_strict(std::size_t i) { return i % 2 == 0; }

  void call_until(Pool& pool, unsigned thread, const std::atomic<bool>& done) {
    std::mt19937 random(thread);
    while (!done) {
      const std::size_t i = random() % kSessions;
      visit(pool, i, random() % 8 == 0);
    }
  }

  // With `direct`, the secret is also looked at from this side.
  void visit(Pool& pool, std::size_t i, bool direct) {
    Session session =
        pool.session(id_of(i), {.affinity = is_strict(i) ? Affinity::kStrict : Affinity::kPrefer});
    const std::string secret = "secret of " + id_of(i);
    const auto outcome = session.try_call("visit", secret);
    ++calls_;
    Ledger& ledger = ledgers_[i];
    if (!outcome) {
      const Error& error = outcome.error();
      const std::lock_guard lock(ledger.mutex);
      if (error.delivery == Delivery::kMaybeExecuted) ++ledger.in_doubt;
      if (error.kind == ErrorKind::kWorkerLost) {
        ++worker_lost_;
      } else if (error.kind == ErrorKind::kSessionLost && is_strict(i)) {
        ++ledger.losses_seen;
        const auto reopened = session.try_reopen();
        EXPECT_TRUE(reopened) << reopened.error().report();
      } else {
        ADD_FAILURE() << error.report();
      }
      return;
    }
    const Json& told = *outcome;
    EXPECT_EQ(told.at(0), Json::array()) << "a leak";
    if (direct) {
      EXPECT_EQ(session.try_get("secret").value(), std::optional<Json>(secret)) << "a leak";
    }
    const std::lock_guard lock(ledger.mutex);
    EXPECT_TRUE(ledger.shared.insert(told.at(1).get<int>()).second)
        << session.id() << ": a write that was acknowledged had been lost";
    if (!is_strict(i)) return;
    EXPECT_TRUE(ledger.local[told.at(3).get<std::uint64_t>()].insert(told.at(2).get<int>()).second)
        << session.id() << ": what its worker kept was lost, in silence";
  }

  void kill_until(const Pool& pool, const std::atomic<bool>& done) {
    std::mt19937 random(7);
    Tormentor tormentor(pool);
    std::uint64_t next = 0;
    // Paced by calls, not by time: slow builds kill as often for what they do.
    while (eventually([&] { return done || calls_ >= next; }, 1h) && !done) {
      if (!tormentor.hit(SIGKILL)) {
        std::this_thread::yield();
        continue;
      }
      ++kills_;
      next = calls_ + 100 + random() % 100;
    }
  }

  // Every strict session is asked once more: whoever was lost since, is told of it now.
  void ask_all(Pool& pool) {
    for (std::size_t i = 0; i < kSessions; ++i) visit(pool, i, true);
  }

  std::array<Ledger, kSessions> ledgers_;
  std::atomic<std::uint64_t> calls_ = 0;
  std::atomic<std::uint64_t> worker_lost_ = 0;
  std::atomic<unsigned> kills_ = 0;
};

TEST_F(SessionStorm, NothingLeaksAndNothingIsLostInSilence) {
  const StormExtent extent = test::storm_extent();
  PoolOptions options = options_for("storm_sessions", kStormSize);
  options.max_waiters = 100;
  options.timeout = 5min;
  options.checkout_timeout = 5min;
  options.queue_target = kForever;
  options.start_timeout = 5min;
  std::mutex mutex;
  std::map<std::string, std::uint64_t> told;  // losses that the pool told of, by their message
  options.on_event = [&](const PoolEvent& event) {
    if (event.kind != PoolEventKind::kSessionLost) return;
    const std::lock_guard lock(mutex);
    ++told[event.message.substr(0, event.message.find(" is lost"))];
  };
  {
    Pool pool(options);
    pool.wait_ready();
    std::atomic<bool> done = false;
    std::vector<std::thread> threads;
    for (unsigned t = 0; t < kThreads; ++t) threads.emplace_back([&, t] { call_until(pool, t, done); });
    threads.emplace_back([&] { kill_until(pool, done); });
    eventually([&] { return (calls_ >= extent.calls && kills_ >= extent.kills) || HasFailure(); }, 2h);
    done = true;
    for (std::thread& thread : threads) thread.join();
    EXPECT_TRUE(eventually([&] { return pool.stats().count(SlotState::kIdle) == kStormSize; }, 1min));
    ask_all(pool);

    const PoolStats stats = pool.stats();
    std::uint64_t lost = 0;
    for (const auto& [cause, count] : stats.sessions.lost) lost += count;
    EXPECT_GT(lost, 0u);
    EXPECT_EQ(stats.sessions.lost.size(), 1u) << "there was no other cause than crashes";

    // Each loss took a number, and nothing else did but the openings.
    const std::uint64_t last = pool.session("one more").info().number;
    EXPECT_EQ(last, kSessions + lost + 1);
    std::uint64_t reported = 0;
    for (std::size_t i = 0; i < kSessions; ++i) {
      Ledger& ledger = ledgers_[i];
      Session session = pool.session(id_of(i));
      EXPECT_TRUE(session.info().open) << session.id();
      EXPECT_LE(ledger.local.size(), ledger.losses_seen + 1) << session.id() << ": lost without a word";
      reported += ledger.losses_seen;
      // What the store has is all that was acknowledged, and nothing that nobody wrote.
      const auto count = session.get<int>("count");
      const auto acknowledged = ledger.shared.size();
      if (acknowledged > 0) {
        ASSERT_TRUE(count) << session.id();
        EXPECT_GE(*count, *ledger.shared.rbegin());
        EXPECT_LE(static_cast<std::uint64_t>(*count), acknowledged + ledger.in_doubt);
      }
    }
    // Several threads may have been told of one loss, none of them of none.
    EXPECT_GE(reported, lost);
    EXPECT_EQ(stats.events_dropped, 0u);
    EXPECT_EQ(stats.sessions.open, kSessions);
    EXPECT_EQ(stats.admitted,
              stats.ok + stats.error + stats.timeout + stats.crashed + stats.shed + stats.cancelled);
    EXPECT_EQ(stats.error, 0u);
    std::printf(
        "%llu calls, %u workers killed, %llu calls lost with them; %llu sessions lost, told %llu times; "
        "hits %llu, spills %llu, moves %llu\n",
        static_cast<unsigned long long>(calls_), kills_.load(), static_cast<unsigned long long>(worker_lost_),
        static_cast<unsigned long long>(lost), static_cast<unsigned long long>(reported),
        static_cast<unsigned long long>(stats.sessions.hits),
        static_cast<unsigned long long>(stats.sessions.spills),
        static_cast<unsigned long long>(stats.sessions.moves));
    EXPECT_TRUE(eventually([&] {
      const std::lock_guard lock(mutex);
      std::uint64_t events = 0;
      for (const auto& [message, count] : told) events += count;
      return events == lost;
    })) << "an event for each";
  }
}

}  // namespace
}  // namespace lair::test
