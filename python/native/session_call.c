// Calls of sessions: what Protocol2._call_in_session does, for a call that begins and ends no session as far as this worker
// remembers them. Those that do are left to that.
#include "loop.h"

// What Sessions.enter finds: 1 if nothing is to be ended or remembered. -1 with an exception.
static int is_known(const Names *names, PyObject *sessions, PyObject *meta) {
  PyObject *known = PyObject_GetAttr(sessions, names->known), *hooks = PyObject_GetAttr(sessions, names->hooks);
  int result = -1;
  if (known && hooks && PyDict_CheckExact(known) && PyList_CheckExact(hooks)) {
    PyObject *id = PyDict_GetItemWithError(meta, names->session);
    PyObject *before = id && PyUnicode_CheckExact(id) ? PyDict_GetItemWithError(known, id) : NULL;
    if (before) {
      PyObject *number = PyObject_GetAttr(before, names->number);
      result = number ? PyObject_RichCompareBool(number, PyDict_GetItem(meta, names->session_number), Py_EQ) : -1;
      Py_XDECREF(number);
    } else if (!PyErr_Occurred()) {
      result = !PyList_GET_SIZE(hooks);
    }
  }
  Py_XDECREF(known);
  Py_XDECREF(hooks);
  return result;
}

int is_plain_in_session(const Loop *loop, PyObject *name, PyObject *meta) {
  const Names *names = loop->names;
  PyObject *sessions = PyObject_GetAttr(loop->protocol, names->_sessions);
  if (!sessions) return -1;
  int plain = 0;  // the first call of one has Python load what is needed
  if (sessions != Py_None) {
    plain = PyUnicode_Compare(name, names->cleanup_session) ? is_known(names, sessions, meta) : 0;
  }
  Py_DECREF(sessions);
  return plain;
}

// With a reply that may be None: then it is the frame in loop->out.
PyObject *tell_before(Loop *loop, PyObject *call, PyObject *reply) {
  if (!*slot_at(call, loop->context[AT_told])) return reply;
  if (reply == Py_None) {
    Py_SETREF(reply, PyBytes_FromStringAndSize((char *)loop->out.data + 4, (Py_ssize_t)loop->out.size - 4));
  }
  PyObject *left =
      reply ? PyObject_CallMethodObjArgs(loop->protocol, loop->names->_tell_before, call, reply, NULL) : NULL;
  Py_XDECREF(reply);
  loop->out.size = 0;
  if (loop->out.capacity > KEEP) release(&loop->out);
  return left;
}
