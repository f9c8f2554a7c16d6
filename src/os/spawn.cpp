#include "os/spawn.hpp"

#include <fcntl.h>
#include <spawn.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>

#include "os/failpoint.hpp"
#include "os/fd.hpp"

extern "C" char** environ;

namespace lair::os {

using failpoint::Point;

namespace {

// posix_spawn's own objects, destroyed on every path.
struct Actions {
  Actions() { ::posix_spawn_file_actions_init(&value); }
  ~Actions() { ::posix_spawn_file_actions_destroy(&value); }
  Actions(const Actions&) = delete;
  Actions& operator=(const Actions&) = delete;
  posix_spawn_file_actions_t value{};
};
struct Attributes {
  Attributes() { ::posix_spawnattr_init(&value); }
  ~Attributes() { ::posix_spawnattr_destroy(&value); }
  Attributes(const Attributes&) = delete;
  Attributes& operator=(const Attributes&) = delete;
  posix_spawnattr_t value{};
};

}  // namespace

ProgramStarted spawn_program(const ProgramStart& start) {
  // Out of the way of 0 … 4, so that placing one never overwrites another.
  constexpr int kFirstSafeFd = 10;
  const auto moved = [](int fd) {
    return Fd(failpoint::refuses(Point::kSpawnDuplicate) ? -1 : ::fcntl(fd, F_DUPFD_CLOEXEC, kFirstSafeFd));
  };
  const Fd third = moved(start.fd_3);
  const Fd fourth = moved(start.fd_4);
  if (!third || !fourth) return {.pid = 0, .error = errno};

  Actions actions;
  for (int fd = 0; fd < 3; ++fd)
    ::posix_spawn_file_actions_addopen(&actions.value, fd, "/dev/null", O_RDWR, 0);
  ::posix_spawn_file_actions_adddup2(&actions.value, third.get(), 3);
  ::posix_spawn_file_actions_adddup2(&actions.value, fourth.get(), 4);
  ::posix_spawn_file_actions_addclosefrom_np(&actions.value, 5);

  Attributes attributes;
  sigset_t all;
  sigset_t none;
  ::sigfillset(&all);
  ::sigemptyset(&none);
  ::posix_spawnattr_setsigdefault(&attributes.value, &all);
  ::posix_spawnattr_setsigmask(&attributes.value, &none);
  ::posix_spawnattr_setpgroup(&attributes.value, 0);
  ::posix_spawnattr_setflags(&attributes.value,
                             POSIX_SPAWN_SETSIGDEF | POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETPGROUP);

  std::vector<char*> argv;
  argv.reserve(start.arguments.size() + 1);
  for (const std::string& argument : start.arguments)
    argv.push_back(const_cast<char*>(argument.c_str()));  // NOLINT: posix_spawn's signature
  argv.push_back(nullptr);
  pid_t pid = 0;
  const int error =
      failpoint::refuses(Point::kSpawn)
          ? errno
          : ::posix_spawn(&pid, start.path.c_str(), &actions.value, &attributes.value, argv.data(), environ);
  return {.pid = error == 0 ? pid : 0, .error = error};
}

int own_pid() noexcept { return ::getpid(); }

bool is_executable(const std::string& path) noexcept {
  struct stat info {};
  return ::stat(path.c_str(), &info) == 0 && S_ISREG(info.st_mode) && ::access(path.c_str(), X_OK) == 0;
}

}  // namespace lair::os
