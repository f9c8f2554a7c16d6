// Which commands are refused for a while, under a clock of the test's own; and what a pool may spend on retries.
#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <deque>
#include <random>
#include <string>

#include "core/breaker.hpp"
#include "core/retry.hpp"

namespace lair::core {
namespace {

using namespace std::chrono_literals;
using enum TryOutcome;

int below(int limit, std::mt19937_64& random) {
  return static_cast<int>(random() % static_cast<unsigned>(limit));
}

// One table under one clock.
struct Commands {
  Breakers breakers{BreakerOptions{}};
  TimePoint now{1000s};

  // False: refused.
  bool call(TryOutcome outcome, const std::string& name = "a") {
    auto pass = breakers.find(name);
    if (breakers.look(pass, now) || breakers.enter(pass, now)) return false;
    breakers.leave(pass, name, outcome, now);
    return true;
  }
  void calls(int count, TryOutcome outcome, const std::string& name = "a") {
    for (int i = 0; i < count; ++i) EXPECT_TRUE(call(outcome, name));
  }
  // Opens it by missed deadlines.
  void trip(const std::string& name = "a") { calls(20, kTimeout, name); }
  BreakerStats stats(const std::string& name = "a") const {
    for (const BreakerStats& each : breakers.stats(now)) {
      if (each.command == name) return each;
    }
    ADD_FAILURE() << "no command " << name;
    return {};
  }
  BreakerState state() const { return stats().state; }
};

TEST(Breaker, OpensAtHalfOfTwentyCalls) {
  Commands commands;
  commands.calls(10, kAnswered);
  commands.calls(9, kTimeout);
  EXPECT_EQ(commands.state(), BreakerState::kClosed);
  EXPECT_TRUE(commands.call(kProtocol));
  EXPECT_EQ(commands.state(), BreakerState::kOpen);
  EXPECT_FALSE(commands.call(kAnswered));
  const BreakerStats stats = commands.stats();
  EXPECT_EQ(stats.calls, 20u);
  EXPECT_EQ(stats.failures, 10u);
  EXPECT_EQ(stats.opened, 1u);
  EXPECT_EQ(stats.refused, 1u);
  EXPECT_EQ(stats.retry_after, 5s);
  EXPECT_FALSE(stats.quarantined);
}

TEST(Breaker, StaysClosedBelowHalf) {
  Commands commands;
  for (int i = 0; i < 100; ++i) {
    commands.calls(6, kAnswered);
    commands.calls(5, kTimeout);
  }
  EXPECT_EQ(commands.state(), BreakerState::kClosed);
}

TEST(Breaker, StaysClosedBelowTwentyCallsInTenSeconds) {
  Commands commands;
  for (int i = 0; i < 200; ++i, commands.now += Duration(10s) / 18) commands.calls(1, kTimeout);
  EXPECT_EQ(commands.state(), BreakerState::kClosed);
}

TEST(Breaker, DoesNotCountWhatReachedNoWorker) {
  Commands commands;
  commands.calls(100, kNothing);
  EXPECT_TRUE(commands.breakers.stats(commands.now).empty());
}

TEST(Breaker, SaysWhy) {
  Commands commands;
  commands.calls(8, kAnswered);
  commands.calls(12, kTimeout);
  commands.now += 1500ms;
  const auto refusal = commands.breakers.look(commands.breakers.find("a"), commands.now);
  ASSERT_TRUE(refusal);
  EXPECT_EQ(refusal->failed, 12u);
  EXPECT_EQ(refusal->calls, 20u);
  EXPECT_EQ(refusal->last, kTimeout);
  EXPECT_EQ(refusal->retry_after, 3500ms);
  EXPECT_FALSE(refusal->quarantined);
  EXPECT_FALSE(refusal->trials_under_way);
}

TEST(Breaker, OneCommandDoesNotCloseAnother) {
  Commands commands;
  commands.trip("a");
  commands.calls(50, kAnswered, "b");
  EXPECT_FALSE(commands.call(kAnswered, "a"));
}

TEST(Breaker, ClosesAfterThreeSuccessesInTrial) {
  Commands commands;
  commands.trip();
  commands.now += 5s;
  EXPECT_EQ(commands.state(), BreakerState::kHalfOpen);
  commands.calls(2, kAnswered);
  EXPECT_EQ(commands.state(), BreakerState::kHalfOpen);
  commands.calls(1, kAnswered);
  EXPECT_EQ(commands.state(), BreakerState::kClosed);
  commands.calls(19, kTimeout);
  EXPECT_EQ(commands.state(), BreakerState::kClosed) << "what went before is forgotten";
}

TEST(Breaker, RefusesForLongerEachTimeInARow) {
  Commands commands;
  commands.trip();
  for (int n = 1; n <= 20; ++n) {
    const Duration expected = std::min<Duration>(5s * n, 60s);
    EXPECT_EQ(commands.stats().retry_after, expected);
    commands.now += expected - 1ns;
    EXPECT_FALSE(commands.call(kTimeout));
    commands.now += 1ns;
    EXPECT_TRUE(commands.call(kTimeout));
    EXPECT_EQ(commands.state(), BreakerState::kOpen);
  }
  commands.now += 60s;
  commands.calls(3, kAnswered);
  commands.trip();
  EXPECT_EQ(commands.stats().retry_after, 5s) << "in a row only";
}

TEST(Breaker, LetsThreeTrialCallsRunAtOnce) {
  Commands commands;
  commands.trip();
  commands.now += 5s;
  std::vector<Breakers::Pass> passes(4, commands.breakers.find("a"));
  for (int i = 0; i < 4; ++i) EXPECT_FALSE(commands.breakers.look(passes[i], commands.now));
  for (int i = 0; i < 3; ++i) EXPECT_FALSE(commands.breakers.enter(passes[i], commands.now));
  const auto refusal = commands.breakers.enter(passes[3], commands.now);
  ASSERT_TRUE(refusal);
  EXPECT_TRUE(refusal->trials_under_way);
  EXPECT_EQ(refusal->retry_after, Breakers::kTrialPatience);
  // One that came to nothing gives its place back, and proves nothing.
  commands.breakers.leave(passes[0], "a", kNothing, commands.now);
  EXPECT_FALSE(commands.breakers.enter(passes[3], commands.now));
  for (int i = 1; i < 4; ++i) commands.breakers.leave(passes[i], "a", kAnswered, commands.now);
  EXPECT_EQ(commands.state(), BreakerState::kClosed);
}

TEST(Breaker, IgnoresCallsThatWereLetThroughBefore) {
  Commands commands;
  auto early = commands.breakers.find("a");
  EXPECT_FALSE(commands.breakers.enter(early, commands.now));
  commands.trip();
  commands.now += 5s;
  auto trial = commands.breakers.find("a");
  EXPECT_FALSE(commands.breakers.enter(trial, commands.now));
  commands.breakers.leave(early, "a", kTimeout, commands.now);
  EXPECT_EQ(commands.state(), BreakerState::kHalfOpen) << "it is no trial call";
  // Another trial call fails; the first comes back in the next half-open time.
  EXPECT_TRUE(commands.call(kTimeout));
  commands.now += 10s;
  commands.calls(2, kAnswered);
  commands.breakers.leave(trial, "a", kAnswered, commands.now);
  EXPECT_EQ(commands.state(), BreakerState::kHalfOpen) << "it is one of the last time";
  commands.calls(1, kAnswered);
  EXPECT_EQ(commands.state(), BreakerState::kClosed);
}

TEST(Breaker, SwitchedOffItCountsOnly) {
  Commands commands{.breakers = Breakers({.enabled = false})};
  commands.calls(100, kCrash);
  EXPECT_EQ(commands.state(), BreakerState::kClosed);
  EXPECT_EQ(commands.stats().failures, 100u);
}

TEST(Breaker, BeyondTwoHundredCommandsTheRestShareOne) {
  Commands commands;
  for (int i = 0; i < 300; ++i) commands.calls(1, kAnswered, "c" + std::to_string(i));
  EXPECT_EQ(commands.breakers.stats(commands.now).size(), Breakers::kMostCommands + 1);
  EXPECT_EQ(commands.stats("other").calls, 100u);
  // One of its own, and one of the shared kind.
  while (commands.call(kTimeout, "c7")) continue;
  EXPECT_FALSE(commands.call(kAnswered, "c7"));
  EXPECT_TRUE(commands.call(kAnswered, "c299"));
  while (commands.call(kTimeout, "c250")) continue;
  EXPECT_FALSE(commands.call(kAnswered, "c299"));
  EXPECT_TRUE(commands.call(kAnswered, "c8"));
}

// --- Quarantine ------------------------------------------------------------------------------------

TEST(Quarantine, BeginsWithTheThirdCrash) {
  Commands commands;
  for (int i = 0; i < 2; ++i) {
    commands.calls(1000, kAnswered);
    commands.calls(1, kCrash);
    commands.now += 20s;
  }
  EXPECT_EQ(commands.state(), BreakerState::kClosed);
  commands.calls(1, kCrash);
  EXPECT_FALSE(commands.call(kAnswered));
  EXPECT_TRUE(commands.stats().quarantined);
  const auto refusal = commands.breakers.look(commands.breakers.find("a"), commands.now);
  EXPECT_TRUE(refusal->quarantined);
  EXPECT_EQ(refusal->failed, 3u);
  EXPECT_EQ(refusal->last, kCrash);
}

TEST(Quarantine, ForgetsCrashesAfterAMinute) {
  Commands commands;
  for (int i = 0; i < 100; ++i, commands.now += 31s) commands.calls(1, kCrash);
  EXPECT_EQ(commands.state(), BreakerState::kClosed);
}

TEST(Quarantine, IsNotForMissedDeadlines) {
  Commands commands;
  commands.calls(19, kTimeout);
  EXPECT_EQ(commands.state(), BreakerState::kClosed);
}

TEST(Quarantine, IsTriedAndEndsLikeAnyOther) {
  Commands commands;
  commands.calls(3, kCrash);
  commands.now += 5s;
  commands.calls(1, kCrash);
  EXPECT_EQ(commands.stats().retry_after, 10s);
  EXPECT_TRUE(commands.stats().quarantined);
  commands.now += 10s;
  commands.calls(3, kAnswered);
  EXPECT_EQ(commands.state(), BreakerState::kClosed);
  EXPECT_FALSE(commands.stats().quarantined);
  commands.calls(2, kCrash);
  EXPECT_EQ(commands.state(), BreakerState::kClosed) << "its old crashes are forgiven";
}

// --- Any history -----------------------------------------------------------------------------------

// Beside a model that keeps every call, and adds up those of the last twenty half seconds.
TEST(Breaker, DoesWhatAModelDoesThatRemembersEverything) {
  for (std::uint64_t seed = 0; seed < 200; ++seed) {
    std::mt19937_64 random(seed);
    Commands commands;
    struct Past {
      TimePoint at;
      bool failure;
    };
    std::deque<Past> past;
    TimePoint grid = commands.now;  // where the half seconds begin
    const int failing = 30 + below(40, random);
    const Duration pace = std::chrono::milliseconds(10 + below(600, random));
    for (int i = 0; i < 2000 && (i == 0 || commands.state() == BreakerState::kClosed); ++i) {
      commands.now += pace * below(100, random) / 50;
      if (below(100, random) == 0) commands.now += std::chrono::seconds(below(15, random));
      const auto step = [&](TimePoint at) { return (at - grid) / 500ms; };
      while (!past.empty() && step(past.front().at) <= step(commands.now) - 20) past.pop_front();
      if (i == 0) grid = commands.now;
      const bool failure = below(100, random) < failing;
      past.push_back({commands.now, failure});
      ASSERT_TRUE(commands.call(failure ? kTimeout : kAnswered));
      const auto failures = std::count_if(past.begin(), past.end(), [](const Past& p) { return p.failure; });
      const bool opens = past.size() >= 20 && static_cast<std::size_t>(failures) * 2 >= past.size();
      ASSERT_EQ(commands.state() == BreakerState::kOpen, opens) << "seed " << seed << ", call " << i;
    }
  }
}

// Many callers at random: never more than three trial calls, and the way back is always found.
TEST(Breaker, NeverLosesAPlaceForTrialCalls) {
  for (std::uint64_t seed = 0; seed < 100; ++seed) {
    std::mt19937_64 random(seed);
    Commands commands;
    std::vector<Breakers::Pass> running;
    for (int i = 0; i < 3000; ++i) {
      commands.now += std::chrono::milliseconds(below(300, random));
      if (below(2, random) == 0 && running.size() < 10) {
        auto pass = commands.breakers.find("a");
        if (!commands.breakers.enter(pass, commands.now)) running.push_back(pass);
      } else if (!running.empty()) {
        const std::size_t which = random() % running.size();
        const int outcome = below(5, random);
        commands.breakers.leave(running[which], "a",
                                outcome == 4   ? kNothing
                                : outcome == 3 ? kCrash
                                               : kAnswered,
                                commands.now);
        running.erase(running.begin() + static_cast<std::ptrdiff_t>(which));
      }
      ASSERT_LE(std::count_if(running.begin(), running.end(), [](const auto& pass) { return pass.trial; }),
                3);
    }
    EXPECT_GT(commands.stats().opened, 1u) << "seed " << seed << ": this was no test";
    for (Breakers::Pass& pass : running) commands.breakers.leave(pass, "a", kNothing, commands.now);
    if (commands.state() != BreakerState::kClosed) {
      commands.now += 60s;
      while (commands.state() != BreakerState::kClosed) ASSERT_TRUE(commands.call(kAnswered));
    }
  }
}

// --- Retries ---------------------------------------------------------------------------------------

TEST(RetryBudget, AllowsItsPartOfTheCallsAndTenMore) {
  for (std::uint64_t seed = 0; seed < 50; ++seed) {
    std::mt19937_64 random(seed);
    const unsigned percent = std::array{1u, 10u, 33u, 100u}[seed % 4];
    RetryBudget budget(percent);
    unsigned calls = 0;
    unsigned retries = 0;
    for (int i = 0; i < 10'000; ++i) {
      if (below(3, random) == 0) {
        budget.call();
        ++calls;
      } else if (budget.take()) {
        ++retries;
      }
      ASSERT_LE(retries, 10 + calls * percent / 100);
    }
    while (budget.take()) ++retries;
    EXPECT_EQ(retries, 10 + calls * percent / 100) << "all that could be had was asked for";
  }
}

TEST(RetryBudget, SavesUpAHundredAtMost) {
  RetryBudget budget;
  for (int i = 0; i < 100'000; ++i) budget.call();
  unsigned retries = 0;
  while (budget.take()) ++retries;
  EXPECT_EQ(retries, 100u);
}

TEST(Retry, MendsWhatDidNotRunAndWhatMayRunTwice) {
  const auto mends = [](ErrorKind kind, Delivery delivery, bool idempotent) {
    return retry_can_mend({.kind = kind, .delivery = delivery}, idempotent);
  };
  for (const ErrorKind kind : {ErrorKind::kWorkerLost, ErrorKind::kProtocol}) {
    EXPECT_TRUE(mends(kind, Delivery::kNotSent, false));
    EXPECT_FALSE(mends(kind, Delivery::kMaybeExecuted, false));
    EXPECT_TRUE(mends(kind, Delivery::kMaybeExecuted, true));
    EXPECT_FALSE(mends(kind, Delivery::kExecuted, true));
  }
  EXPECT_TRUE(mends(ErrorKind::kOverloaded, Delivery::kNotSent, false));
  for (const ErrorKind kind :
       {ErrorKind::kInvalidArgument, ErrorKind::kUnknownCommand, ErrorKind::kRemote, ErrorKind::kUnavailable,
        ErrorKind::kDeadlineExceeded, ErrorKind::kCancelled, ErrorKind::kInternal}) {
    for (const Delivery delivery : {Delivery::kNotSent, Delivery::kMaybeExecuted, Delivery::kExecuted}) {
      EXPECT_FALSE(mends(kind, delivery, true)) << to_string(kind);
    }
  }
}

TEST(Retry, WaitsAnywhereUpToTenMillisecondsDoubledUpToOneSecond) {
  std::mt19937_64 random(1);
  for (unsigned failures = 1; failures <= 40; ++failures) {
    const Duration most = failures > 7 ? Duration(1s) : Duration(10ms) * (1u << (failures - 1));
    Duration least_seen = 1h;
    Duration most_seen{};
    for (int i = 0; i < 1000; ++i) {
      const Duration wait = retry_delay(failures, {}, random);
      least_seen = std::min(least_seen, wait);
      most_seen = std::max(most_seen, wait);
    }
    EXPECT_GE(least_seen, 0ns);
    EXPECT_LE(most_seen, most);
    EXPECT_LT(least_seen, most / 50) << "full jitter";
    EXPECT_GT(most_seen, most - most / 50);
  }
  EXPECT_GE(retry_delay(1, {.retry_after_ms = 70}, random), 70ms);
}

}  // namespace
}  // namespace lair::core
