/* Times echo calls on a worker: measure_host CALLS VALUE ARGV...   (VALUE is JSON text)
 * Prints the median and the 99th percentile of the round trip in microseconds. Built and run by measure.py. */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static char *buffer;
static size_t capacity;

static void put(int fd, const char *text) {
  uint32_t size = strlen(text), done = 0;
  uint32_t net = htonl(size);
  memcpy(buffer, &net, 4);
  memcpy(buffer + 4, text, size);
  while (done < size + 4) {
    ssize_t n = write(fd, buffer + done, size + 4 - done);
    if (n <= 0) exit(3);
    done += n;
  }
}

static size_t get(int fd) {
  size_t have = 0, want = 4;
  while (have < want) {
    ssize_t n = read(fd, buffer + have, want == 4 ? capacity : want - have);
    if (n <= 0) exit(4);
    have += n;
    if (want == 4 && have >= 4) {
      uint32_t net;
      memcpy(&net, buffer, 4);
      want = 4 + ntohl(net);
      if (want > capacity) exit(5);
    }
  }
  if (have > want) { /* two frames in one read: only READY after the handshake */
    size_t rest = have - want;
    memmove(buffer, buffer + want, rest);
    return rest;
  }
  return 0;
}

static int by_value(const void *a, const void *b) {
  double x = *(const double *)a, y = *(const double *)b;
  return (x > y) - (x < y);
}

int main(int argc, char **argv) {
  (void)argc;
  int calls = atoi(argv[1]);
  const char *value = argv[2];
  if (value[0] == '@') { /* @N: a string of N bytes */
    size_t n = atol(value + 1);
    char *text = malloc(n + 3);
    memset(text + 1, 'x', n);
    text[0] = text[n + 1] = '"';
    text[n + 2] = 0;
    value = text;
  }
  capacity = strlen(value) + 65536;
  buffer = malloc(capacity);
  char *call = malloc(capacity);
  int ends[2];
  socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends);
  pid_t pid = fork();
  if (!pid) {
    dup2(ends[1], 9);
    setenv("LAIR_CHANNEL_FD", "9", 1);
    execvp(argv[3], argv + 3);
    _exit(9);
  }
  close(ends[1]);
  put(ends[0], "{\"id\":0,\"command\":\"ping\",\"args\":{\"initialization\":true,\"worker_id\":\"w\",\"lair\":"
               "{\"version\":2,\"generation\":1,\"codecs\":[\"json\"],\"max_frame\":67108864}}}");
  if (!get(ends[0])) get(ends[0]); /* the reply, then READY */
  double *took = malloc(calls * sizeof *took);
  for (int i = 0; i < calls; ++i) {
    snprintf(call, capacity, "[1,%d,1,\"echo\",{\"value\":%s},{\"ms\":60000}]", i + 1, value);
    struct timespec a, b;
    clock_gettime(CLOCK_MONOTONIC, &a);
    put(ends[0], call);
    get(ends[0]);
    clock_gettime(CLOCK_MONOTONIC, &b);
    took[i] = (b.tv_sec - a.tv_sec) * 1e6 + (b.tv_nsec - a.tv_nsec) / 1e3;
  }
  close(ends[0]);
  waitpid(pid, NULL, 0);
  qsort(took, calls, sizeof *took, by_value);
  printf("%.3f %.3f\n", took[calls / 2], took[calls * 99 / 100]);
}
