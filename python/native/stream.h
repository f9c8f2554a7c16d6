// A stream's items: what stream.c, the loop that sends them, and stream_call.c, a call that gives them, share.
#pragma once

#include "loop.h"

// With the lock, but for what never changes and for the last three, at which Python code may look at any time.
typedef struct {
  PyObject_HEAD
  PyObject *number, *generation, *channel;
  int sink;
  size_t max_frame;
  PyThread_type_lock lock;  // also held while a frame is written: they must not mix
  Buffer out;               // the frame, were it sent now
  size_t head;              // where its items begin; the five bytes before say how many they are
  size_t count;
  long long items, bytes;  // the credit
  long long half_items, half_bytes;
  double last;
  long long flushes;
  char idle, ended;
  char tended;  // somebody has been woken to send what waits
} Chunks;

typedef struct {
  Chunks *chunks;
  PyObject *call, *iterator, *door, *midcall;
  const Names *names;
  PyObject **armed, **rung, **hit;
  Buffer item;
} Feed;

// 1: the generator has ended; 0: the call is cancelled; -1 with an exception.
int run_feed(Feed *feed);
// Sends what waits: nothing more is to come. 0, or -1 with an exception.
int end_chunks(Chunks *chunks, const Names *names);
