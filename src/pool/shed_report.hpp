// ShedReport: how many callers were refused because the pool is overloaded, told once a second at most. An event for each
// would bury everything else, just when the pool has no time for it. Pure: time is a parameter.
//
// Thread-safety: none; the shell's mutex guards it.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string>

#include "pool/ledger.hpp"

namespace lair::pool {

class ShedReport {
 public:
  struct Told {
    std::uint64_t count = 0;                 // of callers, since the last time
    Rejection most = Rejection::kQueueFull;  // the commonest reason
    std::string message;
  };

  // Counts it, if it tells of overload. True: `next_look` has come nearer.
  bool refused(Rejection why, TimePoint now);
  // When `take` is next to be called; TimePoint::max() if there is nothing to tell.
  TimePoint next_look() const { return due_; }
  // What is to be told, if it is time for it. `all`: also if it is not, because the pool ends.
  std::optional<Told> take(TimePoint now, bool all = false);

 private:
  std::array<std::uint64_t, kRejections> counts_{};
  TimePoint due_ = TimePoint::max();
  TimePoint last_ = TimePoint::min();  // when something was told
};

}  // namespace lair::pool
