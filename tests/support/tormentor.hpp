// Tormentor: kills and stops the workers of a pool, each of them once, after it has completed a call.
//
// Thread-safety: one thread at a time.
#pragma once

#include <cstdint>
#include <lair/pool.hpp>
#include <random>
#include <set>
#include <utility>

namespace lair::test {

class Tormentor {
 public:
  explicit Tormentor(const Pool& pool, unsigned seed = 7) : pool_(pool), random_(seed) {}

  // False: there is nobody to be hit now.
  bool hit(int signal);

 private:
  const Pool& pool_;
  std::mt19937 random_;
  std::set<std::pair<std::uint32_t, std::uint64_t>> hit_;  // slot and generation
};

}  // namespace lair::test
