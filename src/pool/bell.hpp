// Bell: the signal that tells a worker of a CANCEL, until it has heard it.
//
// Once is not enough: a signal that arrives between a worker's last look at its signals and a system call that blocks wakes
// nobody, and the call sleeps on. So it is rung again, ever more seldom, until the worker has answered.
#pragma once

#include <chrono>
#include <lair/deadline.hpp>

namespace lair::pool {

class Bell {
 public:
  Bell() = default;
  // `signal_number`: 0 if the worker has none.
  explicit Bell(int signal_number) : signal_(signal_number) {}

  int signal() const { return signal_; }
  // When it is to be rung again.
  TimePoint due() const { return due_; }
  void rung(TimePoint now) {
    due_ = now + pause_;
    pause_ *= 2;
  }

 private:
  int signal_ = 0;
  TimePoint due_ = TimePoint::max();
  Duration pause_ = std::chrono::milliseconds(5);
};

}  // namespace lair::pool
