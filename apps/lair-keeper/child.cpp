#include "child.hpp"

#include <fcntl.h>
#include <linux/close_range.h>
#include <sched.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <cstring>

#include "os/failpoint.hpp"

namespace lair::keeper {

using os::failpoint::Point;
using os::failpoint::refuses;
using worker::keeper::Step;

namespace {

// Above everything that is placed, so that moving one never overwrites another.
constexpr int kFirstSafeFd = 16;

class Child {
 public:
  explicit Child(const ChildOrders& orders) : orders_(orders), pipe_(orders.failure_pipe) {}

  [[noreturn]] void run() {
    // Its own group, so that a terminal's Ctrl-C passes it by and one kill reaches all that it starts.
    check(::setpgid(0, 0), Step::kSession);
    // It dies with the keeper. The signal is sent only for a death from now on: was there one already?
    check(::prctl(PR_SET_PDEATHSIG, SIGKILL), Step::kSession);
    if (::getppid() != orders_.keeper_pid) ::_exit(127);
    // Its orphaned grandchildren come to it, and at its own end to the keeper, however they detach themselves. Those of
    // a warm parent are workers, and the keeper's at once.
    if (orders_.spawn.keeps == 0) check(::prctl(PR_SET_CHILD_SUBREAPER, 1), Step::kSession);
    map_strings();
    set_affinity();
    if (*directory_ != '\0')
      check(refuses(Point::kChildDirectory) ? -1 : ::chdir(directory_), Step::kDirectory);
    place_descriptors();
    sigset_t none;
    ::sigemptyset(&none);
    check(::sigprocmask(SIG_SETMASK, &none, nullptr), Step::kSession);
    if (!refuses(Point::kChildExec)) ::execve(argv_[0], argv_, envp_);
    fail(Step::kExec);
  }

 private:
  [[noreturn]] void fail(Step step) {
    const worker::keeper::Failure failure{.step = step, .error = errno};
    [[maybe_unused]] const auto written = ::write(pipe_, &failure, sizeof failure);
    ::_exit(127);
  }
  void check(long result, Step step) {
    if (result < 0) fail(step);
  }

  // The strings stay where they are in the mapping; only the two arrays of pointers are made, in fresh memory.
  void map_strings() {
    struct stat info {};
    const int blob = orders_.fds[0].get();
    check(refuses(Point::kChildStat) ? -1 : ::fstat(blob, &info), Step::kStrings);
    const auto size = static_cast<std::size_t>(info.st_size);
    void* mapped = refuses(Point::kChildMap)
                       ? MAP_FAILED
                       : ::mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_PRIVATE, blob, 0);
    if (mapped == MAP_FAILED) fail(Step::kStrings);
    worker::keeper::Strings head;
    std::memcpy(&head, mapped, sizeof head);
    const std::size_t pointers = std::size_t{head.argc} + head.envc + 2;
    void* memory = refuses(Point::kChildMap)
                       ? MAP_FAILED
                       : ::mmap(nullptr, pointers * sizeof(char*), PROT_READ | PROT_WRITE,
                                MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED) fail(Step::kStrings);
    auto** pointer = static_cast<char**>(memory);
    char* text = static_cast<char*>(mapped) + sizeof head;
    const auto take = [&text] {
      char* begin = text;
      text += std::strlen(text) + 1;
      return begin;
    };
    argv_ = pointer;
    for (std::uint32_t i = 0; i < head.argc; ++i) *pointer++ = take();
    *pointer++ = nullptr;
    envp_ = pointer;
    for (std::uint32_t i = 0; i < head.envc; ++i) *pointer++ = take();
    *pointer = nullptr;
    directory_ = take();
  }

  void set_affinity() {
    if (orders_.spawn.has_cpus == 0) return;
    cpu_set_t set;
    CPU_ZERO(&set);
    for (std::size_t cpu = 0; cpu < worker::keeper::kMostCpus && cpu < CPU_SETSIZE; ++cpu) {
      if ((orders_.spawn.cpus[cpu / 64] >> (cpu % 64) & 1) != 0) CPU_SET(cpu, &set);
    }
    check(::sched_setaffinity(0, sizeof set, &set), Step::kAffinity);
  }

  static int moved(int fd) {
    return refuses(Point::kChildDuplicate) ? -1 : ::fcntl(fd, F_DUPFD_CLOEXEC, kFirstSafeFd);
  }

  void place_descriptors() {
    const int safe = moved(pipe_);
    check(safe, Step::kDescriptors);
    pipe_ = safe;
    std::array<int, 5> sources{};
    for (std::size_t target = 0; target < sources.size(); ++target) {
      const std::size_t index = orders_.spawn.place[target];
      if (index >= orders_.fd_count) {
        errno = EBADF;
        fail(Step::kDescriptors);
      }
      sources[target] = -1;
      if (index == 0) continue;
      sources[target] = moved(orders_.fds[index].get());
      check(sources[target], Step::kDescriptors);
    }
    const int null = refuses(Point::kChildNull) ? -1 : ::open("/dev/null", O_RDWR | O_CLOEXEC);
    check(null, Step::kDescriptors);
    unsigned first = worker::keeper::kWorkerChannelFd;  // of those that it does not get
    for (int target = 0; target < static_cast<int>(sources.size()); ++target) {
      const int source = sources[static_cast<std::size_t>(target)];
      if (source < 0 && target >= worker::keeper::kWorkerChannelFd) continue;
      if (target >= worker::keeper::kWorkerChannelFd) first = static_cast<unsigned>(target) + 1;
      // The keeper's own 0, 1 and 2 are /dev/null and never CLOEXEC; dup2 clears the flag for the others.
      if (source >= 0 || null != target)
        check(refuses(Point::kChildPlace) ? -1 : ::dup2(source >= 0 ? source : null, target),
              Step::kDescriptors);
    }
    // Not closed yet: the pipe must live until exec.
    check(::syscall(SYS_close_range, first, ~0U, CLOSE_RANGE_CLOEXEC), Step::kDescriptors);
  }

  const ChildOrders& orders_;
  int pipe_;
  char** argv_ = nullptr;
  char** envp_ = nullptr;
  const char* directory_ = nullptr;
};

}  // namespace

void become_worker(const ChildOrders& orders) { Child(orders).run(); }

}  // namespace lair::keeper
