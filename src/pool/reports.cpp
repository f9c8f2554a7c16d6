// What the supervisor tells of workers: their transitions, failed checks, their output; and of callers that were refused.
#include <algorithm>

#include "pool/shell.hpp"
#include "pool/supervisor.hpp"

namespace lair::pool {

using base::LogLevel;

std::string indented(const std::string& text) {
  std::string result;
  for (std::size_t begin = 0; begin < text.size();) {
    const std::size_t end = std::min(text.find('\n', begin), text.size());
    result += "\n  " + text.substr(begin, end - begin);
    begin = end + 1;
  }
  return result;
}

// --- Events ----------------------------------------------------------------------------------------

std::string Supervisor::log_name(core::WorkerRef ref) const {
  return "[" + shell_.options_.name + " " + std::to_string(ref.slot) + "." + std::to_string(ref.generation) +
         "] ";
}

void Supervisor::moved(const core::Moved& news) {
  const bool bad = news.reason == core::Reason::kCrash || news.reason == core::Reason::kTimeout ||
                   news.reason == core::Reason::kProtocol || news.reason == core::Reason::kUnhealthy ||
                   news.reason == core::Reason::kMemoryLimit;
  const bool loud = bad && news.to == core::WorkerState::kDead;
  std::string text = log_name(news.worker) + to_string(news.from) + " → " + to_string(news.to);
  if (news.reason != core::Reason::kNone) text += std::string(" (") + to_string(news.reason) + ")";
  const Ward* ward = find(news.worker);
  if (loud && ward != nullptr && ward->record->exit) text += ": " + ward->record->exit->describe();
  shell_.tell(loud ? LogLevel::kWarn : LogLevel::kDebug, std::move(text),
              {.kind = PoolEventKind::kWorkerMoved,
               .worker = PoolEvent::Worker{news.worker.slot, news.worker.generation},
               .from = to_string(news.from),
               .to = to_string(news.to),
               .took = news.took,
               .reason = news.reason == core::Reason::kNone ? "" : to_string(news.reason)});
}

// `failed`: else it has recovered.
void Supervisor::tell_check(const Ward& ward, bool failed, const char* reason, std::string message) {
  const core::WorkerRef ref = ward.record->ref;
  std::string text = log_name(ref) + "the worker " + message;
  // The core began to count a moment before the check was sent.
  Duration took = SteadyClock::now() - ward.check_began;
  if (std::string_view(reason) == kMissed) took = std::max(took, shell_.options_.health_timeout);
  shell_.tell(failed ? LogLevel::kWarn : LogLevel::kInfo, std::move(text),
              {.kind = PoolEventKind::kHealth,
               .worker = PoolEvent::Worker{ref.slot, ref.generation},
               .took = took,
               .reason = reason,
               .message = std::move(message)});
}

void Supervisor::report_sheds(TimePoint now, bool all) {
  std::optional<ShedReport::Told> told;
  {
    const std::lock_guard lock(shell_.mutex_);
    told = shell_.shed_report_.take(now, all);
  }
  if (!told) return;
  shell_.tell(LogLevel::kWarn, "[" + shell_.options_.name + "] " + told->message,
              {.kind = PoolEventKind::kShed,
               .reason = to_string(told->most),
               .message = told->message,
               .count = told->count});
}

// --- Logs ------------------------------------------------------------------------------------------

void Supervisor::pump(Ward& ward, worker::LogPump& pump, const char* stream, std::size_t budget) {
  if (!pump) return;
  const int fd = pump.fd();
  const bool is_stderr = &pump == &ward.err;
  const core::WorkerRef ref = ward.record->ref;
  const auto on_line = [&](std::string_view line) {
    if (is_stderr) ward.record->stderr_tail.add(line);
    std::string text = "[" + shell_.options_.name + " " + std::to_string(ref.slot) + "." +
                       std::to_string(ref.generation) + " pid " + std::to_string(ward.record->process.pid) +
                       " " + stream + "] ";
    text += line;
    shell_.log(LogLevel::kInfo, std::move(text));
  };
  if (pump.pump(budget, on_line)) return;
  poller_.remove(fd);
  pump.close();
}

void Supervisor::drain_logs(Ward& ward) {
  // What a dead worker left in its pipes is at most their size; a living one may go on for ever.
  pump(ward, ward.out, "stdout", kLogBudget);
  pump(ward, ward.err, "stderr", kLogBudget);
}

}  // namespace lair::pool
