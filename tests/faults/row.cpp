#include "faults/row.hpp"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <cstring>

#include "base/duration.hpp"

namespace lair::test {

namespace {

using namespace std::chrono_literals;

constexpr Duration kTooLate = 50ms;
constexpr std::size_t kWorkerMemory = 16u << 20;  // about what a Python worker has

// The worst of a few: from SIGKILL until a process as large as a worker has been reaped.
Duration cost_of_a_kill() {
  Duration worst{};
  for (int i = 0; i < 5; ++i) {
    void* memory = ::mmap(nullptr, kWorkerMemory, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    int ready[2];
    if (memory == MAP_FAILED || ::pipe(ready) != 0) return {};
    const pid_t child = ::fork();
    if (child == 0) {
      std::memset(memory, 1, kWorkerMemory);
      (void)!::write(ready[1], "x", 1);
      for (;;) ::pause();
    }
    char byte = 0;
    (void)!::read(ready[0], &byte, 1);
    const TimePoint killed = SteadyClock::now();
    ::kill(child, SIGKILL);
    ::waitpid(child, nullptr, 0);
    worst = std::max<Duration>(worst, SteadyClock::now() - killed);
    ::close(ready[0]);
    ::close(ready[1]);
    ::munmap(memory, kWorkerMemory);
  }
  return worst;
}

// "R02_ABusyWorkerIsKilled" → "2", "a busy worker is killed".
std::pair<int, std::string> row_of(const std::string& test) {
  const std::size_t bar = test.find('_');
  std::string words;
  for (std::size_t i = bar + 1; i < test.size(); ++i) {
    const bool starts = std::isupper(static_cast<unsigned char>(test[i])) != 0;
    if (starts && !words.empty()) words += ' ';
    words += starts ? static_cast<char>(std::tolower(test[i])) : test[i];
  }
  return {std::atoi(test.c_str() + 1), words};
}

double milliseconds(Duration time) { return std::chrono::duration<double, std::milli>(time).count(); }

}  // namespace

int rounds(int usual, int many) { return std::getenv("LAIR_LONG") != nullptr ? many : usual; }

void FaultRow::SetUp() {
  sleeper_ = std::thread([this] {
    while (!done_) {
      const TimePoint before = SteadyClock::now();
      std::this_thread::sleep_for(1ms);
      const Duration late = SteadyClock::now() - before - 1ms;
      if (late.count() > late_) late_ = late.count();
    }
  });
}

void FaultRow::TearDown() {
  done_ = true;
  sleeper_.join();
  LeakChecked::TearDown();
  const Duration late{late_.load()};
  const bool kills =
      std::any_of(timed_.begin(), timed_.end(), [](const Timed& timed) { return timed.with_kill; });
  const Duration kill_cost = kills ? 3 * cost_of_a_kill() / 2 : Duration::zero();
  report(late, kill_cost);
#ifdef LAIR_TIMES_COUNT
  if (timed_.empty()) return;
  if (late > kTooLate) {
    GTEST_SKIP() << "invalid: a thread that only slept was " << base::format_duration(late) << " late";
  }
  for (const Timed& timed : timed_) {
    EXPECT_LE(timed.worst, timed.bound + allowance(timed, late, kill_cost))
        << timed.what << ": worst of " << timed.times << " was " << base::format_duration(timed.worst)
        << ", the bound is " << base::format_duration(timed.bound) << " + " << base::format_duration(late)
        << " (control thread) + " << base::format_duration(timed.with_kill ? kill_cost : Duration::zero())
        << " (a bare kill)";
  }
  for (const Reached& reached : reached_) EXPECT_GE(reached.share, reached.least) << reached.what;
#endif
}

Duration FaultRow::allowance(const Timed& timed, Duration late, Duration kill_cost) {
  return late + (timed.with_kill ? kill_cost : Duration::zero());
}

void FaultRow::took(const std::string& what, Duration time, Duration bound, bool with_kill) {
  for (Timed& timed : timed_) {
    if (timed.what != what) continue;
    timed.worst = std::max(timed.worst, time);
    ++timed.times;
    return;
  }
  timed_.push_back({.what = what, .worst = time, .bound = bound, .with_kill = with_kill, .times = 1});
}

void FaultRow::reached(const std::string& what, double share, double least) {
  reached_.push_back({what, share, least});
  fact(what, std::to_string(share));
}

void FaultRow::fact(const std::string& what, const std::string& value) { facts_.emplace_back(what, value); }

void FaultRow::report(Duration late, Duration kill_cost) const {
  const char* file = std::getenv("LAIR_FAULT_TABLE");
  const auto [row, fault] = row_of(::testing::UnitTest::GetInstance()->current_test_info()->name());
  Json line = {{"row", row},
               {"fault", fault},
               {"outcome", HasFailure() ? "wrong" : "as expected"},
               {"late_ms", milliseconds(late)},
               {"kill_ms", milliseconds(kill_cost)},
               {"valid", late <= kTooLate},
               {"times", Json::array()},
               {"facts", Json::object()}};
  for (const Timed& timed : timed_) {
    line["times"].push_back({{"what", timed.what},
                             {"worst_ms", milliseconds(timed.worst)},
                             {"bound_ms", milliseconds(timed.bound)},
                             {"allowance_ms", milliseconds(allowance(timed, late, kill_cost))},
                             {"times", timed.times}});
    std::printf("row %d: %s: worst of %d %.1f ms, bound %.1f ms (+ %.1f ms)\n", row, timed.what.c_str(),
                timed.times, milliseconds(timed.worst), milliseconds(timed.bound),
                milliseconds(allowance(timed, late, kill_cost)));
  }
  for (const auto& [what, value] : facts_) line["facts"][what] = value;
  if (file == nullptr || *file == 0) return;
  std::FILE* table = std::fopen(file, "ae");
  if (table == nullptr) return;
  std::fprintf(table, "%s\n", line.dump().c_str());
  std::fclose(table);
}

void FaultRow::expect_whole(Pool& pool) {
  EXPECT_TRUE(eventually([&] { return pool.stats().count(SlotState::kIdle) == pool.options().size; }))
      << to_json_value(pool.stats()).dump(1);
  const PoolStats stats = pool.stats();
  EXPECT_EQ(stats.admitted,
            stats.ok + stats.error + stats.timeout + stats.crashed + stats.shed + stats.cancelled);
  EXPECT_EQ(stats.inflight, 0u);
}

}  // namespace lair::test
