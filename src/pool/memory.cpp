// Workers' memory: looked at now and then, if the pool has a limit. One that uses more than it should is replaced when it
// is free; one that uses more than it may is killed.
#include <cstdio>

#include "os/proc.hpp"
#include "pool/shell.hpp"
#include "pool/supervisor.hpp"

namespace lair::pool {

namespace {

std::string mebibytes(std::uint64_t bytes) {
  char text[32];
  std::snprintf(text, sizeof text, "%.1f MiB", static_cast<double>(bytes) / (1 << 20));
  return text;
}

}  // namespace

TimePoint Supervisor::memory_due() const {
  const PoolOptions& options = shell_.options_;
  if (wards_.empty() || (options.max_memory == 0 && options.memory_limit == 0)) return TimePoint::max();
  return looked_at_memory_ + options.memory_interval;
}

void Supervisor::look_at_memory(TimePoint now) {
  if (memory_due() > now) return;
  looked_at_memory_ = now;
  const PoolOptions& options = shell_.options_;
  // A verdict steps the core, and what follows from it comes through the inbox: `wards_` stays as it is.
  for (const auto& [key, ward] : wards_) {
    if (ward->stage != Stage::kUp || ward->exited) continue;
    Record& record = *ward->record;
    const auto bytes = os::private_memory(record.process.pid);
    if (!bytes) continue;
    {
      const std::lock_guard lock(shell_.mutex_);
      record.memory = *bytes;
    }
    if (options.memory_limit > 0 && *bytes > options.memory_limit && !ward->over_limit) {
      ward->over_limit = true;
      condemn(*ward, core::Reason::kMemoryLimit,
              "used " + mebibytes(*bytes) + " of private memory, and memory_limit is " +
                  mebibytes(options.memory_limit));
    } else if (options.max_memory > 0 && *bytes > options.max_memory && !ward->outgrown) {
      ward->outgrown = true;
      (void)shell_.step(core::Retire{.worker = record.ref, .reason = core::Reason::kMaxMemory});
    }
  }
}

}  // namespace lair::pool
