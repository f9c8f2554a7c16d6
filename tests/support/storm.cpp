#include "support/storm.hpp"

#include <gtest/gtest.h>
#include <malloc.h>
#include <signal.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <filesystem>
#include <fstream>
#include <map>

#include "support/leak_check.hpp"
#include "support/sanitized.hpp"

namespace lair::test {

using namespace std::chrono_literals;

namespace {

// For deeds after which no answer comes.
constexpr Duration kShortTimeout = 200ms;

const std::string kLong(300'000, 'p');  // longer than a socket's buffer

std::uint64_t mixed(std::uint64_t number) {
  number += 0x9e3779b97f4a7c15;
  number = (number ^ (number >> 30)) * 0xbf58476d1ce4e5b9;
  number = (number ^ (number >> 27)) * 0x94d049bb133111eb;
  return number ^ (number >> 31);
}

struct Trouble {
  const char* deed;
  bool answers = true;  // or ends its worker
  bool idempotent = false;
};
constexpr std::array<Trouble, 12> kTroubles = {{
    {"crash"},
    {"leave"},
    {"stop", false},
    {"garbage"},
    {"twice"},
    {"stray"},
    {"late"},
    {"another"},
    {"half", false},
    {"silent", false},
    {"crash", true, true},
    {"another", true, true},
}};

int keeper_pid() {
  for (const int pid : descendants(::getpid())) {
    std::ifstream file("/proc/" + std::to_string(pid) + "/comm");
    std::string name;
    if (std::getline(file, name) && name == "lair-keeper") return pid;
  }
  return 0;
}

std::size_t descriptors_of(const std::string& process) {
  std::error_code gone;
  const std::filesystem::directory_iterator entries("/proc/" + process + "/fd", gone);
  return static_cast<std::size_t>(std::distance(begin(entries), end(entries)));
}

// Its own memory. The pages of programs and libraries that it has come across are the page cache's.
std::size_t resident_bytes_of(const std::string& process) {
  std::ifstream status("/proc/" + process + "/status");
  std::string word;
  std::size_t kibibytes = 0;
  while (status >> word) {
    if (word == "RssAnon:" && status >> kibibytes) break;
  }
  return kibibytes << 10;
}

}  // namespace

Storm::Storm(Pool& pool, History& history, const StormOptions& options)
    : pool_(pool), history_(history), options_(options) {}

Storm::~Storm() = default;

void Storm::blow(const std::function<bool()>& enough) {
  enough_ = false;
  std::vector<std::thread> threads;
  threads.emplace_back([this] { torment(); });
  for (int i = 0; i < options_.callers; ++i) threads.emplace_back([this, i] { call_until_enough(i); });
  eventually([&] { return history_.full() || enough(); }, 24h);
  {
    const std::lock_guard lock(mutex_);
    enough_ = true;
    lull_ = false;
  }
  changed_.notify_all();
  for (std::thread& thread : threads) thread.join();
}

void Storm::call_until_enough(int caller) {
  while (!enough_ && !history_.full()) {
    if (lull_ && caller >= options_.callers_in_a_lull) {
      std::unique_lock lock(mutex_);
      changed_.wait(lock, [this] { return enough_ || !lull_; });
      continue;
    }
    call();
  }
}

Told Storm::asked(Endpoint& endpoint, std::uint32_t number, const CallOptions& options,
                  const std::string& deed, int amount, const std::string& padding, bool admitted) {
  const kwargs arguments{{"number", number}, {"deed", deed}, {"amount", amount}, {"padding", padding}};
  const auto result = endpoint.try_call(options, "act", arguments);
  const bool answers_much = padding.empty() && amount > 0;
  const std::string expected =
      answers_much ? std::string(static_cast<std::size_t>(amount), static_cast<char>('a' + number % 26))
                   : padding;
  Told told = told_by(result, number, expected);
  if (options.idempotent) told.tries = static_cast<std::uint8_t>(1 + pool_.options().retries);
  told.admitted = admitted;
  history_.note(number, told);
  return told;
}

void Storm::call() {
  const auto number = history_.begin();
  if (!number) return;
  const std::uint64_t chance = mixed(*number);
  CallOptions call{.timeout = options_.timeout};
  if (options_.all_take_ms > 0) {
    asked(pool_, *number, call, "nap", options_.all_take_ms);
  } else if (options_.trouble_one_in > 0 && chance % options_.trouble_one_in == 0) {
    make_trouble(*number, chance / options_.trouble_one_in);
  } else {
    const auto kind = static_cast<unsigned>(chance / 8192 % 100);
    // Long messages, on the way for long.
    const std::string padding = kind < 2 ? kLong : std::string();
    const int amount = 2 <= kind && kind < 5 ? 30'000 : 0;
    const bool raises = 5 <= kind && kind < 10;
    const bool naps = 10 <= kind && kind < 15;
    if (15 <= kind && kind < 17) call.checkout_timeout = Duration::zero();
    call.idempotent = 17 <= kind && kind < 25;
    if (25 <= kind && kind < 29) call.retries = 2;
    asked(pool_, *number, call, raises ? "raise" : naps ? "nap" : "well", naps ? 1 : amount, padding);
    if (kind == 99) leased();
  }
}

void Storm::make_trouble(std::uint32_t number, std::uint64_t chance) {
  CallOptions call{.timeout = options_.timeout};
  const std::uint64_t which = chance % (kTroubles.size() + 1);
  if (which == kTroubles.size()) {  // in a hurry: its deadline passes somewhere on the way
    call.timeout = std::chrono::microseconds(chance / 16 % 3000);
    asked(pool_, number, call, "nap", 1);
    return;
  }
  const Trouble& trouble = kTroubles[which];
  if (!trouble.answers) call.timeout = kShortTimeout;
  call.idempotent = trouble.idempotent;
  asked(pool_, number, call, trouble.deed);
}

void Storm::leased() {
  auto lease = pool_.try_checkout({.timeout = options_.timeout});
  if (!lease) return;
  bool lost = false;
  for (int i = 0; i < 3; ++i) {
    const auto number = history_.begin();
    if (!number) return;
    const Told told =
        asked(*lease, *number, {.timeout = options_.timeout}, i == 1 ? "raise" : "well", 0, {}, !lost);
    lost |= !told.ok && told.kind != ErrorKind::kRemote;
  }
}

void Storm::torment() {
  std::unique_lock lock(mutex_);
  for (unsigned beat = 1; !changed_.wait_for(lock, options_.kill_every, [this] { return enough_.load(); });
       ++beat) {
    lull_ = beat / 10 % 2 == 1;
    lock.unlock();
    changed_.notify_all();
    const bool stops = options_.stop_one_in > 0 && beat % options_.stop_one_in == 0;
    hit(stops ? SIGSTOP : SIGKILL);
    lock.lock();
  }
}

void Storm::hit(int signal) {
  if (pool_.stats().count(SlotState::kFailed) > 0) failed_ = true;
  if (tormentor_.hit(signal)) ++(signal == SIGSTOP ? stops_ : kills_);
}

bool Storm::calm() {
  return eventually(
      [this] {
        std::vector<Lease> leases;
        for (std::size_t i = 0; i < pool_.options().size; ++i) {
          auto lease = pool_.try_checkout({.timeout = 1s});
          if (!lease) return false;
          leases.push_back(*std::move(lease));
        }
        return std::all_of(leases.begin(), leases.end(), [this](Lease& lease) {
          const auto number = history_.begin();
          return number && asked(lease, *number, {.timeout = 10s}, "well", 0, kLong).ok;
        });
      },
      2min);
}

void Footprint::of_one_heap() { ::mallopt(M_ARENA_MAX, 1); }

Footprint Footprint::now(const History& history) {
  ::malloc_trim(0);  // what is free does not count
  const std::string keeper = std::to_string(keeper_pid());
  Footprint print{.descriptors = open_descriptors().size(),
                  .keeper_descriptors = descriptors_of(keeper),
                  .resident = resident_bytes_of("self"),
                  .allocated = ::mallinfo2().uordblks + ::mallinfo2().hblkhd,
                  .keeper_resident = resident_bytes_of(keeper)};
  print.resident -= std::min(print.resident, history.bytes());
  print.allocated -= std::min(print.allocated, history.bytes());
  return print;
}

std::string Footprint::text() const {
  return std::to_string(descriptors) + " descriptors, " + std::to_string(resident >> 10) + " KiB resident, " +
         std::to_string(allocated >> 10) + " KiB allocated; keeper: " + std::to_string(keeper_descriptors) +
         " descriptors, " + std::to_string(keeper_resident >> 10) + " KiB";
}

namespace {

// Nothing more than before, but for noise of the memory. Of descriptors the fewer of both times count: one of them may have
// seen one that was about to go.
bool flat(const Footprint& after, const Footprint& fresh, const Footprint& warm) {
  bool is_flat = after.descriptors <= std::min(fresh.descriptors, warm.descriptors) &&
                 after.keeper_descriptors <= std::min(fresh.keeper_descriptors, warm.keeper_descriptors);
  if constexpr (!kSanitized) {
    constexpr std::size_t kNoise = 256u << 10;
    is_flat = is_flat && after.allocated <= warm.allocated + warm.allocated / 20 &&
              after.resident <= warm.resident + warm.resident / 20 + kNoise &&
              after.keeper_resident <= warm.keeper_resident + warm.keeper_resident / 20 + kNoise;
  }
  return is_flat;
}

}  // namespace

Footprint expect_flat(const History& history, const Footprint& fresh, const Footprint& warm) {
  Footprint after;
  // What an end leaves behind, a dead worker's channel with its buffer above all, is put away a moment after it. So was
  // what the starts needed: when `fresh` was taken there may have been a descriptor of that too.
  EXPECT_TRUE(eventually([&] {
    after = Footprint::now(history);
    return flat(after, fresh, warm);
  })) << "fresh: "
      << fresh.text() << "\nwarm:  " << warm.text() << "\nafter: " << after.text();
  return after;
}

void expect_flawless(const History& history, const PoolStats& stats) {
  const std::vector<Told> calls = history.calls();
  const std::vector<std::string> found = flaws(calls, history.executed());
  for (std::size_t i = 0; i < std::min<std::size_t>(found.size(), 20); ++i) ADD_FAILURE() << found[i];
  EXPECT_EQ(found.size(), 0u);
  std::uint64_t ok = 0;
  std::uint64_t raised = 0;
  std::uint64_t admitted = 0;
  for (const Told& told : calls) {
    if (told.admitted) ++admitted;
    if (told.ok) ++ok;
    if (!told.ok && told.kind == ErrorKind::kRemote) ++raised;
  }
  EXPECT_EQ(stats.admitted, admitted);
  EXPECT_EQ(stats.ok, ok);
  EXPECT_EQ(stats.error, raised);
  EXPECT_EQ(stats.timeout + stats.crashed + stats.shed + stats.cancelled, admitted - ok - raised);
}

std::string summary(const History& history) {
  std::map<std::string, std::size_t> counts;
  const std::vector<Told> calls = history.calls();
  for (const Told& told : calls) ++counts[told.ok ? "ok" : std::string(to_string(told.kind))];
  std::string text = std::to_string(calls.size()) + " calls: ";
  for (const auto& [what, count] : counts) text += std::to_string(count) + ' ' + what + ", ";
  return text + std::to_string(history.executed().size()) + " executions";
}

}  // namespace lair::test
