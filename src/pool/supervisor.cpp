#include "pool/supervisor.hpp"

#include <algorithm>
#include <cerrno>
#include <csignal>
#include <cstring>
#include <variant>

#include "base/assert.hpp"
#include "base/duration.hpp"
#include "base/overloaded.hpp"
#include "os/refused.hpp"
#include "pool/shell.hpp"

namespace lair::pool {

using base::LogLevel;
using base::Overloaded;

namespace {

// What a poller's tag means: a kind, and (but for the first two and the last) the worker's slot and generation.
enum class Source : std::uint64_t { kInbox, kLauncher, kExit, kChannel, kStdout, kStderr, kCode };
constexpr std::uint64_t kKindBits = 3;

// After the kill that ends a shutdown: how long a process may take to vanish.
constexpr Duration kVanishPatience = std::chrono::seconds(10);

std::uint64_t tag(Source source, std::uint64_t key = 0) {
  return key << kKindBits | static_cast<std::uint64_t>(source);
}

}  // namespace

Supervisor::Supervisor(Shell& shell, std::unique_ptr<worker::Launcher> launcher)
    : shell_(shell), launcher_(std::move(launcher)), stacks_(shell, *launcher_) {
  if (!poller_.add(shell_.wake_.fd(), tag(Source::kInbox)) ||
      !poller_.add(launcher_->poll_fd(), tag(Source::kLauncher))) {
    os::throw_refused("epoll_ctl");
  }
}

Supervisor::~Supervisor() = default;

// 16 bits of slot (at most 8192 of them) and 45 of generation, so that a tag can carry it.
std::uint64_t Supervisor::key_of(core::WorkerRef ref) { return ref.generation << 16 | ref.slot; }

Supervisor::Ward* Supervisor::find(core::WorkerRef ref) {
  const auto found = wards_.find(key_of(ref));
  return found == wards_.end() ? nullptr : found->second.get();
}

void Supervisor::run() {
  std::vector<core::Effect> inbox;
  std::vector<os::Poller::Event> events;
  for (;;) {
    // In the order in which the core said it; what these bring about comes with the next round.
    for (;;) {
      inbox.clear();
      {
        const std::lock_guard lock(shell_.mutex_);
        inbox.swap(shell_.inbox_);
      }
      if (inbox.empty()) break;
      for (const core::Effect& effect : inbox) carry_out(effect);
    }
    report_states();
    const TimePoint now = SteadyClock::now();
    if (drained_) break;
    if (now >= give_up_at_) {
      shell_.log(LogLevel::kError,
                 "pool \"" + shell_.options_.name + "\" shuts down, but some of its workers do not die");
      break;
    }

    poller_.wait(Deadline::at(next_wake()), events);
    for (const os::Poller::Event& event : events) {
      const auto source = static_cast<Source>(event.tag & ((1u << kKindBits) - 1));
      const auto found = wards_.find(event.tag >> kKindBits);
      Ward* ward = found == wards_.end() ? nullptr : found->second.get();
      switch (source) {
        case Source::kInbox:
          shell_.wake_.drain();
          break;
        case Source::kLauncher:
          for (worker::LaunchEvent& launched : launcher_->take_events()) on_launch(std::move(launched));
          break;
        case Source::kExit:
          if (ward != nullptr) on_process_end(*ward);
          break;
        case Source::kChannel:
          if (ward != nullptr) on_channel(*ward);
          break;
        case Source::kStdout:
          if (ward != nullptr) pump(*ward, ward->out, "stdout", kLogBudget);
          break;
        case Source::kCode:
          on_code_news();
          break;
        case Source::kStderr:
          if (ward != nullptr) pump(*ward, ward->err, "stderr", kLogBudget);
          break;
      }
    }
    on_timers(SteadyClock::now());
  }
  for (auto& [key, ward] : wards_) drain_logs(*ward);
  stacks_.close();
  report_sheds(SteadyClock::now(), true);
  // The keeper goes, and with it whatever would not.
  launcher_.reset();
  shell_.log(LogLevel::kDebug, "pool \"" + shell_.options_.name + "\" has shut down");
  const std::lock_guard lock(shell_.mutex_);
  shell_.stopped_ = true;
  shell_.stopped_changed_.notify_all();
}

// --- What the core wants ---------------------------------------------------------------------------

void Supervisor::carry_out(const core::Effect& effect) {
  std::visit(Overloaded{
                 [&](const core::Spawn& e) { spawn(e.worker, e.revision); },
                 [&](const core::Stop& e) { stop(e.worker); },
                 [&](const core::Check& e) { check(e.worker); },
                 [&](const core::Cancel& e) { cancel(e.worker); },
                 [&](const core::Kill& e) { kill(e.worker, e.reason); },
                 [&](const core::Forget& e) { forget(e.worker); },
                 [&](const core::Moved& e) { moved(e); },
                 [&](const core::Reloaded& e) { reloaded(e); },
                 [&](const core::Succeeded& e) { succeeded(e); },
                 [&](const core::SessionLost& e) { session_lost(e); },
                 [&](const core::Drained&) { drained_ = true; },
                 [&](const core::Rearm&) {
                   const std::lock_guard lock(shell_.mutex_);
                   if (!shell_.core_.shutting_down()) return;
                   const Duration patience = shell_.options_.terminate_grace + kVanishPatience;
                   const Duration grace = Deadline::at(shell_.core_.grace_end()).remaining();
                   if (grace != kForever) give_up_at_ = Deadline::after(grace + patience).when();
                 },
                 [](const auto&) {},
             },
             effect);
}

void Supervisor::spawn(core::WorkerRef ref, core::Revision revision) {
  if (environment_error_ && revision > environment_revision_) {  // a reload: it may have been mended
    environment_known_ = false;
    environment_error_.reset();
  }
  environment_revision_ = revision;
  auto ward = std::make_unique<Ward>();
  ward->revision = revision;
  ward->record = std::make_shared<Record>(ref, shell_.options_.stderr_lines);
  ward->start_deadline = Deadline::after(shell_.options_.start_timeout);
  {
    const std::lock_guard lock(shell_.mutex_);
    shell_.keep_record(ward->record);
    ++shell_.counters_.workers_started;
  }
  Ward& placed = *(wards_[key_of(ref)] = std::move(ward));
  shell_.tell(LogLevel::kDebug,
              "[" + shell_.options_.name + " " + std::to_string(ref.slot) + "." +
                  std::to_string(ref.generation) + "] starting",
              {.kind = PoolEventKind::kWorkerMoved,
               .worker = PoolEvent::Worker{ref.slot, ref.generation},
               .from = "none",
               .to = to_string(core::WorkerState::kStarting)});
  if (!environment_known_) {
    waiting_for_environment_.push_back(ref);
    if (waiting_for_environment_.size() == 1) prepare_environment();
    return;
  }
  launch(placed);
}

void Supervisor::launch(Ward& ward) {
  ward.stage_took(ward.took.environment);
  if (environment_error_) {
    fail_start(ward, *environment_error_, true, false);
    return;
  }
  if (shell_.options_.watch) watch_code(environment_->named_files(worker_key(ward.record->ref)), ward.began);
  launcher_->spawn(environment_->request(worker_key(ward.record->ref), ward.revision));
}

void Supervisor::stop(core::WorkerRef ref) {
  Ward* ward = find(ref);
  if (ward == nullptr || ward->exited) return;
  // An idle worker's channel is ours again; a busy one's is still its caller's, and is left alone.
  bool ours = false;
  {
    const std::lock_guard lock(shell_.mutex_);
    ours = !shell_.core_.held(ref);
  }
  Record& record = *ward->record;
  if (ours && record.channel && record.announcement) {
    const auto id = record.channel->next_id();
    (void)record.channel->send_now(wire::encode_shutdown(record.announcement->protocol, id, ref.generation));
  }
  launcher_->signal(worker_key(ref), SIGTERM);
  launcher_->signal(worker_key(ref), SIGCONT);  // a stopped process would never see the other
}

void Supervisor::kill(core::WorkerRef ref, core::Reason reason) {
  Ward* ward = find(ref);
  if (ward != nullptr && !ward->exited) {
    const wire::Announcement* announced = ward->record->announcement.get();
    if (reason == core::Reason::kUnhealthy && ward->check) {
      complain(*ward,
               "did not answer its check within health_timeout = " +
                   base::format_duration(shell_.options_.health_timeout),
               false, kMissed);
      unwatch_channel(*ward);  // its end is no second failure
      ward->check.reset();
    }
    if (ward->cancels) {
      unwatch_channel(*ward);
      ward->cancels.reset();
    }
    const bool hangs = reason == core::Reason::kTimeout || reason == core::Reason::kCancelled ||
                       reason == core::Reason::kUnhealthy;
    if (hangs && announced != nullptr && announced->stack_signal != 0) {
      ask_for_last_words(*ward);
    } else {
      launcher_->signal(worker_key(ref), SIGKILL);
    }
  }
  const auto waiting = std::find(waiting_for_environment_.begin(), waiting_for_environment_.end(), ref);
  if (waiting != waiting_for_environment_.end()) {
    waiting_for_environment_.erase(waiting);
    (void)shell_.step(core::StartFailed{.worker = ref, .permanent = false, .has_process = false});
  }
}

void Supervisor::forget(core::WorkerRef ref) {
  Ward* ward = find(ref);
  if (ward == nullptr) return;
  drain_logs(*ward);
  if (ward->record->process.exit_fd) poller_.remove(ward->record->process.exit_fd.get());
  unwatch_channel(*ward);
  wards_.erase(key_of(ref));
}

// --- What the world says ---------------------------------------------------------------------------

void Supervisor::on_launch(worker::LaunchEvent event) {
  std::visit(
      Overloaded{
          [&](worker::Spawned& spawned) {
            if (probe_ && spawned.key == probe_->key) {
              probe_->process = std::move(spawned.process);
              probe_->out = worker::LogPump(std::move(spawned.pipes.stdout_log));
              probe_->err = worker::LogPump(std::move(spawned.pipes.stderr_log));
              return;
            }
            if (Ward* ward = find(worker_ref(spawned.key))) on_spawned(*ward, std::move(spawned));
          },
          [&](worker::SpawnFailed& failed) {
            if (probe_ && failed.key == probe_->key) {
              probe_ended(Error{.kind = ErrorKind::kUnavailable, .message = failed.message},
                          failed.permanent);
              return;
            }
            Ward* ward = find(worker_ref(failed.key));
            if (ward == nullptr) return;
            if (ward->start_failed) {  // it took too long, and now it is clear that there will be no process
              (void)shell_.step(core::StartFailed{.worker = ward->record->ref, .has_process = false});
              return;
            }
            Error error = start_error(*ward, failed.message);
            if (!failed.stage.empty()) error.stage = failed.stage;
            error.python = std::move(failed.python);
            fail_start(*ward, std::move(error), failed.permanent, false);
          },
          [&](worker::Exited& exited) {
            if (probe_ && exited.key == probe_->key) {
              probe_->out.pump(kLogBudget, [&](std::string_view line) { probe_->answer += line; });
              probe_->err.pump(kLogBudget,
                               [&](std::string_view line) { (probe_->complaint += line) += '\n'; });
              std::optional<Error> error;
              if (auto probed = environment_->probed(probe_->answer); !probed) {
                error = std::move(probed).error();
                if (!probe_->complaint.empty())
                  error->message += " Its stderr:" + indented(probe_->complaint);
              }
              // One that was killed, or of which nothing could be read, is asked again.
              const bool exits = exited.status.how == ExitStatus::How::kExited;
              const bool told = exits && (exited.status.code != 0 || !probe_->answer.empty());
              probe_ended(std::move(error), told);
              return;
            }
            if (Ward* ward = find(worker_ref(exited.key))) on_exit(*ward, exited);
          },
          [&](worker::Note& note) {
            shell_.log(note.warning ? LogLevel::kWarn : LogLevel::kInfo,
                       "[" + shell_.options_.name + " " + note.text);
          },
      },
      event);
}

void Supervisor::on_spawned(Ward& ward, worker::Spawned spawned) {
  Record& record = *ward.record;
  const std::uint64_t key = key_of(record.ref);
  const worker::WorkerKey name = spawned.key;
  {
    const std::lock_guard lock(shell_.mutex_);
    record.process = std::move(spawned.process);
  }
  os::Stream stream = spawned.pipes.channel_out ? os::Stream::pipes(std::move(spawned.pipes.channel),
                                                                    std::move(spawned.pipes.channel_out),
                                                                    std::move(spawned.pipes.channel_keep))
                                                : os::Stream::socket(std::move(spawned.pipes.channel));
  record.channel.emplace(std::move(stream), shell_.options_.max_frame);
  if (spawned.pipes.stdout_log) ward.out = worker::LogPump(std::move(spawned.pipes.stdout_log));
  ward.err = worker::LogPump(std::move(spawned.pipes.stderr_log));
  const bool watched = poller_.add(ward.out.fd(), tag(Source::kStdout, key)) &&
                       poller_.add(ward.err.fd(), tag(Source::kStderr, key)) &&
                       poller_.add(record.process.exit_fd.get(), tag(Source::kExit, key)) &&
                       poller_.add(record.channel->fd(), tag(Source::kChannel, key));
  const int refusal = errno;
  ward.watches_channel = watched;
  if (shell_.step(core::Spawned{record.ref}) != core::Outcome::kDone) return;  // condemned meanwhile
  if (!watched) {
    fail_start(ward, start_error(ward, std::string("it cannot be watched: ") + std::strerror(refusal)), false,
               true);
    return;
  }

  ward.stage_took(ward.took.spawn);
  advance(ward, Stage::kHandshake);
  const std::string offer =
      wire::encode_offer({.worker_id = environment_->worker_id(name),
                          .generation = record.ref.generation,
                          .max_frame = shell_.options_.max_frame,
                          .concurrency = static_cast<std::uint32_t>(shell_.options_.concurrency),
                          .spin = shell_.options_.spin,
                          .files = shell_.options_.watch});
  const auto header = wire::frame_header(offer.size());
  // It fits: a fresh socket's buffer takes far more. If the worker is already gone, its exit will tell.
  if (!record.channel->send_now(std::string(header.data(), header.size()) + offer) &&
      record.channel->quiet() == worker::Channel::Quiet::kYes) {
    fail_start(ward, start_error(ward, "the system refused to send it the handshake"), false, true);
  }
}

void Supervisor::on_exit(Ward& ward, const worker::Exited& exited) {
  ward.exited = true;
  stacks_.ended(ward.record->ref);
  drain_logs(ward);
  Record& record = *ward.record;
  unwatch_channel(ward);
  if (ward.stage == Stage::kUp) record.channel->interrupt();
  {
    const std::lock_guard lock(shell_.mutex_);
    record.exit = exited.status;
    ++shell_.counters_.workers_exited;
  }
  if (ward.stage != Stage::kUp && !ward.start_failed) {
    // A word it left before it died explains more than its exit status.
    on_channel(ward);
    if (!ward.start_failed && ward.stage != Stage::kUp) {
      fail_start(ward, start_error(ward, exited.status.describe() + " before it was ready"), false, true);
    }
  }
  (void)shell_.step(core::Exited{record.ref});
  shell_.exited_.notify_all();
  shell_.tell_reactor_of_exit();
}

// Its pidfd has fired: it is dead, though the keeper has not reported its status yet.
void Supervisor::on_process_end(Ward& ward) {
  poller_.remove(ward.record->process.exit_fd.get());
  if (ward.stage == Stage::kUp && !ward.exited) {
    ward.record->channel
        ->interrupt();  // its caller may wait for a reply, and something else hold the socket open
    (void)shell_.step(core::Condemn{.worker = ward.record->ref, .reason = core::Reason::kCrash});
  }
}

bool Supervisor::watch_channel(Ward& ward) {
  if (!ward.watches_channel) {
    const auto key = key_of(ward.record->ref);
    ward.watches_channel = poller_.add(ward.record->channel->fd(), tag(Source::kChannel, key));
  }
  return ward.watches_channel;
}

bool Supervisor::watch_code_fd() { return poller_.add(code_.fd(), tag(Source::kCode)); }

void Supervisor::unwatch_channel(Ward& ward) {
  if (ward.watches_channel) poller_.remove(ward.record->channel->fd());
  ward.watches_channel = false;
}

}  // namespace lair::pool
