// keeper_family_main CHILDREN: a worker with descendants that try to get away: each is double-forked, in a session
// of its own, and ignores every signal that can be ignored. Says "ready" on stdout when all of them are; then all
// wait for ever.
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <cstdlib>

int main(int argc, char** argv) {
  const int children = argc > 1 ? std::atoi(argv[1]) : 0;
  int ready[2];
  if (::pipe(ready) != 0) return 1;
  for (int i = 0; i < children; ++i) {
    const pid_t middle = ::fork();
    if (middle == 0) {
      ::setsid();
      if (::fork() != 0) ::_exit(0);
      for (int number = 1; number < 32; ++number) ::signal(number, SIG_IGN);
      if (::write(ready[1], "x", 1) != 1) ::_exit(1);
      for (;;) ::pause();
    }
    ::waitpid(middle, nullptr, 0);
  }
  char byte = 0;
  for (int i = 0; i < children; ++i) {
    if (::read(ready[0], &byte, 1) != 1) return 1;
  }
  ::close(ready[0]);
  ::close(ready[1]);
  if (::write(1, "ready\n", 6) != 6) return 1;
  for (;;) ::pause();
}
