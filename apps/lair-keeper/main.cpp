// lair-keeper CAPACITY: started by the Lair library, never by hand.
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>

#include "keeper.hpp"
#include "os/failpoint.hpp"

int main(int argc, char** argv) {
  struct stat info {};
  const bool has_fds = ::fstat(lair::worker::keeper::kControlFd, &info) == 0 && S_ISSOCK(info.st_mode) &&
                       ::fcntl(lair::worker::keeper::kHostFd, F_GETFD) >= 0;
  const long capacity = argc == 2 ? std::strtol(argv[1], nullptr, 10) : 0;
  if (!has_fds || capacity < 1 || capacity > 100'000) {
    std::fputs("lair-keeper is started by programs that use the Lair library; it does nothing by hand.\n",
               stderr);
    return 2;
  }
  ::fcntl(lair::worker::keeper::kControlFd, F_SETFD, FD_CLOEXEC);
  ::fcntl(lair::worker::keeper::kHostFd, F_SETFD, FD_CLOEXEC);
  lair::os::failpoint::join();
  lair::keeper::Keeper(static_cast<std::size_t>(capacity)).run();
  ::_exit(0);
}
