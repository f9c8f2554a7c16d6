// A call that is to give a stream, in the loop: what MidCall does of it in _midcall.py, where its command gives what is plainly
// iterated over. Everything else is left to that, and so is every end but the plain one.
#include "stream.h"

// What is at once seen to be iterated over, and not awaited. `credit` as is_credit in _midcall.py.
static int is_plain(PyObject *value, PyObject *credit) {
  const PyAsyncMethods *async = Py_TYPE(value)->tp_as_async;
  if (!PyIter_Check(value) || (async && (async->am_await || async->am_anext))) return 0;
  if (!PyList_CheckExact(credit) || PyList_GET_SIZE(credit) != 2) return 0;
  for (Py_ssize_t i = 0; i < 2; ++i) {
    PyObject *number = PyList_GET_ITEM(credit, i);
    int overflow = 0;
    if (!PyLong_CheckExact(number) || PyLong_AsLongLongAndOverflow(number, &overflow) < 0 || overflow) return 0;
  }
  return 1;
}

// Its Chunks, which its MidCall is told of; NULL without an exception: Python is to try it again, and to say what is wrong.
static PyObject *begin(Loop *loop, PyObject *midcall, PyObject *call, PyObject *number) {
  const Names *names = loop->names;
  PyObject *type = PyObject_GetAttr(midcall, names->_fed), *generation = PyLong_FromLongLong(loop->generation);
  PyObject *chunks = NULL;
  if (type && generation) {
    chunks = PyObject_CallFunctionObjArgs(type, number, generation, loop->credit, loop->channel, NULL);
  }
  Py_XDECREF(type);
  Py_XDECREF(generation);
  if (chunks && (PyObject_SetAttr(midcall, names->running, call) < 0 ||
                 PyObject_SetAttr(midcall, names->stream, chunks) < 0)) {
    Py_CLEAR(chunks);
  }
  if (chunks) loop->lingers = 0;  // the context that is still current is needed again
  if (!chunks) PyErr_Clear();
  return chunks;
}

// Whether there may be something to close, which runs user code.
static int has_close(const Names *names, PyObject *value) {
  if (PyGen_CheckExact(value)) return 0;  // it has ended
  PyObject *close = PyObject_GetAttr(value, names->close);
  const int has = close || !PyErr_ExceptionMatches(PyExc_AttributeError);
  Py_XDECREF(close);
  PyErr_Clear();
  return has;
}

// What MidCall.conclude does where the items have come to their end, and that is all. The frame is in loop->out: None.
static PyObject *end_stream(Loop *loop, PyObject *midcall, PyObject *number) {
  const Names *names = loop->names;
  if (PyObject_SetAttr(midcall, names->running, Py_None) < 0 || PyObject_SetAttr(midcall, names->stream, Py_None) < 0) {
    return NULL;
  }
  loop->lingers = 1;
  if (*loop->hit != Py_None) return PyObject_CallMethodOneArg(loop->protocol, names->cancelled, number);
  if (put_head(loop, END, number, 3) < 0) return NULL;
  Py_RETURN_NONE;
}

// As MidCall.answer. How a stream that has not just ended is ended, its `conclude` knows.
PyObject *stream_value(Loop *loop, PyObject *call, PyObject *number, PyObject *value) {
  const Names *names = loop->names;
  PyObject *midcall = PyObject_GetAttr(loop->protocol, names->_midcall);
  if (midcall == Py_None) {
    Py_DECREF(midcall);
    midcall = PyObject_CallMethodNoArgs(loop->protocol, names->midcall);
  }
  if (!midcall) return NULL;
  PyObject *chunks = is_plain(value, loop->credit) ? begin(loop, midcall, call, number) : NULL, *reply;
  if (!chunks) {
    reply = forget_context(loop) < 0 ? NULL : PyObject_CallMethodObjArgs(midcall, names->answer, call, value, NULL);
  } else {
    Feed feed = {.chunks = (Chunks *)chunks, .call = call, .iterator = value, .door = loop->door, .midcall = midcall,
                 .names = names, .armed = loop->armed, .rung = loop->rung, .hit = slot_of(call, names->hit)};
    int ended = feed.hit ? run_feed(&feed) : -1;
    release(&feed.item);
    const int just_ended = ended > 0 && !has_close(names, value);
    if (just_ended && end_chunks(feed.chunks, names) < 0) ended = -1;
    if (just_ended && ended > 0) {
      reply = end_stream(loop, midcall, number);
    } else {
      PyObject *error = ended < 0 ? take_exception() : NULL;
      reply = PyObject_CallMethodObjArgs(midcall, names->conclude, call, value, chunks, ended > 0 ? Py_True : Py_False,
                                         error ? error : Py_None, NULL);
      Py_XDECREF(error);
    }
    Py_DECREF(chunks);
  }
  Py_DECREF(midcall);
  return reply;
}
