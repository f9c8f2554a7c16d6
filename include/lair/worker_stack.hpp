// What a worker is doing at one instant: Pool::stack.
//
// Thread-safety: values.
#pragma once

#include <cstdint>
#include <lair/deadline.hpp>
#include <lair/stats.hpp>
#include <string>

namespace lair {

struct WorkerStack {
  // The worker: its place, which of that place's successive workers it is, and its process.
  std::uint32_t slot = 0;
  std::uint64_t generation = 0;
  int pid = 0;
  SlotState state = SlotState::kIdle;
  // The call that it had all the while its stack was taken, and for how long until then. Empty: it had none, or calls came
  // and went meanwhile.
  std::string command = {};
  Duration running = {};
  // The frames of its threads as Python's faulthandler writes them, innermost first, threads one after the other:
  //   Thread 0x00007f2b8c0f1740 (most recent call first):
  //     File "/srv/textstats.py", line 12 in count_words
  std::string frames = {};
};

}  // namespace lair
