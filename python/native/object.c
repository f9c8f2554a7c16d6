// Objects and exceptions, as Python code handles them.
#include "loop.h"

#include <structmember.h>

Py_ssize_t place_of(PyObject *type, PyObject *name) {
  PyObject *found = PyObject_GetAttr(type, name);
  const int good = found && PyObject_TypeCheck(found, &PyMemberDescr_Type);
  const Py_ssize_t place = good ? ((PyMemberDescrObject *)found)->d_member->offset : -1;
  Py_XDECREF(found);
  if (found && !good) PyErr_SetString(PyExc_SystemError, "not one of the slots");
  return place;
}

PyObject **slot_of(PyObject *object, PyObject *name) {
  const Py_ssize_t place = place_of((PyObject *)Py_TYPE(object), name);
  return place < 0 ? NULL : slot_at(object, place);
}

void raise_again(PyObject *error) {
  if (error) PyErr_SetObject((PyObject *)Py_TYPE(error), error);
  Py_XDECREF(error);
}

PyObject *take_exception(void) {
#if PY_VERSION_HEX >= 0x030c0000
  return PyErr_GetRaisedException();
#else
  PyObject *type, *value, *trace;
  PyErr_Fetch(&type, &value, &trace);
  PyErr_NormalizeException(&type, &value, &trace);
  if (trace) PyException_SetTraceback(value, trace);
  Py_XDECREF(type);
  Py_XDECREF(trace);
  return value;
#endif
}
