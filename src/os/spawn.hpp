// Starting lair-keeper: the one program that the host itself starts.
//
// By posix_spawn, which does not run our code in a forked copy of a threaded host. The child begins with default signal
// dispositions, nothing blocked, its own process group (a terminal's Ctrl-C is not meant for it), /dev/null on 0, 1 and
// 2, the two descriptors on 3 and 4, and no others.
//
// Thread-safety: any thread.
#pragma once

#include <string>
#include <vector>

namespace lair::os {

struct ProgramStart {
  std::string path;
  std::vector<std::string> arguments;
  int fd_3 = -1;
  int fd_4 = -1;
};
struct ProgramStarted {
  int pid = 0;
  int error = 0;  // errno, where it did not start
};
ProgramStarted spawn_program(const ProgramStart& start);

int own_pid() noexcept;
bool is_executable(const std::string& path) noexcept;  // an ordinary file that this user may run

}  // namespace lair::os
