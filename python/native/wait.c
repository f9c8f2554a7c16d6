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
static ssize_t look(Loop *loop, void *data, size_t size, double began) {
  // With room for a frame of each, should both be there.
  struct Page *page = size >= 2 * HANDOVER_MOST ? loop->names->page : NULL;
  if (page) begin_look(page);
  for (double before = began;;) {
    sched_yield();  // first: the host may be waiting for this very core
    ssize_t count = page ? (ssize_t)take_over(page, data) : 0;
    const int taken = count > 0;
    if (!taken) count = recv(loop->source, data, page ? size - HANDOVER_MOST : size, MSG_DONTWAIT);
    const int error = errno;
    const double time = loop->received = now();
    if (time - before >= LOST) loop->rests_until = time + REST;  // also where it has found something
    const int over = count >= 0 || error != EAGAIN || time - began >= loop->spin || time < loop->rests_until;
    if (over && page && !taken) count = end_look(page, data, count);
    errno = error;
    if (over) return count;
    before = time;
  }
}

// Whether no other thread runs Python code. One that begins to waits for the end of a look, and no longer.
static int is_alone(void) {
  PyThreadState *own = PyThreadState_Get();
  return PyInterpreterState_ThreadHead(PyThreadState_GetInterpreter(own)) == own && !PyThreadState_Next(own);
}

int wait_for_bytes(Loop *loop, void *data, size_t size, ssize_t *count) {
  const double began = now();
  if (loop->was_short && began >= loop->rests_until) {
    if (PyErr_CheckSignals() < 0) return -1;
    PyThreadState *others = is_alone() ? NULL : PyEval_SaveThread();
    *count = look(loop, data, size, began);
    if (others) PyEval_RestoreThread(others);
    if (*count >= 0) return 0;
  }
  if (forget_context(loop) < 0) return -1;
  do {
    // Handlers run here, in front of the sleep: what comes while that lasts ends it.
    if (PyErr_CheckSignals() < 0) return -1;
    Py_BEGIN_ALLOW_THREADS
    *count = read(loop->source, data, size);
    Py_END_ALLOW_THREADS
  } while (*count < 0 && errno == EINTR);
  loop->received = now();
  loop->was_short = loop->received - began < loop->spin;
  return 0;
}

PyObject *read_into(PyObject *module, PyObject *target) {
  const Names *names = PyModule_GetState(module);
  if (!names->loop || names->thread != PyThread_get_thread_ident()) {
    PyErr_SetString(PyExc_RuntimeError, "serve() does not run in this thread");
    return NULL;
  }
  Py_buffer view;
  if (PyObject_GetBuffer(target, &view, PyBUF_WRITABLE) < 0) return NULL;
  ssize_t count;
  const int failed = wait_for_bytes(names->loop, view.buf, (size_t)view.len, &count);
  const int error = errno;
  PyBuffer_Release(&view);
  if (failed) return NULL;
  if (count >= 0) return PyLong_FromSsize_t(count);
  if (error == EAGAIN) Py_RETURN_NONE;
  errno = error;
  return PyErr_SetFromErrno(PyExc_OSError);
}
