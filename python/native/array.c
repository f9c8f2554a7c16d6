// Block and View: what exports shared memory to Python, and numbers of one kind in it. View is what Array derives from, with
// the same attributes as its Python twin in _array.py; a memoryview of it is made in one step.
#include "array.h"

#include <structmember.h>

#if __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
#define ORDER "<"
#else
#define ORDER ">"
#endif

static const Kind kinds[] = {
    {"bool", "|b1", "?", 1},         {"int8", "|i1", "b", 1},         {"int16", ORDER "i2", "h", 2},
    {"int32", ORDER "i4", "i", 4},   {"int64", ORDER "i8", "q", 8},   {"uint8", "|u1", "B", 1},
    {"uint16", ORDER "u2", "H", 2},  {"uint32", ORDER "u4", "I", 4},  {"uint64", ORDER "u8", "Q", 8},
    {"float32", ORDER "f4", "f", 4}, {"float64", ORDER "f8", "d", 8}, {"complex64", ORDER "c8", "", 8},
    {"complex128", ORDER "c16", "", 16},
};

// Zero-terminated; empty: it is no text, or not all of ASCII.
static const char *ascii(PyObject *text) {
  if (!PyUnicode_Check(text) || !PyUnicode_IS_COMPACT_ASCII(text)) return "";
  const char *bytes = (const char *)PyUnicode_1BYTE_DATA(text);
  return strlen(bytes) == (size_t)PyUnicode_GET_LENGTH(text) ? bytes : "";
}

const Kind *kind_of(PyObject *typestr) {
  const char *wanted = ascii(typestr);
  for (size_t i = 0; i < sizeof kinds / sizeof *kinds; ++i) {
    if (wanted[0] == kinds[i].typestr[0] && strcmp(wanted, kinds[i].typestr) == 0) return &kinds[i];
  }
  PyErr_Format(PyExc_ValueError, "no type of elements: %R", typestr);
  return NULL;
}

const Kind *kind_named(PyObject *name) {
  const char *wanted = ascii(name);
  for (size_t i = 0; i < sizeof kinds / sizeof *kinds; ++i) {
    if (wanted[0] == kinds[i].name[0] && strcmp(wanted, kinds[i].name) == 0) return &kinds[i];
  }
  return NULL;
}

static PyObject *tuple_of(const Py_ssize_t *numbers, Py_ssize_t count) {
  PyObject *tuple = PyTuple_New(count);
  for (Py_ssize_t i = 0; tuple && i < count; ++i) {
    PyObject *number = PyLong_FromSsize_t(numbers[i]);
    if (!number) Py_CLEAR(tuple);
    else PyTuple_SET_ITEM(tuple, i, number);
  }
  return tuple;
}

// An object of a heap type has a reference to it.
static void free_object(PyObject *self) {
  PyTypeObject *type = Py_TYPE(self);
  type->tp_free(self);
  Py_DECREF(type);
}

// --- Block -------------------------------------------------------------------------------------------

PyObject *new_block(const Names *names, PyObject *mapping, Py_ssize_t offset, Py_ssize_t size, PyObject *key, PyObject *ended) {
  PyTypeObject *type = (PyTypeObject *)names->block_type;
  Block *block = (Block *)type->tp_alloc(type, 0);
  if (!block) return NULL;
  if (PyObject_GetBuffer(mapping, &block->memory, PyBUF_WRITABLE) < 0) {
    Py_DECREF(block);
    return NULL;
  }
  if (offset < 0 || size < 0 || size > block->memory.len || offset > block->memory.len - size) {
    PyErr_SetString(PyExc_ValueError, "a block beyond the end of its memory");
    Py_DECREF(block);
    return NULL;
  }
  block->data = (char *)block->memory.buf + offset;
  block->size = size;
  Py_XINCREF(key);
  Py_XINCREF(ended);
  block->key = key;
  block->ended = ended;
  return (PyObject *)block;
}

void watch_block(PyObject *block, PyObject *key, PyObject *ended) {
  Py_INCREF(key);
  Py_INCREF(ended);
  ((Block *)block)->key = key;
  ((Block *)block)->ended = ended;
}

static PyObject *block_new(PyTypeObject *type, PyObject *args, PyObject *keywords) {
  PyObject *mapping, *key = NULL, *ended = NULL;
  Py_ssize_t offset, size;
  (void)keywords;
  if (!PyArg_ParseTuple(args, "Onn|OO!:Block", &mapping, &offset, &size, &key, &PyList_Type, &ended)) return NULL;
  const Names *names = PyType_GetModuleState(type);
  return names ? new_block(names, mapping, offset, size, key, ended) : NULL;
}

static void block_dealloc(PyObject *self) {
  Block *block = (Block *)self;
  if (block->memory.obj) PyBuffer_Release(&block->memory);
  if (block->ended) {
#if PY_VERSION_HEX >= 0x030c0000
    PyObject *error = PyErr_GetRaisedException();
#else
    PyObject *type, *value, *trace;
    PyErr_Fetch(&type, &value, &trace);
#endif
    if (PyList_Append(block->ended, block->key) < 0) PyErr_WriteUnraisable(NULL);  // it stays lent
#if PY_VERSION_HEX >= 0x030c0000
    PyErr_SetRaisedException(error);
#else
    PyErr_Restore(type, value, trace);
#endif
  }
  Py_XDECREF(block->key);
  Py_XDECREF(block->ended);
  free_object(self);
}

static int block_buffer(PyObject *self, Py_buffer *view, int flags) {
  Block *block = (Block *)self;
  return PyBuffer_FillInfo(view, self, block->data, block->size, 0, flags);
}

static PyObject *block_address(PyObject *self, void *unused) {
  (void)unused;
  return PyLong_FromVoidPtr(((Block *)self)->data);
}

static PyGetSetDef block_getset[] = {{"address", block_address, NULL, "Of its first byte.", NULL}, {0}};
static PyType_Slot block_slots[] = {
    {Py_tp_new, block_new},
    {Py_tp_dealloc, block_dealloc},
    {Py_tp_getset, block_getset},
    {Py_bf_getbuffer, block_buffer},
    {Py_tp_doc, "Block(mapping, offset, size, key=None, ended=None): part of a mapping. At its end, appends key to the list."},
    {0, NULL},
};
static PyType_Spec block_spec = {"lair_worker._native.Block", sizeof(Block), 0, Py_TPFLAGS_DEFAULT, block_slots};

// --- View --------------------------------------------------------------------------------------------

// From a list or a tuple.
static int get_numbers(PyObject *from, Py_ssize_t *numbers, Py_ssize_t count) {
  for (Py_ssize_t i = 0; i < count; ++i) {
    PyObject *each = PySequence_Fast_GET_ITEM(from, i);
    numbers[i] = PyLong_AsSsize_t(each);
    if (numbers[i] == -1 && PyErr_Occurred()) return -1;
  }
  return 0;
}

static int set_shape(View *view, PyObject *shape, PyObject *strides) {
  const Py_ssize_t count = view->dimensions = PySequence_Fast_GET_SIZE(shape);
  view->shape = view->few;
  if (count > FEW && !(view->shape = PyMem_New(Py_ssize_t, 2 * count))) {
    PyErr_NoMemory();
    return -1;
  }
  view->strides = view->shape + count;
  if (get_numbers(shape, view->shape, count) < 0) return -1;
  if (strides != Py_None && get_numbers(strides, view->strides, count) < 0) return -1;
  view->contiguous = 1;
  view->count = 1;
  Py_ssize_t plain = view->kind->size;
  for (Py_ssize_t i = count; i-- > 0;) {
    const Py_ssize_t each = view->shape[i];
    if (each < 0 || __builtin_mul_overflow(view->count, each, &view->count)) {
      PyErr_SetString(PyExc_ValueError, "an array of no such shape");
      return -1;
    }
    if (strides == Py_None) view->strides[i] = plain;
    else if (each != 1 && view->strides[i] != plain) view->contiguous = 0;
    if (each > 1 && __builtin_mul_overflow(plain, each, &plain)) plain = 0;  // some other dimension has no elements
  }
  if (view->count == 0) view->contiguous = 1;
  return 0;
}

static int is_sequence(PyObject *object) { return PyList_CheckExact(object) || PyTuple_CheckExact(object); }

// Whether all elements are within the block.
static int is_within(const View *view, Py_ssize_t size) {
  Py_ssize_t low = view->first, high;
  if (view->count == 0) return low >= 0 && low <= size;
  if (low < 0 || low > size - view->kind->size) return 0;
  high = low + view->kind->size;
  for (Py_ssize_t i = 0; i < view->dimensions; ++i) {
    Py_ssize_t reach;
    if (__builtin_mul_overflow(view->shape[i] - 1, view->strides[i], &reach)) return 0;
    if (__builtin_add_overflow(reach < 0 ? low : high, reach, reach < 0 ? &low : &high)) return 0;
  }
  return low >= 0 && high <= size;
}

PyObject *new_view(PyTypeObject *type, PyObject *block, Py_ssize_t first, const Kind *kind, PyObject *shape,
                   PyObject *strides, int readonly) {
  if (!is_sequence(shape) || (strides != Py_None && (!is_sequence(strides) || PySequence_Fast_GET_SIZE(strides) !=
                                                                                 PySequence_Fast_GET_SIZE(shape)))) {
    PyErr_SetString(PyExc_ValueError, "an array of no such shape");
    return NULL;
  }
  View *view = (View *)type->tp_alloc(type, 0);
  if (!view) return NULL;
  Py_INCREF(block);
  view->block = block;
  view->kind = kind;
  view->first = first;
  view->readonly = (char)readonly;
  if (set_shape(view, shape, strides) < 0) {
    Py_DECREF(view);
    return NULL;
  }
  if (!is_within(view, ((Block *)block)->size)) {
    PyErr_SetString(PyExc_ValueError, "an array beyond the end of its block");
    Py_DECREF(view);
    return NULL;
  }
  view->data = ((Block *)block)->data + first;
  return (PyObject *)view;
}

static PyObject *view_new(PyTypeObject *type, PyObject *args, PyObject *keywords) {
  PyObject *block, *typestr, *shape, *strides;
  Py_ssize_t first;
  int readonly;
  (void)keywords;
  if (!PyArg_ParseTuple(args, "OnUOOp:Array", &block, &first, &typestr, &shape, &strides, &readonly)) return NULL;
  if (Py_TYPE(block)->tp_dealloc != block_dealloc) {
    PyErr_SetString(PyExc_TypeError, "an array is in a Block");
    return NULL;
  }
  const Kind *kind = kind_of(typestr);
  return kind ? new_view(type, block, first, kind, shape, strides, readonly) : NULL;
}

static void view_dealloc(PyObject *self) {
  View *view = (View *)self;
  if (view->weak) PyObject_ClearWeakRefs(self);
  if (view->shape != view->few) PyMem_Free(view->shape);
  Py_XDECREF(view->block);
  free_object(self);
}

static int view_buffer(PyObject *self, Py_buffer *buffer, int flags) {
  View *view = (View *)self;
  const char *format = view->kind->format;
  buffer->obj = NULL;
  if (!view->contiguous || !*format) {
    PyErr_Format(PyExc_BufferError, "a memoryview can't show %R; numpy.asarray() can", self);
    return -1;
  }
  if ((flags & PyBUF_WRITABLE) && view->readonly) {
    PyErr_SetString(PyExc_BufferError, "the array is read-only: its caller has not said inout");
    return -1;
  }
  buffer->buf = view->data;
  buffer->len = view->count * view->kind->size;
  buffer->itemsize = view->kind->size;
  buffer->readonly = view->readonly;
  buffer->ndim = (int)view->dimensions;
  buffer->format = flags & PyBUF_FORMAT ? (char *)format : NULL;
  buffer->shape = view->shape;
  buffer->strides = view->strides;
  buffer->suboffsets = NULL;
  buffer->internal = NULL;
  if ((flags & PyBUF_F_CONTIGUOUS) == PyBUF_F_CONTIGUOUS && !PyBuffer_IsContiguous(buffer, 'F')) {
    PyErr_SetString(PyExc_BufferError, "the array is in the order of C");
    return -1;
  }
  if (!(flags & PyBUF_ND)) {
    buffer->ndim = 1;
    buffer->shape = NULL;
  }
  if ((flags & PyBUF_STRIDES) != PyBUF_STRIDES) buffer->strides = NULL;
  Py_INCREF(self);
  buffer->obj = self;
  return 0;
}

static PyObject *view_memoryview(PyObject *self, PyObject *unused) {
  (void)unused;
  return PyMemoryView_FromObject(self);
}

#define GETTER(name, what)                                  \
  static PyObject *view_##name(PyObject *self, void *unused) { \
    const View *view = (View *)self;                        \
    (void)unused;                                           \
    return what;                                            \
  }
GETTER(shape, tuple_of(view->shape, view->dimensions))
GETTER(strides, tuple_of(view->strides, view->dimensions))
GETTER(dtype, PyUnicode_FromString(view->kind->name))
GETTER(typestr, PyUnicode_FromString(view->kind->typestr))
GETTER(readonly, PyBool_FromLong(view->readonly))
GETTER(contiguous, PyBool_FromLong(view->contiguous))
GETTER(size, PyLong_FromSsize_t(view->count))
GETTER(nbytes, PyLong_FromSsize_t(view->count * view->kind->size))
GETTER(address, PyLong_FromVoidPtr(view->data))

static PyGetSetDef view_getset[] = {
    {"shape", view_shape, NULL, "A tuple.", NULL},
    {"strides", view_strides, NULL, "A tuple, in bytes.", NULL},
    {"dtype", view_dtype, NULL, "As numpy calls it.", NULL},
    {"readonly", view_readonly, NULL, "Whether it is.", NULL},
    {"contiguous", view_contiguous, NULL, "Whether the elements follow each other in the order of C.", NULL},
    {"size", view_size, NULL, "How many elements.", NULL},
    {"nbytes", view_nbytes, NULL, "Bytes of all elements.", NULL},
    {"_typestr", view_typestr, NULL, NULL, NULL},
    {"_address", view_address, NULL, NULL, NULL},
    {0},
};
static PyMemberDef view_members[] = {{"__weaklistoffset__", T_PYSSIZET, offsetof(View, weak), READONLY, NULL}, {0}};
static PyMethodDef view_methods[] = {
    {"memoryview", view_memoryview, METH_NOARGS, "The elements, with their format and shape. BufferError: see the class."},
    {0},
};
static PyType_Slot view_slots[] = {
    {Py_tp_new, view_new},           {Py_tp_dealloc, view_dealloc},     {Py_tp_getset, view_getset},
    {Py_tp_methods, view_methods},   {Py_bf_getbuffer, view_buffer},    {Py_tp_members, view_members},
    {0, NULL},
};
static PyType_Spec view_spec = {"lair_worker._native.View", sizeof(View), 0, Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE,
                                view_slots};

int add_array_types(PyObject *module, Names *names) {
  if (!(names->block_type = PyType_FromModuleAndSpec(module, &block_spec, NULL))) return -1;
  if (!(names->view_type = PyType_FromModuleAndSpec(module, &view_spec, NULL))) return -1;
  return PyModule_AddType(module, (PyTypeObject *)names->block_type) < 0 ||
                 PyModule_AddType(module, (PyTypeObject *)names->view_type) < 0
             ? -1
             : 0;
}
