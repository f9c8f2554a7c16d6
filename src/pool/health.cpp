// Health: the supervisor's side of a check, and what the pool says of how it is.
#include <lair/health.hpp>

#include "base/duration.hpp"
#include "base/overloaded.hpp"
#include "pool/shell.hpp"
#include "pool/supervisor.hpp"
#include "wire/json_codec.hpp"

namespace lair::pool {

using base::Overloaded;
using core::Reason;
using worker::Channel;

// --- Asking ----------------------------------------------------------------------------------------

// The core has taken the worker off the roster: its channel is the supervisor's until it has answered.
void Supervisor::check(core::WorkerRef ref) {
  Ward* ward = find(ref);
  if (ward == nullptr || ward->exited) return;
  ward->check_began = SteadyClock::now();
  Channel& channel = *ward->record->channel;
  switch (channel.quiet()) {
    case Channel::Quiet::kYes:
      break;
    case Channel::Quiet::kStrayBytes:
      return condemn(*ward, Reason::kProtocol,
                     "had written bytes that nobody asked for: " + channel.stray_bytes(), kWrong);
    case Channel::Quiet::kClosed:
      return condemn(*ward, Reason::kCrash, "has closed its channel", kWrong);
  }
  // Unwatched it could be asked, but not heard. A system that is that short of memory is no fault of the worker's.
  if (!watch_channel(*ward)) {
    (void)shell_.step(core::CheckPassed{ref});
    return;
  }
  const wire::Announcement& announced = *ward->record->announcement;
  ward->check = wire::CallHeader{.protocol = announced.protocol,
                                 .id = channel.next_id(),
                                 .generation = ref.generation,
                                 .command = "ping",
                                 .remaining = shell_.options_.health_timeout};
  if (!channel.send_now(without_arguments(*ward->check)))
    condemn(*ward, Reason::kUnhealthy, "does not read what it is sent", kMissed);
}

void Supervisor::on_check_reply(Ward& ward) {
  const auto received = ward.record->channel->receive_now();
  if (std::holds_alternative<std::nullopt_t>(received)) return;
  unwatch_channel(ward);
  const wire::CallHeader header = *std::exchange(ward.check, std::nullopt);
  if (const auto* end = std::get_if<Channel::NoReply>(&received)) {
    const bool babble = end->failure == Channel::Failure::kTooLong;
    return condemn(ward, babble ? Reason::kProtocol : Reason::kCrash,
                   babble ? "answered its check with " + end->detail : "has closed its channel", kWrong);
  }
  const auto passed = [&] {
    complain(ward, "", true);
    const bool recovered = std::exchange(ward.degraded, false);
    const auto outcome = shell_.step(core::CheckPassed{ward.record->ref});
    if (recovered && outcome == core::Outcome::kDone) tell_check(ward, false, "recovered", "is well again");
  };
  std::visit(Overloaded{
                 [&](const wire::Value&) { passed(); },
                 [&](const wire::Raised& raised) {
                   // A program of protocol 1 need not know the command: it has read, and it answers.
                   if (raised.kind == wire::Raised::Kind::kUnknownCommand ||
                       raised.message.rfind("Unknown command", 0) == 0) {
                     return passed();
                   }
                   const std::string what = (raised.type.empty() ? "" : raised.type + ": ") + raised.message;
                   complain(ward, "answered its last check with an error: " + what, true, kWrong);
                   ward.degraded = true;
                   (void)shell_.step(core::CheckFailed{ward.record->ref});
                 },
                 [&](const wire::Malformed& malformed) {
                   condemn(ward, Reason::kProtocol,
                           "broke the protocol in answer to a check: " + malformed.problem, kWrong);
                 },
             },
             wire::decode_plain_reply(header, std::get<std::string_view>(received)));
}

void Supervisor::condemn(Ward& ward, Reason reason, std::string why, const char* check) {
  unwatch_channel(ward);
  ward.check.reset();
  complain(ward, std::move(why), false, check);
  (void)shell_.step(core::Condemn{.worker = ward.record->ref, .reason = reason});
}

void Supervisor::complain(Ward& ward, std::string why, bool answered, const char* check) {
  Record& record = *ward.record;
  if (check != nullptr) {
    tell_check(ward, true, check, why);
  } else if (!why.empty()) {
    shell_.log(base::LogLevel::kWarn, log_name(record.ref) + "the worker " + why);
  }
  const std::lock_guard lock(shell_.mutex_);
  record.complaint = std::move(why);
  if (answered) record.checked = SteadyClock::now();
}

// --- Saying ----------------------------------------------------------------------------------------

PoolHealth Shell::health() const {
  const std::lock_guard lock(mutex_);
  const TimePoint now = SteadyClock::now();
  PoolHealth health;
  health.live = !stopped_ && !core_.shutting_down();
  health.serving = health.live && core_.can_serve() && (core_.ready_count() > 0 || options_.lazy);
  if (!health.live) {
    health.reasons.push_back(stopped_ ? "it has shut down" : "it is shutting down");
  } else if (core_.failed()) {
    health.reasons.push_back("starting workers has failed" +
                             (last_start_error_ ? ": " + last_start_error_->message : std::string()));
  } else if (!options_.lazy && core_.ready_count() < core_.size()) {
    health.reasons.push_back(std::to_string(core_.ready_count()) + " of " + std::to_string(core_.size()) +
                             " workers are up (" + situation() + ")");
  }
  if (health.live && core_.admission() != core::Admission::kOpen) {
    health.serving = false;
    health.reasons.push_back(core_.admission() == core::Admission::kPaused ? "it is paused"
                                                                           : "it is draining");
  }
  if (health.live && core_.code_fails()) {
    health.reasons.push_back("code on disk fails: the workers go on with the code that they have" +
                             (last_start_error_ ? " (" + last_start_error_->message + ")" : std::string()));
  }
  for (std::uint32_t i = 0; i < core_.slots(); ++i) {
    const auto view = core_.slot(i);
    const RecordPtr record = record_of({i, view.generation});
    if (record == nullptr || record->exit) continue;
    WorkerHealth worker{.slot = i, .generation = view.generation, .pid = record->process.pid};
    worker.serving = view.state == SlotState::kIdle || view.state == SlotState::kBusy ||
                     view.state == SlotState::kChecking;
    worker.live = view.state != SlotState::kStopping;
    worker.failed_checks = view.failed_checks;
    if (record->checked) worker.last_check = now - *record->checked;
    if (view.state == SlotState::kStarting) {
      worker.reason = std::string("it is starting (") + record->stage + ")";
    } else {
      worker.reason = record->complaint;
      if (view.state == SlotState::kStopping && worker.reason.empty()) worker.reason = "it is being ended";
    }
    if (worker.failed_checks > 0) {
      health.reasons.push_back("worker " + std::to_string(i) + '.' + std::to_string(view.generation) + ' ' +
                               record->complaint);
    }
    health.workers.push_back(std::move(worker));
  }
  health.degraded = !health.reasons.empty();
  return health;
}

void Shell::check_now() {
  std::vector<core::WorkerRef> idle;
  {
    const std::lock_guard lock(mutex_);
    for (std::uint32_t i = 0; i < core_.slots(); ++i) {
      const auto view = core_.slot(i);
      if (view.state == SlotState::kIdle) idle.push_back({.slot = i, .generation = view.generation});
    }
  }
  for (const core::WorkerRef ref : idle) (void)step(core::BeginCheck{ref});
}

}  // namespace lair::pool
