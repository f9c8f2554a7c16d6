// Waiting for a frame. To be woken costs some 25 us where the host is on another core, as much as a short call takes altogether;
// to look, and to let others run in between (sched_yield), costs 1 us a time. So this looks for a while before it sleeps, but only
// where that has paid: when the wait before was short enough for it. And not for some time after another thread has used what was
// let go to run for long. The host does the same: src/os/spin.hpp.
#include <sched.h>
#include <sys/socket.h>

#include "loop.h"

// A thread that comes back from letting others run only after this has lost its core to one that has much to do.
#define LOST 1e-3
#define REST 50e-3

// As a read; -1 also when nothing has come while it was worth looking.
static ssize_t look(Loop *loop, double began) {
  for (double before = began;;) {
    const ssize_t count = recv(loop->source, loop->buffer.buf, (size_t)loop->buffer.len, MSG_DONTWAIT);
    if (count >= 0 || errno != EAGAIN) return count;
    sched_yield();
    const double time = now();
    if (time - before >= LOST) loop->rests_until = time + REST;
    if (time - began >= loop->spin || time < loop->rests_until) return -1;
    before = time;
  }
}

int wait_for_bytes(Loop *loop, ssize_t *count) {
  const double began = now();
  if (loop->was_short && began >= loop->rests_until) {
    if (PyErr_CheckSignals() < 0) return -1;
    Py_BEGIN_ALLOW_THREADS
    *count = look(loop, began);
    Py_END_ALLOW_THREADS
    if (*count >= 0) return 0;
  }
  do {
    // Handlers run here, in front of the sleep: what comes while that lasts ends it.
    if (PyErr_CheckSignals() < 0) return -1;
    Py_BEGIN_ALLOW_THREADS
    *count = read(loop->source, loop->buffer.buf, (size_t)loop->buffer.len);
    Py_END_ALLOW_THREADS
  } while (*count < 0 && errno == EINTR);
  loop->was_short = now() - began < loop->spin;
  return 0;
}
