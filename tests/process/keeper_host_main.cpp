// keeper_host_main WORKERS CHILDREN [subreaper]: a program that holds WORKERS workers with CHILDREN runaways each, and
// then does what it is told on stdin, one word a line; each is answered by a line on stdout.
//
//   ready?   answered when every worker has said "ready"
//   fork     forks a child that lives on, with copies of everything, and answers its pid
//   exec     becomes another program (which waits for ever), with the same pid
//   stop     ends the launcher in an orderly way
//   order    orders the workers and does not wait for them
//   exits    answered when every worker's end has been reported
//   zombies  how many ended children it has not reaped
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdlib>
#include <iostream>
#include <memory>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include "os/proc.hpp"
#include "process/keeper_io.hpp"
#include "worker/keeper_launcher.hpp"

namespace {

using namespace lair;

using worker::KeeperLauncher;
using worker::Spawned;

class Host {
 public:
  Host(int workers, std::string children) : workers_(workers), children_(std::move(children)) {
    auto started = KeeperLauncher::start({.capacity = 64});
    if (!started) {
      std::cerr << started.error().message << std::endl;
      ::_exit(3);
    }
    launcher_ = *std::move(started);
  }

  void order() {
    const std::string program = os::program_path();
    const std::string family = program.substr(0, program.rfind('/')) + "/keeper_family_main";
    for (; ordered_ < workers_; ++ordered_) {
      worker::SpawnRequest request;
      request.key = {.slot = static_cast<std::uint32_t>(ordered_), .generation = 1};
      request.argv = {family, children_};
      request.stdio = worker::StdioMode::kNoChannel;
      launcher_->spawn(std::move(request));
    }
  }

  void wait_ready() {
    order();
    while (static_cast<int>(spawned_.size()) < workers_) take_events();
    for (const Spawned& one : spawned_) {
      if (test::read_line(one.pipes.stdout_log.get()) != "ready") ::_exit(4);
    }
  }
  void wait_exits() {
    while (exited_ < workers_) take_events();
  }
  void stop() { launcher_.reset(); }

 private:
  void take_events() {
    if (os::wait_for_io({.in_fd = launcher_->poll_fd()}, Deadline::after(test::kPatience)).timed_out)
      ::_exit(5);
    for (worker::LaunchEvent& event : launcher_->take_events()) {
      if (auto* spawned = std::get_if<Spawned>(&event)) {
        spawned_.push_back(std::move(*spawned));
      } else if (std::holds_alternative<worker::Exited>(event)) {
        ++exited_;
      } else {
        ::_exit(6);
      }
    }
  }

  const int workers_;
  const std::string children_;
  std::unique_ptr<KeeperLauncher> launcher_;
  std::vector<Spawned> spawned_;
  int ordered_ = 0;
  int exited_ = 0;
};

// Reaps what has ended, and says how much that was.
int count_zombies() {
  int count = 0;
  while (::waitpid(-1, nullptr, WNOHANG) > 0) ++count;
  return count;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc < 3) return 2;
  if (argc > 3 && std::string(argv[3]) == "subreaper") ::prctl(PR_SET_CHILD_SUBREAPER, 1);

  Host host(std::atoi(argv[1]), argv[2]);
  for (std::string word; std::getline(std::cin, word);) {
    if (word == "order") {
      host.order();
    } else if (word == "ready?") {
      host.wait_ready();
    } else if (word == "fork") {
      const pid_t child = ::fork();
      if (child == 0) {
        for (;;) ::pause();
      }
      std::cout << child << ' ';
    } else if (word == "exec") {
      ::execl("/bin/sh", "sh", "-c", "echo exec; exec sleep 1000", nullptr);
      return 4;
    } else if (word == "stop") {
      host.stop();
    } else if (word == "exits") {
      host.wait_exits();
    } else if (word == "zombies") {
      std::cout << count_zombies() << ' ';
    }
    std::cout << word << std::endl;
  }
}
