// A batch in the loop: what lair_worker/_batch.py does, for items that do nothing but take arguments and give a value. What
// becomes of any other item is said by a frame from the Python code, as it is of a call; its body is put among the values.
#include "loop.h"

// As in _batch.py.
#define FLUSH_SECONDS 0.001
#define FLUSH_BYTES (64 << 10)
#define OVERHEAD 64

typedef struct {
  Loop *loop;
  PyObject *number;
  Buffer out;     // a frame, from its length to its last value
  Buffer errors;  // pairs of an index and an error
  size_t head;    // where the values' array begins
  size_t count, failed;
  uint64_t told;     // items in earlier frames
  Py_ssize_t calls;  // that the worker has not counted yet
  PyObject **received;  // of its context
  int full;       // the journal has no room for what has been done
} Batch;

// --- the journal -------------------------------------------------------------------------------------

// The compiler must leave the order of these as it is.
static void note(uint64_t *where, uint64_t number) { __atomic_store_n(where, number, __ATOMIC_RELEASE); }

static void start_journal(Batch *batch) {
  Journal *journal = batch->loop->journal;
  batch->full = 0;
  if (!journal) return;
  note(&journal->size, 0);
  note(&journal->told, batch->told);
}

// The frame of which `size` bytes at `body` follow kind, id and generation.
static void add_to_journal(Batch *batch, int kind, const void *body, size_t size) {
  Journal *journal = batch->loop->journal;
  if (!journal) return;
  const size_t envelope = batch->head - 6, length = 2 + envelope + size;
  if (batch->full || length > sizeof journal->frames || journal->size > sizeof journal->frames - length - 4) {
    batch->full = 1;
    return;
  }
  unsigned char *at = journal->frames + journal->size;
  for (int i = 0; i < 4; ++i) *at++ = (unsigned char)(length >> (24 - 8 * i));
  *at++ = 0x94;
  *at++ = (unsigned char)kind;
  memcpy(at, batch->out.data + 6, envelope);
  memcpy(at + envelope, body, size);
  note(&journal->size, journal->size + 4 + length);
}

// --- frames ------------------------------------------------------------------------------------------

static int put_count(Buffer *out, size_t count) {
  const unsigned char bytes[5] = {0xdd, (unsigned char)(count >> 24), (unsigned char)(count >> 16),
                                  (unsigned char)(count >> 8), (unsigned char)count};
  return put_bytes(out, bytes, 5);
}

// [kind, id, generation, [
static int open_frame(Batch *batch) {
  Buffer *out = &batch->out;
  out->size = batch->errors.size = batch->count = batch->failed = 0;
  const int failed = put_bytes(out, "\0\0\0\0\x95\0", 6) < 0 || put_value(out, batch->number, 1) < 0 ||
                     put_number(out, batch->loop->generation) < 0;
  batch->head = out->size;
  return failed || put_count(out, 0) < 0 ? -1 : 0;
}

static int flush(Batch *batch, int kind) {
  Buffer *out = &batch->out;
  if (count_calls(batch->loop, batch->calls) < 0) return -1;
  batch->calls = 0;
  out->data[5] = (unsigned char)kind;
  for (int i = 0; i < 4; ++i) out->data[batch->head + 1 + (size_t)i] = (unsigned char)(batch->count >> (24 - 8 * i));
  if (put_count(out, batch->failed) < 0) return -1;
  if (batch->failed && put_bytes(out, batch->errors.data, batch->errors.size) < 0) return -1;
  if (send_frame(batch->loop, out) < 0) return -1;
  batch->told += batch->count;
  start_journal(batch);
  return open_frame(batch);
}

// Makes room for a value of this size, which is not in the frame yet.
static int make_room(Batch *batch, size_t size) {
  const size_t used = batch->out.size + batch->errors.size;
  return batch->count && used + size > batch->loop->max_frame - OVERHEAD ? flush(batch, CHUNK) : 0;
}

// What the frame says that would have answered the item. 1: that it is cancelled.
static int add_reply(Batch *batch, PyObject *reply) {
  if (!PyBytes_Check(reply) || PyBytes_GET_SIZE(reply) < 2) {
    PyErr_SetString(PyExc_SystemError, "not a frame");
    return -1;
  }
  const unsigned char *bytes = (const unsigned char *)PyBytes_AS_STRING(reply);
  if (bytes[1] == CANCELLED) return 1;
  const size_t skip = 2 + (batch->head - 6), size = (size_t)PyBytes_GET_SIZE(reply) - skip;
  if (make_room(batch, size) < 0) return -1;
  add_to_journal(batch, bytes[1], bytes + skip, size);
  if (bytes[1] == RESULT) return ++batch->count, put_bytes(&batch->out, bytes + skip, size);
  PyObject *index = PyLong_FromSize_t(batch->count++);
  ++batch->failed;
  const int failed = !index || put_array(&batch->errors, 2) < 0 || put_value(&batch->errors, index, 2) < 0 ||
                     put_bytes(&batch->errors, bytes + skip, size) < 0 || put_bytes(&batch->out, "\xc0", 1) < 0;
  Py_XDECREF(index);
  return failed ? -1 : 0;
}

static int take_reply(Batch *batch, PyObject *reply) {
  const int added = reply ? add_reply(batch, reply) : -1;
  Py_XDECREF(reply);
  return added;
}

static int add_value(Batch *batch, PyObject *call, PyObject *value) {
  Buffer *out = &batch->out;
  const size_t before = out->size;
  if (put_value(out, value, 2) < 0) {
    out->size = before;
    return take_reply(batch, odd_result(batch->loop, call, value));
  }
  const size_t size = out->size - before, most = batch->loop->max_frame - OVERHEAD;
  if (size > most) {
    out->size = before;
    return take_reply(batch, too_long(batch->loop, batch->number, size));
  }
  if (batch->count && out->size + batch->errors.size > most) {
    PyObject *bytes = PyBytes_FromStringAndSize((char *)out->data + before, (Py_ssize_t)size);
    out->size = before;
    const int failed = !bytes || flush(batch, CHUNK) < 0 || put_bytes(out, PyBytes_AS_STRING(bytes), size) < 0;
    Py_XDECREF(bytes);
    if (failed) return -1;
  }
  ++batch->count;
  add_to_journal(batch, RESULT, out->data + out->size - size, size);
  return 0;
}

// 1: the item is cancelled.
static int run_item(Batch *batch, PyObject *call, PyObject *function, PyObject *args) {
  Loop *loop = batch->loop;
  PyObject *value, *reply;
  if (run_call(loop, call, function, args, &value, &reply) < 0) return -1;
  if (reply && reply != Py_None) return take_reply(batch, reply);
  Py_XDECREF(reply);
  const int done = *loop->hit != Py_None ? 1 : add_value(batch, call, value);
  Py_XDECREF(value);
  return done;
}

// The context of the next item: the same again, unless somebody has kept it, or something has taken it down.
static int next_context(Batch *batch, PyObject **call, PyObject *message, double started) {
  Loop *loop = batch->loop;
  if (*call && Py_REFCNT(*call) == 2) {
    PyObject *time = PyFloat_FromDouble(started);
    if (!time) return -1;
    set_slot(batch->received, time);
    Py_DECREF(time);
    return 0;
  }
  Py_XDECREF(*call);
  *call = new_context(loop, message, started);
  if (!*call) return -1;
  batch->received = slot_at(*call, loop->context[AT__received]);
  return set_current(loop, *call);
}

static int look_for_cancel(const Loop *loop) {
  PyObject *done = PyObject_CallMethodNoArgs(loop->protocol, loop->names->look_for_cancel);
  Py_XDECREF(done);
  return done ? 0 : -1;
}

// How many items were begun before one was cancelled, which that one is; 0: none was. -1 with an exception.
static Py_ssize_t run_items(Batch *batch, PyObject **call, PyObject *message, PyObject *function, double started) {
  Loop *loop = batch->loop;
  PyObject *items = PyList_GET_ITEM(message, 4);
  double flushed = started;
  if (loop->journal) {
    const unsigned long long number = PyLong_AsUnsignedLongLong(batch->number);
    if (PyErr_Occurred()) PyErr_Clear();
    note(&loop->journal->batch, 0);
    note(&loop->journal->begun, 0);
    start_journal(batch);
    note(&loop->journal->batch, number);
  }
  for (Py_ssize_t i = 0; i < PyList_GET_SIZE(items); ++i) {
    if (loop->journal) note(&loop->journal->begun, (uint64_t)i + 1);
    if (next_context(batch, call, message, started) < 0) return -1;
    ++batch->calls;
    const int cancelled = run_item(batch, *call, function, PyList_GET_ITEM(items, i));
    if (cancelled) return cancelled < 0 ? -1 : i + 1;
    started = now();
    if (i + 1 == PyList_GET_SIZE(items)) break;
    if (started - flushed >= FLUSH_SECONDS || batch->out.size + batch->errors.size >= FLUSH_BYTES ||
        batch->full) {
      if (flush(batch, CHUNK) < 0 || look_for_cancel(loop) < 0) return -1;
      flushed = started;
    }
  }
  return 0;
}

// [10, id, generation, begun]
static int put_cancelled(Batch *batch, Py_ssize_t begun) {
  if (batch->count && flush(batch, CHUNK) < 0) return -1;
  batch->out.size = batch->head;
  batch->out.data[4] = 0x94;
  batch->out.data[5] = CANCELLED;
  if (count_calls(batch->loop, batch->calls) < 0) return -1;
  PyObject *number = PyLong_FromSsize_t(begun);
  const int failed = !number || put_value(&batch->out, number, 1) < 0;
  Py_XDECREF(number);
  set_slot(batch->loop->hit, Py_None);
  return failed ? -1 : 0;
}

PyObject *serve_batch(Loop *loop, PyObject *message, PyObject *function, double received) {
  Batch batch = {.loop = loop, .number = PyList_GET_ITEM(message, 1)};
  PyObject *call = NULL;
  int failed = open_frame(&batch);
  if (!failed) {
    const Py_ssize_t begun = run_items(&batch, &call, message, function, received);
    PyObject *failure = begun < 0 ? take_exception() : NULL;
    if (set_current(loop, Py_None) < 0 && !failure) failure = take_exception();
    failed = failure != NULL;
    raise_again(failure);
    if (begun > 0 && !failed) failed = put_cancelled(&batch, begun) < 0 || send_frame(loop, &batch.out) < 0;
    if (begun == 0 && !failed) failed = flush(&batch, RESULT) < 0;
  }
  Py_XDECREF(call);
  release(&batch.out);
  release(&batch.errors);
  if (failed) return NULL;
  Py_RETURN_NONE;
}
