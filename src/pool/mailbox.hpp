// Mailbox: what other threads have the reactor do, and whose turn it is to do it. It may outlive the reactor.
//
// The turn belongs to the reactor's thread, but for the time that it waits: then a thread that begins a call, or waits for its
// stream's items, may take it, and spare the reactor being woken for that. Who cannot have it at once posts instead; nobody but the reactor waits for it.
//
// Thread-safety: `post`, `take_turn`, `wake`: any thread; the rest is the reactor's.
#pragma once

#include <lair/once_function.hpp>
#include <mutex>
#include <optional>
#include <utility>
#include <vector>

#include "os/event_fd.hpp"

namespace lair::pool {

class Reactor;

class Mailbox {
 public:
  using Message = OnceFunction<void(Reactor&)>;

  // False: it is closed, and nobody will.
  bool post(Message message) {
    bool wake = false;
    {
      const std::lock_guard lock(mutex_);
      if (closed_) return false;
      messages_.push_back(std::move(message));
      wake = std::exchange(sleeps_, false) && !read_here();
    }
    if (wake) wake_.notify();
    return true;
  }

  // For another thread. Nothing: it is the reactor's, or somebody else's; or there are messages, which come first.
  std::optional<std::unique_lock<std::mutex>> take_turn() {
    if (read_here()) return std::nullopt;
    std::unique_lock turn(turn_, std::try_to_lock);
    if (!turn) return std::nullopt;
    const std::lock_guard lock(mutex_);
    if (closed_ || !messages_.empty()) return std::nullopt;
    return turn;
  }
  // The reactor's own, for which it waits.
  std::unique_lock<std::mutex> own_turn() { return std::unique_lock(turn_); }

  int fd() const { return wake_.fd(); }
  // `messages` is replaced. False: it was closed, and these are the last.
  bool take(std::vector<Message>& messages) {
    messages.clear();
    const std::lock_guard lock(mutex_);
    sleeps_ = false;
    messages.swap(messages_);
    return !closed_;
  }
  // Before the reactor waits: whoever posts from now on wakes it, by `fd`. False: there are messages already.
  bool sleep() {
    const std::lock_guard lock(mutex_);
    sleeps_ = messages_.empty() && !closed_;
    return sleeps_;
  }
  // When `fd` was readable.
  void woken() { wake_.drain(); }
  // Whether the reactor that reads this one is this thread.
  bool read_here() const { return read_by_this_thread == this; }
  void begin_reading() { read_by_this_thread = this; }
  void close() {
    const std::lock_guard lock(mutex_);
    closed_ = true;
  }
  void wake() { wake_.notify(); }

 private:
  static inline thread_local const Mailbox* read_by_this_thread = nullptr;

  os::EventFd wake_;
  std::mutex turn_;  // may be held when mutex_ is taken, never the other way round
  std::mutex mutex_;
  std::vector<Message> messages_;
  bool sleeps_ = false;
  bool closed_ = false;
};

}  // namespace lair::pool
