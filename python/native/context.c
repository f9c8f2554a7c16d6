// The context of a call, which is what context() gives while its command runs: see docs/adr/0025-lean-calls.md.
#include "loop.h"

int find_context(Loop *loop) {
#define FIND(name) \
  if ((loop->context[AT_##name] = place_of(loop->context_type, loop->names->name)) < 0) return -1;
  CONTEXT_NAMES(FIND)
  return 0;
}

// One that nobody else has any more, as if it were new.
static PyObject *used_context(Loop *loop) {
  PyObject *call = loop->contexts[loop->turn];
  loop->contexts[loop->turn] = NULL;
  if (!call || Py_REFCNT(call) == 1) {
    for (int i = 0; call && i < CONTEXT_SLOTS; ++i) Py_CLEAR(*slot_at(call, loop->context[i]));
    return call;
  }
  Py_DECREF(call);
  return NULL;
}

PyObject *new_context(Loop *loop, PyObject *message, double received) {
  PyTypeObject *type = (PyTypeObject *)loop->context_type;
  PyObject *call = used_context(loop);
  if (!call) call = type->tp_alloc(type, 0);
  PyObject *time = PyFloat_FromDouble(received);
  if (call && time) {
    set_slot(slot_at(call, loop->context[AT__received]), time);
    set_slot(slot_at(call, loop->context[AT_command]), PyList_GET_ITEM(message, 3));
    set_slot(slot_at(call, loop->context[AT_meta]), PyList_GET_ITEM(message, 5));
    set_slot(slot_at(call, loop->context[AT_number]), PyList_GET_ITEM(message, 1));
  } else {
    Py_CLEAR(call);
  }
  Py_XDECREF(time);
  return call;
}

void keep_context(Loop *loop, PyObject *call) {
  Py_XSETREF(loop->contexts[loop->turn], call);
  loop->turn = !loop->turn;
}

int set_current(Loop *loop, PyObject *call) {
  loop->lingers = 0;
  PyObject *token = PyContextVar_Set(loop->context_var, call);
  Py_XDECREF(token);
  return token ? 0 : -1;
}

int forget_context(Loop *loop) {
  Py_CLEAR(loop->contexts[0]);
  Py_CLEAR(loop->contexts[1]);
  return loop->lingers ? set_current(loop, Py_None) : 0;
}
