// Mailbox: what other threads have the reactor do. It may outlive the reactor.
//
// Thread-safety: `post`, any thread; the rest is the reactor's.
#pragma once

#include <lair/once_function.hpp>
#include <mutex>
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
  std::mutex mutex_;
  std::vector<Message> messages_;
  bool sleeps_ = false;
  bool closed_ = false;
};

}  // namespace lair::pool
