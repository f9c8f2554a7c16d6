#include "worker/channel.hpp"

#include <array>
#include <cerrno>
#include <cstring>
#include <utility>

#include "os/wait.hpp"
#include "wire/json_codec.hpp"

namespace lair::worker {

using os::IoStatus;

namespace {
// A wait by the kernel's tick may end so much later.
constexpr Duration kTick = std::chrono::milliseconds(50);
}  // namespace

Channel::Quiet Channel::quiet(Look look) {
  if (!reader_.empty()) return Quiet::kStrayBytes;
  if (look == Look::kGlance) return Quiet::kYes;
  switch (stream_.look()) {
    case IoStatus::kWouldBlock:
      return Quiet::kYes;
    case IoStatus::kOk:
      return Quiet::kStrayBytes;
    case IoStatus::kClosed:
    case IoStatus::kFailed:
      break;
  }
  return Quiet::kClosed;
}

std::string Channel::stray_bytes() {
  if (reader_.empty()) {
    const auto space = reader_.space();
    const os::IoResult read = stream_.read(space.data, space.size);
    if (read.status == IoStatus::kOk) reader_.advance(read.bytes);
  }
  return wire::printable(reader_.held());
}

Channel::NoReply Channel::too_long(bool sent) const {
  return {.failure = Failure::kTooLong,
          .sent = sent,
          .detail = "a frame of " + std::to_string(*reader_.refused_length()) +
                    " bytes was announced; it begins with: " + wire::printable(reader_.held())};
}

std::variant<std::string_view, Channel::NoReply> Channel::exchange(const wire::CallFrame& request,
                                                                   int exit_fd, Deadline deadline,
                                                                   Waits waits, int stop_fd, Turn turn) {
  const bool watched = waits == Waits::kWatched && stream_.is_socket();
  const std::array<std::string_view, 3> pieces = {request.head, request.arguments, request.tail};
  const std::size_t total = request.size();
  std::size_t written = 0;
  bool exited = false;
  // Whoever begins a call has had the answer to the one before, for which the worker has read all that came with it.
  const bool in_order = turn == Turn::kFirst && !std::exchange(strayed_, false);
  if (turn == Turn::kMidway && total > 0) strayed_ = true;
  const bool handed = in_order && watched && request.fd < 0 && hand_over(pieces);
  if (handed) written = total;
  for (;;) {
    if (written < total) {
      std::array<os::Stream::Piece, 3> rest{};
      std::size_t count = 0;
      std::size_t skip = written;
      for (const std::string_view piece : pieces) {
        if (skip >= piece.size()) {
          skip -= piece.size();
          continue;
        }
        rest[count++] = {.data = piece.data() + skip, .size = piece.size() - skip};
        skip = 0;
      }
      const os::IoResult result = stream_.write(rest.data(), count, written == 0 ? request.fd : -1);
      if (result.status == IoStatus::kOk) {
        written += result.bytes;
        if (written < total && !deadline.passed()) continue;
      } else if (result.status == IoStatus::kFailed) {
        return NoReply{.failure = Failure::kSystem, .sent = false, .detail = std::strerror(result.error)};
      } else if (result.status == IoStatus::kClosed) {
        return NoReply{.failure = Failure::kClosed, .sent = false};
      }
    }
    const bool sent = written == total;
    const auto may_have_been_read = [&] { return sent && !(handed && stream_.untaken()); };
    if (turn == Turn::kMidway) {
      if (sent) {
        if (const auto frame = reader_.next()) return *frame;
      }
      if (reader_.refused_length()) return too_long(sent);  // perhaps behind the frame that is being answered
    }

    // On a dead worker's channel: whatever it has said before still counts, so it is read to its end first.
    const bool just_read =
        watched && sent && stop_fd < 0 && deadline.remaining() > os::Stream::kPatience + kTick;
    if (!exited && !just_read) {
      const os::Ready ready = os::wait_for_io({.in_fd = stream_.in_fd(),
                                               .out_fd = sent ? -1 : stream_.out_fd(),
                                               .exit_fd = exit_fd,
                                               .stop_fd = stop_fd},
                                              deadline);
      // A reply that is there counts.
      if (ready.stopped && !ready.readable && !ready.exited)
        return NoReply{.failure = Failure::kStopped, .sent = sent};
      if (ready.timed_out) return NoReply{.failure = Failure::kDeadline, .sent = sent};
      exited = ready.exited;
      if (!ready.readable && !exited) continue;
    }
    const auto space = reader_.space();
    const os::IoResult read =
        just_read ? stream_.wait_read(space.data, space.size) : stream_.read(space.data, space.size);
    switch (read.status) {
      case IoStatus::kOk:
        break;
      case IoStatus::kWouldBlock:
        if (exited) return NoReply{.failure = Failure::kExited, .sent = may_have_been_read()};
        continue;
      case IoStatus::kClosed: {
        if (watched) exited = os::wait_for_io({.exit_fd = exit_fd}, Deadline::at(SteadyClock::now())).exited;
        // A socket's end that is closed with bytes still unread resets the connection. The only bytes there are this
        // request's, so it was not wholly read and has not been acted on: as good as not sent.
        const bool read_by_worker = read.error != ECONNRESET && may_have_been_read();
        return NoReply{.failure = exited ? Failure::kExited : Failure::kClosed, .sent = read_by_worker};
      }
      case IoStatus::kFailed:
        return NoReply{.failure = Failure::kSystem, .sent = sent, .detail = std::strerror(read.error)};
    }
    reader_.advance(read.bytes);
    if (turn == Turn::kMidway && !sent) {
      if (reader_.refused_length()) return too_long(sent);
      continue;
    }
    if (const auto frame = reader_.next()) {
      if (sent) return *frame;
      return NoReply{.failure = Failure::kEarlyReply, .sent = false, .detail = wire::printable(*frame)};
    }
    if (reader_.refused_length()) return too_long(sent);
  }
}

bool Channel::hand_over(const std::array<std::string_view, 3>& pieces) {
  std::array<os::Piece, 3> all{};
  for (std::size_t i = 0; i < pieces.size(); ++i)
    all[i] = {.data = pieces[i].data(), .size = pieces[i].size()};
  return stream_.hand_over(all.data(), all.size());
}

Channel::Moved Channel::write_now(std::string_view bytes, int fd) {
  strayed_ = true;
  Moved moved;
  while (moved.bytes < bytes.size()) {
    const os::Stream::Piece piece{.data = bytes.data() + moved.bytes, .size = bytes.size() - moved.bytes};
    const os::IoResult result = stream_.write(&piece, 1, moved.bytes == 0 ? fd : -1);
    if (result.status == IoStatus::kWouldBlock) break;
    moved.broken = result.status != IoStatus::kOk;
    if (result.status == IoStatus::kFailed) moved.refusal = result.error;
    if (moved.broken) break;
    moved.bytes += result.bytes;
  }
  return moved;
}

bool Channel::send_now(std::string_view frame) {
  strayed_ = true;
  while (!frame.empty()) {
    const os::Stream::Piece piece{.data = frame.data(), .size = frame.size()};
    const os::IoResult result = stream_.write(&piece, 1);
    if (result.status != IoStatus::kOk) return false;
    frame.remove_prefix(result.bytes);
  }
  return true;
}

std::variant<std::string_view, std::nullopt_t, Channel::NoReply> Channel::receive_now() {
  for (;;) {
    if (const auto frame = reader_.next()) return *frame;
    if (reader_.refused_length()) return too_long(true);
    const auto space = reader_.space();
    const os::IoResult read = stream_.read(space.data, space.size);
    switch (read.status) {
      case IoStatus::kOk:
        reader_.advance(read.bytes);
        break;
      case IoStatus::kWouldBlock:
        return std::nullopt;
      case IoStatus::kClosed:
        // As in `exchange`: with bytes unread, it had not read the request.
        return NoReply{.failure = Failure::kClosed, .sent = read.error != ECONNRESET};
      case IoStatus::kFailed:
        return NoReply{.failure = Failure::kSystem, .sent = true, .detail = std::strerror(read.error)};
    }
  }
}

}  // namespace lair::worker
