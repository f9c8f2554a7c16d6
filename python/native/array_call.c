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
  PyObject *type = PyObject_GetAttr(arrays, loop->names->_array_type);
  if (!type) return -1;
  Py_DECREF(type);  // its module keeps it
  slots->type = (PyTypeObject *)type;
  slots->arrays = arrays;
  return 1;
}

static int natural(PyObject *object, Py_ssize_t *number) {
  if (!PyLong_CheckExact(object)) return 0;
  *number = PyLong_AsSsize_t(object);
  if (*number == -1 && PyErr_Occurred()) PyErr_Clear();
  return *number >= 0;
}

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

// A part of the message, as a number that fits.
static int is_place(PyObject *number, PyObject *offset, Lent *lent) {
  Py_ssize_t segment, at;
  if (!natural(number, &segment) || !natural(offset, &at)) return 0;
  *lent = (Lent){.segment = segment, .offset = at};
  return 1;
}

// Puts one argument into its place. 0, without an exception: this is for Python to do.
static int put_argument(Loop *loop, PyObject *args, PyObject *said) {
  const ArraySlots *slots = &loop->slots;
  Py_ssize_t size, first;
  if (loop->lent_count == MOST_LENT || !PyList_CheckExact(said) || PyList_GET_SIZE(said) != 9) return 0;
  PyObject **part = ((PyListObject *)said)->ob_item, *path = part[0];
  Lent lent;
  if (!PyList_CheckExact(path) || !is_place(part[1], part[2], &lent)) return 0;
  if (!natural(part[3], &size) || !natural(part[4], &first)) return 0;
  PyObject *segment = PyDict_GetItemWithError(*slots->_segments, part[1]);
  PyObject *inner = segment ? inner_of(args, path) : NULL;
  if (!inner) return PyErr_Occurred() ? -1 : 0;
  const Kind *kind = kind_of(part[5]);
  lent.block = kind ? new_block(loop->names, segment, lent.offset, size, NULL, NULL) : NULL;
  if (!lent.block) return -1;
  PyObject *array = new_view(slots->type, lent.block, first, kind, part[6], part[7], part[8] != Py_True);
  PyObject *step = PyList_GET_ITEM(path, PyList_GET_SIZE(path) - 1);
  if (!array || PyObject_SetItem(inner, step, array) < 0) {
    Py_DECREF(lent.block);
    Py_XDECREF(array);
    return -1;
  }
  Py_DECREF(array);
  Py_INCREF(inner);
  Py_INCREF(step);
  lent.inner = inner;
  lent.step = step;
  loop->lent[loop->lent_count++] = lent;
  return 1;
}

static int put_grant(Loop *loop, PyObject *grant) {
  if (!grant || grant == Py_None) return 1;
  if (!PyList_CheckExact(grant) || PyList_GET_SIZE(grant) != 3) return 0;
  if (!is_place(PyList_GET_ITEM(grant, 0), PyList_GET_ITEM(grant, 1), &loop->lent[0])) return 0;
  loop->lent_count = 1;
  set_slot(loop->slots._grant, grant);
  return 1;
}

static int enter_with(Loop *loop, PyObject *args, PyObject *said) {
  PyObject *in = PyDict_GetItemWithError(said, loop->names->in);
  int done = PyErr_Occurred() ? -1 : put_grant(loop, PyDict_GetItemWithError(said, loop->names->out));
  if (in && !PyList_CheckExact(in)) done = done > 0 ? 0 : done;
  for (Py_ssize_t i = 0; done > 0 && in && i < PyList_GET_SIZE(in); ++i) {
    done = put_argument(loop, args, PyList_GET_ITEM(in, i));
  }
  return done;
}

// Takes the arrays away again.
static void take_back(Loop *loop) {
  for (int i = 0; i < loop->lent_count; ++i) {
    Lent *lent = &loop->lent[i];
    if (!lent->inner) continue;
    // The command may have changed its arguments: then there is nothing to take away.
    if (PyObject_SetItem(lent->inner, lent->step, Py_None) < 0) PyErr_Clear();
    Py_CLEAR(lent->inner);
    Py_CLEAR(lent->step);
  }
  set_slot(loop->slots._call, Py_None);
  set_slot(loop->slots._grant, Py_None);
}

// Of a call that is not made, or does not end. An exception stays.
static void give_up(Loop *loop) {
  PyObject *error = PyErr_Occurred() ? take_exception() : NULL;
  take_back(loop);
  while (loop->lent_count > 0) Py_CLEAR(loop->lent[--loop->lent_count].block);
  raise_again(error);
}

// 1: they are in their places; 0, with nothing changed: this is for Python to do.
static int enter(Loop *loop, PyObject *call, PyObject *args, PyObject *said) {
  const ArraySlots *slots = &loop->slots;
  if (!PyDict_CheckExact(said) || PyDict_GetItemWithError(said, loop->names->dropped)) return 0;
  int done = PyErr_Occurred() ? -1 : find_slots(loop);
  if (done <= 0) return done;
  set_slot(slots->_call, call);
  done = enter_with(loop, args, said);
  if (done > 0) return 1;
  // Python does it all again, and finds the words for what is wrong.
  if (done < 0 && PyErr_ExceptionMatches(PyExc_Exception)) PyErr_Clear();
  give_up(loop);
  return PyErr_Occurred() ? -1 : 0;
}

static PyObject *key_of(const Lent *lent) { return Py_BuildValue("(nn)", lent->segment, lent->offset); }

static int put_new_list(PyObject **slot) {
  PyObject *list = PyList_New(0);
  if (!list) return -1;
  set_slot(slot, list);
  Py_DECREF(list);
  return 0;
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

// What Python code knows of: the keys of all, and of those that somebody still looks at, that they say so when that has ended.
static int tell_python(Loop *loop) {
  const ArraySlots *slots = &loop->slots;
  int failed = 0;
  for (int i = 0; i < loop->lent_count; ++i) {
    Lent *lent = &loop->lent[i];
    PyObject *key = key_of(lent);
    failed |= !key || PyList_Append(*slots->_keys, key) < 0;
    // One reference is ours; all others are views, which can become more only by way of one that there is.
    if (!failed && lent->block && Py_REFCNT(lent->block) > 1) {
      failed = count_view(*slots->_counts, key) < 0;
      if (!failed) watch_block(lent->block, key, *slots->_ended);
    }
    Py_XDECREF(key);
    Py_CLEAR(lent->block);
  }
  loop->lent_count = 0;
  return failed ? -1 : 0;
}

// Whether nobody looks at anything, and nobody has: then it can all be released, and Python need not know of it.
static int is_all_free(const Loop *loop) {
  const ArraySlots *slots = &loop->slots;
  if (PyList_GET_SIZE(*slots->_ended) || PyList_GET_SIZE(*slots->_keys) || PyDict_GET_SIZE(*slots->_counts)) return 0;
  for (int i = 0; i < loop->lent_count; ++i) {
    if (loop->lent[i].block && Py_REFCNT(loop->lent[i].block) > 1) return 0;
  }
  return 1;
}

static int is_first(const Loop *loop, int one) {
  for (int i = 0; i < one; ++i) {
    if (loop->lent[i].segment == loop->lent[one].segment && loop->lent[i].offset == loop->lent[one].offset) return 0;
  }
  return 1;
}

static int put_release_head(const Loop *loop, PyObject *number, Buffer *frame, size_t count) {
  const unsigned char head[6] = {0, 0, 0, 0, 0x94, RELEASE};
  return put_bytes(frame, head, sizeof head) < 0 || put_value(frame, number, 1) < 0 ||
                 put_number(frame, loop->generation) < 0 || put_array(frame, count) < 0
             ? -1
             : 0;
}

// RELEASE of all of them, as a frame; empty: there are none.
static int release_all(Loop *loop, PyObject *number, Buffer *frame) {
  size_t count = 0;
  for (int i = 0; i < loop->lent_count; ++i) count += (size_t)is_first(loop, i);
  int failed = count && put_release_head(loop, number, frame, count) < 0;
  for (int i = 0; i < loop->lent_count; ++i) {
    const Lent *lent = &loop->lent[i];
    if (!failed && is_first(loop, i)) {
      failed = put_array(frame, 2) < 0 || put_number(frame, lent->segment) < 0 || put_number(frame, lent->offset) < 0;
    }
    Py_CLEAR(loop->lent[i].block);
  }
  loop->lent_count = 0;
  if (count && !failed) put_frame_length(frame);
  return failed ? -1 : 0;
}

// The same of those of which there is no view any more.
static int release_some(Loop *loop, PyObject *number, Buffer *frame) {
  const ArraySlots *slots = &loop->slots;
  if (tell_python(loop) < 0 || count_ended(slots) < 0) return -1;
  PyObject *released = PyList_New(0), *seen = PySet_New(NULL);
  int failed = !released || !seen;
  for (Py_ssize_t i = 0; !failed && i < PyList_GET_SIZE(*slots->_keys); ++i) {
    PyObject *key = PyList_GET_ITEM(*slots->_keys, i);
    const int held = PyDict_Contains(*slots->_counts, key);
    const int again = held ? 1 : PySet_Contains(seen, key);
    failed = held < 0 || again < 0 || (!again && (PySet_Add(seen, key) < 0 || PyList_Append(released, key) < 0));
  }
  const Py_ssize_t count = failed ? 0 : PyList_GET_SIZE(released);
  if (count) failed = put_release_head(loop, number, frame, (size_t)count) < 0;
  for (Py_ssize_t i = 0; !failed && i < count; ++i) failed = put_value(frame, PyList_GET_ITEM(released, i), 2) < 0;
  if (count && !failed) put_frame_length(frame);
  Py_XDECREF(released);
  Py_XDECREF(seen);
  return failed || put_new_list(slots->_keys) < 0 ? -1 : 0;
}

static int leave(Loop *loop, PyObject *number, Buffer *frame) {
  take_back(loop);
  if (PyList_GET_SIZE(*loop->slots._rooms) && put_new_list(loop->slots._rooms) < 0) return -1;
  return is_all_free(loop) ? release_all(loop, number, frame) : release_some(loop, number, frame);
}

// --- results -----------------------------------------------------------------------------------------

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
  PyObject *grant = *slots->_grant;
  Py_ssize_t length;
  if (!loop->lent_count || loop->lent[0].inner || !PyList_CheckExact(grant)) return NULL;
  PyObject *segment = PyDict_GetItemWithError(*slots->_segments, PyList_GET_ITEM(grant, 0));
  if (!segment || !natural(PyList_GET_ITEM(grant, 2), &length) || size > length) return NULL;
  PyObject *block = new_block(loop->names, segment, loop->lent[0].offset, length, NULL, NULL);
  if (!block) return NULL;
  set_slot(slots->_grant, Py_None);
  Py_INCREF(block);
  return loop->lent[0].block = block;
}

int show_room(Loop *loop) {
  const Block *block = loop->lent_count ? (Block *)loop->lent[0].block : NULL;
  if (!block || loop->lent[0].inner || PyList_GET_SIZE(*loop->slots._rooms)) return 0;
  PyObject *key = key_of(&loop->lent[0]);
  PyObject *room = key ? Py_BuildValue("NnO", PyLong_FromVoidPtr(block->data), block->size, key) : NULL;
  const int failed = !room || PyList_Append(*loop->slots._rooms, room) < 0;
  Py_XDECREF(room);
  Py_XDECREF(key);
  return failed ? -1 : 0;
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
  const Lent *room = &loop->lent[0];
  if (!loop->lent_count || room->inner || room->block != view->block || !view->contiguous) return 0;
  Buffer *out = &loop->out;
  int failed = put_head(loop, RESULT, number, 5) < 0 || put_value(out, Py_None, 1) < 0 || put_array(out, 1) < 0 ||
               put_array(out, 7) < 0 || put_array(out, 0) < 0 || put_number(out, room->segment) < 0 ||
               put_number(out, room->offset) < 0 || put_number(out, view->first) < 0 ||
               put_ascii(out, view->kind->typestr) < 0 || put_array(out, (size_t)view->dimensions) < 0;
  for (Py_ssize_t i = 0; !failed && i < view->dimensions; ++i) failed = put_number(out, view->shape[i]) < 0;
  return failed || put_value(out, Py_None, 1) < 0 ? -1 : 1;
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
  if (call && enter(loop, call, PyList_GET_ITEM(message, 4), loop->arrays) > 0) {
    loop->ahead.size = 0;
    reply = answer_call(loop, call, function, message);
    if (!reply) give_up(loop);
    if (reply && leave(loop, PyList_GET_ITEM(message, 1), &loop->ahead) < 0) Py_CLEAR(reply);
    if (reply) reply = reply_after(loop, reply);
  }
  keep_context(loop, call);
  return reply;
}
