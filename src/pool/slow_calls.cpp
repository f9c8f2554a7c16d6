#include "pool/slow_calls.hpp"

#include <algorithm>

#include "base/duration.hpp"
#include "pool/shell.hpp"
#include "pool/supervisor.hpp"

namespace lair::pool {

namespace {

// How long the report waits for the stack.
constexpr Duration kReportPatience = std::chrono::seconds(2);

}  // namespace

std::vector<SlowCalls::Slow> SlowCalls::overdue(const Records& records, TimePoint now) {
  std::vector<Slow> found;
  look_at_ = TimePoint::max();
  const auto look = [&](const RecordPtr& record) {
    if (record == nullptr) return;
    for (Record::Running& call : record->running) {
      if (call.reported) continue;
      const TimePoint due = Deadline::after(after_, call.since).when();
      if (due > now) {
        look_at_ = std::min(look_at_, due);
        continue;
      }
      call.reported = true;
      found.push_back({.record = record, .command = std::string(call.command), .since = call.since});
    }
  };
  for (const auto& pair : records) std::for_each(pair.begin(), pair.end(), look);
  return found;
}

void Supervisor::report_slow_calls(TimePoint now) {
  if (slow_calls_due_ > now) return;
  std::vector<SlowCalls::Slow> found;
  {
    const std::lock_guard lock(shell_.mutex_);
    found = shell_.slow_calls_.overdue(shell_.records_, now);
    shell_.counters_.slow_calls += found.size();
  }
  for (SlowCalls::Slow& slow : found) {
    stacks_.take(slow.record, Deadline::after(kReportPatience, now),
                 [this, now, slow](const Stacks::Taken& taken) { report_slow_call(slow, now, taken); });
  }
}

void Supervisor::report_slow_call(const SlowCalls::Slow& slow, TimePoint seen, const Stacks::Taken& taken) {
  const core::WorkerRef ref = slow.record->ref;
  const bool still_runs = taken.stack && taken.call_since == slow.since;
  std::string message = "command \"" + slow.command + "\" has been running for " +
                        base::format_duration(seen - slow.since) + " on worker " + name_of(*slow.record) +
                        ", longer than slow_call = " + base::format_duration(shell_.options_.slow_call);
  std::string stack;
  if (still_runs) {
    stack = taken.stack->frames;
  } else if (taken.stack) {
    message += ". It ended before its stack was taken.";
  } else {
    message += ". Its stack is not known: " + taken.stack.error().message;
  }
  std::string text = "[" + shell_.options_.name + "] " + message;
  // A line of JSON has it as a member of its own.
  if (!stack.empty() && !shell_.logs_json()) text += ". Its stack:" + indented(stack);
  shell_.tell(base::LogLevel::kWarn, std::move(text),
              {.kind = PoolEventKind::kSlowCall,
               .worker = PoolEvent::Worker{ref.slot, ref.generation},
               .took = seen - slow.since,
               .message = std::move(message),
               .command = slow.command,
               .stack = std::move(stack)});
}

}  // namespace lair::pool
