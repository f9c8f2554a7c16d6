// How long to wait before the next try: 100 ms, doubled each time, at most 30 s, ± 20 % so that slots which
// failed together do not come back together.
//
// Thread-safety: values; the generator belongs to the caller, so that a seeded run repeats itself.
#pragma once

#include <lair/deadline.hpp>
#include <random>

namespace lair::base {

struct Backoff {
  Duration first = std::chrono::milliseconds(100);
  Duration most = std::chrono::seconds(30);
  double jitter = 0.2;

  // The wait after the `failures`-th failure in a row (1 or more).
  Duration delay(unsigned failures, std::mt19937_64& random) const;
};

}  // namespace lair::base
