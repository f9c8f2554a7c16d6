// The accelerator of lair_worker: MessagePack (msgpack.c), and the loop of a worker that serves one call at a time
// (native.c). Optional: the Python code beside it does the same, only slower.
#pragma once

#define PY_SSIZE_T_CLEAN
#include <Python.h>

// How deep a message may be nested, its own array included: as the host counts.
#define LAIR_MOST_NESTING 1000

typedef struct {
  unsigned char *data;
  size_t size;
  size_t capacity;
} Buffer;

// All of these: 0, or -1 with an exception set.
int put_bytes(Buffer *out, const void *bytes, size_t count);
int put_array(Buffer *out, size_t count);
int put_number(Buffer *out, long long number);
int put_ascii(Buffer *out, const char *text);
// What JSON can't carry is refused here, too. `depth` counts the containers around the value.
int put_value(Buffer *out, PyObject *value, int depth);
void release(Buffer *out);

// The value of a whole payload; NULL with a ValueError, or a RecursionError, if it is not one. `known`: LAIR_KNOWN texts that it
// may give again, each a command or a key, or NULL; or NULL.
#define LAIR_KNOWN 64
PyObject *get_message(PyObject **known, const unsigned char *data, size_t size);

// The functions of the module.
PyObject *pack(PyObject *module, PyObject *value);
PyObject *unpack(PyObject *module, PyObject *payload);
