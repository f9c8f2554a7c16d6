// SessionSweep: a thread that ends, now and then, the sessions that have expired. Started with the first session; it may wait for
// workers and for the store, which no other thread of the pool's may.
//
// Thread-safety: `watch`, any thread.
#pragma once

#include <algorithm>
#include <chrono>
#include <condition_variable>
#include <functional>
#include <lair/deadline.hpp>
#include <mutex>
#include <thread>

namespace lair::pool {

class SessionSweep {
 public:
  // Often enough that a session outlives its time by a quarter of it at most.
  static Duration interval(Duration shortest_ttl) {
    using std::chrono::milliseconds;
    return std::clamp<Duration>(shortest_ttl / 4, milliseconds(50), std::chrono::minutes(1));
  }

  explicit SessionSweep(std::function<void()> turn) : turn_(std::move(turn)) {}
  ~SessionSweep() { stop(); }

  // Waits for a turn that is under way; there is none after it.
  void stop() {
    {
      const std::lock_guard lock(mutex_);
      ends_ = true;
    }
    changed_.notify_one();
    if (thread_.joinable()) thread_.join();
  }

  // There is a session with this `ttl`.
  void watch(Duration ttl) {
    bool sooner = false;
    {
      const std::lock_guard lock(mutex_);
      sooner = interval(ttl) < every_;
      every_ = std::min(every_, interval(ttl));
      if (!ends_ && !thread_.joinable()) thread_ = std::thread([this] { run(); });
    }
    if (sooner) changed_.notify_one();
  }

 private:
  void run() {
    std::unique_lock lock(mutex_);
    for (;;) {
      const Duration every = every_;
      const auto woken = [&] { return ends_ || every_ < every; };
      if (changed_.wait_for(lock, every, woken)) {
        if (ends_) return;
        continue;
      }
      lock.unlock();
      turn_();
      lock.lock();
    }
  }

  const std::function<void()> turn_;
  std::mutex mutex_;
  std::condition_variable changed_;
  Duration every_ = std::chrono::minutes(1);
  bool ends_ = false;
  std::thread thread_;
};

}  // namespace lair::pool
