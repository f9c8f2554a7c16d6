// Recovery: a worker whose call has missed its deadline is asked to give it up. One that proves that it has done so is as good
// as before; one that does not within `cancel_grace` is ended by the core, when it has said what it was doing.
#include <csignal>

#include "base/overloaded.hpp"
#include "os/stack_file.hpp"
#include "pool/shell.hpp"
#include "pool/supervisor.hpp"

namespace lair::pool {

using core::Reason;
using worker::Channel;

namespace {

// Between the signal that has a worker write its Python stack and the kill. Far more than it takes, unless it is stopped; or
// the machine has had no time for it, so that it has not even taken the signal.
constexpr Duration kStackPatience = std::chrono::milliseconds(25);
constexpr Duration kMostStackPatience = std::chrono::milliseconds(250);

}  // namespace

// What it was doing is worth a moment: its stack goes to its stderr, and from there to the log.
void Supervisor::ask_for_last_words(Ward& ward) {
  const TimePoint now = SteadyClock::now();
  launcher_->signal(worker_key(ward.record->ref), ward.record->announcement->stack_signal);
  ward.last_words = {.due = now + kStackPatience, .until = now + kMostStackPatience};
}

void Supervisor::hear_last_words(Ward& ward, TimePoint now) {
  const Record& record = *ward.record;
  const int pid = record.process.pid;
  const bool waits = !ward.exited && now < ward.last_words.until &&
                     os::is_pending(pid, record.announcement->stack_signal) && !os::is_stopped(pid);
  ward.last_words.due = waits ? now + kStackPatience : TimePoint::max();
  if (!ward.exited && !waits) launcher_->signal(worker_key(record.ref), SIGKILL);
}

// The core has taken the worker off the roster: its channel is the supervisor's until the call's last frame has come.
void Supervisor::cancel(core::WorkerRef ref) {
  Ward* ward = find(ref);
  if (ward == nullptr || ward->exited) return;
  Channel& channel = *ward->record->channel;
  // Unwatched it could be asked, but not heard.
  if (!watch_channel(*ward)) {
    (void)shell_.step(core::Condemn{.worker = ref, .reason = Reason::kTimeout});
    return;
  }
  ward->cancels = {.id = channel.last_id(), .bell = Bell(ward->record->announcement->cancel_signal)};
  // One that does not read has no room for it: then it is not heard in time, either.
  (void)channel.send_now(wire::encode_cancel(ward->cancels->id, ref.generation));
  // The frame first, so that whoever hears the bell finds it.
  ring(*ward);
  on_recovery(*ward);  // what its caller had read, but not taken
}

void Supervisor::ring(Ward& ward) {
  Bell& bell = ward.cancels->bell;
  if (bell.signal() == 0) return;
  launcher_->signal(worker_key(ward.record->ref), bell.signal());
  bell.rung(SteadyClock::now());
}

void Supervisor::on_recovery(Ward& ward) {
  const core::WorkerRef ref = ward.record->ref;
  for (;;) {
    const auto received = ward.record->channel->receive_now();
    if (std::holds_alternative<std::nullopt_t>(received)) return;
    if (const auto* end = std::get_if<Channel::NoReply>(&received)) {
      ward.cancels.reset();
      const bool babble = end->failure == Channel::Failure::kTooLong;
      return condemn(ward, babble ? Reason::kProtocol : Reason::kCrash,
                     babble ? "answered a cancelled call with " + end->detail : "has closed its channel");
    }
    const auto reply = wire::decode_reply(
        {.id = ward.cancels->id, .generation = ref.generation, .stream = wire::CallHeader::Credit{}},
        std::get<std::string_view>(received));
    if (const auto* asked = std::get_if<wire::Callback>(&reply)) {
      if (HostFunctions::is_told(*asked)) continue;
      // In a section that it shields. Whom it would serve has gone.
      const Error gone{.kind = ErrorKind::kCancelled, .message = "the call has ended for its caller"};
      (void)ward.record->channel->send_now(
          wire::encode_callback_result(ward.cancels->id, ref.generation, asked->number, gone));
      continue;
    }
    if (std::holds_alternative<wire::Items>(reply) || took_release(*ward.record, reply)) continue;
    ward.cancels.reset();
    ward.record->lent.settle();
    if (const auto* malformed = std::get_if<wire::Malformed>(&reply)) {
      return condemn(ward, Reason::kProtocol, "broke the protocol after a cancel: " + malformed->problem);
    }
    unwatch_channel(ward);
    (void)shell_.step(core::CheckPassed{ref});
    return;
  }
}

}  // namespace lair::pool
