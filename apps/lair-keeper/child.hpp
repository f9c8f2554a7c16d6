// What runs in the new process between fork and exec.
#pragma once

#include <array>

#include "os/message_socket.hpp"
#include "worker/keeper_protocol.hpp"

namespace lair::keeper {

struct ChildOrders {
  const worker::keeper::Spawn& spawn;
  const std::array<os::Fd, os::kMostDescriptors>& fds;
  std::size_t fd_count;
  int failure_pipe;
  int keeper_pid;
};

// Becomes the worker. Never returns: a failure is written to the pipe, and the process ends.
[[noreturn]] void become_worker(const ChildOrders& orders);

}  // namespace lair::keeper
