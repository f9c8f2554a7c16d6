// How a worker becomes ready, stage by stage: environment, spawn, handshake, warm_up, verify.
#include <csignal>

#include "base/assert.hpp"
#include "base/duration.hpp"
#include "base/overloaded.hpp"
#include "pool/shell.hpp"
#include "pool/supervisor.hpp"

namespace lair::pool {

using base::LogLevel;
using base::Overloaded;
using worker::Channel;

namespace {
// No worker has it: slots are below 8192.
constexpr std::uint32_t kProbeSlot = 0xffff;
}  // namespace

std::string without_arguments(const wire::CallHeader& header) {
  const wire::CallFrame frame =
      wire::encode_call(header, header.protocol == wire::Protocol::kOne ? "{}" : "[]");
  std::string bytes = frame.head;
  return bytes.append(frame.arguments).append(frame.tail);
}

// --- environment -----------------------------------------------------------------------------------

void Supervisor::prepare_environment() {
  auto found = Environment::look_up(shell_.options_);
  if (!found) {
    probe_ended(std::move(found).error());
    return;
  }
  environment_ = *std::move(found);
  const worker::WorkerKey key{.slot = kProbeSlot, .generation = ++probes_};
  auto request = environment_->probe(key);
  if (!request) {
    probe_ended(std::nullopt);
    return;
  }
  probe_.emplace(Probe{});
  probe_->key = key;
  probe_->deadline = Deadline::after(shell_.options_.start_timeout);
  launcher_->spawn(*std::move(request));
}

void Supervisor::probe_ended(std::optional<Error> error, bool permanent) {
  probe_.reset();
  if (error) error->stage = "environment";
  if (error && !permanent) {  // the next start asks again
    for (const core::WorkerRef ref : std::exchange(waiting_for_environment_, {})) {
      if (Ward* ward = find(ref)) fail_start(*ward, *error, false, false);
    }
    return;
  }
  environment_known_ = true;
  environment_error_ = std::move(error);
  for (const core::WorkerRef ref : std::exchange(waiting_for_environment_, {})) {
    if (Ward* ward = find(ref)) launch(*ward);
  }
}

// --- handshake, warm_up ----------------------------------------------------------------------------

void Supervisor::advance(Ward& ward, Stage stage) {
  ward.stage = stage;
  const std::lock_guard lock(shell_.mutex_);
  ward.record->stage = stage == Stage::kHandshake ? "handshake"
                       : stage == Stage::kWarmUp  ? "warm_up"
                                                  : "verify";
}

void Supervisor::on_channel(Ward& ward) {
  if (ward.check) return on_check_reply(ward);
  if (ward.cancels) return on_recovery(ward);
  Record& record = *ward.record;
  if (!record.channel || ward.start_failed) return;
  while (ward.stage == Stage::kHandshake || ward.stage == Stage::kWarmUp || ward.stage == Stage::kVerify) {
    const auto received = record.channel->receive_now();
    if (std::holds_alternative<std::nullopt_t>(received)) return;
    if (const auto* end = std::get_if<Channel::NoReply>(&received)) {
      if (end->failure == Channel::Failure::kTooLong) {
        fail_start(
            ward,
            start_error(ward,
                        "its program wrote what is not a frame of the protocol on its channel (stdout, for a "
                        "program of your own: is it printing there?): " +
                            end->detail),
            false, true);
        return;
      }
      if (end->failure == Channel::Failure::kSystem) {
        fail_start(ward, start_error(ward, "its channel cannot be read: " + end->detail), false, true);
        return;
      }
      // It has closed its channel, which is nearly always its end: the exit status says more.
      unwatch_channel(ward);
      return;
    }
    const auto payload = std::get<std::string_view>(received);
    if (ward.stage == Stage::kHandshake) {
      on_handshake_reply(ward, payload);
    } else if (ward.stage == Stage::kWarmUp) {
      on_started_up(ward, payload);
    } else {
      on_verified(ward, payload);
    }
    if (ward.start_failed) return;
  }
}

void Supervisor::on_handshake_reply(Ward& ward, std::string_view payload) {
  Record& record = *ward.record;
  std::visit(
      Overloaded{
          [&](wire::Announcement& announced) {
            announced.max_frame = std::min(announced.max_frame, shell_.options_.max_frame);
            const bool two = announced.protocol == wire::Protocol::kTwo;
            if (announced.spins) record.channel->spin(shell_.options_.spin);
            if (announced.spins && announced.handover_fd >= 0)
              record.channel->hand_over_at(os::Handover::open(record.process.pid, announced.handover_fd));
            record.announcement = std::make_shared<const wire::Announcement>(std::move(announced));
            if (shell_.step(core::Handshaken{record.ref}) != core::Outcome::kDone) return;
            ward.stage_took(ward.took.handshake);
            if (two) {
              advance(ward, Stage::kWarmUp);
            } else {
              verify(ward);
            }
          },
          [&](wire::StartError& failed) {
            watch_code(failed.files, ward.began);
            Error error = start_error(ward, (failed.type.empty() ? "" : failed.type + ": ") + failed.message);
            error.stage = failed.stage;
            error.python = PythonError{failed.type, failed.message, failed.traceback};
            fail_start(ward, std::move(error), failed.permanent, true);
          },
          [&](wire::Malformed& malformed) {
            fail_start(ward, start_error(ward, "the handshake failed: " + malformed.problem), false, true);
          },
      },
      *std::make_unique<std::variant<wire::Announcement, wire::StartError, wire::Malformed>>(
          wire::decode_handshake(payload, static_cast<std::uint32_t>(shell_.options_.concurrency))));
}

void Supervisor::on_started_up(Ward& ward, std::string_view payload) {
  auto started = wire::decode_started_up(ward.record->ref.generation, payload);
  std::visit(Overloaded{
                 [&](wire::StartedUp& up) {
                   watch_code(up.files, ward.began);
                   ward.stage_took(ward.took.warm_up);
                   verify(ward);
                 },
                 [&](wire::StartError& failed) {
                   watch_code(failed.files, ward.began);
                   Error error = start_error(ward, failed.type + ": " + failed.message);
                   error.stage = failed.stage;
                   error.python = PythonError{failed.type, failed.message, failed.traceback};
                   fail_start(ward, std::move(error), failed.permanent, true);
                 },
                 [&](wire::Malformed& malformed) {
                   fail_start(
                       ward,
                       start_error(ward, "it answered neither READY nor an error: " + malformed.problem),
                       false, true);
                 },
             },
             started);
}

// The smoke call, if one is asked for. It is the supervisor's own: no statistics, no breaker, no retry.
void Supervisor::verify(Ward& ward) {
  const std::string& command = shell_.options_.verify;
  if (command.empty()) return ready(ward);
  advance(ward, Stage::kVerify);
  Record& record = *ward.record;
  const wire::Announcement& announced = *record.announcement;
  if (!announced.knows(command)) {
    return fail_start(ward, start_error(ward, unknown_command(announced, command).message), true, true);
  }
  ward.verifying = wire::CallHeader{.protocol = announced.protocol,
                                    .id = record.channel->next_id(),
                                    .generation = record.ref.generation,
                                    .command = command,
                                    .remaining = ward.start_deadline.remaining()};
  if (!record.channel->send_now(without_arguments(ward.verifying)) &&
      record.channel->quiet() == Channel::Quiet::kYes) {
    fail_start(ward, start_error(ward, "the system refused to send it the call"), false, true);
  }
}

void Supervisor::on_verified(Ward& ward, std::string_view payload) {
  const std::string command = "command \"" + shell_.options_.verify + "\" ";
  std::visit(Overloaded{
                 [&](const wire::Value&) {
                   ward.stage_took(ward.took.verify);
                   ready(ward);
                 },
                 [&](const wire::Raised& raised) {
                   const bool unknown = raised.kind == wire::Raised::Kind::kUnknownCommand ||
                                        raised.message.rfind("Unknown command", 0) == 0;
                   // As in on_start: what is missing does not come by itself.
                   const bool permanent = unknown || raised.type == "ImportError" ||
                                          raised.type == "ModuleNotFoundError" ||
                                          raised.type == "SyntaxError";
                   const char* did = raised.kind == wire::Raised::Kind::kUnencodable
                                         ? "returned what cannot be sent: "
                                     : unknown ? "is unknown to it: "
                                               : "raised ";
                   const bool named = !unknown && raised.kind != wire::Raised::Kind::kUnencodable;
                   Error error = start_error(ward, command + did +
                                                       (!named                ? ""
                                                        : raised.type.empty() ? "an error: "
                                                                              : raised.type + ": ") +
                                                       raised.message);
                   error.python = PythonError{raised.type, raised.message, raised.traceback};
                   fail_start(ward, std::move(error), permanent, true);
                 },
                 [&](const wire::Malformed& malformed) {
                   fail_start(ward,
                              start_error(ward, "it broke the protocol in answer to " + command + "(" +
                                                    malformed.problem + ")"),
                              false, true);
                 },
             },
             wire::decode_plain_reply(ward.verifying, payload));
}

void Supervisor::ready(Ward& ward) {
  Record& record = *ward.record;
  // From here on the channel is the roster's.
  unwatch_channel(ward);
  ward.stage = Stage::kUp;
  {
    const std::lock_guard lock(shell_.mutex_);
    shell_.announced_ = record.announcement;
    shell_.packs_ = record.announcement->packs;
    record.start = ward.took;
    if (!shell_.core_.failed()) shell_.last_start_error_.reset();
    ++shell_.counters_.workers_ready;
    const StartTimes& took = ward.took;
    shell_.ledger_.worker_ready(took.whole());
  }
  (void)shell_.step(core::Ready{.worker = record.ref, .permits = record.announcement->concurrency});
}

Error Supervisor::start_error(const Ward& ward, std::string what) const {
  const Record& record = *ward.record;
  WorkerIdentity identity{.slot = record.ref.slot,
                          .generation = record.ref.generation,
                          .pid = record.process.pid,
                          .exit = record.exit,
                          .stderr_tail = record.stderr_tail.text()};
  return {.kind = ErrorKind::kUnavailable,
          .delivery = Delivery::kNotSent,
          .message = std::move(what),
          .worker = std::move(identity),
          .stage = record.stage};
}

void Supervisor::fail_start(Ward& ward, Error error, bool permanent, bool has_process) {
  ward.start_failed = true;
  unwatch_channel(ward);
  drain_logs(ward);
  const core::WorkerRef ref = ward.record->ref;
  if (error.worker) error.worker->stderr_tail = ward.record->stderr_tail.text();
  error.message = "worker " + std::to_string(ref.slot) + '.' + std::to_string(ref.generation) +
                  " failed to start at stage " + error.stage + ": " + error.message;
  shell_.tell(LogLevel::kWarn, "[" + shell_.options_.name + "] " + error.message,
              {.kind = PoolEventKind::kStartFailed,
               .worker = PoolEvent::Worker{ref.slot, ref.generation},
               .stage = error.stage,
               .message = error.message});
  {
    const std::lock_guard lock(shell_.mutex_);
    shell_.last_start_error_ = std::move(error);
  }
  (void)shell_.step(core::StartFailed{.worker = ref, .permanent = permanent, .has_process = has_process});
}

}  // namespace lair::pool
