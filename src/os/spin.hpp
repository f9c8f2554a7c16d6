// Spin: whether to look for an answer again and again before going to sleep until it comes.
//
// To be woken costs some 25 µs where the answer comes from another core, as much as a short call takes altogether; to look
// and to let others run in between (sched_yield) costs 1 µs a time. So who waits looks for a while, but only where that has paid: when
// the wait before was short enough for it. And not for some time after another thread has used what was let go to run for long.
//
// Pure: time comes from outside.
#pragma once

#include <lair/deadline.hpp>

namespace lair::os {

class Spin {
 public:
  // A thread that comes back from letting others run only after this has lost its core to one that has much to do.
  static constexpr Duration kLost = std::chrono::milliseconds(1);
  static constexpr Duration kRest = std::chrono::milliseconds(50);

  // Looks for so long at most.
  explicit Spin(Duration most) : most_(most) {}

  // A wait begins: is it worth looking?
  bool pays(TimePoint began) const { return was_short_ && began >= rests_until_; }
  // It has looked in vain, and others have run from `before` to `now`: is it worth looking again?
  bool goes_on(TimePoint began, TimePoint before, TimePoint now) {
    if (now - before >= kLost) rests_until_ = now + kRest;
    return now - began < most_ && now >= rests_until_;
  }
  // A wait has ended in sleep, after so long altogether.
  void slept(Duration time) { was_short_ = time < most_; }

 private:
  Duration most_;
  bool was_short_ = false;
  TimePoint rests_until_ = TimePoint::min();
};

}  // namespace lair::os
