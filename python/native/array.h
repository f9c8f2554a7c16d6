// Arrays in memory that the host shares: what array.c and array_call.c share. As _array.py and _arrays.py, which explain more.
#pragma once

#include "loop.h"

typedef struct Kind {
  const char *name, *typestr, *format;  // format: as struct has it; empty: it can't say it
  int size;
} Kind;
// NULL with a ValueError if there is none.
const Kind *kind_of(PyObject *typestr);
// As numpy calls it. NULL without one.
const Kind *kind_named(PyObject *name);

// Part of a mapping. It says of its end by appending its key to a list.
typedef struct Block {
  PyObject_HEAD
  Py_buffer memory;  // the whole mapping
  char *data;
  Py_ssize_t size;
  PyObject *key, *ended;  // NULL: nobody wants to know
} Block;

#define FEW 4
// Numbers of one kind in a block.
typedef struct View {
  PyObject_HEAD
  PyObject *block, *weak;
  char *data;
  const Kind *kind;
  Py_ssize_t first, count, dimensions;
  Py_ssize_t *shape, *strides;  // in `few`, or behind each other in memory of their own
  Py_ssize_t few[2 * FEW];
  char contiguous, readonly;
} View;

// All of these: NULL or -1 with an exception.
PyObject *new_block(const Names *names, PyObject *mapping, Py_ssize_t offset, Py_ssize_t size, PyObject *key, PyObject *ended);
// Has it say of its end.
void watch_block(PyObject *block, PyObject *key, PyObject *ended);
// `block` is a Block; `type` is View's, or one that derives from it. `strides`: a sequence, or None.
PyObject *new_view(PyTypeObject *type, PyObject *block, Py_ssize_t first, const Kind *kind, PyObject *shape,
                   PyObject *strides, int readonly);
