// What the supervisor does because time has passed: the core's timers, starts that take too long, leases that are held for long, slow calls, kills that were put off.
#include <algorithm>
#include <csignal>

#include "base/duration.hpp"
#include "pool/shell.hpp"
#include "pool/supervisor.hpp"

namespace lair::pool {

TimePoint Supervisor::next_wake() {
  {
    const std::lock_guard lock(shell_.mutex_);
    core_timer_ = shell_.core_.next_timer(SteadyClock::now());
    leases_due_ = shell_.leases_.next_look();
    slow_calls_due_ = shell_.slow_calls_.next_look();
    alerts_due_ = shell_.alerts_.next_look();
    sheds_due_ = shell_.shed_report_.next_look();
  }
  TimePoint next = std::min({give_up_at_, core_timer_, leases_due_, alerts_due_, slow_calls_due_, sheds_due_,
                             stacks_.next(), memory_due(), arrays_due_});
  for (const auto& [key, ward] : wards_) {
    next = std::min({next, ward->last_words.due, ward->bell_due()});
    if (ward->stage != Stage::kUp && !ward->start_failed) next = std::min(next, ward->start_deadline.when());
  }
  if (probe_) next = std::min(next, probe_->deadline.when());
  code_due_ = shell_.options_.watch ? code_.next(may_reload()) : TimePoint::max();
  next = std::min(next, code_due_);
  return next;
}

void Supervisor::on_timers(TimePoint now) {
  if (core_timer_ <= now) (void)shell_.step(core::Tick{});
  if (shell_.arrays_idle_.exchange(false) || arrays_due_ <= now) arrays_due_ = shell_.arena_->shrink(now);
  report_leases(now);
  report_slow_calls(now);
  stacks_.on_time(now);
  report_alerts(now);
  if (sheds_due_ <= now) report_sheds(now);
  look_at_memory(now);
  if (code_due_ <= now) look_at_code(now);
  for (auto& [key, ward] : wards_) {
    if (ward->bell_due() <= now) ring(*ward);
    if (ward->last_words.due <= now) hear_last_words(*ward, now);
  }

  std::vector<Ward*> late;
  for (const auto& [key, ward] : wards_) {
    if (ward->stage != Stage::kUp && !ward->start_failed && ward->start_deadline.passed(now))
      late.push_back(ward.get());
  }
  for (Ward* ward : late) {
    drain_logs(*ward);
    const std::string hint = ward->stage == Stage::kHandshake
                                 ? " Its program must answer the handshake (for Python: it may still be "
                                   "importing); raise start_timeout if "
                                   "it needs longer."
                             : ward->stage == Stage::kVerify ? " Its command \"" + shell_.options_.verify +
                                                                   "\" (verify) has not answered."
                                                             : " Raise start_timeout if it needs longer.";
    fail_start(*ward,
               start_error(*ward, "not ready within start_timeout = " +
                                      base::format_duration(shell_.options_.start_timeout) + "." + hint),
               false, true);
  }
  if (probe_ && probe_->deadline.passed(now)) {
    launcher_->signal(probe_->key, SIGKILL);
    probe_ended(Error{.kind = ErrorKind::kUnavailable,
                      .message = "the interpreter " + environment_->program() +
                                 " did not say which Python it is within " +
                                 base::format_duration(shell_.options_.start_timeout)});
  }
}

// Alerts about what lasts by itself: they need no window, only a look when something has happened.
void Supervisor::report_states() {
  std::string commands;
  bool code_fails = false;
  {
    const std::lock_guard lock(shell_.mutex_);
    commands = shell_.breakers_.refused_commands();
    code_fails = shell_.core_.code_fails();
  }
  const auto change = [&](bool& raised, bool now_raised, const char* name, const std::string& message) {
    if (raised == now_raised) return;
    raised = now_raised;
    shell_.tell(base::LogLevel::kWarn,
                "[" + shell_.options_.name + "] alert " + name + (raised ? ": " : " is over: ") + message,
                {.kind = raised ? PoolEventKind::kAlertRaised : PoolEventKind::kAlertCleared,
                 .reason = name,
                 .message = message});
  };
  change(breaker_alert_, !commands.empty(), "breaker_open",
         commands.empty() ? "all commands are called again" : "commands that are refused: " + commands);
  change(code_alert_, code_fails, "code_fails",
         code_fails ? "no worker starts with the newest code; the others go on with theirs"
                    : "a worker has started with the newest code");
}

void Supervisor::report_leases(TimePoint now) {
  if (leases_due_ > now) return;
  std::vector<LeaseWatch::Overdue> overdue;
  {
    const std::lock_guard lock(shell_.mutex_);
    overdue = shell_.leases_.overdue(now);
    shell_.counters_.leases_leaked += overdue.size();
  }
  for (const LeaseWatch::Overdue& lease : overdue) {
    shell_.tell(base::LogLevel::kWarn, lease.text,
                {.kind = PoolEventKind::kLeaseLeaked,
                 .worker = PoolEvent::Worker{lease.worker.slot, lease.worker.generation},
                 .took = lease.held,
                 .message = lease.text});
  }
}

void Supervisor::report_alerts(TimePoint now) {
  if (alerts_due_ > now) return;
  std::vector<Alerts::Change> changes;
  {
    const std::lock_guard lock(shell_.mutex_);
    changes = shell_.alerts_.look(shell_.ledger_.troubles(now), now);
  }
  for (Alerts::Change& change : changes) {
    shell_.tell(base::LogLevel::kWarn,
                "[" + shell_.options_.name + "] alert " + to_string(change.kind) +
                    (change.raised ? ": " : " is over: ") + change.message,
                {.kind = change.raised ? PoolEventKind::kAlertRaised : PoolEventKind::kAlertCleared,
                 .reason = to_string(change.kind),
                 .message = std::move(change.message)});
  }
}

}  // namespace lair::pool
