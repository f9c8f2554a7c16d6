#include "worker/keeper_launcher.hpp"

#include <algorithm>
#include <array>
#include <cerrno>
#include <csignal>
#include <cstdlib>
#include <cstring>
#include <filesystem>

#include "os/descendants.hpp"
#include "os/installed.hpp"
#include "os/message_socket.hpp"
#include "os/pidfd.hpp"
#include "os/proc.hpp"
#include "os/refused.hpp"
#include "os/spawn.hpp"
#include "os/wait.hpp"
#include "worker/keeper_order.hpp"

namespace lair::worker {

namespace fs = std::filesystem;

namespace {

constexpr std::uint64_t kControlTag = 0;
constexpr std::uint64_t kEventsTag = 1;
constexpr std::uint64_t kOrphanTag = 2;
// A keeper that dies sooner than this after its start is not followed by another at once.
constexpr Duration kKeeperRespite = std::chrono::milliseconds(200);
// How long the destructor waits for the keeper to have swept.
constexpr Duration kSweepPatience = std::chrono::seconds(5);

Error unavailable(std::string message) {
  return {.kind = ErrorKind::kUnavailable,
          .delivery = Delivery::kNotSent,
          .message = std::move(message),
          .stage = "spawn"};
}

}  // namespace

Result<std::string> find_keeper() {
  if (const char* set = std::getenv("LAIR_KEEPER"); set != nullptr && *set != '\0') {
    if (os::is_executable(set)) return std::string(set);
    return unavailable(std::string("LAIR_KEEPER is set to ") + set +
                       ", which is not an executable file; unset it, or set it to lair-keeper");
  }
  std::vector<fs::path> places;
  for (const std::string& file : {os::program_path(), os::library_path()}) {
    if (!file.empty()) places.push_back(fs::path(file).parent_path() / "lair-keeper");
  }
  for (const std::string& folder : os::places_of(os::Part::kLibexec))
    places.push_back(fs::path(folder) / "lair-keeper");
  std::string looked;
  std::set<fs::path> seen;
  for (const fs::path& place : places) {
    if (!seen.insert(place).second) continue;
    if (os::is_executable(place.string())) return place.string();
    looked += "\n  " + place.string();
  }
  return unavailable(
      "lair-keeper, the program that starts and guards the workers, was not found; looked at:" + looked +
      "\nInstall Lair whole, or set LAIR_KEEPER to its path.");
}

KeeperLauncher::KeeperLauncher(std::string keeper, const Options& options)
    : keeper_(std::move(keeper)), options_(options) {
  if (!poller_.add(have_events_.fd(), kEventsTag)) os::throw_refused("epoll_ctl");
}

Result<std::unique_ptr<KeeperLauncher>> KeeperLauncher::start(const Options& options) {
  auto keeper = find_keeper();
  if (!keeper) return std::move(keeper).error();
  try {
    std::unique_ptr<KeeperLauncher> launcher(new KeeperLauncher(*std::move(keeper), options));
    if (auto started = launcher->start_keeper(); !started) return std::move(started).error();
    return launcher;
  } catch (const CallError& refused) {
    return refused.error();
  }
}

Result<void> KeeperLauncher::start_keeper() {
  const TimePoint now = SteadyClock::now();
  if (keeper_started_ != TimePoint{} && now - keeper_started_ < kKeeperRespite) {
    return unavailable("lair-keeper has just died; another is not started at once");
  }
  keeper_started_ = now;
  auto pair = os::make_message_pair();
  // Of ourselves, so that the keeper can't be fooled by a host that is gone before it looks.
  const os::Fd self = os::open_pidfd(os::own_pid());
  if (!pair.ours || !self)
    return unavailable(std::string("cannot start lair-keeper: ") + std::strerror(errno));
  const auto started = os::spawn_program({.path = keeper_,
                                          .arguments = {keeper_, std::to_string(options_.capacity)},
                                          .fd_3 = pair.theirs.get(),
                                          .fd_4 = self.get()});
  if (started.error != 0) return unavailable("cannot start " + keeper_ + ": " + std::strerror(started.error));
  keeper_pid_ = started.pid;
  keeper_pidfd_ = os::open_pidfd(started.pid);
  if (!keeper_pidfd_) {
    const std::string why = std::strerror(errno);
    os::end_conversation(pair.ours.get());  // it goes by itself
    (void)os::reap_child(started.pid);
    return unavailable("cannot watch lair-keeper: " + why);
  }
  control_ = std::move(pair.ours);
  if (!poller_.add(control_.get(), kControlTag)) {
    const std::string why = std::strerror(errno);
    keeper_lost(why);
    return unavailable("cannot watch lair-keeper: " + why);
  }
  return {};
}

KeeperLauncher::~KeeperLauncher() {
  if (!control_) return;
  poller_.remove(control_.get());
  os::end_conversation(control_.get());  // the keeper ends everything and goes
  control_.reset();
  const os::Ready gone = os::wait_for_io({.exit_fd = keeper_pidfd_.get()}, Deadline::after(kSweepPatience));
  if (gone.timed_out) end_keeper();
  (void)os::reap_pidfd(keeper_pidfd_.get());
}

// One that does not do its duty any more. Its workers would die with it, but not what has detached itself from them.
void KeeperLauncher::end_keeper() {
  const bool ended =
      os::wait_for_io({.exit_fd = keeper_pidfd_.get()}, Deadline::at(SteadyClock::now())).exited;
  if (!ended) os::kill_descendants(keeper_pid_);
  (void)os::signal_pidfd(keeper_pidfd_.get(), SIGKILL);
}

// --- Orders ----------------------------------------------------------------------------------------

void KeeperLauncher::fail(WorkerKey key, std::string step, int error, std::string message, bool permanent) {
  events_.emplace_back(SpawnFailed{.key = key,
                                   .step = std::move(step),
                                   .error = error,
                                   .message = std::move(message),
                                   .permanent = permanent});
  have_events_.notify();
}

void KeeperLauncher::spawn(SpawnRequest request) {
  const auto has_nul = [](const std::string& text) { return text.find('\0') != std::string::npos; };
  if (std::any_of(request.argv.begin(), request.argv.end(), has_nul) ||
      std::any_of(request.env.begin(), request.env.end(), has_nul) || has_nul(request.cwd)) {
    fail(request.key, "strings", EINVAL, "the command line, environment or cwd has a NUL in it", true);
    return;
  }
  for (const int cpu : request.cpus) {
    if (cpu >= 0 && static_cast<std::size_t>(cpu) < keeper::kMostCpus) continue;
    fail(request.key, "affinity", EINVAL, "cpu_affinity: there is no CPU " + std::to_string(cpu), true);
    return;
  }
  // The keeper stays where the host was when it started it.
  std::error_code unknown;
  if (request.cwd.empty()) request.cwd = fs::current_path(unknown).string();
  if (!control_) {
    if (auto started = start_keeper(); !started) {
      fail(request.key, "keeper", ECHILD, started.error().message, false);
      return;
    }
  }
  Plumbing plumbing = lay_pipes(request);
  if (plumbing.error != 0) {
    fail(request.key, "descriptors", plumbing.error,
         std::string("cannot make a worker's pipes: ") + std::strerror(plumbing.error), false);
    return;
  }
  const EncodedOrder encoded = encode_order(request, plumbing);
  switch (os::send_message(control_.get(), &encoded.order, sizeof encoded.order, encoded.fds.data(),
                           encoded.order.descriptors)) {
    case os::MessageStatus::kOk:
      pending_[request.key] = Pending{.pipes = std::move(plumbing.ours), .program = request.argv.front()};
      return;
    case os::MessageStatus::kWouldBlock:
      fail(request.key, "keeper", EAGAIN, "lair-keeper takes no more orders at the moment", false);
      return;
    case os::MessageStatus::kClosed:
      fail(request.key, "keeper", EPIPE, "lair-keeper has died", false);
      keeper_lost("lair-keeper has died");
      return;
    case os::MessageStatus::kFailed:
      fail(request.key, "keeper", errno,
           std::string("cannot order a worker from lair-keeper: ") + std::strerror(errno), false);
      return;
  }
}

void KeeperLauncher::signal(WorkerKey key, int signal_number) {
  if (const auto living = living_.find(key); living != living_.end()) {
    (void)os::signal_pidfd(living->second.get(), signal_number);
  } else if (const auto pending = pending_.find(key); pending != pending_.end()) {
    // SIGKILL wins over what was asked before.
    if (pending->second.signal_at_birth != SIGKILL) pending->second.signal_at_birth = signal_number;
  }
}

// --- Reports ---------------------------------------------------------------------------------------

std::vector<LaunchEvent> KeeperLauncher::take_events() {
  have_events_.drain();
  while (control_) {
    keeper::Report report;
    os::Received received = os::receive_message(control_.get(), &report, sizeof report);
    if (received.status == os::MessageStatus::kWouldBlock) break;
    if (received.status != os::MessageStatus::kOk) {
      keeper_lost("lair-keeper has died");
      break;
    }
    if (received.size == sizeof report) on_report(report, std::move(received.fds[0]));
  }
  for (auto orphan = orphans_.begin(); orphan != orphans_.end();) {
    const os::Ready gone =
        os::wait_for_io({.exit_fd = orphan->second.get()}, Deadline::after(Duration::zero()));
    if (!gone.exited) {
      ++orphan;
      continue;
    }
    poller_.remove(orphan->second.get());
    os::reap_if_ours(orphan->second.get());  // a host that is a reaper itself (PID 1) has inherited it
    events_.emplace_back(Exited{.key = orphan->first, .status = {}, .usage = std::nullopt});
    orphan = orphans_.erase(orphan);
  }
  return std::exchange(events_, {});
}

void KeeperLauncher::on_report(const keeper::Report& report, os::Fd pidfd) {
  const WorkerKey key{.slot = report.slot, .generation = report.generation};
  switch (report.kind) {
    case keeper::Kind::kHello:
      if (report.version != keeper::kVersion) {
        keeper_lost(keeper_ + " is of another version of Lair (it speaks version " +
                    std::to_string(report.version) + ", this library " + std::to_string(keeper::kVersion) +
                    ")");
      }
      return;
    case keeper::Kind::kSpawned:
      on_spawned(key, report.pid, std::move(pidfd));
      return;
    case keeper::Kind::kFailed:
      on_failed(key, report);
      return;
    case keeper::Kind::kExited: {
      if (doomed_.erase(key) != 0) {
        fail(key, "descriptors", EMFILE,
             "the worker had to be killed: the host has no descriptor left for it", false);
        return;
      }
      living_.erase(key);
      const ExitStatus status{
          .how = report.signalled != 0 ? ExitStatus::How::kSignalled : ExitStatus::How::kExited,
          .code = report.code};
      events_.emplace_back(
          Exited{.key = key,
                 .status = status,
                 .usage = ResourceUse{.user_cpu = std::chrono::microseconds(report.user_us),
                                      .system_cpu = std::chrono::microseconds(report.system_us),
                                      .max_rss_bytes = report.max_rss_kib * 1024}});
      return;
    }
  }
}

void KeeperLauncher::on_spawned(WorkerKey key, int pid, os::Fd pidfd) {
  const auto found = pending_.find(key);
  if (found == pending_.end()) return;
  Pending pending = std::move(found->second);
  pending_.erase(found);
  os::Fd ours = os::duplicate(pidfd.get());
  if (!ours) {
    // Out of descriptors (the kernel then drops those that come with a message): we could neither watch nor reach it.
    const keeper::Spawn order{.order = keeper::Order::kKill, .slot = key.slot, .generation = key.generation};
    doomed_.insert(key);
    (void)os::send_message(control_.get(), &order, sizeof order, nullptr, 0);
    return;
  }
  if (pending.signal_at_birth != 0) (void)os::signal_pidfd(pidfd.get(), pending.signal_at_birth);
  living_[key] = std::move(ours);
  events_.emplace_back(Spawned{
      .key = key, .process = {.pid = pid, .exit_fd = std::move(pidfd)}, .pipes = std::move(pending.pipes)});
}

void KeeperLauncher::on_failed(WorkerKey key, const keeper::Report& report) {
  const auto found = pending_.find(key);
  if (found == pending_.end()) return;
  std::string message = words_for(report.step);
  if (report.step == keeper::Step::kExec) message += ' ' + found->second.program;
  message += std::string(": ") + std::strerror(report.error);
  if (report.step == keeper::Step::kExec && report.error == ENOENT && fs::exists(found->second.program)) {
    message +=
        " (the file exists: the interpreter in its first line does not, or it is built for another system)";
  }
  pending_.erase(found);
  fail(key, name_of(report.step), report.error, std::move(message), is_permanent(report.step, report.error));
}

// Its workers are told by the kernel to die with it; what they had under way has no parent to report it.
void KeeperLauncher::keeper_lost(const std::string& why) {
  if (!control_) return;
  poller_.remove(control_.get());
  control_.reset();
  end_keeper();  // it may only have lost its tongue
  (void)os::reap_pidfd(keeper_pidfd_.get());
  keeper_pidfd_.reset();
  for (auto& [key, pending] : std::exchange(pending_, {})) fail(key, "keeper", ECHILD, why, false);
  for (const WorkerKey& key : std::exchange(doomed_, {})) fail(key, "keeper", ECHILD, why, false);
  for (auto& [key, pidfd] : std::exchange(living_, {})) {
    (void)os::signal_pidfd(pidfd.get(), SIGKILL);
    if (!poller_.add(pidfd.get(), kOrphanTag)) {
      // It can't be watched for its end, so that is awaited here: it has been killed and is nearly there.
      (void)os::wait_for_io({.exit_fd = pidfd.get()}, Deadline::after(kSweepPatience));
      have_events_.notify();
    }
    orphans_[key] = std::move(pidfd);
  }
}

}  // namespace lair::worker
