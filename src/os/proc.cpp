#include "os/proc.hpp"

#include <dlfcn.h>
#include <sched.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdlib>
#include <fstream>
#include <optional>
#include <sstream>

#include "os/failpoint.hpp"

namespace lair::os {

namespace {

std::size_t cpus_by_affinity() {
  // Large enough for 8192 CPUs; the kernel refuses a mask smaller than its own.
  constexpr int kMost = 8192;
  cpu_set_t* set = CPU_ALLOC(kMost);
  const std::size_t size = CPU_ALLOC_SIZE(kMost);
  std::size_t count = 1;
  if (set != nullptr && ::sched_getaffinity(0, size, set) == 0) {
    count = static_cast<std::size_t>(std::max(1, CPU_COUNT_S(size, set)));
  }
  CPU_FREE(set);
  return count;
}

std::optional<double> quota_in(const std::string& folder) {
  double quota = 0;
  double period = 0;
  if (std::ifstream v2(folder + "/cpu.max"); v2 >> quota >> period && period > 0) return quota / period;
  std::ifstream quota_file(folder + "/cpu.cfs_quota_us");
  std::ifstream period_file(folder + "/cpu.cfs_period_us");
  if (quota_file >> quota && period_file >> period && quota > 0 && period > 0) return quota / period;
  return std::nullopt;  // "max", -1, or no such controller here
}

// The tightest quota from this process's cgroup up to the root.
std::optional<double> cgroup_quota() {
  std::optional<double> tightest;
  std::ifstream groups("/proc/self/cgroup");
  for (std::string line; std::getline(groups, line);) {
    const std::size_t first = line.find(':');
    const std::size_t second = line.find(':', first + 1);
    if (first == std::string::npos || second == std::string::npos) continue;
    const std::string controllers = line.substr(first + 1, second - first - 1);
    const bool has_cpu = controllers.empty() || (',' + controllers + ',').find(",cpu,") != std::string::npos;
    if (!has_cpu) continue;
    for (std::string path = line.substr(second + 1);;) {
      for (const char* mount : {"/sys/fs/cgroup", "/sys/fs/cgroup/unified", "/sys/fs/cgroup/cpu"}) {
        if (const auto quota = quota_in(mount + path)) tightest = std::min(tightest.value_or(*quota), *quota);
      }
      if (path.size() <= 1) break;
      path.resize(std::max<std::size_t>(path.rfind('/'), 0));
    }
  }
  return tightest;
}

}  // namespace

std::size_t usable_cpus() {
  std::size_t cpus = cpus_by_affinity();
  if (const auto quota = cgroup_quota()) {
    cpus = std::min(cpus, static_cast<std::size_t>(std::max(1.0, std::ceil(*quota))));
  }
  return cpus;
}

std::string program_path() {
  std::array<char, 4096> path;
  const ssize_t length = failpoint::refuses(failpoint::Point::kProgramPath)
                             ? -1
                             : ::readlink("/proc/self/exe", path.data(), path.size());
  return length > 0 ? std::string(path.data(), static_cast<std::size_t>(length)) : std::string();
}

std::string library_path() {
  Dl_info info{};
  if (::dladdr(reinterpret_cast<void*>(&library_path), &info) == 0 || info.dli_fname == nullptr) return {};
  // For the program itself it is argv[0], which may be relative to a directory that has since been left.
  if (info.dli_fname[0] != '/') return program_path();
  return info.dli_fname;
}

std::optional<std::uint64_t> private_memory(int pid) {
  std::ifstream file("/proc/" + std::to_string(pid) + "/smaps_rollup");
  std::optional<std::uint64_t> bytes;
  for (std::string line; std::getline(file, line);) {
    if (line.rfind("Private_", 0) != 0) continue;
    // "Private_Dirty:     1234 kB": clean, dirty and huge pages.
    bytes = bytes.value_or(0) + 1024 * std::strtoull(line.c_str() + line.find(':') + 1, nullptr, 10);
  }
  return bytes;
}

}  // namespace lair::os
