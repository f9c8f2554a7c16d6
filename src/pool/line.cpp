#include "pool/line.hpp"

#include <cerrno>
#include <utility>

#include "os/pidfd.hpp"
#include "os/wait.hpp"

namespace lair::pool {

// Beyond this, what has left is taken off the front.
static constexpr std::size_t kSlack = 64u << 10;

bool Line::watch() {
  if (watched_ || paused_) return true;
  if (lent_) {
    take_back();
    return true;
  }
  if (!poller_.add(channel().fd(), tag_)) return false;
  // On a socket the supervisor ends the wait of a dead worker's channel; on pipes it cannot.
  if (!channel().is_socket() && !poller_.add(record_->process.exit_fd.get(), tag_)) {
    const int refusal = errno;
    poller_.remove(channel().fd());
    errno = refusal;
    return false;
  }
  return watched_ = true;
}

void Line::unwatch() {
  if (!watched_ && !lent_) return;
  poller_.remove(channel().fd());
  if (!channel().is_socket()) {
    poller_.remove(record_->process.exit_fd.get());
    if (waits_for_room_) poller_.remove(channel().out_fd());
  }
}

void Line::pause() {
  unwatch();
  watched_ = waits_for_room_ = lent_ = false;
  paused_ = true;
}

void Line::lend() {
  poller_.mute(channel().fd(), tag_, true);
  watched_ = false;
  lent_ = true;
}

void Line::take_back() {
  poller_.mute(channel().fd(), tag_, false);
  watched_ = true;
  lent_ = false;
}

bool Line::resume() {
  paused_ = false;
  if (!watch()) return false;
  flush();
  return true;
}

std::uint64_t Line::append(std::string_view head, std::string_view arguments, std::string_view tail) {
  out_.append(head).append(arguments).append(tail);
  const std::uint64_t end = written_ + (out_.size() - begins_);
  ends_.push_back(end);
  return end;
}

void Line::write_with(std::string_view frame, int fd, std::shared_ptr<const void> owner) {
  descriptors_.push_back({.at = written_ + unsent(), .fd = fd, .owner = std::move(owner)});
  write(frame);
}

// What goes before a descriptor's frame leaves by itself.
worker::Channel::Moved Line::move(std::string_view bytes) {
  worker::Channel::Moved all;
  while (all.bytes < bytes.size()) {
    const std::uint64_t at = written_ + all.bytes;
    std::string_view piece = bytes.substr(all.bytes);
    const bool with = !descriptors_.empty() && descriptors_.front().at == at;
    const std::size_t next = with ? 1 : 0;
    if (descriptors_.size() > next) piece = piece.substr(0, descriptors_[next].at - at);
    const auto moved = channel().write_now(piece, with ? descriptors_.front().fd : -1);
    all.bytes += moved.bytes;
    all.broken = moved.broken;
    all.refusal = moved.refusal;
    if (with && moved.bytes > 0) descriptors_.pop_front();
    if (moved.bytes < piece.size()) break;
  }
  return all;
}

void Line::flush() {
  if (broken_ || begins_ == out_.size()) return;
  const auto moved = move(std::string_view(out_).substr(begins_));
  broken_ = moved.broken;
  written_ += moved.bytes;
  signal();
  begins_ += moved.bytes;
  for (; !ends_.empty() && ends_.front() <= written_; ends_.pop_front()) whole_ = ends_.front();
  const bool all = begins_ == out_.size();
  if (all || begins_ > kSlack) {
    out_.erase(0, begins_);
    begins_ = 0;
    if (all && out_.capacity() > kSlack) out_.shrink_to_fit();
  }
  if (moved.refusal != 0) refuse(moved.refusal);
  const bool waits = !all && !broken_;
  if (waits == waits_for_room_ || paused_) return;
  if (lent_) take_back();  // whoever waits does not wait for room
  if (channel().is_socket()) {
    poller_.also_writable(channel().fd(), tag_, waits);
  } else if (waits) {
    if (!poller_.add_writable(channel().out_fd(), tag_)) {
      broken_ = true;
      return refuse(errno);
    }
  } else {
    poller_.remove(channel().out_fd());
  }
  waits_for_room_ = waits;
}

void Line::refuse(int error) {
  refusal_ = error;
  refused_.push_back(tag_);
}

void Line::signal_when_written(std::uint64_t end, int signal_number) {
  signal_at_ = end;
  signal_ = signal_number;
  signal();
}

void Line::signal() {
  if (signal_ == 0 || written_ < signal_at_) return;
  (void)os::signal_pidfd(record_->process.exit_fd.get(), std::exchange(signal_, 0));
}

bool Line::exited() const {
  return os::wait_for_io({.exit_fd = record_->process.exit_fd.get()}, Deadline::at(SteadyClock::now()))
      .exited;
}

}  // namespace lair::pool
