// LeaseWatch: who holds a lease, since when, and where it was taken. A lease that is held for long is nearly always one
// that somebody forgot, and it keeps a worker from everybody else.
//
// Thread-safety: none; the shell's mutex guards it.
#pragma once

#include <cstdint>
#include <lair/deadline.hpp>
#include <lair/error.hpp>
#include <map>
#include <string>
#include <vector>

namespace lair::pool {

class LeaseWatch {
 public:
  using Ticket = std::uint64_t;

  // `after`: how long a lease may be held in silence; kForever: always.
  LeaseWatch(std::string pool, Duration after) : pool_(std::move(pool)), after_(after) {}

  // `wake` is set when the watcher sleeps and must be told that there is something to watch.
  Ticket taken(const WorkerIdentity& worker, const char* file, int line, TimePoint now, bool& wake);
  void returned(Ticket ticket) { held_.erase(ticket); }
  std::size_t held() const { return held_.size(); }

  // When `overdue` is next to be asked; TimePoint::max() if never.
  TimePoint next_look() const { return look_at_; }
  struct Overdue {
    WorkerIdentity worker;
    Duration held;
    std::string text;  // the whole story, on one line
  };
  // The leases that have become overdue since the last look.
  std::vector<Overdue> overdue(TimePoint now);

 private:
  struct Held {
    WorkerIdentity worker;
    const char* file;
    int line;
    TimePoint since;
    bool reported = false;
  };

  const std::string pool_;
  const Duration after_;
  std::map<Ticket, Held> held_;  // in the order in which they were taken
  Ticket last_ticket_ = 0;
  TimePoint look_at_ = TimePoint::max();
};

}  // namespace lair::pool
