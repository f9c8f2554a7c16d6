// When a failed call is tried again: which failures a retry can mend, how long it waits, and how many a pool can afford.
//
// A pool that is ill must not be stormed by the retries of all its callers: they share one budget, which each call
// raises by a part of a retry (a tenth, unless told otherwise) and each retry lowers by one. It begins with ten and holds at
// most a hundred: so retries are at most that part of the calls, and ten more.
//
// Thread-safety: none; the shell's mutex guards the budget. The rest are functions.
#pragma once

#include <algorithm>
#include <cstdint>
#include <lair/deadline.hpp>
#include <lair/error.hpp>
#include <random>

namespace lair::core {

class RetryBudget {
 public:
  static constexpr unsigned kReserve = 10;  // retries
  static constexpr unsigned kMost = 100;    // retries that calls may save up for

  // `percent`: of a retry, for each call; 1 to 100.
  explicit RetryBudget(unsigned percent = 10) : percent_(percent) {}

  // A call was admitted.
  void call() { parts_ = std::min(parts_ + percent_, 100 * kMost); }
  // Takes one retry out of it, if there is one.
  bool take() {
    if (parts_ < 100) return false;
    parts_ -= 100;
    return true;
  }

 private:
  unsigned percent_;
  unsigned parts_ = 100 * kReserve;  // of a hundred to a retry
};

// `idempotent`: the command may run twice. Never what would fail again (the call is wrong, Python raised, the pool has
// no worker or refuses the command for a while) nor what has used up the call's time.
bool retry_can_mend(const Error& error, bool idempotent);

// Between a call's `failures`-th failure (1 or more) and its next try: by chance between 0 and 10 ms, doubled each time, at
// most 1 s; and not before the error says that it makes sense.
Duration retry_delay(unsigned failures, const Error& error, std::mt19937_64& random);

}  // namespace lair::core
