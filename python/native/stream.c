// The items of a stream, on a worker that serves one call at a time: what _streams.py does, for a generator of the main thread.
// Chunks holds what waits, and feed is the loop: advance the generator, encode the item, put it into the CHUNK, send that when
// it is due. Who waits for credit, tends what waits and says what is wrong with an item is Python code: see Fed there.
#include "stream.h"

#include <limits.h>
#include <structmember.h>

// As in _streams.py.
#define GAP 0.0002
#define LARGEST_CHUNK (64 << 10)


// Handlers of signals run meanwhile, as in any wait of the main thread's. -1: one of them has raised.
static int take_lock(Chunks *self) {
  if (PyThread_acquire_lock(self->lock, NOWAIT_LOCK)) return 0;
  for (;;) {
    PyLockStatus status;
    Py_BEGIN_ALLOW_THREADS
    status = PyThread_acquire_lock_timed(self->lock, -1, 1);
    Py_END_ALLOW_THREADS
    if (status == PY_LOCK_ACQUIRED) return 0;
    if (PyErr_CheckSignals() < 0) return -1;
  }
}

static void give_lock(Chunks *self) { PyThread_release_lock(self->lock); }

// --- frames, with the lock ---------------------------------------------------------------------------

// [6, id, generation, [
static int open_chunk(Chunks *self) {
  Buffer *out = &self->out;
  if (out->capacity > KEEP) release(out);
  self->count = 0;
  out->size = self->head;
  if (out->data) return 0;
  out->size = 0;
  if (put_bytes(out, "\0\0\0\0\x94\x06", 6) < 0 || put_value(out, self->number, 1) < 0 ||
      put_value(out, self->generation, 1) < 0 || put_bytes(out, "\xdd\0\0\0", 5) < 0) {
    release(out);
    return -1;
  }
  self->head = out->size;
  return 0;
}

static void put_big_endian(unsigned char *at, size_t number) {
  for (int i = 0; i < 4; ++i) at[i] = (unsigned char)(number >> (24 - 8 * i));
}

static PyObject *finish_sending(const Chunks *self, size_t written) {
  PyObject *rest = PyBytes_FromStringAndSize((char *)self->out.data + written, (Py_ssize_t)(self->out.size - written));
  PyObject *done = rest ? PyObject_CallMethod(self->channel, "send_rest", "O", rest) : NULL;
  Py_XDECREF(rest);
  return done;
}

// Lets go of the GIL however short the frame is: this may be where a worker waits for a host that is behind.
static int send_chunk(Chunks *self) {
  if (!self->count) return 0;
  Buffer *out = &self->out;
  const size_t length = out->size - 4;
  put_big_endian(out->data, length);
  put_big_endian(out->data + self->head - 4, self->count);
  self->items -= (long long)self->count;
  self->bytes -= (long long)length;
  ++self->flushes;
  ssize_t written;
  Py_BEGIN_ALLOW_THREADS
  written = write(self->sink, out->data, out->size);
  Py_END_ALLOW_THREADS
  if (written < 0) written = 0;  // the channel will meet the same error, and knows what it means
  int failed = 0;
  if ((size_t)written != out->size) {
    PyObject *done = finish_sending(self, (size_t)written);
    failed = done ? 0 : -1;
    Py_XDECREF(done);
  }
  if (!failed) return open_chunk(self);
  self->count = 0;
  out->size = self->head;
  return -1;
}

static int has_credit(const Chunks *self) { return self->items >= 1 && self->bytes >= 1; }

// 1: taken; 0: there is no credit for it, and nothing else waits.
static int put(Chunks *self, const Buffer *item) {
  const size_t size = self->out.size - 4 + item->size;
  if (self->count && ((long long)self->count >= self->items || (long long)size > self->bytes || size > LARGEST_CHUNK ||
                      size > self->max_frame)) {
    if (send_chunk(self) < 0) return -1;
  }
  if (!has_credit(self)) return 0;
  if (put_bytes(&self->out, item->data, item->size) < 0) return -1;
  ++self->count;
  const double time = now();
  if (time - self->last <= GAP) return 1;
  self->last = time;
  return send_chunk(self) < 0 ? -1 : 1;
}

// --- the loop ----------------------------------------------------------------------------------------

static int call_method(PyObject *object, PyObject *name) {
  PyObject *done = PyObject_CallMethodNoArgs(object, name);
  Py_XDECREF(done);
  return done ? 0 : -1;
}

// The next item; NULL without an exception at the end. The call is armed while the user's code runs, and only then.
static PyObject *advance(Feed *feed) {
  // An iterator that is written in C may never come to where handlers are run.
  if (PyErr_CheckSignals() < 0) return NULL;
  PyObject *item = NULL;
  set_slot(feed->armed, feed->call);
  if (*feed->rung == Py_False || call_method(feed->door, feed->names->answer) == 0) {
    item = PyIter_Check(feed->iterator) ? Py_TYPE(feed->iterator)->tp_iternext(feed->iterator)
                                        : PyObject_CallMethodNoArgs(feed->iterator, feed->names->__next__);
  }
  set_slot(feed->armed, Py_None);
  if (!item && PyErr_ExceptionMatches(PyExc_StopIteration)) PyErr_Clear();
  return item;
}

// Always -1, with an exception: what is wrong with an item.
static int refuse_item(const Feed *feed, PyObject *item) {
  PyObject *error = take_exception();
  PyObject *done = PyObject_CallMethodObjArgs((PyObject *)feed->chunks, feed->names->refuse, item, error, NULL);
  Py_XDECREF(done);
  Py_DECREF(error);
  return -1;
}

static int refuse_length(const Feed *feed, size_t size) {
  PyObject *number = PyLong_FromSize_t(size);
  PyObject *done =
      number ? PyObject_CallMethodOneArg((PyObject *)feed->chunks, feed->names->refuse_length, number) : NULL;
  Py_XDECREF(done);
  Py_XDECREF(number);
  return -1;
}

// Encoded before the lock is taken, as that may run code of the user's.
static int encode(Feed *feed, PyObject *item) {
  if (feed->item.capacity > KEEP) release(&feed->item);
  feed->item.size = 0;
  if (put_value(&feed->item, item, 2) < 0) return refuse_item(feed, item);
  const size_t size = feed->chunks->head - 4 + feed->item.size;
  return size > feed->chunks->max_frame ? refuse_length(feed, size) : 0;
}

static int take_item(Feed *feed) {
  Chunks *chunks = feed->chunks;
  for (;;) {
    if (take_lock(chunks) < 0) return -1;
    const int taken = put(chunks, &feed->item);
    const int waiting = chunks->count > 0, wake = waiting && chunks->idle;
    const int low = chunks->items <= chunks->half_items || chunks->bytes <= chunks->half_bytes;
    if (wake) chunks->idle = 0, chunks->tended = 1;
    give_lock(chunks);
    if (taken < 0) return -1;
    if (wake && call_method((PyObject *)chunks, feed->names->wake) < 0) return -1;
    if (taken) return low && !waiting ? call_method(feed->midcall, feed->names->poll) : 0;
    if (call_method(feed->midcall, feed->names->_wait) < 0) return -1;
  }
}

int run_feed(Feed *feed) {
  for (;;) {
    PyObject *item = advance(feed);
    if (!item) return PyErr_Occurred() ? -1 : 1;
    int done = *feed->hit == Py_True;
    if (!done) done = encode(feed, item);
    Py_DECREF(item);
    if (done) return done < 0 ? -1 : 0;
    if (take_item(feed) < 0) return -1;
  }
}

PyObject *feed(PyObject *module, PyObject *args) {
  Feed feed = {.names = PyModule_GetState(module)};
  PyObject *chunks, *type = PyObject_GetAttrString(module, "Chunks");
  const int fits = type && PyArg_ParseTuple(args, "O!OOOO", type, &chunks, &feed.call, &feed.iterator, &feed.door,
                                            &feed.midcall);
  Py_XDECREF(type);
  if (!fits) return NULL;
  feed.chunks = (Chunks *)chunks;
  if (!(feed.armed = slot_of(feed.door, feed.names->armed)) || !(feed.rung = slot_of(feed.door, feed.names->rung)) ||
      !(feed.hit = slot_of(feed.call, feed.names->hit))) {
    return NULL;
  }
  const int ended = run_feed(&feed);
  release(&feed.item);
  return ended < 0 ? NULL : PyBool_FromLong(ended);
}

int end_chunks(Chunks *chunks, const Names *names) {
  if (take_lock(chunks) < 0) return -1;
  const int failed = send_chunk(chunks);
  if (!failed) chunks->ended = 1;
  give_lock(chunks);
  if (failed || !chunks->tended) return failed;
  return call_method((PyObject *)chunks, names->_let_go);
}

// --- the type ----------------------------------------------------------------------------------------

// An attribute that is a number; -1 with an exception.
static long long number_of(PyObject *object, const char *name) {
  PyObject *value = PyObject_GetAttrString(object, name);
  const long long number = value ? PyLong_AsLongLong(value) : -1;
  Py_XDECREF(value);
  return number;
}

static PyObject *make(PyTypeObject *type, PyObject *args, PyObject *keywords) {
  (void)keywords;
  Chunks *self = (Chunks *)type->tp_alloc(type, 0);
  PyObject *number, *generation, *credit, *channel;
  if (!self) return NULL;
  if (PyArg_ParseTuple(args, "OOO!O", &number, &generation, &PyList_Type, &credit, &channel) &&
      PyList_GET_SIZE(credit) == 2) {
    const long long items = PyLong_AsLongLong(PyList_GET_ITEM(credit, 0));
    const long long bytes = PyLong_AsLongLong(PyList_GET_ITEM(credit, 1));
    const long long max_frame = number_of(channel, "max_frame");
    self->sink = (int)number_of(channel, "sink");
    if (PyErr_Occurred()) {
      Py_DECREF(self);
      return NULL;
    }
    Py_INCREF(number);
    Py_INCREF(generation);
    Py_INCREF(channel);
    self->number = number;
    self->generation = generation;
    self->channel = channel;
    self->items = items;
    self->bytes = bytes;
    self->half_items = items / 2;
    self->half_bytes = bytes / 2;
    self->max_frame = max_frame < 0xffffffff ? (size_t)max_frame : 0xffffffff;
    self->idle = 1;
    self->lock = PyThread_allocate_lock();
    if (!self->lock) PyErr_NoMemory();
    if (self->lock && open_chunk(self) == 0) return (PyObject *)self;
  }
  Py_DECREF(self);
  return NULL;
}

static void destroy(PyObject *object) {
  Chunks *self = (Chunks *)object;
  PyTypeObject *type = Py_TYPE(object);
  if (self->lock) PyThread_free_lock(self->lock);
  release(&self->out);
  Py_XDECREF(self->number);
  Py_XDECREF(self->generation);
  Py_XDECREF(self->channel);
  type->tp_free(object);
  Py_DECREF(type);
}

static PyObject *flush(PyObject *object, PyObject *args) {
  Chunks *self = (Chunks *)object;
  long long since = -1;
  if (!PyArg_ParseTuple(args, "|L", &since) || take_lock(self) < 0) return NULL;
  const int failed = !self->ended && (since == -1 || since == self->flushes) ? send_chunk(self) : 0;
  const long long flushes = self->flushes;
  give_lock(self);
  return failed ? NULL : PyLong_FromLongLong(flushes);
}

static PyObject *rest(PyObject *object, PyObject *unused) {
  (void)unused;
  Chunks *self = (Chunks *)object;
  if (take_lock(self) < 0) return NULL;
  const int idle = self->idle = self->count == 0;
  give_lock(self);
  return PyBool_FromLong(idle);
}

static void add(long long *credit, long long more) {
  if (__builtin_add_overflow(*credit, more, credit)) *credit = LLONG_MAX;
}

static PyObject *add_credit(PyObject *object, PyObject *args) {
  Chunks *self = (Chunks *)object;
  long long items, bytes;
  if (!PyArg_ParseTuple(args, "LL", &items, &bytes) || take_lock(self) < 0) return NULL;
  add(&self->items, items);
  add(&self->bytes, bytes);
  give_lock(self);
  Py_RETURN_NONE;
}

static PyObject *drop(PyObject *object, PyObject *unused) {
  (void)unused;
  Chunks *self = (Chunks *)object;
  if (take_lock(self) < 0) return NULL;
  self->ended = 1;
  self->count = 0;
  self->out.size = self->head;
  give_lock(self);
  Py_RETURN_NONE;
}

static PyMethodDef methods[] = {
    {"flush", flush, METH_VARARGS, "As Stream.flush."},
    {"rest", rest, METH_NOARGS, "As Stream.rest."},
    {"add_credit", add_credit, METH_VARARGS, "As Stream.add_credit."},
    {"drop", drop, METH_NOARGS, "As Stream.drop."},
    {NULL, NULL, 0, NULL},
};

static PyMemberDef members[] = {
    {"number", T_OBJECT_EX, offsetof(Chunks, number), READONLY, NULL},
    {"generation", T_OBJECT_EX, offsetof(Chunks, generation), READONLY, NULL},
    {"flushes", T_LONGLONG, offsetof(Chunks, flushes), READONLY, NULL},
    {"idle", T_BOOL, offsetof(Chunks, idle), 0, NULL},
    {"ended", T_BOOL, offsetof(Chunks, ended), 0, NULL},
    {"max_frame", T_PYSSIZET, offsetof(Chunks, max_frame), READONLY, NULL},
    {NULL, 0, 0, 0, NULL},
};

static PyType_Slot slots[] = {
    {Py_tp_doc, "Chunks(number, generation, [items, bytes], channel)"},
    {Py_tp_new, make},
    {Py_tp_dealloc, destroy},
    {Py_tp_methods, methods},
    {Py_tp_members, members},
    {0, NULL},
};

static PyType_Spec spec = {
    .name = "lair_worker._native.Chunks",
    .basicsize = sizeof(Chunks),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE,
    .slots = slots,
};

int add_stream_type(PyObject *module) {
  PyObject *type = PyType_FromSpec(&spec);
  const int failed = !type || PyObject_SetAttrString(module, "Chunks", type) < 0;
  Py_XDECREF(type);
  return failed ? -1 : 0;
}
