// Channel half of a worker: framed, duplex, with deadlines. The Process half has another owner.
//
// A channel has one owner at a time: the supervisor while the worker starts or stops, one call or lease while it
// is busy. The owner blocks in `exchange`; the supervisor, which may not block, uses `send_now` and `receive_now`.
//
// Thread-safety: one thread at a time, but for `interrupt`.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <lair/deadline.hpp>
#include <optional>
#include <string>
#include <string_view>
#include <variant>

#include "os/stream.hpp"
#include "wire/frame.hpp"
#include "wire/message.hpp"

namespace lair::worker {

class Channel {
 public:
  Channel(os::Stream stream, std::size_t max_frame) : stream_(std::move(stream)), reader_(max_frame) {}

  int fd() const { return stream_.in_fd(); }
  // Ids count from 1 on each channel; 0 is the handshake's.
  std::uint64_t next_id() { return ++last_id_; }
  std::uint64_t last_id() const { return last_id_; }

  // Fit for another call? Between two calls nothing may be pending and the peer must be there.
  enum class Quiet : std::uint8_t { kYes, kStrayBytes, kClosed };
  // kGlance: only what has been read already counts, at the cost of no system call.
  enum class Look : std::uint8_t { kGlance, kAsk };
  Quiet quiet(Look look = Look::kAsk);
  // After kStrayBytes: what they begin with.
  std::string stray_bytes();

  // How an exchange ended without a frame. `sent`: the whole request had left, and may have been acted on.
  enum class Failure : std::uint8_t { kDeadline, kStopped, kClosed, kExited, kTooLong, kEarlyReply, kSystem };
  struct NoReply {
    Failure failure;
    bool sent = false;
    std::string detail = {};  // in words, where there is something to add
  };
  // Writes `request` and waits for one frame, until `deadline`. `exit_fd` (a pidfd) tells of the worker's death
  // even while something else holds the other end open. A reply already written when the worker dies counts. The
  // frame is valid until the channel is next used. Blocks; no locks.
  //
  // kItself: polls for the reply, the worker's end and the deadline at once. kWatched: somebody else calls `interrupt`
  // at the worker's end, so that on a socket it just reads, and polls only where the deadline is near: two system calls
  // in place of four.
  enum class Waits : std::uint8_t { kItself, kWatched };
  // `stop_fd`: ends it too when readable (kStopped); -1 for none. kMidway: the worker may write while it is written to, as it
  // does in the middle of a call.
  enum class Turn : std::uint8_t { kFirst, kMidway };
  std::variant<std::string_view, NoReply> exchange(const wire::CallFrame& request, int exit_fd,
                                                   Deadline deadline, Waits waits = Waits::kItself,
                                                   int stop_fd = -1, Turn turn = Turn::kFirst);
  // Exchanges that are kWatched look for the reply for so long before they sleep, where replies come as quickly. 0: they don't.
  void spin(Duration most) { stream_.spin(most); }
  // Their small requests and replies change hands there while both ends look.
  void hand_over_at(os::Handover handover) { stream_.hand_over_at(std::move(handover)); }
  // Around the exchanges of one call: a large reply's memory is not kept until the next one.
  class Exchanges {
   public:
    explicit Exchanges(Channel& channel) : channel_(channel) {}
    ~Exchanges() { channel_.reader_.rest(); }
    Exchanges(const Exchanges&) = delete;
    Exchanges& operator=(const Exchanges&) = delete;

   private:
    Channel& channel_;
  };
  // Ends the exchange that waits, or the next one, once what has arrived is read. The channel is of no use afterwards.
  // Any thread.
  void interrupt() const { stream_.interrupt(); }

  // For the reactor: writes as much of these as fits.
  struct Moved {
    std::size_t bytes = 0;  // what has left before it broke, too: the peer may have read it
    bool broken = false;    // the peer is gone, or the system refuses
    int refusal = 0;        // then its errno
  };
  Moved write_now(std::string_view bytes, int fd = -1);  // `fd` goes with the first byte
  bool is_socket() const { return stream_.is_socket(); }
  int out_fd() const { return stream_.out_fd(); }
  // For the supervisor: writes a short frame if it fits; false if it doesn't, or the peer is gone.
  bool send_now(std::string_view frame);
  // Reads what is there. A frame, nothing yet (nullopt), or the end.
  std::variant<std::string_view, std::nullopt_t, NoReply> receive_now();
  // That frame, to keep.
  wire::OwnedFrame keep(std::string_view frame) { return reader_.keep(frame); }

  // The first bytes read that made no frame, for messages.
  std::string_view held() const { return reader_.held(); }

 private:
  NoReply too_long(bool sent) const;
  bool hand_over(const std::array<std::string_view, 3>& pieces);

  os::Stream stream_;
  wire::FrameReader reader_;
  std::uint64_t last_id_ = 0;
  bool strayed_ = false;  // something was sent after the last first turn: the worker may not have read it yet
};

}  // namespace lair::worker
