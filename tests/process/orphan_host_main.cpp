// A host that makes a pool with a family of processes, prints all their pids, and waits to be killed.
//
//   orphan_host ready|starting [exec|fork|c|stubborn|warm]
//
// ready: when all workers are up; starting: as soon as the first start is under way. exec: replaces itself by
// `sleep`. fork: leaves a forked copy behind. c: the workers are programs in C. stubborn: they ignore everything.
// warm: they are forked from a warm parent.
#include <unistd.h>

#include <cstdio>
#include <string>

#include "support/paths.hpp"
#include "support/pools.hpp"

int main(int argc, char** argv) {
  const std::string when = argc > 1 ? argv[1] : "ready";
  const std::string then = argc > 2 ? argv[2] : "";
  lair::WorkerSpec worker = then == "c"          ? lair::command({lair::test::in_bin("worker-family")})
                            : then == "stubborn" ? lair::test::script_worker("stubborn.py")
                                                 : lair::test::python_worker("family");
  if (then == "warm") {
    worker.start = "fork";
    worker.preload = {"json", "decimal"};
  }
  lair::Pool pool(lair::test::options_for(worker, 2));
  if (when == "ready") {
    pool.wait_ready();
    for (int i = 0; i < 2 && then != "stubborn"; ++i) {
      auto lease = pool.checkout();
      for (const int pid : lease.call<std::vector<int>>("family")) std::printf("%d\n", pid);
      lease.release();
    }
  }
  if (then == "fork" && ::fork() == 0) {
    ::close(1);
    for (;;) ::pause();
  }
  std::printf("go\n");
  std::fflush(stdout);
  if (then == "exec") ::execlp("sleep", "sleep", "3600", nullptr);
  for (;;) ::pause();
}
