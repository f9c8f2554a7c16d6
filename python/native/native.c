// The module lair_worker._native: pack, unpack, and serve, the loop of Protocol2.run for calls that do nothing but take
// arguments and give a value. What is not such a call, and every error, is left to the Python code, which this calls in
// the middle: so there is one place that says what happens then.
#include <sys/mman.h>

#include "loop.h"

static int set_size(PyObject *object, PyObject *name, Py_ssize_t size) {
  PyObject *value = PyLong_FromSsize_t(size);
  if (!value) return -1;
  const int failed = PyObject_SetAttr(object, name, value);
  Py_DECREF(value);
  return failed;
}

// --- one call ----------------------------------------------------------------------------------------

// Takes out of a call's meta what is to be known here. 0: there is what this can't do.
static int understands(Loop *loop, PyObject *meta, int is_batch) {
  const Names *names = loop->names;
  loop->credit = loop->session = loop->arrays = NULL;
  if (PyDict_GET_SIZE(meta) <= 1 && PyDict_Contains(meta, names->ms) == PyDict_GET_SIZE(meta)) return 1;  // as most
  loop->credit = PyDict_GetItemWithError(meta, names->stream);
  loop->session = PyDict_GetItemWithError(meta, names->session_number);
  loop->arrays = PyDict_GetItemWithError(meta, names->arrays);
  return (!loop->credit && !loop->session) || (!is_batch && !loop->arrays);
}

// The function, if this is a call, or a batch, that can be served here: borrowed. NULL without an exception if not.
static PyObject *plain_call(Loop *loop, PyObject *message, long long *what) {
  if (!PyList_CheckExact(message) || PyList_GET_SIZE(message) != 6) return NULL;
  PyObject *kind = PyList_GET_ITEM(message, 0), *generation = PyList_GET_ITEM(message, 2);
  PyObject *name = PyList_GET_ITEM(message, 3), *args = PyList_GET_ITEM(message, 4), *meta = PyList_GET_ITEM(message, 5);
  int overflow;
  if (!PyLong_CheckExact(kind)) return NULL;
  *what = PyLong_AsLongLongAndOverflow(kind, &overflow);
  if (overflow || (*what != CALL && !(*what == BATCH && loop->batches))) return NULL;
  if (!PyLong_CheckExact(PyList_GET_ITEM(message, 1)) || !PyLong_CheckExact(generation)) return NULL;
  if (PyLong_AsLongLongAndOverflow(generation, &overflow) != loop->generation || overflow) return NULL;
  if (!PyUnicode_CheckExact(name) || !PyDict_CheckExact(meta)) return NULL;
  if (!PyList_CheckExact(args) && (*what == BATCH || !PyDict_CheckExact(args))) return NULL;
  for (Py_ssize_t i = 0; *what == BATCH && i < PyList_GET_SIZE(args); ++i) {
    PyObject *item = PyList_GET_ITEM(args, i);
    if (!PyList_CheckExact(item) && !PyDict_CheckExact(item)) return NULL;
  }
  if (!understands(loop, meta, *what == BATCH)) return NULL;
  if (loop->session && is_plain_in_session(loop, name, meta) <= 0) return NULL;
  return PyDict_GetItemWithError(loop->table, name);
}

int count_calls(const Loop *loop, Py_ssize_t calls) {
  const long long number = PyLong_AsLongLong(*loop->counted);
  if (number == -1 && PyErr_Occurred()) return -1;
  PyObject *count = PyLong_FromLongLong(number + calls);
  if (!count) return -1;
  set_slot(loop->counted, count);
  Py_DECREF(count);
  return 0;
}

// As `function(*args)` or `function(**args)`, with the call armed: it may be interrupted.
static PyObject *run_armed(const Loop *loop, PyObject *call, PyObject *function, PyObject *args) {
  set_slot(loop->armed, call);
  if (*loop->rung != Py_False) {
    PyObject *done = PyObject_CallMethodNoArgs(loop->door, loop->names->answer);
    if (!done) return NULL;
    Py_DECREF(done);
  }
  if (PyList_CheckExact(args)) {
    return PyObject_Vectorcall(function, ((PyListObject *)args)->ob_item, (size_t)PyList_GET_SIZE(args), NULL);
  }
  PyObject *none = PyTuple_New(0);
  PyObject *value = none ? PyObject_Call(function, none, args) : NULL;
  Py_XDECREF(none);
  return value;
}

int put_head(Loop *loop, unsigned char kind, PyObject *number, size_t count) {
  Buffer *out = &loop->out;
  const unsigned char head[6] = {0, 0, 0, 0, (unsigned char)(0x90 | count), kind};
  out->size = 0;
  return put_bytes(out, head, sizeof head) < 0 || put_value(out, number, 1) < 0 ? -1 : put_number(out, loop->generation);
}

// The frame of a result; -1 with an exception if its value can't be sent.
static int put_result(Loop *loop, PyObject *number, PyObject *value) {
  if (put_head(loop, RESULT, number, 4) < 0) return -1;
  if (Py_TYPE(value)->tp_base != (PyTypeObject *)loop->names->view_type) return put_value(&loop->out, value, 1);
  const int done = put_array_result(loop, number, value);
  if (done == 0) PyErr_SetString(PyExc_TypeError, "an array, which goes another way");
  return done > 0 ? 0 : -1;
}

PyObject *odd_result(Loop *loop, PyObject *call, PyObject *value) {
  PyObject *error = take_exception(), *reply = NULL;
  if (forget_context(loop) == 0 && show_room(loop) == 0) {
    reply = PyObject_CallMethodObjArgs(loop->protocol, loop->names->_odd_result, call, value, error, NULL);
  }
  Py_DECREF(error);
  return reply;
}

PyObject *too_long(const Loop *loop, PyObject *number, size_t length) {
  PyObject *size = PyLong_FromSize_t(length);
  PyObject *reply =
      size ? PyObject_CallMethodObjArgs(loop->protocol, loop->names->too_long, number, size, NULL) : NULL;
  Py_XDECREF(size);
  return reply;
}

// What follows the command's end. The payload of an answer that was made by Python code; None: it is the frame in loop->out.
static PyObject *conclude(Loop *loop, PyObject *call, PyObject *number, PyObject *value) {
  if (*loop->hit != Py_None) return PyObject_CallMethodOneArg(loop->protocol, loop->names->cancelled, number);
  if (loop->credit) {
    loop->strayed = 1;  // by its chunks, which stream.c sends
    return stream_value(loop, call, number, value);
  }
  if (put_result(loop, number, value) < 0) return odd_result(loop, call, value);
  const size_t length = loop->out.size - 4;
  if (length > loop->max_frame) {
    release(&loop->out);
    return too_long(loop, number, length);
  }
  Py_RETURN_NONE;
}

int run_call(const Loop *loop, PyObject *call, PyObject *function, PyObject *args, PyObject **value, PyObject **reply) {
  *reply = NULL;
  *value = run_armed(loop, call, function, args);
  PyObject *error = *value ? NULL : take_exception();
  set_slot(loop->armed, Py_None);
  if (*value) return 1;
  // Its error's answer, or None if that is for the caller to say: the call is cancelled.
  *reply = PyObject_CallMethodObjArgs(loop->protocol, loop->names->_raised, call, function, args, error, NULL);
  Py_XDECREF(error);
  return *reply ? 0 : -1;
}

PyObject *answer_call(Loop *loop, PyObject *call, PyObject *function, PyObject *message) {
  PyObject *number = PyList_GET_ITEM(message, 1), *args = PyList_GET_ITEM(message, 4);
  if (count_calls(loop, 1) < 0 || set_current(loop, call) < 0) return NULL;
  PyObject *value, *reply;
  const int done = run_call(loop, call, function, args, &value, &reply);
  loop->lingers = 1;
  if (done >= 0 && (!reply || reply == Py_None)) {
    Py_XDECREF(reply);
    reply = conclude(loop, call, number, value ? value : Py_None);
  }
  Py_XDECREF(value);
  return reply;
}

static PyObject *serve_call(Loop *loop, PyObject *message, PyObject *function, double received) {
  PyObject *call = new_context(loop, message, received);
  PyObject *reply = call ? answer_call(loop, call, function, message) : NULL;
  if (reply && loop->session) reply = tell_before(loop, call, reply);
  keep_context(loop, call);
  if (reply != Py_None || !loop->out.size) return reply;
  put_frame_length(&loop->out);
  if (send_last(loop, &loop->out) == 0) return reply;
  Py_DECREF(reply);
  return NULL;
}

// --- the loop ----------------------------------------------------------------------------------------

// The answer to a message; None if there is none, or it has been sent.
static PyObject *serve_message(Loop *loop, PyObject *message, double received) {
  long long what;
  PyObject *function = plain_call(loop, message, &what);
  if (function) {
    Py_INCREF(function);
    PyObject *reply =
        (what == BATCH ? serve_batch : loop->arrays ? serve_arrays : serve_call)(loop, message, function, received);
    Py_DECREF(function);
    if (reply || PyErr_Occurred()) return reply;
  }
  if (PyErr_Occurred() || forget_context(loop) < 0) return NULL;
  PyObject *time = PyFloat_FromDouble(received);
  PyObject *reply =
      time ? PyObject_CallMethodObjArgs(loop->protocol, loop->names->_take, message, time, NULL) : NULL;
  Py_XDECREF(time);
  return reply;
}

double now(void) {
  struct timespec time;
  clock_gettime(CLOCK_MONOTONIC, &time);
  return (double)time.tv_sec + 1e-9 * (double)time.tv_nsec;
}

// A frame that the channel has put together, or will: it has the first `held` bytes in its buffer.
static PyObject *serve_odd_frame(Loop *loop, Py_ssize_t held, int *over) {
  const Names *names = loop->names;
  if (forget_context(loop) < 0 || (held > 0 && set_size(loop->channel, names->_end, held) < 0)) return NULL;
  PyObject *payload = PyObject_CallMethodNoArgs(loop->channel, names->receive);
  if (!payload || payload == Py_None) {
    *over = 1;
    return payload;
  }
  const double received = now();
  PyObject *message = NULL, *reply = NULL;
  Py_buffer view;
  if (PyObject_GetBuffer(payload, &view, PyBUF_SIMPLE) == 0) {
    const int packed = view.len > 0 && *(unsigned char *)view.buf >= 0x80;
    if (packed) message = get_message(loop->known, view.buf, (size_t)view.len);
    PyBuffer_Release(&view);
  }
  if (message) {
    Py_CLEAR(payload);  // a large one is not kept while its call runs
    reply = serve_message(loop, message, received);
  } else {
    PyErr_Clear();
    reply = PyObject_CallMethodOneArg(loop->protocol, names->_answer, payload);
  }
  Py_XDECREF(message);
  Py_XDECREF(payload);
  return reply;
}

// Waits for a frame and serves it. NULL with an exception; sets `over` at the end of what the host sends.
static PyObject *serve_frame(Loop *loop, int *over) {
  const long left = PyLong_AsLong(*loop->held);
  if (left == -1 && PyErr_Occurred()) return NULL;
  if (left) return serve_odd_frame(loop, 0, over);
  unsigned char *data = loop->buffer.buf;
  ssize_t count;
  if (wait_for_bytes(loop, data, (size_t)loop->buffer.len, &count) < 0) return NULL;
  if (count > 4 && data[4] >= 0x80) {
    const size_t length = (size_t)data[0] << 24 | (size_t)data[1] << 16 | (size_t)data[2] << 8 | data[3];
    if (length == (size_t)count - 4 && length <= loop->max_frame) {
      PyObject *message = get_message(loop->known, data + 4, length);
      if (message) {
        PyObject *reply = serve_message(loop, message, loop->received);
        Py_DECREF(message);
        return reply;
      }
      PyErr_Clear();
    }
  }
  return serve_odd_frame(loop, count, over);
}

static int run(Loop *loop) {
  while (*loop->requested == Py_False) {
    int over = 0;
    PyObject *reply = serve_frame(loop, &over);
    if (!reply) return -1;
    if (!over && reply != Py_None) {
      PyObject *sent = PyObject_CallMethodOneArg(loop->channel, loop->names->send, reply);
      if (!sent) over = -1;
      Py_XDECREF(sent);
    }
    Py_DECREF(reply);
    if (over) return over < 0 ? -1 : 0;
  }
  return 0;
}

// The exception that has ended the loop stays.
static void stop(Loop *loop) {
  PyObject *error = PyErr_Occurred() ? take_exception() : NULL;
  if (forget_context(loop) < 0) PyErr_WriteUnraisable(loop->protocol);
  raise_again(error);
}

static long long number_of(PyObject *object, PyObject *name) {
  PyObject *value = PyObject_GetAttr(object, name);
  const long long number = value ? PyLong_AsLongLong(value) : -1;
  Py_XDECREF(value);
  return number;
}

static void open_journal(Loop *loop) {
  loop->batches = number_of(loop->protocol, loop->names->_batches) > 0;
  const int fd = (int)number_of(loop->protocol, loop->names->journal_fd);
  void *memory = fd < 0 ? MAP_FAILED : mmap(NULL, sizeof(Journal), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
  if (memory != MAP_FAILED) loop->journal = memory;
}

static PyObject *serve(PyObject *module, PyObject *protocol) {
  Names *names = PyModule_GetState(module);
  Loop loop = {.names = names, .protocol = protocol, .strayed = 1};  // by READY
  PyObject *buffer = NULL, *result = NULL;
  if ((loop.channel = PyObject_GetAttr(protocol, names->_channel)) &&
      (loop.worker = PyObject_GetAttr(protocol, names->_worker)) &&
      (loop.ending = PyObject_GetAttr(loop.worker, names->ending)) &&
      (loop.door = PyObject_GetAttr(protocol, names->_door)) && (loop.armed = slot_of(loop.door, names->armed)) &&
      (loop.hit = slot_of(loop.door, names->hit)) && (loop.rung = slot_of(loop.door, names->rung)) &&
      (loop.table = PyObject_GetAttr(protocol, names->_table)) &&
      (loop.context_type = PyObject_GetAttr(protocol, names->_context_type)) &&
      find_context(&loop) == 0 && (loop.context_var = PyObject_GetAttr(protocol, names->_context_var)) &&
      (loop.requested = slot_of(loop.ending, names->requested)) && (loop.held = slot_of(loop.channel, names->_end)) &&
      (loop.counted = slot_of(loop.worker, names->command_count)) &&
      (buffer = PyObject_GetAttr(loop.channel, names->_buffer)) &&
      PyObject_GetBuffer(buffer, &loop.buffer, PyBUF_WRITABLE) == 0) {
    loop.generation = number_of(protocol, names->_generation);
    const long long most = number_of(protocol, names->_max_frame);
    loop.max_frame = most < 0xffffffff ? (size_t)most : 0xffffffff;
    loop.source = (int)number_of(loop.channel, names->source);
    loop.sink = (int)number_of(loop.channel, names->sink);
    loop.spin = 1e-6 * (double)number_of(loop.channel, names->spin);
    open_journal(&loop);
    names->loop = &loop;
    names->thread = PyThread_get_thread_ident();
    if (!PyErr_Occurred() && run(&loop) == 0) {
      Py_INCREF(Py_None);
      result = Py_None;
    }
    stop(&loop);
    PyBuffer_Release(&loop.buffer);
    names->loop = NULL;
  }
  if (loop.journal) munmap(loop.journal, sizeof *loop.journal);
  release(&loop.out);
  release(&loop.ahead);
  for (int i = 0; i < LAIR_KNOWN; ++i) Py_XDECREF(loop.known[i]);
  Py_XDECREF(buffer);
  Py_XDECREF(loop.channel);
  Py_XDECREF(loop.worker);
  Py_XDECREF(loop.ending);
  Py_XDECREF(loop.door);
  Py_XDECREF(loop.table);
  Py_XDECREF(loop.context_type);
  Py_XDECREF(loop.context_var);
  return result;
}

// --- the module --------------------------------------------------------------------------------------

static int intern(PyObject *module) {
  Names *names = PyModule_GetState(module);
#define INTERN(name) \
  if (!(names->name = PyUnicode_InternFromString(#name))) return -1;
  NAMES(INTERN)
  if (add_stream_type(module) < 0) return -1;
  return add_array_types(module, names);
}

static int traverse(PyObject *module, visitproc visit, void *arg) {
  Names *names = PyModule_GetState(module);  // text is in no cycle
  if (names) {
    Py_VISIT(names->block_type);
    Py_VISIT(names->view_type);
  }
  return 0;
}

static int clear(PyObject *module) {
  Names *names = PyModule_GetState(module);
#define CLEAR(name) Py_CLEAR(names->name);
  if (names) {
    drop_handover(names);
    NAMES(CLEAR)
    CLEAR(block_type)
    CLEAR(view_type)
  }
  return 0;
}

static void drop(void *module) { clear(module); }

static PyMethodDef methods[] = {
    {"pack", pack, METH_O, "pack(value) -> bytes: a value as MessagePack. As strict as JSON."},
    {"unpack", unpack, METH_O, "unpack(payload): the value of a MessagePack. ValueError if it is not one."},
    {"feed", feed, METH_VARARGS, "feed(chunks, call, iterator, door, midcall): see Fed.feed of _streams.py."},
    {"read_into", read_into, METH_O, "read_into(buffer): as FileIO.readinto of the channel that serve() serves, for its thread."},
    {"write_from", write_from, METH_O, "write_from(buffer): as FileIO.write of the channel that serve() serves."},
    {"make_handover", make_handover, METH_NOARGS, "make_handover(): a page to hand frames over; its descriptor, or -1."},
    {"forget_handover", forget_handover, METH_NOARGS, "forget_handover(): a forked child is no worker, and has none."},
    {"serve", serve, METH_O, "serve(protocol): answers the calls of a channel until it ends. See Protocol2.run."},
    {"empty_granted", (PyCFunction)(void (*)(void))empty_granted, METH_FASTCALL, "empty_granted(type, shape, dtype): see _array.empty."},
    {NULL, NULL, 0, NULL},
};

static PyModuleDef_Slot slots[] = {
    {Py_mod_exec, intern},
#if PY_VERSION_HEX >= 0x030c0000
    {Py_mod_multiple_interpreters, Py_MOD_PER_INTERPRETER_GIL_SUPPORTED},
#endif
#ifdef Py_mod_gil  // docs/python.md, "Versions of Python", says what it rests on
    {Py_mod_gil, Py_MOD_GIL_NOT_USED},
#endif
    {0, NULL},
};

static struct PyModuleDef definition = {
    PyModuleDef_HEAD_INIT,
    .m_name = "lair_worker._native",
    .m_doc = "The accelerator of lair_worker.",
    .m_size = sizeof(Names),
    .m_methods = methods,
    .m_slots = slots,
    .m_traverse = traverse,
    .m_clear = clear,
    .m_free = drop,
};

PyMODINIT_FUNC PyInit__native(void) { return PyModuleDef_Init(&definition); }
