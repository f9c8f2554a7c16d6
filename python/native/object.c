// Objects and exceptions, as Python code handles them.
#include "loop.h"

#include <structmember.h>

PyObject **slot_of(PyObject *object, PyObject *name) {
  PyObject *found = PyObject_GetAttr((PyObject *)Py_TYPE(object), name);
  const int good = found && PyObject_TypeCheck(found, &PyMemberDescr_Type);
  char *where = good ? (char *)object + ((PyMemberDescrObject *)found)->d_member->offset : NULL;
  Py_XDECREF(found);
  if (found && !good) PyErr_SetString(PyExc_SystemError, "not one of the slots");
  return (PyObject **)(void *)where;
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
