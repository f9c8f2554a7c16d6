#include "support/host.hpp"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include "support/leak_check.hpp"
#include "support/paths.hpp"

extern "C" char** environ;

namespace lair::test {

Host::Host(std::vector<std::string> arguments) {
  arguments.insert(arguments.begin(), in_bin("orphan_host_main"));
  int out[2];
  EXPECT_EQ(::pipe2(out, O_CLOEXEC), 0);
  posix_spawn_file_actions_t actions;
  ::posix_spawn_file_actions_init(&actions);
  ::posix_spawn_file_actions_adddup2(&actions, out[1], 1);
  std::vector<char*> argv;
  for (auto& argument : arguments) argv.push_back(argument.data());
  argv.push_back(nullptr);
  EXPECT_EQ(::posix_spawn(&pid_, argv[0], &actions, nullptr, argv.data(), environ), 0);
  ::posix_spawn_file_actions_destroy(&actions);
  ::close(out[1]);
  std::string text;
  for (char c = 0; text.find("go\n") == std::string::npos && ::read(out[0], &c, 1) == 1;) text += c;
  ::close(out[0]);
  EXPECT_NE(text.find("go\n"), std::string::npos);
}

void Host::kill() const { ::kill(pid_, SIGKILL); }
void Host::reap() const { ::waitpid(pid_, nullptr, 0); }

Family identify(const std::set<int>& pids) {
  Family family;
  for (const int pid : pids) {
    if (const std::string started = start_time_of(pid); !started.empty()) family[pid] = started;
  }
  return family;
}

std::string survivors(const Family& family) {
  std::string text;
  eventually([&] {
    text.clear();
    for (const auto& [pid, started] : family) {
      if (start_time_of(pid) == started) text += std::to_string(pid) + " ";
    }
    return text.empty();
  });
  return text;
}

}  // namespace lair::test
