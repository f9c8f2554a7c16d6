// `watch`: what the supervisor does when the workers' code changes on disk. One reload at a time; what changes while one goes
// on is the next one's.
#include "pool/shell.hpp"
#include "pool/supervisor.hpp"

namespace lair::pool {

using base::LogLevel;

bool Supervisor::may_reload() {
  const std::lock_guard lock(shell_.mutex_);
  return !shell_.core_.reloading() && !shell_.core_.shutting_down();
}

void Supervisor::watch_code(const std::vector<std::string>& files, CodeWatch::FileTime since) {
  if (!shell_.options_.watch || files.empty()) return;
  code_.know(files, since, SteadyClock::now());
  // Where the poller has no room either, the look once a second reads what there is.
  if (!watches_code_ && code_.fd() >= 0) watches_code_ = watch_code_fd();
  for (const std::string& warning : code_.take_warnings()) {
    shell_.log(LogLevel::kWarn, "[" + shell_.options_.name + "] " + warning);
  }
}

void Supervisor::on_code_news() {
  bool code_fails = false;
  {
    const std::lock_guard lock(shell_.mutex_);
    code_fails = shell_.core_.code_fails();
  }
  code_.take_news(code_fails, SteadyClock::now());
}

void Supervisor::look_at_code(TimePoint now) {
  bool code_fails = false;
  bool may = false;
  {
    const std::lock_guard lock(shell_.mutex_);
    code_fails = shell_.core_.code_fails();
    may = !shell_.core_.reloading() && !shell_.core_.shutting_down();
  }
  code_.look(code_fails, now);
  if (!watches_code_ && code_.fd() >= 0) watches_code_ = watch_code_fd();
  for (const std::string& warning : code_.take_warnings()) {
    shell_.log(LogLevel::kWarn, "[" + shell_.options_.name + "] " + warning);
  }
  if (!may) return;
  const std::vector<std::string> changed = code_.changed(now);
  if (changed.empty()) return;
  std::string message = changed.front();
  if (changed.size() > 1) message += " and " + std::to_string(changed.size() - 1) + " more";
  message += changed.size() > 1 ? " have changed on disk" : " has changed on disk";
  const std::string text = "[" + shell_.options_.name + "] " + message + ": a reload begins";
  shell_.tell(LogLevel::kInfo, text,
              {.kind = PoolEventKind::kReload, .reason = "begun", .message = std::move(message)});
  (void)shell_.step(core::Reload{});
}

}  // namespace lair::pool
