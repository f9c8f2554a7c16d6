// Spin: whether to look for an answer again and again before going to sleep until it comes.
//
// To be woken costs some 25 µs where the answer comes from another core, as much as a short call takes altogether; to look
// and to let others run in between (sched_yield) costs 1 µs a time. So who waits looks for a while, but only where that has paid: when
// the wait before was short enough for it. And not for some time after another thread has used what was let go to run for long.
//
// Thread-safety: one thread at a time.
#pragma once

#include <lair/deadline.hpp>
#include <thread>

namespace lair::os {

class Spin {
 public:
  // A thread that comes back from letting others run only after this has lost its core to one that has much to do.
  static constexpr Duration kLost = std::chrono::milliseconds(1);
  static constexpr Duration kRest = std::chrono::milliseconds(50);

  // Looks for so long at most. `tries`: also before anything is known.
  explicit Spin(Duration most, bool tries = false) : most_(most), was_short_(tries) {}

  // Until `look` has found something, or `sleep`, which waits until there is something, has returned. `begin`: before the first look.
  template <class Begin, class Look, class Sleep>
  void wait(Begin begin, Look look, Sleep sleep) {
    const TimePoint began = SteadyClock::now();
    TimePoint now = began;
    bool looks = pays(began);
    if (looks) begin();
    while (looks) {
      std::this_thread::yield();  // first: what answers may be waiting for this very core
      const bool found = look();
      const TimePoint before = now;
      now = SteadyClock::now();
      looks = goes_on(began, before, now);  // which also learns from it
      if (found) return;
    }
    sleep();
    slept(SteadyClock::now() - began);
  }

  template <class Look, class Sleep>
  void wait(Look look, Sleep sleep) {
    wait([] {}, look, sleep);
  }

  // What it goes by. A wait begins: is it worth looking?
  bool pays(TimePoint began) const { return was_short_ && began >= rests_until_; }
  // Others have run, and it has looked, from `before` to `now`: is it worth looking again, where that was in vain?
  bool goes_on(TimePoint began, TimePoint before, TimePoint now) {
    if (now - before >= kLost) rests_until_ = now + kRest;
    return now - began < most_ && now >= rests_until_;
  }
  // A wait has ended in sleep, after so long altogether.
  void slept(Duration time) { was_short_ = time < most_; }

 private:
  Duration most_;
  bool was_short_;
  TimePoint rests_until_ = TimePoint::min();
};

}  // namespace lair::os
