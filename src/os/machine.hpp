// What the kernel and whoever runs this machine allow a process: limits, cgroups, and which calls work at all.
//
// Everything is asked anew. What can't be found out is empty; nothing fails.
//
// Thread-safety: any thread.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>

namespace lair::os {

inline constexpr std::uint64_t kUnlimited = UINT64_MAX;

struct Limit {
  std::uint64_t soft = kUnlimited;
  std::uint64_t hard = kUnlimited;
};
Limit open_files_limit();     // RLIMIT_NOFILE
Limit processes_limit();      // RLIMIT_NPROC: threads of this user, all programs together; root is exempt
std::size_t tasks_of_user();  // threads of this user, as far as /proc shows them
bool is_root();

// A bound of this process's cgroup or one above it, the tightest, and what is used of it.
struct Budget {
  std::uint64_t most = kUnlimited;
  std::uint64_t used = 0;
};
struct Cgroups {
  std::string folder = {};  // of cgroup v2; empty where there is none
  bool writable = false;    // processes may be moved into groups made below it
  Budget memory = {};       // bytes; v2 or v1
  Budget tasks = {};        // v2 or v1
};
Cgroups own_cgroups();

std::string kernel_release();      // "6.1.0-18-amd64"
std::uint64_t available_memory();  // bytes that could be had without swapping; 0 where unknown
struct Space {
  std::uint64_t total = 0;
  std::uint64_t free = 0;
};
std::optional<Space> shared_memory();  // /dev/shm

// errno of a system call that the keeper lives by, tried on this process; 0 where it works. A sandbox may refuse what
// the kernel has.
int try_pidfd();
int try_subreaper();

std::string name_of_pid_1();  // "systemd", "sh"; empty where /proc does not say

}  // namespace lair::os
