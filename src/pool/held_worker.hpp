// HeldWorker: a lease's worker, which its calls have one after another, whether they block or not.
//
// Thread-safety: any thread.
#pragma once

#include <mutex>
#include <stop_token>
#include <utility>

#include "pool/parker.hpp"

namespace lair::pool {

class HeldWorker {
 public:
  explicit HeldWorker(Hold hold) : hold_(std::move(hold)) {}

  enum class State : std::uint8_t { kFree, kInUse, kGone, kReleased };
  // For one call. kFree: it is that call's now, until `leave`.
  State use() {
    const std::lock_guard lock(mutex_);
    if (in_use_) return State::kInUse;
    if (hold_.epoch == 0) return State::kGone;
    if (released_) return State::kReleased;
    in_use_ = true;
    return State::kFree;
  }
  // True: the lease was released meanwhile, and the worker is to be given back.
  [[nodiscard]] bool leave() {
    const std::lock_guard lock(mutex_);
    in_use_ = false;
    return released_ && hold_.epoch != 0;
  }
  // The lease ends. A call that does not block is stopped. True: nobody has the worker, and it is to be given back.
  [[nodiscard]] bool release() {
    std::stop_source stop(std::nostopstate);
    {
      const std::lock_guard lock(mutex_);
      released_ = true;
      if (!in_use_) return hold_.epoch != 0;
      stop = stop_;
    }
    (void)stop.request_stop();
    return false;
  }

  // Its user's.
  Hold& hold() { return hold_; }
  const RecordPtr& record() const { return hold_.record; }
  std::stop_token stop() {
    const std::lock_guard lock(mutex_);
    if (!stop_.stop_possible()) stop_ = std::stop_source();
    if (released_) (void)stop_.request_stop();
    return stop_.get_token();
  }

 private:
  std::mutex mutex_;
  Hold hold_;
  bool in_use_ = false;
  bool released_ = false;
  std::stop_source stop_{std::nostopstate};  // made for the first call that does not block
};

}  // namespace lair::pool
