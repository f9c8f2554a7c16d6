// What /proc and the scheduler say of this process and its machine.
//
// Thread-safety: any thread.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>

namespace lair::os {

// CPUs that this process can really use: its affinity, cut down to its cgroup's quota (v2 or v1). At least 1.
std::size_t usable_cpus();

// The file of the running program, and of the object that holds this code (a shared library, or the program again).
// Empty where unknown.
std::string program_path();
std::string library_path();

// Bytes of memory that a process shares with nobody; none if it has ended, or is not ours to look at. Costs the kernel a
// walk over its mappings: 0.1 ms for a small Python process, more for a large one.
std::optional<std::uint64_t> private_memory(int pid);

}  // namespace lair::os
