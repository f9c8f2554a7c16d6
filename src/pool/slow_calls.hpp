// SlowCalls: when to look for calls that have been running for longer than `slow_call`. A call costs a comparison;
// there is at most one look in that time, however many calls come and go.
//
// Thread-safety: none; the shell's mutex guards it.
#pragma once

#include <lair/deadline.hpp>
#include <string>
#include <vector>

#include "pool/record.hpp"

namespace lair::pool {

class SlowCalls {
 public:
  // `after`: for how long a call may run in silence; kForever: always.
  explicit SlowCalls(Duration after) : after_(after) {}

  // A worker has been given a call. True: whoever looks sleeps, and must be told that there is something to watch.
  bool began(TimePoint now) {
    if (after_ == kForever || look_at_ != TimePoint::max()) return false;
    look_at_ = Deadline::after(after_, now).when();
    return true;
  }

  // When `overdue` is next to be asked; TimePoint::max() if never.
  TimePoint next_look() const { return look_at_; }
  struct Slow {
    RecordPtr record;
    std::string command;
    TimePoint since;
  };
  // The calls that have become slow since the last look.
  std::vector<Slow> overdue(const Records& records, TimePoint now);

 private:
  const Duration after_;
  TimePoint look_at_ = TimePoint::max();
};

}  // namespace lair::pool
