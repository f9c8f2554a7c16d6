#include "os/message_socket.hpp"

#include <sys/socket.h>

#include <cerrno>
#include <cstring>

#include "os/failpoint.hpp"

namespace lair::os {

using failpoint::Point;

namespace {

struct alignas(cmsghdr) Control {
  char bytes[CMSG_SPACE(sizeof(int) * kMostDescriptors)];
};

MessageStatus status_of_errno() {
  switch (errno) {
    case EAGAIN:
      return MessageStatus::kWouldBlock;
    case EPIPE:
    case ECONNRESET:
      return MessageStatus::kClosed;
    default:
      return MessageStatus::kFailed;
  }
}

}  // namespace

SocketPair make_message_pair() noexcept {
  int ends[2] = {-1, -1};
  if (failpoint::refuses(Point::kMessagePair) ||
      ::socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, ends) != 0)
    return {};
  return {.ours = Fd(ends[0]), .theirs = Fd(ends[1])};
}

void end_conversation(int socket) noexcept { ::shutdown(socket, SHUT_RDWR); }

MessageStatus send_message(int socket, const void* data, std::size_t size, const int* fds,
                           std::size_t fd_count) noexcept {
  iovec part{.iov_base = const_cast<void*>(data), .iov_len = size};  // NOLINT: iovec is not const-correct
  msghdr message{};
  message.msg_iov = &part;
  message.msg_iovlen = 1;
  Control control{};
  if (fd_count > 0) {
    message.msg_control = control.bytes;
    message.msg_controllen = CMSG_SPACE(sizeof(int) * fd_count);
    cmsghdr* header = CMSG_FIRSTHDR(&message);
    header->cmsg_level = SOL_SOCKET;
    header->cmsg_type = SCM_RIGHTS;
    header->cmsg_len = CMSG_LEN(sizeof(int) * fd_count);
    std::memcpy(CMSG_DATA(header), fds, sizeof(int) * fd_count);
  }
  ssize_t sent = 0;
  do {
    sent = failpoint::refuses(Point::kMessageSend) ? -1
                                                   : ::sendmsg(socket, &message, MSG_NOSIGNAL | MSG_DONTWAIT);
  } while (sent < 0 && errno == EINTR);
  return sent >= 0 ? MessageStatus::kOk : status_of_errno();
}

Received receive_message(int socket, void* data, std::size_t size) noexcept {
  iovec part{.iov_base = data, .iov_len = size};
  msghdr message{};
  message.msg_iov = &part;
  message.msg_iovlen = 1;
  Control control{};
  message.msg_control = control.bytes;
  message.msg_controllen = sizeof control.bytes;
  ssize_t got = 0;
  do {
    got = failpoint::refuses(Point::kMessageReceive)
              ? -1
              : ::recvmsg(socket, &message, MSG_CMSG_CLOEXEC | MSG_DONTWAIT);
  } while (got < 0 && errno == EINTR);

  Received received;
  if (got < 0) {
    // Memory may come free, and the message is still there.
    received.status = errno == ENOMEM ? MessageStatus::kWouldBlock : status_of_errno();
    return received;
  }
  if (got == 0) {
    received.status = MessageStatus::kClosed;
    return received;
  }
  received.size = static_cast<std::size_t>(got);
  for (cmsghdr* header = CMSG_FIRSTHDR(&message); header != nullptr; header = CMSG_NXTHDR(&message, header)) {
    if (header->cmsg_level != SOL_SOCKET || header->cmsg_type != SCM_RIGHTS) continue;
    const std::size_t count = (header->cmsg_len - CMSG_LEN(0)) / sizeof(int);
    for (std::size_t i = 0; i < count && received.fd_count < kMostDescriptors; ++i) {
      int fd = -1;
      std::memcpy(&fd, CMSG_DATA(header) + i * sizeof(int), sizeof fd);
      received.fds[received.fd_count++].reset(fd);
    }
  }
  return received;
}

}  // namespace lair::os
