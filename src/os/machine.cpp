#include "os/machine.hpp"

#include <dirent.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/utsname.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <filesystem>
#include <fstream>
#include <sstream>

#include "os/pidfd.hpp"
#include "os/spawn.hpp"

namespace lair::os {

namespace fs = std::filesystem;

namespace {

template <class Resource>
Limit limit_of(Resource resource) {
  rlimit found{};
  if (::getrlimit(resource, &found) != 0) return {};
  const auto value = [](rlim_t limit) { return limit == RLIM_INFINITY ? kUnlimited : std::uint64_t{limit}; };
  return {.soft = value(found.rlim_cur), .hard = value(found.rlim_max)};
}

// The directory that a hierarchy is mounted on: cgroup2, or the v1 hierarchy of a controller.
std::string mount_of(const std::string& controller) {
  std::ifstream mounts("/proc/self/mountinfo");
  for (std::string line; std::getline(mounts, line);) {
    const std::size_t dash = line.find(" - ");
    if (dash == line.npos) continue;
    std::istringstream before(line.substr(0, dash));
    std::string skipped;
    std::string place;
    before >> skipped >> skipped >> skipped >> skipped >> place;
    std::istringstream after(line.substr(dash + 3));
    std::string type;
    std::string options;
    after >> type >> skipped >> options;
    if (controller.empty()
            ? type == "cgroup2"
            : type == "cgroup" && (',' + options + ',').find(',' + controller + ',') != options.npos)
      return place;
  }
  return {};
}

// This process's group in it. Inside a container the group's path may be the host's; then the mount is all we see.
std::string folder_of(const std::string& controller) {
  std::string mount = mount_of(controller);
  if (mount.empty()) return {};
  std::ifstream groups("/proc/self/cgroup");
  for (std::string line; std::getline(groups, line);) {
    const std::size_t first = line.find(':');
    const std::size_t second = line.find(':', first + 1);
    if (first == line.npos || second == line.npos) continue;
    const std::string names = line.substr(first + 1, second - first - 1);
    const bool ours =
        controller.empty() ? names.empty() : (',' + names + ',').find(',' + controller + ',') != names.npos;
    if (!ours) continue;
    const std::string path = line.substr(second + 1);
    std::error_code unknown;
    if (path.size() > 1 && fs::is_directory(mount + path, unknown)) return mount + path;
    return mount;
  }
  return {};
}

std::optional<std::uint64_t> number_in(const fs::path& file) {
  std::ifstream in(file);
  std::uint64_t value = 0;
  if (in >> value) return value;
  return std::nullopt;  // "max", or no such file
}

// The tightest bound from `folder` up to the mount.
void tighten(Budget& budget, const char* controller, const char* v1_most, const char* v1_used,
             const std::string& v2_folder) {
  // v1 says "no limit" with the largest number of whole pages.
  constexpr std::uint64_t kAbsurd = std::uint64_t{1} << 60;
  const std::string v1_folder = folder_of(controller);
  const std::string v2_name = std::string(controller) + '.';
  const auto look = [&](std::string folder, const std::string& mount, const std::string& most,
                        const std::string& used) {
    while (!folder.empty() && folder.size() >= mount.size()) {
      const auto bound = number_in(fs::path(folder) / most);
      if (bound && *bound < kAbsurd && *bound < budget.most)
        budget = {.most = *bound, .used = number_in(fs::path(folder) / used).value_or(0)};
      if (folder == mount) break;
      folder = fs::path(folder).parent_path().string();
    }
  };
  look(v2_folder, mount_of(""), v2_name + "max", v2_name + "current");
  look(v1_folder, mount_of(controller), v1_most, v1_used);
}

}  // namespace

Limit open_files_limit() { return limit_of(RLIMIT_NOFILE); }
Limit processes_limit() { return limit_of(RLIMIT_NPROC); }
bool is_root() { return ::geteuid() == 0; }

std::size_t tasks_of_user() {
  const uid_t user = ::geteuid();
  std::size_t count = 0;
  std::error_code unknown;
  for (fs::directory_iterator entry("/proc", unknown), end; !unknown && entry != end;
       entry.increment(unknown)) {
    const std::string name = entry->path().filename().string();
    struct stat info {};
    if (name[0] < '0' || name[0] > '9' || ::stat(entry->path().c_str(), &info) != 0 || info.st_uid != user)
      continue;
    std::ifstream status(entry->path() / "status");
    for (std::string line; std::getline(status, line);) {
      if (line.rfind("Threads:", 0) != 0) continue;
      count += static_cast<std::size_t>(std::max(0, std::atoi(line.c_str() + 8)));
      break;
    }
  }
  return count;
}

Cgroups own_cgroups() {
  Cgroups found;
  found.folder = folder_of("");
  found.writable = !found.folder.empty() && ::access(found.folder.c_str(), W_OK) == 0 &&
                   ::access((found.folder + "/cgroup.procs").c_str(), W_OK) == 0;
  tighten(found.memory, "memory", "memory.limit_in_bytes", "memory.usage_in_bytes", found.folder);
  tighten(found.tasks, "pids", "pids.max", "pids.current", found.folder);
  return found;
}

std::string kernel_release() {
  utsname name{};
  return ::uname(&name) == 0 ? name.release : "";
}

std::uint64_t available_memory() {
  std::ifstream info("/proc/meminfo");
  std::string name;
  for (std::uint64_t kib = 0; info >> name;) {
    if (name == "MemAvailable:" && info >> kib) return kib * 1024;
  }
  return 0;
}

std::optional<Space> shared_memory() {
  struct statvfs info {};
  if (::statvfs("/dev/shm", &info) != 0) return std::nullopt;
  return Space{.total = std::uint64_t{info.f_blocks} * info.f_frsize,
               .free = std::uint64_t{info.f_bavail} * info.f_frsize};
}

int try_pidfd() {
  const Fd self = open_pidfd(own_pid());
  if (!self || !signal_pidfd(self.get(), 0)) return errno;
  return 0;
}

int try_subreaper() {
  int is_one = 0;
  return ::prctl(PR_GET_CHILD_SUBREAPER, &is_one) == 0 ? 0 : errno;
}

std::string name_of_pid_1() {
  std::ifstream file("/proc/1/comm");
  std::string name;
  std::getline(file, name);
  return name;
}

}  // namespace lair::os
