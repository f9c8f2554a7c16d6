// A worker in C with a family: on start it leaves three detached processes, and says who they are
// in answer to whatever it is asked.
// Protocol 1 on stdin and stdout; quick enough to be started and killed a thousand times.
#include <arpa/inet.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

enum { CHILDREN = 3 };

static int have_child(void) {
  int ends[2];
  int pid = 0;
  if (pipe(ends) != 0) exit(1);
  if (fork() == 0) {
    setsid();
    pid = fork();
    if (pid == 0) {
      for (;;) pause();
    }
    if (write(ends[1], &pid, sizeof pid) != sizeof pid) _exit(1);
    _exit(0);
  }
  if (read(ends[0], &pid, sizeof pid) != sizeof pid) exit(1);
  close(ends[0]);
  close(ends[1]);
  wait(NULL);
  return pid;
}

static int read_exactly(char* to, size_t size) {
  while (size > 0) {
    const ssize_t n = read(0, to, size);
    if (n <= 0) return 0;
    to += n;
    size -= (size_t)n;
  }
  return 1;
}

int main(void) {
  int pids[CHILDREN];
  for (int i = 0; i < CHILDREN; ++i) pids[i] = have_child();
  static char request[65536];
  uint32_t length = 0;
  while (read_exactly((char*)&length, sizeof length)) {
    length = ntohl(length);
    if (length >= sizeof request || !read_exactly(request, length)) return 1;
    request[length] = 0;
    const char* id = strstr(request, "\"id\":");
    char reply[512] = {0};
    const int size = snprintf(reply + 4, sizeof reply - 4, "{\"id\":%ld,\"success\":true,\"result\":[%d,%d,%d,%d]}",
                              id == NULL ? -1 : atol(id + 5), getpid(), pids[0], pids[1], pids[2]);
    length = htonl((uint32_t)size);
    memcpy(reply, &length, sizeof length);
    if (write(1, reply, (size_t)size + 4) != size + 4) return 1;
  }
  return 0;
}
