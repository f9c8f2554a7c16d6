// What the machine allows: kernel, limits, cgroups, memory, PID 1.
#include <lair/pool.hpp>

#include <cstdio>
#include <cstring>

#include "doctor.hpp"
#include "os/machine.hpp"
#include "os/proc.hpp"
#include "os/spawn.hpp"

namespace lair::cli::doctor {

namespace {

constexpr const char* kGroup = "system";
constexpr std::uint64_t kMiB = std::uint64_t{1} << 20;
constexpr std::uint64_t kGiB = std::uint64_t{1} << 30;

std::string mib(std::uint64_t bytes) {
  char text[32];
  if (bytes >= 10 * kGiB)
    std::snprintf(text, sizeof text, "%.0f GiB", static_cast<double>(bytes) / static_cast<double>(kGiB));
  else
    std::snprintf(text, sizeof text, "%.0f MiB", static_cast<double>(bytes) / static_cast<double>(kMiB));
  return text;
}

std::string number(std::uint64_t value) {
  return value == os::kUnlimited ? "unlimited" : std::to_string(value);
}
Json number_or_null(std::uint64_t value) { return value == os::kUnlimited ? Json() : Json(value); }

Finding kernel() {
  Finding found{.group = kGroup, .name = "kernel"};
  const std::string release = os::kernel_release();
  const int pidfd = os::try_pidfd();
  const int subreaper = os::try_subreaper();
  found.facts = {{"release", release}, {"pidfd", pidfd == 0}, {"subreaper", subreaper == 0}};
  found.text = "Linux " + release + ": pidfd " + (pidfd == 0 ? "works" : std::strerror(pidfd)) +
               ", child subreaper " + (subreaper == 0 ? "works" : std::strerror(subreaper));
  int major = 0;
  int minor = 0;
  const bool known = std::sscanf(release.c_str(), "%d.%d", &major, &minor) == 2;
  if (pidfd == 0 && subreaper == 0) {
    if (known && (major < 5 || (major == 5 && minor < 4))) {
      found.verdict = Verdict::kWarning;
      found.remedy = "Lair is tested on Linux 5.4 and newer.";
    }
    return found;
  }
  found.verdict = Verdict::kBad;
  found.remedy =
      "Lair needs pidfd_open, pidfd_send_signal and PR_SET_CHILD_SUBREAPER: Linux 5.4 or newer, and a "
      "sandbox "
      "(seccomp profile of the container runtime, gVisor) that lets them through.";
  return found;
}

Finding open_files(const PoolOptions& options) {
  // Measured: 5 for each worker (6 where its channel is a pair of pipes), 6 for the pool. The rest is for what is being
  // spawned, and for the program's own stdin, stdout and stderr.
  constexpr std::uint64_t kEach = 6;
  constexpr std::uint64_t kOnce = 20;
  const os::Limit limit = os::open_files_limit();
  const std::uint64_t workers = options.size + options.overflow;
  const std::uint64_t needed = workers * kEach + kOnce;
  const std::uint64_t room = limit.soft > kOnce ? (limit.soft - kOnce) / kEach : 0;
  Finding found{.group = kGroup, .name = "open files"};
  found.facts = {{"soft", number_or_null(limit.soft)},
                 {"hard", number_or_null(limit.hard)},
                 {"needed", needed},
                 {"workers", workers}};
  found.text = number(limit.soft) + " (hard " + number(limit.hard) + ")";
  if (limit.soft >= needed) {
    if (limit.soft != os::kUnlimited) found.text += ": room for a pool of about " + std::to_string(room);
    return found;
  }
  found.verdict = Verdict::kBad;
  found.text += ": a pool of " + std::to_string(workers) + " needs about " + std::to_string(needed) +
                ", besides what the program itself opens";
  found.remedy =
      "Raise it where the program is started: ulimit -n 4096; LimitNOFILE=4096 in a systemd unit; "
      "--ulimit nofile=4096 for a container.";
  return found;
}

Finding processes(const PoolOptions& options, const os::Cgroups& groups) {
  const os::Limit limit = os::processes_limit();
  const std::uint64_t workers = options.size + options.overflow;
  const std::uint64_t needed = 2 * workers + 8;  // the keeper, threads of the pool, what imports start
  const std::uint64_t mine = os::tasks_of_user();
  Finding found{.group = kGroup, .name = "processes"};
  found.facts = {{"soft", number_or_null(limit.soft)},
                 {"used", mine},
                 {"root", os::is_root()},
                 {"cgroup_most", number_or_null(groups.tasks.most)},
                 {"cgroup_used", groups.tasks.used},
                 {"needed", needed}};
  found.text =
      number(limit.soft) + " for this user, " + std::to_string(mine) + " used" +
      (os::is_root() ? " (root is exempt)" : "") + "; cgroup: " + number(groups.tasks.most) +
      (groups.tasks.most == os::kUnlimited ? "" : ", " + std::to_string(groups.tasks.used) + " used");
  const auto too_few = [&](std::uint64_t most, std::uint64_t used) {
    return most != os::kUnlimited && most < used + needed;
  };
  if (!os::is_root() && too_few(limit.soft, mine)) {
    found.verdict = Verdict::kWarning;
    found.remedy = "Raise it where the program is started: ulimit -u; LimitNPROC= in a systemd unit.";
  } else if (too_few(groups.tasks.most, groups.tasks.used)) {
    found.verdict = Verdict::kWarning;
    found.remedy =
        "Raise it where the program is started: TasksMax= in a systemd unit, --pids-limit for a container.";
  }
  return found;
}

Finding memory(const PoolOptions& options, const os::Cgroups& groups) {
  constexpr std::uint64_t kWorker = 12 * kMiB;  // a Python that has imported nothing but its SDK
  const std::uint64_t available = os::available_memory();
  const std::uint64_t workers = options.size + options.overflow;
  std::uint64_t left = available == 0 ? os::kUnlimited : available;
  if (groups.memory.most != os::kUnlimited)
    left = std::min(left, groups.memory.most - std::min(groups.memory.most, groups.memory.used));
  Finding found{.group = kGroup, .name = "memory"};
  found.facts = {{"available", available},
                 {"cgroup_most", number_or_null(groups.memory.most)},
                 {"cgroup_used", groups.memory.used}};
  found.text = mib(available) + " available; cgroup: " +
               (groups.memory.most == os::kUnlimited
                    ? "unlimited"
                    : mib(groups.memory.most) + ", " + mib(groups.memory.used) + " used");
  if (left < workers * kWorker) {
    found.verdict = Verdict::kWarning;
    found.remedy = "A pool of " + std::to_string(workers) + " wants " + mib(workers * kWorker) +
                   " before your module imports anything: a smaller pool, or more memory for this cgroup.";
  }
  return found;
}

Finding shared_memory() {
  Finding found{.group = kGroup, .name = "/dev/shm"};
  const auto space = os::shared_memory();
  if (!space) {
    found.verdict = Verdict::kNote;
    found.text = "is not there: Lair does not need it, but Python's multiprocessing does";
    return found;
  }
  found.facts = {{"total", space->total}, {"free", space->free}};
  found.text = mib(space->free) + " free of " + mib(space->total);
  if (space->free < 64 * kMiB) {
    found.verdict = Verdict::kNote;
    found.text += ": Lair does not need it, but libraries that share arrays do (--shm-size for a container)";
  }
  return found;
}

Finding cpus(const PoolOptions& options) {
  Finding found{.group = kGroup, .name = "CPUs"};
  const std::size_t usable = os::usable_cpus();
  found.facts = {{"usable", usable}};
  found.text = std::to_string(usable) + " usable (affinity and cgroup quota), the default size of a pool";
  if (options.size > 4 * usable) {
    found.verdict = Verdict::kNote;
    found.text += "; " + std::to_string(options.size) + " workers pay off where they mostly wait";
  }
  return found;
}

Finding pid_1() {
  Finding found{.group = kGroup, .name = "PID 1"};
  const std::string name = os::name_of_pid_1();
  const bool ourselves = os::own_pid() == 1;
  found.facts = {{"name", name}, {"this_program", ourselves}};
  if (name.empty()) {
    found.verdict = Verdict::kWarning;
    found.text = "/proc does not say";
    found.remedy = "Lair finds itself and the leftovers of dead workers by /proc: mount it.";
  } else if (ourselves) {
    found.verdict = Verdict::kNote;
    found.text =
        "this program: a pool reaps its own, but nobody reaps what other programs leave behind in this "
        "container (docker run --init)";
  } else {
    found.text = name;
  }
  return found;
}

Finding without_keeper(const os::Cgroups& groups) {
  Finding found{.group = "guarantees", .name = "keeper killed", .verdict = Verdict::kNote};
  found.facts = {{"holds", "workers"}, {"cgroup_v2", groups.folder}, {"cgroup_writable", groups.writable}};
  found.text =
      "limited: if lair-keeper itself is killed, the workers die with it and the pool starts another;\n"
      "grandchildren that left their session may survive that one case. Only a cgroup holds them:\n";
  if (groups.writable)
    found.text += "run the program in one of its own (systemd-run --scope, a systemd unit, a container)";
  else if (groups.folder.empty())
    found.text += "there is no cgroup v2 here; a container of its own for the program does the same";
  else
    found.text +=
        "no writable cgroup v2 here; a systemd unit or a container of its own for the program does it";
  return found;
}

}  // namespace

void examine_system(Findings& findings, const PoolOptions& options) {
  const os::Cgroups groups = os::own_cgroups();
  findings.push_back(kernel());
  findings.push_back(cpus(options));
  findings.push_back(open_files(options));
  findings.push_back(processes(options, groups));
  findings.push_back(memory(options, groups));
  findings.push_back(shared_memory());
  Finding cgroup{.group = kGroup,
                 .name = "cgroup v2",
                 .facts = {{"folder", groups.folder}, {"writable", groups.writable}}};
  cgroup.text = groups.folder.empty() ? "none is mounted"
                                      : groups.folder + (groups.writable ? ", writable" : ", not writable");
  findings.push_back(std::move(cgroup));
  findings.push_back(pid_1());
  findings.push_back(without_keeper(groups));
}

}  // namespace lair::cli::doctor
