// Looks for a planted bug: runs the simulator over a core in which one line is wrong (see bugs.cmake), until a schedule
// breaks a promise. Exit status 0: found; 1: the simulator is blind to it, or a seed does
// not replay what it has found.
#include <cstdint>
#include <cstdio>

#include "support/core_simulation.hpp"

int main() {
  using lair::test::Flavour;
  using lair::test::Simulation;
  const Flavour flavours[] = {{},
                              {.leases = true},
                              {.leases = true, .pins = true},
                              {.leases = true, .pins = true, .permits = 3},
                              {.sessions = true},
                              {.leases = true, .permits = 3, .sessions = true}};
  for (std::uint64_t seed = 1; seed <= 500; ++seed) {
    for (const Flavour& flavour : flavours) {
      const std::string problem = Simulation(seed, flavour).run();
      if (problem.empty()) continue;
      if (Simulation(seed, flavour).run() != problem) {
        std::printf("seed %llu does not replay\n", static_cast<unsigned long long>(seed));
        return 1;
      }
      std::printf("found with seed %llu: %s\n", static_cast<unsigned long long>(seed),
                  problem.substr(0, problem.find('\n')).c_str());
      return 0;
    }
  }
  std::puts("not found");
  return 1;
}
