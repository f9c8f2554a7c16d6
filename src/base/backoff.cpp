#include "base/backoff.hpp"

#include <algorithm>
#include <cmath>

#include "base/assert.hpp"

namespace lair::base {

Duration Backoff::delay(unsigned failures, std::mt19937_64& random) const {
  LAIR_ASSERT(failures >= 1);
  // In double, and capped before the jitter: 2^failures would overflow an integer soon enough.
  const double doubled = static_cast<double>(first.count()) * std::exp2(std::min(failures - 1, 60u));
  const double capped = std::min(doubled, static_cast<double>(most.count()));
  // Not uniform_real_distribution: its sequence is the library's choice, and a seed must mean the same
  // everywhere.
  const double unit = static_cast<double>(random() >> 11) * 0x1.0p-53;
  return Duration(std::llround(capped * (1.0 + jitter * (2.0 * unit - 1.0))));
}

}  // namespace lair::base
