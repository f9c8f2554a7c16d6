// Where a caller sleeps while it waits for a worker.
//
// Parkers belong to the pool and are recycled, never to the waiter's stack: the one who wakes it up does so after
// leaving the pool's lock, when the waiter may already have given up and gone.
//
// Thread-safety: `post` from any thread; `wait` by the one waiter it is lent to.
#pragma once

#include <condition_variable>
#include <cstdint>
#include <mutex>
#include <optional>
#include <utility>

#include "core/effect.hpp"
#include "pool/record.hpp"

namespace lair::pool {

// A hold on a worker: one call's, or a lease's.
struct Hold {
  RecordPtr record;
  core::Epoch epoch = 0;        // 0: given back
  std::uint32_t completed = 0;  // calls answered under it (a lease)
  core::SessionKey session = 0;
  TimePoint since = {};  // when its caller came to have it
};

class Parker {
 public:
  // What the waiter is told. A grant or a refusal is final; a wake is a hint that may come first.
  struct Notice {
    bool woken = false;
    bool stopped = false;  // its call is to end
    std::optional<Hold> grant = {};
    std::optional<core::Refuse> refusal = {};

    bool final() const { return grant || refusal; }
  };

  // Told in place of a thread that waits. Must not block, nor call back.
  class Listener {
   public:
    virtual void post(core::Token token, Notice notice) = 0;

   protected:
    ~Listener() = default;
  };

  // For a new waiter. Notices for an older token are dropped.
  void lend(core::Token token, Listener* listener = nullptr) {
    const std::lock_guard lock(mutex_);
    token_ = token;
    listener_ = listener;
    notice_ = {};
  }

  void post(core::Token token, const Notice& notice) {
    {
      const std::lock_guard lock(mutex_);
      if (token != token_) return;
      if (listener_ != nullptr) return listener_->post(token, notice);
      notice_.woken = notice_.woken || notice.woken;
      notice_.stopped = notice_.stopped || notice.stopped;
      if (notice.grant) notice_.grant = notice.grant;
      if (notice.refusal) notice_.refusal = notice.refusal;
    }
    told_.notify_one();
  }

  // Blocks until there is a notice, or `deadline`: then an empty one. The notice is taken out: a grant that stayed behind
  // would keep the worker's channel and pidfd open, long after its end, until somebody waits here again.
  Notice wait(TimePoint deadline) {
    std::unique_lock lock(mutex_);
    const auto told = [this] { return notice_.woken || notice_.stopped || notice_.final(); };
    if (deadline == TimePoint::max()) {
      told_.wait(lock, told);
    } else {
      told_.wait_until(lock, deadline, told);
    }
    return std::exchange(notice_, {});
  }
  // Blocks until the final notice, which must be on its way.
  Notice wait_final() {
    std::unique_lock lock(mutex_);
    told_.wait(lock, [this] { return notice_.final(); });
    return std::exchange(notice_, {});
  }

 private:
  std::mutex mutex_;
  std::condition_variable told_;
  core::Token token_ = 0;
  Listener* listener_ = nullptr;
  Notice notice_;
};

}  // namespace lair::pool
