// Waiting for a worker's channel, its death, or the deadline: what a caller does in mid-call.
//
// Thread-safety: pure waiting; any thread.
#pragma once

#include <lair/deadline.hpp>

#include "os/spin.hpp"

namespace lair::os {

struct Interest {
  int in_fd = -1;    // readable?
  int out_fd = -1;   // writable? may be the same as in_fd; -1: don't care
  int exit_fd = -1;  // a pidfd: readable when the process has ended
  int stop_fd = -1;  // readable when the wait is to end
};
struct Ready {
  bool timed_out = false;
  bool readable = false;  // or closed: reading will tell
  bool writable = false;
  bool exited = false;
  bool stopped = false;
};

// Blocks until one of them, or the deadline. Interruptions by signals are not seen. A system that refuses to
// poll (ENOMEM) is asked again after a moment, until the deadline.
Ready wait_for_io(const Interest& interest, Deadline deadline);
// The same, but that it looks for a while before it sleeps, where `spin` says so.
Ready wait_for_io(const Interest& interest, Deadline deadline, Spin& spin);

}  // namespace lair::os
