// Byte streams: one socket for both directions, or two pipes. Nothing here blocks but `wait_read`.
//
// A write to a dead peer must not raise SIGPIPE in the host, whose signal dispositions are not ours. Sockets are
// written with MSG_NOSIGNAL. Pipes have no such flag: the owner of an outgoing pipe keeps a read end of it open
// as well (`keep_alive`), so the pipe is never broken; that its reader has died is known from the pidfd.
//
// Thread-safety: one thread at a time, but for `interrupt`.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <lair/deadline.hpp>
#include <optional>
#include <string_view>
#include <utility>

#include "os/fd.hpp"
#include "os/handover.hpp"
#include "os/pieces.hpp"
#include "os/spin.hpp"

namespace lair::os {

enum class IoStatus : std::uint8_t {
  kOk,  // `bytes` were moved; at least one
  kWouldBlock,
  kClosed,  // end of file, or the peer is gone
  kFailed,  // `error` says why
};
struct IoResult {
  IoStatus status = IoStatus::kOk;
  std::size_t bytes = 0;
  int error = 0;
};

class Stream {
 public:
  Stream() = default;
  static Stream socket(Fd fd);  // a blocking one
  static Stream pipes(Fd in, Fd out, Fd keep_alive);
  static Stream pipe(Fd in);  // to read only

  explicit operator bool() const { return static_cast<bool>(in_); }
  int in_fd() const { return in_.get(); }
  int out_fd() const { return out_ ? out_.get() : in_.get(); }

  // Writes as much of the pieces, in order, as fits.
  using Piece = os::Piece;
  static constexpr std::size_t kMostPieces = 4;
  // `fd`: a copy of this descriptor goes with the first byte, on a socket; -1 for none.
  IoResult write(const Piece* pieces, std::size_t count, int fd = -1);
  IoResult read(char* data, std::size_t size);
  // On a socket only: blocks until there is something to read, or `interrupt`, or kPatience has passed (kWouldBlock), give
  // or take the kernel's tick. One system call where polling takes two.
  static constexpr Duration kPatience = std::chrono::milliseconds(500);
  bool is_socket() const { return socket_; }
  IoResult wait_read(char* data, std::size_t size);
  // From now on it looks for so long before it sleeps, where the one before was as short (spin.hpp). 0: it sleeps at once.
  void spin(Duration most);
  // From now on small frames change hands there while both ends look (handover.hpp). On a socket only.
  void hand_over_at(Handover handover) { handover_ = std::move(handover); }
  // Leaves a whole frame for the peer, if that is looking. The peer has read all that was written before: that is the caller's to
  // know.
  bool hand_over(const Piece* pieces, std::size_t count) {
    return handover_ && handover_.give(pieces, count);
  }
  // What was handed over last has not been taken: the peer has seen nothing of it.
  bool untaken() const { return handover_ && handover_.untaken(); }
  // Ends a wait_read, now or the next one, with kClosed; what had arrived before is still read first. From then on the
  // other end's writes fail. Any thread, while the stream is open. On pipes it does nothing.
  void interrupt() const;

  // Is there anything to read, without reading it? kOk: yes. 0.25 µs on a socket.
  IoStatus look() const;

 private:
  std::ptrdiff_t receive(char* data, std::size_t size);  // as a recv that blocks
  std::ptrdiff_t look_away(char* data, std::ptrdiff_t read);

  bool socket_ = false;
  std::optional<Spin> spin_;
  Handover handover_;
  Fd in_;
  Fd out_;
  Fd keep_alive_;
};

}  // namespace lair::os
