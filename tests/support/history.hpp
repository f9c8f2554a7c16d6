// History: what callers were told about calls, and what the workers did, to be held against each other afterwards.
//
// A call is known by a number of its own. Its caller writes down what it was told; the worker that executes it appends
// the number to the journal, a file that all workers share, before it does anything else. What a process has written to a
// file is there however it ends.
//
// Thread-safety: History as each member says; the rest are values.
#pragma once

#include <atomic>
#include <cstdint>
#include <filesystem>
#include <lair/json.hpp>
#include <lair/result.hpp>
#include <optional>
#include <string>
#include <vector>

namespace lair::test {

// What a caller was told. Small: there are millions of them.
struct Told {
  std::uint8_t outcomes = 0;  // must be one
  std::uint8_t tries = 1;     // so often it may be executed: more than once only if it is idempotent
  bool ok = false;
  bool own = false;      // the reply was the one to this call (where there was one: ok, or kExecuted)
  bool admitted = true;  // by the pool: not, where a lease had lost its worker before
  Delivery delivery = Delivery::kNotSent;  // for errors
  ErrorKind kind = ErrorKind::kInternal;   // for errors
};

// One execution, as workers append it.
struct Executed {
  std::uint32_t number = 0;
  std::uint32_t pid = 0;
};

// What is wrong with it, in words; empty if nothing. Pure.
//   - Every call has exactly one outcome, and a reply is the call's own.
//   - A call is executed at most once, or as often as it may be tried.
//   - What was answered (ok, or kExecuted) was executed; what was kNotSent was not.
//   - Nothing is executed that nobody has called.
std::vector<std::string> flaws(const std::vector<Told>& calls, const std::vector<Executed>& executed);

class History {
 public:
  // Room for so many calls, touched, so that the memory of the process does not grow with what is written down.
  explicit History(std::size_t room);
  ~History();
  History(const History&) = delete;
  History& operator=(const History&) = delete;

  std::string journal_path() const { return folder_ / "journal"; }
  std::size_t bytes() const { return calls_.size() * sizeof(Told); }

  // Any thread. A number that nobody else has. None when there is no room left.
  std::optional<std::uint32_t> begin();
  std::size_t begun() const { return next_; }
  bool full() const { return begun() >= calls_.size(); }
  // By the one who has its number.
  void note(std::uint32_t number, const Told& told);

  // When no call is under way. From number 0 up.
  std::vector<Told> calls() const;
  // When no worker executes anything. A torn entry is an entry that says nonsense.
  std::vector<Executed> executed() const;

 private:
  std::filesystem::path folder_;
  std::vector<Told> calls_;
  std::atomic<std::uint32_t> next_ = 0;
};

// What a caller of `act` (tests/workers/chaos.py) was told. `padding` is what the reply must carry besides the number.
Told told_by(const Result<Json>& result, std::uint32_t number, const std::string& padding);

}  // namespace lair::test
