// Messages with descriptors, over a SEQPACKET socket: each arrives whole or not at all.
//
// Allocates nothing, so that lair-keeper can use it.
//
// Thread-safety: none needed: one syscall each.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

#include "os/fd.hpp"

namespace lair::os {

inline constexpr std::size_t kMostDescriptors = 8;

enum class MessageStatus : std::uint8_t { kOk, kWouldBlock, kClosed, kFailed };

// Two connected ends, CLOEXEC and non-blocking; none where the system refuses (errno set).
struct SocketPair {
  Fd ours;
  Fd theirs;
};
SocketPair make_message_pair() noexcept;

// The peer reads an end of file, whoever else holds a copy of this end (a forked child of the host, say).
void end_conversation(int socket) noexcept;

// Never SIGPIPE. errno is set for kFailed.
MessageStatus send_message(int socket, const void* data, std::size_t size, const int* fds,
                           std::size_t fd_count) noexcept;

struct Received {
  MessageStatus status = MessageStatus::kOk;
  std::size_t size = 0;
  std::array<Fd, kMostDescriptors> fds = {};  // CLOEXEC
  std::size_t fd_count = 0;
};
Received receive_message(int socket, void* data, std::size_t size) noexcept;

}  // namespace lair::os
