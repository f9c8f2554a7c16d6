#include "os/stream.hpp"

#include <poll.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/uio.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstring>
#include <utility>

#include "os/failpoint.hpp"

namespace lair::os {

using failpoint::Point;

namespace {

IoResult result_of(ssize_t n, bool zero_is_end) {
  if (n > 0) return {.status = IoStatus::kOk, .bytes = static_cast<std::size_t>(n)};
  if (n == 0) return {.status = zero_is_end ? IoStatus::kClosed : IoStatus::kWouldBlock};
  switch (errno) {
    case EAGAIN:
      return {.status = IoStatus::kWouldBlock};
    case EPIPE:
    case ECONNRESET:
      return {.status = IoStatus::kClosed, .error = errno};
    default:
      return {.status = IoStatus::kFailed, .error = errno};
  }
}

}  // namespace

Stream Stream::socket(Fd fd) {
  Stream stream;
  stream.socket_ = true;
  stream.in_ = std::move(fd);
  constexpr timeval patience{
      .tv_sec = 0, .tv_usec = std::chrono::duration_cast<std::chrono::microseconds>(kPatience).count()};
  static_assert(kPatience < std::chrono::seconds(1));
  // Not refused to a socket.
  (void)::setsockopt(stream.in_.get(), SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
  return stream;
}

Stream Stream::pipe(Fd in) { return pipes(std::move(in), Fd(), Fd()); }

Stream Stream::pipes(Fd in, Fd out, Fd keep_alive) {
  Stream stream;
  stream.in_ = std::move(in);
  stream.out_ = std::move(out);
  stream.keep_alive_ = std::move(keep_alive);
  return stream;
}

IoResult Stream::write(const Piece* pieces, std::size_t count, int fd) {
  std::array<iovec, kMostPieces> parts{};
  for (std::size_t i = 0; i < count; ++i) {
    parts[i] = {.iov_base = const_cast<char*>(pieces[i].data),
                .iov_len = pieces[i].size};  // NOLINT: iovec is not const-correct
  }
  msghdr message{};
  message.msg_iov = parts.data();
  message.msg_iovlen = count;
  alignas(cmsghdr) std::array<char, CMSG_SPACE(sizeof(int))> control{};
  if (fd >= 0) {
    message.msg_control = control.data();
    message.msg_controllen = control.size();
    cmsghdr* const header = CMSG_FIRSTHDR(&message);
    header->cmsg_level = SOL_SOCKET;
    header->cmsg_type = SCM_RIGHTS;
    header->cmsg_len = CMSG_LEN(sizeof fd);
    std::memcpy(CMSG_DATA(header), &fd, sizeof fd);
  }
  failpoint::shorten(Point::kStreamWrite, parts.data(), count);
  ssize_t n = 0;
  do {
    n = failpoint::refuses(Point::kStreamWrite) ? -1
        : socket_                               ? ::sendmsg(in_.get(), &message, MSG_NOSIGNAL | MSG_DONTWAIT)
                                                : ::writev(out_.get(), parts.data(), static_cast<int>(count));
  } while (n < 0 && errno == EINTR);
  return result_of(n, false);
}

IoResult Stream::read(char* data, std::size_t size) {
  ssize_t n = 0;
  do {
    const std::size_t most = failpoint::most(Point::kStreamRead, size);
    n = failpoint::refuses(Point::kStreamRead) ? -1
        : socket_                              ? ::recv(in_.get(), data, most, MSG_DONTWAIT)
                                               : ::read(in_.get(), data, most);
  } while (n < 0 && errno == EINTR);
  return result_of(n, true);
}

ssize_t Stream::receive(char* data, std::size_t size) {
  if (!spin_) return ::recv(in_.get(), data, size, 0);
  // With room for a frame of each, should both be there.
  const bool hands_over = handover_ && size >= 2 * Handover::kMost;
  ssize_t n = 0;
  const auto begin = [&] {
    if (hands_over) handover_.look();
  };
  const auto look = [&] {
    if (hands_over && (n = static_cast<ssize_t>(handover_.take(data))) > 0) return true;
    n = ::recv(in_.get(), data, hands_over ? size - Handover::kMost : size, MSG_DONTWAIT);
    if (n < 0 && errno == EAGAIN) return false;
    if (hands_over) n = look_away(data, n);
    return true;
  };
  const auto sleep = [&] {
    if (hands_over && (n = look_away(data, 0)) > 0) return;
    n = ::recv(in_.get(), data, size, 0);
  };
  spin_->wait(begin, look, sleep);
  return n;
}

// So many bytes have been read from the socket into `data`: now with what has been handed over meanwhile, which came before them.
// An error, or the end, is there the next time, too.
ssize_t Stream::look_away(char* data, ssize_t read) {
  std::array<char, Handover::kMost> frame;
  const std::size_t size = handover_.look_away(frame.data());
  if (size == 0) return read;
  const std::size_t behind = read > 0 ? static_cast<std::size_t>(read) : 0;
  std::memmove(data + size, data, behind);
  std::memcpy(data, frame.data(), size);
  return static_cast<ssize_t>(size + behind);
}

IoResult Stream::wait_read(char* data, std::size_t size) {
  ssize_t n = 0;
  do {
    const std::size_t most = failpoint::most(Point::kStreamWaitRead, size);
    n = failpoint::refuses(Point::kStreamWaitRead) ? -1 : receive(data, most);
  } while (n < 0 && errno == EINTR);
  return result_of(n, true);
}

void Stream::spin(Duration most) {
  spin_.reset();
  if (most > Duration::zero()) spin_.emplace(most);
}

void Stream::interrupt() const {
  if (socket_) ::shutdown(in_.get(), SHUT_RD);
}

IoStatus Stream::look() const {
  if (!socket_) {
    pollfd poll{.fd = in_.get(), .events = POLLIN, .revents = 0};
    int n = 0;
    do {
      n = failpoint::refuses(Point::kStreamLook) ? -1 : ::poll(&poll, 1, 0);
    } while (n < 0 && errno == EINTR);
    if (n == 0) return IoStatus::kWouldBlock;
    return (poll.revents & POLLIN) != 0 ? IoStatus::kOk : IoStatus::kClosed;
  }
  char byte = 0;
  ssize_t n = 0;
  do {
    n = failpoint::refuses(Point::kStreamLook) ? -1 : ::recv(in_.get(), &byte, 1, MSG_PEEK | MSG_DONTWAIT);
  } while (n < 0 && errno == EINTR);
  return result_of(n, true).status;
}

}  // namespace lair::os
