// What one spawn is made of: the pipes of a new worker, the order to lair-keeper, and what its answers mean in words.
//
// Thread-safety: pure functions, and one system call each.
#pragma once

#include <array>

#include "os/fd.hpp"
#include "os/message_socket.hpp"
#include "worker/keeper_protocol.hpp"
#include "worker/launcher.hpp"

namespace lair::worker {

// Both ends of everything one worker needs.
struct Plumbing {
  WorkerPipes ours;
  os::Fd strings;
  os::Fd in;   // its stdin; none: /dev/null
  os::Fd out;  // its stdout; none: as `in`
  os::Fd err;
  os::Fd channel;     // as LAIR_CHANNEL_FD
  os::Fd warm;        // a warm parent's socket to the keeper
  os::Fd keeper_end;  // and the other end of it
  int error = 0;      // errno, where something was refused
};

Plumbing lay_pipes(const SpawnRequest& request);

// It refers to the descriptors of the plumbing.
struct EncodedOrder {
  keeper::Spawn order;
  std::array<int, os::kMostDescriptors> fds{};
};
EncodedOrder encode_order(const SpawnRequest& request, const Plumbing& plumbing);

// What was refused: in words, and as a name ("exec").
const char* words_for(keeper::Step step);
const char* name_of(keeper::Step step);
// Trying again with the same words would fail the same way.
bool is_permanent(keeper::Step step, int error);

}  // namespace lair::worker
