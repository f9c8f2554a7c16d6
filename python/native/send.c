// Sending frames: by the socket or pipe, or handed over (handover.c) where nothing that was sent before can still be unread.
#include "loop.h"

static int finish_sending(const Loop *loop, PyObject *rest) {
  PyObject *done = rest ? PyObject_CallMethodOneArg(loop->channel, loop->names->send_rest, rest) : NULL;
  Py_XDECREF(rest);
  Py_XDECREF(done);
  return done ? 0 : -1;
}

void put_frame_length(Buffer *frame) {
  const size_t length = frame->size - 4;
  for (int i = 0; i < 4; ++i) frame->data[i] = (unsigned char)(length >> (24 - 8 * i));
}

int send_frame(Loop *loop, Buffer *frame) {
  put_frame_length(frame);
  return send_framed(loop, frame);
}

int send_framed(Loop *loop, Buffer *out) {
  ssize_t written;
  loop->strayed = 1;
  if (out->size <= SMALL) {
    written = write(loop->sink, out->data, out->size);
  } else {
    Py_BEGIN_ALLOW_THREADS
    written = write(loop->sink, out->data, out->size);
    Py_END_ALLOW_THREADS
  }
  if (written < 0) written = 0;  // the channel will meet the same error, and knows what it means
  int failed = 0;
  if ((size_t)written != out->size) {
    failed = finish_sending(loop, PyBytes_FromStringAndSize((char *)out->data + written,
                                                            (Py_ssize_t)out->size - written));
  }
  if (out->capacity > KEEP) release(out);
  return failed;
}

int send_last(Loop *loop, Buffer *frame) {
  if (!loop->strayed && hand_over(loop->names->page, frame)) return 0;
  const int failed = send_framed(loop, frame);
  loop->strayed = 0;
  return failed;
}

PyObject *write_from(PyObject *module, PyObject *source) {
  const Names *names = PyModule_GetState(module);
  if (!names->loop) {
    PyErr_SetString(PyExc_RuntimeError, "serve() does not run");
    return NULL;
  }
  names->loop->strayed = 1;
  const int sink = names->loop->sink;  // other threads run meanwhile, and serve() may end
  Py_buffer view;
  if (PyObject_GetBuffer(source, &view, PyBUF_SIMPLE) < 0) return NULL;
  ssize_t count;
  int failed;
  do {
    Py_BEGIN_ALLOW_THREADS
    count = write(sink, view.buf, (size_t)view.len);
    Py_END_ALLOW_THREADS
    failed = count < 0;
  } while (failed && errno == EINTR && PyErr_CheckSignals() == 0);
  const int error = errno;
  PyBuffer_Release(&view);
  if (!failed) return PyLong_FromSsize_t(count);
  if (PyErr_Occurred()) return NULL;
  if (error == EAGAIN) Py_RETURN_NONE;
  errno = error;
  return PyErr_SetFromErrno(PyExc_OSError);
}
