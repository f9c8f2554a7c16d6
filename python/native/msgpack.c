// MessagePack as this protocol uses it: what JSON has, and nothing else, so that a value travels, or is refused, whatever
// the codec. No binary, no extension types, no NaN; keys are text.
#include <math.h>
#include <stdint.h>
#include <string.h>

#include "native.h"

// --- out ---------------------------------------------------------------------------------------------

void release(Buffer *out) {
  PyMem_Free(out->data);
  memset(out, 0, sizeof *out);
}

static int grow(Buffer *out, size_t count) {
  size_t capacity = out->capacity + out->capacity / 2;
  if (capacity < out->size + count) capacity = out->size + count;
  if (capacity < 512) capacity = 512;
  void *data = PyMem_Realloc(out->data, capacity);
  if (!data) {
    PyErr_NoMemory();
    return -1;
  }
  out->data = data;
  out->capacity = capacity;
  return 0;
}

int put_bytes(Buffer *out, const void *bytes, size_t count) {
  if (out->capacity - out->size < count && grow(out, count) < 0) return -1;
  memcpy(out->data + out->size, bytes, count);
  out->size += count;
  return 0;
}

// A type byte and a big-endian number of `width` bytes.
static int put_bits(Buffer *out, unsigned char type, uint64_t number, int width) {
  if (out->capacity - out->size < 9 && grow(out, 9) < 0) return -1;
  unsigned char *at = out->data + out->size;
  *at = type;
  for (int i = width; i > 0; --i, number >>= 8) at[i] = (unsigned char)number;
  out->size += (size_t)width + 1;
  return 0;
}

// A length: within the type byte if it is below `most`, else in 1 (if `type8`), 2 or 4 bytes.
static int put_length(Buffer *out, size_t length, int fixed, size_t most, int type8, int type16) {
  if (length < most) return put_bits(out, (unsigned char)(fixed | (int)length), 0, 0);
  if (type8 && length < 0x100) return put_bits(out, (unsigned char)type8, length, 1);
  if (length < 0x10000) return put_bits(out, (unsigned char)type16, length, 2);
  if (length <= 0xffffffff) return put_bits(out, (unsigned char)(type16 + 1), length, 4);
  PyErr_SetString(PyExc_OverflowError, "longer than MessagePack can say");
  return -1;
}

int put_array(Buffer *out, size_t count) { return put_length(out, count, 0x90, 16, 0, 0xdc); }

static int put_utf8(Buffer *out, const char *bytes, size_t size) {
  return put_length(out, size, 0xa0, 32, 0xd9, 0xda) < 0 ? -1 : put_bytes(out, bytes, size);
}

int put_ascii(Buffer *out, const char *text) { return put_utf8(out, text, strlen(text)); }

static int put_text(Buffer *out, PyObject *text) {
  Py_ssize_t size;
  PyObject *encoded = NULL;
  const char *bytes;
  if (PyUnicode_IS_COMPACT_ASCII(text)) {
    bytes = (const char *)PyUnicode_1BYTE_DATA(text);
    size = PyUnicode_GET_LENGTH(text);
  } else {  // not PyUnicode_AsUTF8AndSize, which would keep the bytes for as long as the text lives
    encoded = PyUnicode_AsUTF8String(text);
    if (!encoded) return -1;
    bytes = PyBytes_AS_STRING(encoded);
    size = PyBytes_GET_SIZE(encoded);
  }
  const int failed = put_utf8(out, bytes, (size_t)size);
  Py_XDECREF(encoded);
  return failed;
}

int put_number(Buffer *out, long long number) {
  const uint64_t bits = (uint64_t)number;
  if (number >= -32 && number < 0x80) return put_bits(out, (unsigned char)bits, 0, 0);
  if (number >= 0) {
    if (number < 0x100) return put_bits(out, 0xcc, bits, 1);
    if (number < 0x10000) return put_bits(out, 0xcd, bits, 2);
    if (number <= 0xffffffff) return put_bits(out, 0xce, bits, 4);
    return put_bits(out, 0xcf, bits, 8);
  }
  if (number >= INT8_MIN) return put_bits(out, 0xd0, bits, 1);
  if (number >= INT16_MIN) return put_bits(out, 0xd1, bits, 2);
  if (number >= INT32_MIN) return put_bits(out, 0xd2, bits, 4);
  return put_bits(out, 0xd3, bits, 8);
}

static int put_integer(Buffer *out, PyObject *value) {
  int overflow;
  const long long number = PyLong_AsLongLongAndOverflow(value, &overflow);
  if (overflow > 0) {
    const unsigned long long large = PyLong_AsUnsignedLongLong(value);
    if (large == (unsigned long long)-1 && PyErr_Occurred()) return -1;
    return put_bits(out, 0xcf, large, 8);
  }
  if (overflow < 0) {
    PyErr_SetString(PyExc_OverflowError, "an integer outside -2^63 to 2^64-1");
    return -1;
  }
  if (number == -1 && PyErr_Occurred()) return -1;
  return put_number(out, number);
}

static int put_float(Buffer *out, double number) {
  uint64_t bits;
  if (!isfinite(number)) {
    PyErr_SetString(PyExc_ValueError, "not a finite number");
    return -1;
  }
  memcpy(&bits, &number, sizeof bits);
  return put_bits(out, 0xcb, bits, 8);
}

// As json.dumps writes it.
static int put_key(Buffer *out, PyObject *key) {
  PyObject *text = NULL;
  if (PyUnicode_Check(key)) return put_text(out, key);
  if (key == Py_None || key == Py_True || key == Py_False) {
    const char *name = key == Py_None ? "\xa4null" : key == Py_True ? "\xa4true" : "\xa5" "false";
    return put_bytes(out, name, strlen(name));
  }
  if (PyLong_Check(key)) {
    text = PyLong_Type.tp_repr(key);
  } else if (!PyFloat_Check(key)) {
    PyErr_SetString(PyExc_TypeError, "a key is a str, int, float, bool or None");
  } else if (!isfinite(PyFloat_AS_DOUBLE(key))) {
    PyErr_SetString(PyExc_ValueError, "not a finite number");
  } else {
    text = PyFloat_Type.tp_repr(key);
  }
  if (!text) return -1;
  const int failed = put_text(out, text);
  Py_DECREF(text);
  return failed;
}

// A subclass's items() is the user's code, which may change the containers around it: hence the references held, and the
// counts taken again.
static int put_elements(Buffer *out, PyObject *sequence, int depth) {
  const Py_ssize_t count = PySequence_Fast_GET_SIZE(sequence);
  if (put_array(out, (size_t)count) < 0) return -1;
  for (Py_ssize_t i = 0; i < count; ++i) {
#if PY_VERSION_HEX >= 0x030d0000
    PyObject *element = PyList_Check(sequence) ? PyList_GetItemRef(sequence, i)
                                               : Py_NewRef(PyTuple_GET_ITEM(sequence, i));
#else
    PyObject *element = i < PySequence_Fast_GET_SIZE(sequence) ? PySequence_Fast_GET_ITEM(sequence, i) : NULL;
    Py_XINCREF(element);
#endif
    if (!element) {
      PyErr_SetString(PyExc_RuntimeError, "a list has changed meanwhile");
      return -1;
    }
    const int failed = put_value(out, element, depth);
    Py_DECREF(element);
    if (failed) return -1;
  }
  return 0;
}

static int put_entry(Buffer *out, PyObject *key, PyObject *value, int depth) {
  Py_INCREF(key);
  Py_INCREF(value);
  const int failed = put_key(out, key) < 0 || put_value(out, value, depth) < 0;
  Py_DECREF(key);
  Py_DECREF(value);
  return failed ? -1 : 0;
}

static int put_entries(Buffer *out, PyObject *dict, int depth) {
  PyObject *key, *value;
  Py_ssize_t at = 0, left = PyDict_GET_SIZE(dict);
  if (put_length(out, (size_t)left, 0x80, 16, 0, 0xde) < 0) return -1;
  for (; PyDict_Next(dict, &at, &key, &value); --left) {
    if (left == 0) break;
    if (put_entry(out, key, value, depth) < 0) return -1;
  }
  if (left == 0) return 0;
  PyErr_SetString(PyExc_RuntimeError, "a dict has changed meanwhile");
  return -1;
}

static int put_items(Buffer *out, PyObject *mapping, int depth) {
  PyObject *items = PyMapping_Items(mapping);
  if (!items) return -1;
  int failed = put_length(out, (size_t)PyList_GET_SIZE(items), 0x80, 16, 0, 0xde);
  for (Py_ssize_t i = 0; !failed && i < PyList_GET_SIZE(items); ++i) {
    PyObject *item = PyList_GET_ITEM(items, i);
    if (!PyTuple_Check(item) || PyTuple_GET_SIZE(item) != 2) {
      PyErr_SetString(PyExc_ValueError, "items must return 2-tuples");
      failed = -1;
    } else {
      failed = put_entry(out, PyTuple_GET_ITEM(item, 0), PyTuple_GET_ITEM(item, 1), depth);
    }
  }
  Py_DECREF(items);
  return failed;
}

static int put_container(Buffer *out, PyObject *value, int depth) {
  if (depth >= LAIR_MOST_NESTING) {
    PyErr_SetString(PyExc_RecursionError, "nested too deeply");
    return -1;
  }
  if (!PyDict_Check(value)) return put_elements(out, value, depth + 1);
  if (!PyDict_CheckExact(value)) return put_items(out, value, depth + 1);
#ifdef Py_GIL_DISABLED
  int failed;
  Py_BEGIN_CRITICAL_SECTION(value);
  failed = put_entries(out, value, depth + 1);
  Py_END_CRITICAL_SECTION();
  return failed;
#else
  return put_entries(out, value, depth + 1);
#endif
}

int put_value(Buffer *out, PyObject *value, int depth) {
  if (value == Py_None) return put_bits(out, 0xc0, 0, 0);
  if (value == Py_False) return put_bits(out, 0xc2, 0, 0);
  if (value == Py_True) return put_bits(out, 0xc3, 0, 0);
  if (PyUnicode_Check(value)) return put_text(out, value);
  if (PyLong_Check(value)) return put_integer(out, value);
  if (PyFloat_Check(value)) return put_float(out, PyFloat_AS_DOUBLE(value));
  if (PyList_Check(value) || PyTuple_Check(value) || PyDict_Check(value)) return put_container(out, value, depth);
  PyErr_Format(PyExc_TypeError, "%.200s is not JSON", Py_TYPE(value)->tp_name);
  return -1;
}

// --- in ----------------------------------------------------------------------------------------------

typedef struct {
  const unsigned char *begin, *at, *end;
  PyObject **known;  // or NULL
} Reader;

static PyObject *refuse(const Reader *in, const char *what) {
  return PyErr_Format(PyExc_ValueError, "%s, at byte %zd", what, (Py_ssize_t)(in->at - in->begin));
}

static size_t left(const Reader *in) { return (size_t)(in->end - in->at); }

// A big-endian number of `width` bytes; 0 with an exception if there are fewer.
static int get_number(Reader *in, int width, uint64_t *number) {
  if (left(in) < (size_t)width) {
    refuse(in, "it ends too soon");
    return 0;
  }
  for (*number = 0; width > 0; --width) *number = *number << 8 | *in->at++;
  return 1;
}

static PyObject *get_text(Reader *in, size_t size) {
  if (left(in) < size) return refuse(in, "a text is longer than the message");
  PyObject *text = PyUnicode_DecodeUTF8((const char *)in->at, (Py_ssize_t)size, NULL);
  in->at += size;
  return text;
}

// The same text as before, where it was met before: no memory, and it knows its hash.
static PyObject *get_known(Reader *in, size_t size) {
  if (!in->known || size == 0 || size > 32 || left(in) < size) return get_text(in, size);
  const unsigned char *bytes = in->at;
  PyObject **place = &in->known[(size + 7u * bytes[0] + 31u * bytes[size - 1]) % LAIR_KNOWN], *text = *place;
  if (text && (size_t)PyUnicode_GET_LENGTH(text) == size && memcmp(PyUnicode_1BYTE_DATA(text), bytes, size) == 0) {
    in->at += size;
    Py_INCREF(text);
    return text;
  }
  text = get_text(in, size);
  if (text && PyUnicode_IS_COMPACT_ASCII(text)) {
    Py_INCREF(text);
    Py_XSETREF(*place, text);
  }
  return text;
}

static PyObject *get_value(Reader *in, int depth);

// Nothing is allocated for what can't be there: an element takes a byte at least.
static PyObject *get_array(Reader *in, size_t count, int depth) {
  if (count > left(in)) return refuse(in, "an array is longer than the message");
  PyObject *list = PyList_New((Py_ssize_t)count);
  for (size_t i = 0; list && i < count; ++i) {
    PyObject *element = get_value(in, depth);
    if (element) {
      PyList_SET_ITEM(list, (Py_ssize_t)i, element);
    } else {
      Py_CLEAR(list);
    }
  }
  return list;
}

static PyObject *get_key(Reader *in) {
  uint64_t size = 0;
  if (left(in) == 0) return refuse(in, "it ends too soon");
  const unsigned char type = *in->at;
  if ((type & 0xe0) == 0xa0) {
    size = type & 0x1f;
    ++in->at;
  } else if (type >= 0xd9 && type <= 0xdb) {
    ++in->at;
    if (!get_number(in, 1 << (type - 0xd9), &size)) return NULL;
  } else {
    return refuse(in, "a key is not text");
  }
  return get_known(in, size);
}

static PyObject *get_map(Reader *in, size_t count, int depth) {
  if (count > left(in) / 2) return refuse(in, "a map is longer than the message");
  PyObject *dict = PyDict_New();
  for (size_t i = 0; dict && i < count; ++i) {
    PyObject *key = get_key(in);
    PyObject *value = key ? get_value(in, depth) : NULL;
    if (!value || PyDict_SetItem(dict, key, value) < 0) Py_CLEAR(dict);
    Py_XDECREF(key);
    Py_XDECREF(value);
  }
  return dict;
}

static PyObject *get_container(Reader *in, size_t count, int is_map, int depth) {
  if (depth >= LAIR_MOST_NESTING) {
    PyErr_SetString(PyExc_RecursionError, "nested too deeply");
    return NULL;
  }
  return is_map ? get_map(in, count, depth + 1) : get_array(in, count, depth + 1);
}

static PyObject *get_float(Reader *in, int width) {
  uint64_t bits;
  double number;
  if (!get_number(in, width, &bits)) return NULL;
  if (width == 4) {
    const uint32_t half = (uint32_t)bits;
    float narrow;
    memcpy(&narrow, &half, sizeof narrow);
    number = narrow;
  } else {
    memcpy(&number, &bits, sizeof number);
  }
  return isfinite(number) ? PyFloat_FromDouble(number) : refuse(in, "NaN or Infinity, which is not JSON");
}

// A length of 1, 2 or 4 bytes by the last bits of the type.
static PyObject *get_sized(Reader *in, unsigned char type, int depth) {
  uint64_t size;
  const int width = type >= 0xdc ? 2 << (type & 1) : 1 << (type - 0xd9);
  if (!get_number(in, width, &size)) return NULL;
  return type >= 0xdc ? get_container(in, size, type >= 0xde, depth) : get_text(in, size);
}

static PyObject *get_value(Reader *in, int depth) {
  uint64_t bits;
  if (left(in) == 0) return refuse(in, "it ends too soon");
  const unsigned char type = *in->at++;
  if (type < 0x80) return PyLong_FromLong(type);
  if (type >= 0xe0) return PyLong_FromLong((signed char)type);
  if (type < 0xa0) return get_container(in, type & 0x0f, type < 0x90, depth);
  if (type < 0xc0) return depth == 1 ? get_known(in, type & 0x1f) : get_text(in, type & 0x1f);  // at 1: the command
  if (type >= 0xd9) return get_sized(in, type, depth);
  switch (type) {
    case 0xc0:
      Py_RETURN_NONE;
    case 0xc2:
      Py_RETURN_FALSE;
    case 0xc3:
      Py_RETURN_TRUE;
    case 0xca:
    case 0xcb:
      return get_float(in, type == 0xca ? 4 : 8);
    case 0xcc:
    case 0xcd:
    case 0xce:
    case 0xcf:
      return get_number(in, 1 << (type - 0xcc), &bits) ? PyLong_FromUnsignedLongLong(bits) : NULL;
    case 0xd0:
      return get_number(in, 1, &bits) ? PyLong_FromLong((int8_t)bits) : NULL;
    case 0xd1:
      return get_number(in, 2, &bits) ? PyLong_FromLong((int16_t)bits) : NULL;
    case 0xd2:
      return get_number(in, 4, &bits) ? PyLong_FromLong((int32_t)bits) : NULL;
    case 0xd3:
      return get_number(in, 8, &bits) ? PyLong_FromLongLong((int64_t)bits) : NULL;
    default:
      --in->at;
      return refuse(in, "binary or an extension type, which is not JSON");
  }
}

PyObject *get_message(PyObject **known, const unsigned char *data, size_t size) {
  Reader in = {.begin = data, .at = data, .end = data + size, .known = known};
  PyObject *message = get_value(&in, 0);
  if (message && left(&in)) {
    Py_DECREF(message);
    return refuse(&in, "there is more behind it");
  }
  return message;
}

// --- for Python ----------------------------------------------------------------------------------------

PyObject *pack(PyObject *module, PyObject *value) {
  (void)module;
  Buffer out = {0};
  PyObject *packed = NULL;
  if (put_value(&out, value, 0) == 0) packed = PyBytes_FromStringAndSize((char *)out.data, (Py_ssize_t)out.size);
  release(&out);
  return packed;
}

PyObject *unpack(PyObject *module, PyObject *payload) {
  (void)module;
  Py_buffer view;
  if (PyObject_GetBuffer(payload, &view, PyBUF_SIMPLE) < 0) return NULL;
  PyObject *value = get_message(NULL, view.buf, (size_t)view.len);
  PyBuffer_Release(&view);
  return value;
}
