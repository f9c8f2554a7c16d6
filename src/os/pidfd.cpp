#include "os/pidfd.hpp"

#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>

#include "os/failpoint.hpp"

namespace lair::os {

using failpoint::Point;

// By number, since <sys/pidfd.h> of glibc 2.36 lacks extern "C".
Fd open_pidfd(int pid) noexcept {
  return Fd(failpoint::refuses(Point::kPidfdOpen) ? -1 : static_cast<int>(::syscall(SYS_pidfd_open, pid, 0)));
}

bool signal_pidfd(int pidfd, int signal_number) noexcept {
  return ::syscall(SYS_pidfd_send_signal, pidfd, signal_number, nullptr, 0) == 0;
}

namespace {

bool reap(idtype_t what, int id) noexcept {
  siginfo_t info{};
  int result = 0;
  do {
    result =
        failpoint::refuses(Point::kPidfdReap) ? -1 : ::waitid(what, static_cast<id_t>(id), &info, WEXITED);
  } while (result != 0 && errno == EINTR);
  return result == 0;
}

}  // namespace

bool reap_pidfd(int pidfd) noexcept { return reap(P_PIDFD, pidfd); }

bool reap_child(int pid) noexcept { return reap(P_PID, pid); }

void reap_if_ours(int pidfd) noexcept {
  siginfo_t info{};
  (void)::waitid(P_PIDFD, static_cast<id_t>(pidfd), &info, WEXITED | WNOHANG);
}

}  // namespace lair::os
