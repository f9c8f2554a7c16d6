// Calls with arrays: what Arrays.enter and Arrays.leave of _arrays.py do, for calls that need no new segment, and a result that
// is one array. Everything else is left to them; both work on the same lists and dicts, which are an Arrays' slots.
#include "array.h"

// 0: there is no Arrays yet. -1 with an exception.
static int find_slots(Loop *loop) {
  ArraySlots *slots = &loop->slots;
  if (slots->arrays) return 1;
  PyObject *arrays = PyObject_GetAttr(loop->protocol, loop->names->_arrays);
  if (!arrays) return -1;
  Py_DECREF(arrays);  // the protocol keeps it
  if (arrays == Py_None) return 0;
#define FIND(name) \
  if (!(slots->name = slot_of(arrays, loop->names->name))) return -1;
  ARRAY_SLOTS(FIND)
  slots->arrays = arrays;
  return 1;
}

static int natural(PyObject *object, Py_ssize_t *number) {
  if (!PyLong_CheckExact(object)) return 0;
  *number = PyLong_AsSsize_t(object);
  if (*number == -1 && PyErr_Occurred()) PyErr_Clear();
  return *number >= 0;
}

static PyObject *key_of(PyObject *segment, PyObject *offset) { return PyTuple_Pack(2, segment, offset); }

// One more view of it. Only the loop's thread counts.
static int count_view(PyObject *counts, PyObject *key) {
  PyObject *had = PyDict_GetItemWithError(counts, key);
  if (!had && PyErr_Occurred()) return -1;
  PyObject *has = PyLong_FromLong(had ? PyLong_AsLong(had) + 1 : 1);
  const int failed = !has || PyDict_SetItem(counts, key, has) < 0;
  Py_XDECREF(has);
  return failed ? -1 : 0;
}

// The container of the last step of an array's path: borrowed. NULL, perhaps with an exception: there is none.
static PyObject *inner_of(PyObject *args, PyObject *path) {
  for (Py_ssize_t i = 0; args && i < PyList_GET_SIZE(path); ++i) {
    PyObject *step = PyList_GET_ITEM(path, i), *next = NULL;
    Py_ssize_t index = 0;
    if (PyDict_CheckExact(args)) next = PyDict_GetItemWithError(args, step);
    else if (PyList_CheckExact(args) && natural(step, &index) && index < PyList_GET_SIZE(args))
      next = PyList_GET_ITEM(args, index);
    if (i + 1 == PyList_GET_SIZE(path)) return next == Py_None ? args : NULL;
    args = next;
  }
  return NULL;
}

// Puts one argument into its place. 0, without an exception: this is for Python to do.
static int put_argument(const Loop *loop, const ArraySlots *slots, PyTypeObject *type, PyObject *args, PyObject *said) {
  Py_ssize_t offset, size, first;
  if (!PyList_CheckExact(said) || PyList_GET_SIZE(said) != 9) return 0;
  PyObject **part = ((PyListObject *)said)->ob_item, *path = part[0];
  if (!PyList_CheckExact(path) || !natural(part[2], &offset) || !natural(part[3], &size) || !natural(part[4], &first)) return 0;
  PyObject *segment = PyDict_GetItemWithError(*slots->_segments, part[1]);
  PyObject *inner = segment ? inner_of(args, path) : NULL;
  if (!inner) return PyErr_Occurred() ? -1 : 0;
  PyObject *step = PyList_GET_ITEM(path, PyList_GET_SIZE(path) - 1);
  PyObject *key = key_of(part[1], part[2]);
  PyObject *place = key ? PyTuple_Pack(2, inner, step) : NULL;
  PyObject *block = place ? new_block(loop->names, segment, offset, size, key, *slots->_ended) : NULL;
  int done = -1;
  if (block && count_view(*slots->_counts, key) == 0 && PyList_Append(*slots->_keys, key) == 0 &&
      PyList_Append(*slots->_places, place) == 0) {
    const Kind *kind = kind_of(part[5]);
    PyObject *array = kind ? new_view(type, block, first, kind, part[6], part[7], part[8] != Py_True) : NULL;
    if (array && PyObject_SetItem(inner, step, array) == 0) done = 1;
    Py_XDECREF(array);
  }
  Py_XDECREF(block);
  Py_XDECREF(place);
  Py_XDECREF(key);
  return done;
}

static int put_new_list(PyObject **slot) {
  PyObject *list = PyList_New(0);
  if (!list) return -1;
  set_slot(slot, list);
  Py_DECREF(list);
  return 0;
}

static int put_grant(const ArraySlots *slots, PyObject *grant) {
  if (!grant || grant == Py_None) return 1;
  if (!PyList_CheckExact(grant) || PyList_GET_SIZE(grant) != 3) return 0;
  PyObject *key = key_of(PyList_GET_ITEM(grant, 0), PyList_GET_ITEM(grant, 1));
  const int failed = !key || PyList_Append(*slots->_keys, key) < 0;
  Py_XDECREF(key);
  if (failed) return -1;
  set_slot(slots->_grant, grant);
  return 1;
}

static int enter_with(const Loop *loop, const ArraySlots *slots, PyObject *args, PyObject *said) {
  PyObject *in = PyDict_GetItemWithError(said, loop->names->in);
  PyObject *type = PyObject_GetAttr(slots->arrays, loop->names->_array_type);
  int done = !type ? -1 : PyErr_Occurred() ? -1 : put_grant(slots, PyDict_GetItemWithError(said, loop->names->out));
  if (in && !PyList_CheckExact(in)) done = done > 0 ? 0 : done;
  for (Py_ssize_t i = 0; done > 0 && in && i < PyList_GET_SIZE(in); ++i) {
    done = put_argument(loop, slots, (PyTypeObject *)type, args, PyList_GET_ITEM(in, i));
  }
  Py_XDECREF(type);
  return done;
}

// Takes the arrays away again; a list of the keys that this call has had.
static int take_back(const ArraySlots *slots) {
  int failed = 0;
  for (Py_ssize_t i = 0; i < PyList_GET_SIZE(*slots->_places); ++i) {
    PyObject *place = PyList_GET_ITEM(*slots->_places, i);
    // The command may have changed its arguments: then there is nothing to take away.
    if (PyObject_SetItem(PyTuple_GET_ITEM(place, 0), PyTuple_GET_ITEM(place, 1), Py_None) < 0) PyErr_Clear();
  }
  if (put_new_list(slots->_places) < 0 || put_new_list(slots->_rooms) < 0) failed = -1;
  set_slot(slots->_call, Py_None);
  set_slot(slots->_grant, Py_None);
  return failed;
}

// 1: they are in their places; 0, with nothing changed: this is for Python to do.
static int enter(Loop *loop, PyObject *call, PyObject *args, PyObject *said) {
  const ArraySlots *slots = &loop->slots;
  if (!PyDict_CheckExact(said) || PyDict_GetItemWithError(said, loop->names->dropped)) return 0;
  int done = PyErr_Occurred() ? -1 : find_slots(loop);
  if (done <= 0) return done;
  if (put_new_list(slots->_places) < 0 || put_new_list(slots->_keys) < 0 || put_new_list(slots->_rooms) < 0) return -1;
  set_slot(slots->_grant, Py_None);
  set_slot(slots->_call, call);
  done = enter_with(loop, slots, args, said);
  if (done > 0) return 1;
  // Python does it all again, and finds the words for what is wrong.
  if (done < 0 && PyErr_ExceptionMatches(PyExc_Exception)) PyErr_Clear();
  if (PyErr_Occurred()) return -1;
  return take_back(slots);
}

// The views that have ended since are no longer counted; their keys are the call's, too.
static int count_ended(const ArraySlots *slots) {
  PyObject *ended = *slots->_ended;
  for (Py_ssize_t count; (count = PyList_GET_SIZE(ended)) > 0;) {
    PyObject *key = PyList_GET_ITEM(ended, count - 1);
    Py_INCREF(key);
    PyObject *had = PyDict_GetItemWithError(*slots->_counts, key);
    const long left = had ? PyLong_AsLong(had) - 1 : 0;
    PyObject *has = PyLong_FromLong(left);
    int failed = !has || PyList_SetSlice(ended, count - 1, count, NULL) < 0 || PyList_Append(*slots->_keys, key) < 0;
    if (!failed && had) failed = left > 0 ? PyDict_SetItem(*slots->_counts, key, has) : PyDict_DelItem(*slots->_counts, key);
    Py_XDECREF(has);
    Py_DECREF(key);
    if (failed || PyErr_Occurred()) return -1;
  }
  return 0;
}

// RELEASE of those of which there is no view any more, as a frame; empty: there are none.
static int put_release(const Loop *loop, const ArraySlots *slots, PyObject *number, Buffer *frame) {
  PyObject *generation = PyLong_FromLongLong(loop->generation), *released = PyList_New(0), *seen = PySet_New(NULL);
  int failed = !generation || !released || !seen;
  for (Py_ssize_t i = 0; !failed && i < PyList_GET_SIZE(*slots->_keys); ++i) {
    PyObject *key = PyList_GET_ITEM(*slots->_keys, i);
    const int held = PyDict_Contains(*slots->_counts, key);
    const int again = held ? 1 : PySet_Contains(seen, key);
    failed = held < 0 || again < 0 || (!again && (PySet_Add(seen, key) < 0 || PyList_Append(released, key) < 0));
  }
  const unsigned char kind = RELEASE;
  if (!failed && PyList_GET_SIZE(released) > 0) {
    failed = put_bytes(frame, "\0\0\0", 4) < 0 || put_array(frame, 4) < 0 || put_bytes(frame, &kind, 1) < 0 ||
             put_value(frame, number, 1) < 0 || put_value(frame, generation, 1) < 0 || put_value(frame, released, 1) < 0;
    put_frame_length(frame);
  }
  Py_XDECREF(generation);
  Py_XDECREF(released);
  Py_XDECREF(seen);
  return failed ? -1 : 0;
}

static int leave(const Loop *loop, PyObject *number, Buffer *frame) {
  const ArraySlots *slots = &loop->slots;
  if (take_back(slots) < 0 || count_ended(slots) < 0 || put_release(loop, slots, number, frame) < 0) return -1;
  return put_new_list(slots->_keys);
}

// --- results -----------------------------------------------------------------------------------------

// The block's key, if it is room that this call has had: borrowed.
static PyObject *room_of(const ArraySlots *slots, const View *view) {
  PyObject *key = ((Block *)view->block)->key;
  for (Py_ssize_t i = 0; key && i < PyList_GET_SIZE(*slots->_rooms); ++i) {
    PyObject *room = PyList_GET_ITEM(*slots->_rooms, i);
    const int same = PyTuple_CheckExact(room) ? PyObject_RichCompareBool(PyTuple_GET_ITEM(room, 2), key, Py_EQ) : 0;
    if (same != 0) return same < 0 ? NULL : key;
  }
  return NULL;
}

// A tuple of numbers; NULL: it is no plain shape.
static PyObject *plain_shape(PyObject *shape, const Kind *kind, Py_ssize_t *size) {
  PyObject *tuple = PyLong_CheckExact(shape)     ? PyTuple_Pack(1, shape)
                    : PyTuple_CheckExact(shape) ? (Py_INCREF(shape), shape)
                    : PyList_CheckExact(shape)  ? PyList_AsTuple(shape)
                                                : NULL;
  *size = kind->size;
  for (Py_ssize_t i = 0; tuple && i < PyTuple_GET_SIZE(tuple); ++i) {
    Py_ssize_t each;
    if (!natural(PyTuple_GET_ITEM(tuple, i), &each) || __builtin_mul_overflow(*size, each, size)) Py_CLEAR(tuple);
  }
  return tuple;
}

// The room in use: as Arrays.room.
static PyObject *take_grant(Loop *loop, Py_ssize_t size) {
  const ArraySlots *slots = &loop->slots;
  if (!PyList_CheckExact(*slots->_grant) || PyList_GET_SIZE(*slots->_grant) != 3) return NULL;
  PyObject **grant = ((PyListObject *)*slots->_grant)->ob_item;
  PyObject *segment = PyDict_GetItemWithError(*slots->_segments, grant[0]);
  Py_ssize_t offset, length;
  if (!segment || !natural(grant[1], &offset) || !natural(grant[2], &length) || size > length) return NULL;
  PyObject *key = key_of(grant[0], grant[1]);
  PyObject *block = key ? new_block(loop->names, segment, offset, length, key, *slots->_ended) : NULL;
  PyObject *room = block ? Py_BuildValue("NOO", PyLong_FromVoidPtr(((Block *)block)->data), grant[2], key) : NULL;
  if (!room || count_view(*slots->_counts, key) < 0 || PyList_Append(*slots->_rooms, room) < 0) Py_CLEAR(block);
  if (block) set_slot(slots->_grant, Py_None);
  Py_XDECREF(room);
  Py_XDECREF(key);
  return block;
}

PyObject *empty_granted(PyObject *module, PyObject *const *args, Py_ssize_t count) {
  Names *names = PyModule_GetState(module);
  Loop *loop = names->thread == PyThread_get_thread_ident() ? names->loop : NULL;
  const Kind *kind = count == 3 ? kind_named(args[2]) : NULL;
  if (!kind || !loop || !loop->slots.arrays || *loop->slots._call == Py_None || *loop->slots._grant == Py_None) Py_RETURN_NONE;
  PyObject *midcall = PyObject_GetAttr(loop->protocol, names->_midcall);
  PyObject *in_loop = midcall && midcall != Py_None ? PyObject_GetAttr(midcall, names->in_loop) : midcall;
  if (midcall && midcall != Py_None) Py_DECREF(midcall);
  if (!in_loop) return NULL;
  Py_DECREF(in_loop);
  if (in_loop == Py_True) Py_RETURN_NONE;  // a coroutine's
  Py_ssize_t size;
  PyObject *shape = plain_shape(args[1], kind, &size), *block = shape ? take_grant(loop, size) : NULL;
  PyObject *array = block ? new_view((PyTypeObject *)args[0], block, 0, kind, shape, Py_None, 0) : NULL;
  Py_XDECREF(block);
  Py_XDECREF(shape);
  if (array || PyErr_Occurred()) return array;
  Py_RETURN_NONE;
}

int put_array_result(Loop *loop, PyObject *number, PyObject *value) {
  const View *view = (View *)value;
  PyObject *key = loop->slots.arrays && view->contiguous ? room_of(&loop->slots, view) : NULL;
  if (!key) return PyErr_Occurred() ? -1 : 0;
  PyObject *shape = PyObject_GetAttr(value, loop->names->shape);
  PyObject *place = shape ? Py_BuildValue("[[[]OOnsOO]]", PyTuple_GET_ITEM(key, 0), PyTuple_GET_ITEM(key, 1), view->first,
                                          view->kind->typestr, shape, Py_None)
                          : NULL;
  const int failed = !place || put_head(loop, RESULT, number, 5) < 0 || put_value(&loop->out, Py_None, 1) < 0 ||
                     put_value(&loop->out, place, 1) < 0;
  Py_XDECREF(shape);
  Py_XDECREF(place);
  return failed ? -1 : 1;
}

// --- a call ------------------------------------------------------------------------------------------

// A RELEASE, and what follows it, in one piece if that is short.
static int send_after(Loop *loop, Buffer *frame) {
  put_frame_length(frame);
  if (frame->size > KEEP) {
    if (send_framed(loop, &loop->ahead) < 0) return -1;
    return send_framed(loop, frame);
  }
  if (put_bytes(&loop->ahead, frame->data, frame->size) < 0) return -1;
  return send_last(loop, &loop->ahead);
}

// `reply`: as answer_call gives it, and taken over.
static PyObject *reply_after(Loop *loop, PyObject *reply) {
  if (loop->ahead.size == 0) {
    if (reply != Py_None) return reply;
    put_frame_length(&loop->out);
    if (send_last(loop, &loop->out) == 0) return reply;
  } else if (reply == Py_None) {
    if (send_after(loop, &loop->out) == 0) return reply;
  } else {
    PyObject *ahead = PyBytes_FromStringAndSize((char *)loop->ahead.data + 4, (Py_ssize_t)loop->ahead.size - 4);
    PyObject *sent =
        ahead ? PyObject_CallMethodObjArgs(loop->channel, loop->names->send_both, ahead, reply, NULL) : NULL;
    Py_XDECREF(ahead);
    Py_DECREF(reply);
    return sent;  // None
  }
  Py_DECREF(reply);
  return NULL;
}

PyObject *serve_arrays(Loop *loop, PyObject *message, PyObject *function, double received) {
  PyObject *call = new_context(loop, message, received), *reply = NULL;
  PyObject *said = PyDict_GetItemWithError(PyList_GET_ITEM(message, 5), loop->names->arrays);
  if (call && said && enter(loop, call, PyList_GET_ITEM(message, 4), said) > 0) {
    reply = answer_call(loop, call, function, message);
    loop->ahead.size = 0;
    if (reply && leave(loop, PyList_GET_ITEM(message, 1), &loop->ahead) < 0) Py_CLEAR(reply);
    if (reply) reply = reply_after(loop, reply);
  }
  Py_XDECREF(call);
  return reply;
}
