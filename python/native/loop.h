// What native.c, the loop, and context.c, wait.c, send.c, handover.c, batch.c, stream.c, stream_call.c, array_call.c and session_call.c share.
#pragma once

#include <errno.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "native.h"

// What is up to this size is sent without letting go of the GIL: an idle pipe or socket takes it at once.
#define SMALL 4096
// A buffer that a large reply has blown up is given back.
#define KEEP (256 << 10)
// What is handed over in shared memory is up to this size.
#define HANDOVER_MOST 2040

enum { CALL = 1, RESULT = 2, ERROR = 3, CHUNK = 6, END = 7, CANCELLED = 10, BATCH = 13, RELEASE = 14 };

// Attributes, by these names. Interned once in each interpreter.
#define NAMES(X) \
  X(__next__) X(_answer) X(_array_type) X(_arrays) X(_batches) X(_buffer) X(_call) X(_channel) X(_context_type) \
  X(_context_var) X(_counts) X(_door) X(_end) X(_ended) X(_fed) X(_generation) X(_grant) X(_keys) X(_let_go) X(_max_frame) \
  X(_midcall) X(_odd_result) X(_raised) X(_received) X(_rooms) X(_segments) X(_session) X(_sessions) X(_table) X(_take) \
  X(_tell_before) X(_wait) X(_worker) X(answer) X(armed) X(arrays) X(cancelled) X(changed) X(cleanup_session) X(close) X(command) \
  X(command_count) X(conclude) X(dropped) X(ending) X(hit) X(hooks) X(in) X(in_loop) X(journal_fd) X(known) \
  X(look_for_cancel) X(meta) X(midcall) X(ms) X(number) X(out) X(owed) X(poll) X(receive) X(refuse) X(refuse_length) X(requested) \
  X(rung) X(running) X(send) X(send_both) X(send_rest) X(session) X(session_number) X(shape) X(shields) X(sink) X(source) X(spin) X(stream) \
  X(task) X(told) X(too_long) X(wake)

typedef struct {
#define DECLARE(name) PyObject *name;
  NAMES(DECLARE)
  PyObject *block_type, *view_type;  // array.c
  struct Page *page;                 // handover.c: shared with the host; NULL: there is none
  struct Loop *loop;                 // that runs, in this thread; other threads don't touch it
  unsigned long thread;
} Names;

// Where the Arrays of _arrays.py has these.
#define ARRAY_SLOTS(X) X(_segments) X(_counts) X(_ended) X(_call) X(_keys) X(_grant) X(_rooms)
typedef struct {
  PyObject *arrays;    // whose they are, and which the protocol keeps; NULL: there is none yet
  PyTypeObject *type;  // of an array
#define SLOT(name) PyObject **name;
  ARRAY_SLOTS(SLOT)
} ArraySlots;

// A block of the host's that the running call has: an argument's, or, at the front, room for its result.
#define MOST_LENT 16
typedef struct {
  Py_ssize_t segment, offset;
  PyObject *block;         // NULL: room that is not in use
  PyObject *inner, *step;  // its place among the arguments; NULL: it is room
} Lent;

// Where a Context has these.
#define CONTEXT_NAMES(X) \
  X(command) X(meta) X(_received) X(number) X(told) X(_session) X(changed) X(hit) X(owed) X(shields) X(task)
enum {
#define PLACE(name) AT_##name,
  CONTEXT_NAMES(PLACE)
#undef PLACE
  CONTEXT_SLOTS
};

typedef struct Loop {
  Names *names;
  PyObject *known[LAIR_KNOWN];  // commands and keys that have come
  PyObject *protocol, *channel, *worker, *ending, *door, *table, *context_type, *context_var;
  Py_buffer buffer;  // the channel's: what fits into it is read into it
  Buffer out;
  Buffer ahead;  // of a RELEASE, and what goes with it
  long long generation;
  size_t max_frame;
  int source, sink;
  // wait.c: the longest time to look before it sleeps, seconds; until when it does not; whether the wait before was as short.
  double spin, rests_until;
  double received;  // when the last frame had come
  int was_short;
  int strayed;  // something was sent after the last frame of a call: the host may not have read it yet
  int batches;  // BATCH is one of the features
  struct Journal *journal;  // mapped; NULL: there is none
  PyObject **armed, **hit, **rung;  // the door's
  PyObject **requested, **counted, **held;  // the ending's; the worker's command_count; the channel's _end
  Py_ssize_t context[CONTEXT_SLOTS];        // where a Context has CONTEXT_NAMES
  int lingers;  // the context of the last call is still current
  PyObject *contexts[2];  // of the last two calls: the one before is used again, if nobody else has it
  int turn;               // whose turn it is
  PyObject *credit;   // of the call that runs, borrowed: it is to give a stream; or NULL
  PyObject *session;  // its number, borrowed; NULL: the call belongs to none
  PyObject *arrays;   // what its meta says of them, borrowed; NULL: there are none
  ArraySlots slots;
  Lent lent[MOST_LENT];
  int lent_count;
} Loop;

// As Journal in _batch.py. The host reads it when this process is dead, so what counts is the order of the writes.
#define JOURNAL_BYTES (128 << 10)
typedef struct Journal {
  uint64_t batch;
  uint64_t told;
  uint64_t begun;
  uint64_t size;
  unsigned char frames[JOURNAL_BYTES - 32];
} Journal;

PyObject *take_exception(void);
void raise_again(PyObject *error);  // as take_exception gave it; NULL: there was none
// Where an object of a class with __slots__ keeps this one; NULL with an exception. Reading it costs no look-up.
PyObject **slot_of(PyObject *object, PyObject *name);
// The same for every object of the type; -1 with an exception.
Py_ssize_t place_of(PyObject *type, PyObject *name);
static inline PyObject **slot_at(PyObject *object, Py_ssize_t place) { return (PyObject **)(void *)((char *)object + place); }
// As `*slot = value` in Python.
static inline void set_slot(PyObject **slot, PyObject *value) {
  PyObject *old = *slot;
  Py_INCREF(value);
  *slot = value;
  Py_XDECREF(old);
}

// All of these: NULL or -1 with an exception.
// context.c: where a Context has what it has; -1 with an exception.
int find_context(Loop *loop);
// Context(...), as its __init__ would make it. keep_context: it has ended, and its caller's reference is given up.
PyObject *new_context(Loop *loop, PyObject *message, double received);
void keep_context(Loop *loop, PyObject *call);
int set_current(Loop *loop, PyObject *call);
// A call's context stays current when it has ended, until the next one's takes its place, or this is called: where nothing comes at
// once, or Python code takes over. To change it is an eighth of what an empty call takes here.
int forget_context(Loop *loop);
int count_calls(const Loop *loop, Py_ssize_t calls);
// A command, armed. 1: it gave `value`; 0: `reply` answers it, or is None: it is cancelled.
int run_call(const Loop *loop, PyObject *call, PyObject *function, PyObject *args, PyObject **value, PyObject **reply);
PyObject *odd_result(Loop *loop, PyObject *call, PyObject *value);
PyObject *too_long(const Loop *loop, PyObject *number, size_t length);
// send.c: a frame, for whose length there are four bytes at its front.
int send_frame(Loop *loop, Buffer *frame);
void put_frame_length(Buffer *frame);
int send_framed(Loop *loop, Buffer *frame);  // which has its length
// The same for the last frame of a call, which may have a RELEASE in front: the host has read it when it sends the next call.
int send_last(Loop *loop, Buffer *frame);
PyObject *write_from(PyObject *module, PyObject *source);
// native.c: [kind, number, generation, of an array of so many elements, up to 15, into loop->out.
int put_head(Loop *loop, unsigned char kind, PyObject *number, size_t count);
// A call, from its being armed to its answer: its payload, or None: it is the frame in loop->out.
PyObject *answer_call(Loop *loop, PyObject *call, PyObject *function, PyObject *message);
double now(void);

// wait.c: waits until there is something to read, and reads it: `count` is as read() gives it. Other threads run.
int wait_for_bytes(Loop *loop, void *data, size_t size, ssize_t *count);
PyObject *read_into(PyObject *module, PyObject *target);

// handover.c. make_handover(): the descriptor of a new page, or -1. forget_handover(): there is none any more.
PyObject *make_handover(PyObject *module, PyObject *none);
PyObject *forget_handover(PyObject *module, PyObject *none);
void drop_handover(Names *names);
// 1: the host was looking, and has it. 0: it is to be sent.
int hand_over(struct Page *page, const Buffer *frame);
void begin_look(struct Page *page);
// A frame from the host, into `data`, which ends the look; 0: there is none yet.
size_t take_over(struct Page *page, void *data);
// Ends the look after `count` bytes were read into `data`, or -1: now with what has been handed over meanwhile, which came before.
ssize_t end_look(struct Page *page, void *data, ssize_t count);

// batch.c: the answer to a batch of a known command, which is the last frame's payload; None if that has been sent.
PyObject *serve_batch(Loop *loop, PyObject *message, PyObject *function, double received);

// stream_call.c: the end of a call that has given this value, and is to give a stream of `loop->credit`: its last frame's payload,
// or None: it is the frame in loop->out.
PyObject *stream_value(Loop *loop, PyObject *call, PyObject *number, PyObject *value);
// stream.c: the type Chunks, and feed(chunks, call, iterator, door, midcall), its loop. -1 with an exception.
int add_stream_type(PyObject *module);
PyObject *feed(PyObject *module, PyObject *args);

// session_call.c: whether a call of a session begins and ends none. -1 with an exception.
int is_plain_in_session(const Loop *loop, PyObject *name, PyObject *meta);
// What is left of a call's reply, as answer_call gives it, when what the call told the store is on its way. Where the reply went
// along, that is None, and loop->out is empty.
PyObject *tell_before(Loop *loop, PyObject *call, PyObject *reply);

// array.c: Block and View, into the module.
int add_array_types(PyObject *module, Names *names);
// array_call.c: as serve_batch, for a call with `meta.arrays`. NULL without an exception: it is for Python to do.
PyObject *serve_arrays(Loop *loop, PyObject *message, PyObject *function, double received);
// empty_granted(type, shape, dtype): an array in the room that came with the call; None: that is for Python to find.
PyObject *empty_granted(PyObject *module, PyObject *const *args, Py_ssize_t count);
// 1: the value is an array, and loop->out its RESULT; 0: it is none that can go as it is.
int put_array_result(Loop *loop, PyObject *number, PyObject *value);
// Has Arrays.result find the room in use. -1 with an exception.
int show_room(Loop *loop);
