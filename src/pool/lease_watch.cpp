#include "pool/lease_watch.hpp"

#include <utility>

#include "base/duration.hpp"

namespace lair::pool {

LeaseWatch::Ticket LeaseWatch::taken(const WorkerIdentity& worker, const char* file, int line, TimePoint now,
                                     bool& wake) {
  held_.emplace(++last_ticket_, Held{.worker = worker, .file = file, .line = line, .since = now});
  // A look that is due for a lease which is long back stays due: one wake-up for many leases, not one for each.
  if (after_ != kForever && look_at_ == TimePoint::max()) {
    look_at_ = Deadline::after(after_, now).when();
    wake = true;
  }
  return last_ticket_;
}

std::vector<LeaseWatch::Overdue> LeaseWatch::overdue(TimePoint now) {
  std::vector<Overdue> found;
  look_at_ = TimePoint::max();
  for (auto& [ticket, lease] : held_) {
    if (lease.reported) continue;
    const TimePoint due = Deadline::after(after_, lease.since).when();
    if (due > now) {
      look_at_ = due;
      break;  // all that follow were taken later
    }
    lease.reported = true;
    const Duration held = now - lease.since;
    std::string text = "[" + pool_ + "] the lease on worker " + std::to_string(lease.worker.slot) + '.' +
                       std::to_string(lease.worker.generation) + " (pid " + std::to_string(lease.worker.pid) +
                       ") that was taken at " + lease.file + ':' + std::to_string(lease.line) +
                       " has been held for " + base::format_duration(held) +
                       " (lease_warning). Nobody else can use its worker until it is released.";
    found.push_back({.worker = lease.worker, .held = held, .text = std::move(text)});
  }
  return found;
}

}  // namespace lair::pool
