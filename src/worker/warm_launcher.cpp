#include "worker/warm_launcher.hpp"

#include <algorithm>
#include <cerrno>
#include <csignal>
#include <cstring>
#include <utility>

#include "base/overloaded.hpp"
#include "os/refused.hpp"
#include "wire/handshake.hpp"

namespace lair::worker {

namespace {

constexpr std::uint64_t kAnyTag = 0;
constexpr std::size_t kLogBudget = 256u << 10;
// A parent that was ready for less is started again when a worker wants one, not at once: it might die each time.
constexpr Duration kRespite = std::chrono::seconds(1);
constexpr std::size_t kMostWord = 1u << 20;

}  // namespace

WarmLauncher::WarmLauncher(std::unique_ptr<Launcher> inner) : inner_(std::move(inner)) {
  if (!poller_.add(inner_->poll_fd(), kAnyTag) || !poller_.add(have_events_.fd(), kAnyTag))
    os::throw_refused("epoll_ctl");
}

WarmLauncher::~WarmLauncher() = default;

void WarmLauncher::add(LaunchEvent event) {
  events_.push_back(std::move(event));
  have_events_.notify();
}

// --- Orders ----------------------------------------------------------------------------------------

void WarmLauncher::spawn(SpawnRequest request) {
  if (request.warm == nullptr) return inner_->spawn(std::move(request));
  serve(std::move(request));
}

void WarmLauncher::serve(SpawnRequest request) {
  how_ = request.warm;
  const bool stale = parent_ && parent_->revision != how_->key.generation;
  if (stale) end_parent();
  if (parent_ && parent_->state == State::kReady) {
    request.warm.reset();
    request.birth = Birth::kFork;
    request.parent = parent_->key.generation;
    forking_.insert(request.key);
    inner_->spawn(std::move(request));
    return;
  }
  waiting_.push_back(std::move(request));
  if (!parent_) start_parent(*how_);
}

void WarmLauncher::start_parent(const SpawnRequest& how) {
  SpawnRequest request = how;
  request.key = {.slot = kWarmSlot, .generation = ++parents_};
  request.birth = Birth::kWarmParent;
  parent_.emplace(request.key);
  parent_->revision = how.key.generation;
  inner_->spawn(std::move(request));
}

void WarmLauncher::end_parent() {
  if (parent_->state != State::kEnding) inner_->signal(parent_->key, SIGKILL);
  parent_->state = State::kEnding;
}

void WarmLauncher::signal(WorkerKey key, int signal_number) {
  const auto waits =
      std::find_if(waiting_.begin(), waiting_.end(), [&](const auto& each) { return each.key == key; });
  const bool ends = signal_number == SIGKILL || signal_number == SIGTERM;
  if (waits == waiting_.end()) {
    // An order that the parent has not carried out: it may be stopped, or caught in a fork hook.
    if (signal_number == SIGKILL && forking_.count(key) != 0 && parent_) end_parent();
    return inner_->signal(key, signal_number);
  }
  if (!ends) return;
  waiting_.erase(waits);
  add(SpawnFailed{.key = key,
                  .step = "warm_parent",
                  .error = ECANCELED,
                  .message = "given up while the warm parent was importing the modules of `preload`",
                  .stage = "environment"});
  if (waiting_.empty() && parent_ && parent_->state != State::kReady) end_parent();
}

// --- Events ----------------------------------------------------------------------------------------

std::vector<LaunchEvent> WarmLauncher::take_events() {
  have_events_.drain();
  for (LaunchEvent& event : inner_->take_events()) {
    const bool of_parent =
        std::visit(base::Overloaded{[](const Note&) { return false; },
                                    [this](const auto& each) { return parent_ && each.key == parent_->key; }},
                   event);
    if (of_parent) {
      std::visit(base::Overloaded{
                     [this](Spawned& spawned) { on_parent_spawned(std::move(spawned)); },
                     [this](SpawnFailed& failed) {
                       fail_waiting({.step = failed.step,
                                     .error = failed.error,
                                     .message = "the warm parent does not start: " + failed.message,
                                     .permanent = failed.permanent,
                                     .stage = "environment"});
                       parent_.reset();
                     },
                     [this](Exited& exited) { on_parent_gone(exited.status.describe()); },
                     [](Note&) {},
                 },
                 event);
      continue;
    }
    if (auto* spawned = std::get_if<Spawned>(&event)) {
      if (forking_.erase(spawned->key) != 0 && parent_) parent_->refusal.reset();
    }
    if (auto* failed = std::get_if<SpawnFailed>(&event)) {
      hear_parent();  // its reason, if it has one, came before the refusal
      if (forking_.erase(failed->key) != 0 && failed->step == "warm_parent") explain(*failed);
    }
    events_.push_back(std::move(event));
  }
  hear_parent();
  return std::exchange(events_, {});
}

// The keeper knows only that the fork was refused; the parent has said why.
void WarmLauncher::explain(SpawnFailed& failed) const {
  failed.stage = "environment";
  if (!parent_ || !parent_->refusal) return;
  failed.message = parent_->refusal->message;
  failed.permanent = parent_->refusal->permanent;
}

void WarmLauncher::fail_waiting(const SpawnFailed& why) {
  for (SpawnRequest& request : std::exchange(waiting_, {})) {
    SpawnFailed failed = why;
    failed.key = request.key;
    add(std::move(failed));
  }
}

// --- The parent ------------------------------------------------------------------------------------

void WarmLauncher::on_parent_spawned(Spawned spawned) {
  Parent& parent = *parent_;
  parent.pid = spawned.process.pid;
  parent.pidfd = std::move(spawned.process.exit_fd);
  parent.channel.emplace(os::Stream::socket(std::move(spawned.pipes.channel)), kMostWord);
  parent.out = LogPump(std::move(spawned.pipes.stdout_log));
  parent.err = LogPump(std::move(spawned.pipes.stderr_log));
  const bool watched = poller_.add(parent.channel->fd(), kAnyTag) && poller_.add(parent.out.fd(), kAnyTag) &&
                       poller_.add(parent.err.fd(), kAnyTag);
  if (parent.state == State::kSpawning) parent.state = State::kImporting;
  if (watched) return;
  fail_waiting({.step = "warm_parent",
                .error = errno,
                .message = std::string("the warm parent cannot be watched: ") + std::strerror(errno),
                .stage = "environment"});
  end_parent();
}

void WarmLauncher::hear_parent() {
  if (!parent_) return;
  while (parent_->channel) {
    const auto received = parent_->channel->receive_now();
    if (std::holds_alternative<std::nullopt_t>(received)) break;
    if (const auto* payload = std::get_if<std::string_view>(&received)) {
      on_word(*payload);
      continue;
    }
    // Its end, which will be reported. Until then the descriptor would be readable for ever.
    poller_.remove(parent_->channel->fd());
    parent_->channel.reset();
  }
  pump(parent_->out, "stdout");
  pump(parent_->err, "stderr");
}

// It is ready, or it is not; later, why it has refused a fork.
void WarmLauncher::on_word(std::string_view payload) {
  Parent& parent = *parent_;
  auto word = wire::decode_handshake(payload);
  if (const auto* failed = std::get_if<wire::StartError>(&word)) {
    SpawnFailed refusal{.step = "warm_parent", .permanent = failed->permanent, .stage = "environment"};
    refusal.message = failed->message;
    if (!failed->traceback.empty()) {
      refusal.message = "the warm parent cannot import `preload`: " + failed->type + ": " + failed->message;
      refusal.python = PythonError{failed->type, failed->message, failed->traceback};
    }
    if (parent.state == State::kImporting) {
      fail_waiting(refusal);
      end_parent();  // it would exit by itself
    }
    parent.refusal = std::move(refusal);
    return;
  }
  if (parent.state != State::kImporting) return;
  if (const auto* malformed = std::get_if<wire::Malformed>(&word)) {
    fail_waiting({.step = "warm_parent",
                  .error = EPROTO,
                  .message = "the warm parent does not say whether it is ready: " + malformed->problem,
                  .stage = "environment"});
    return end_parent();
  }
  parent.state = State::kReady;
  parent.ready_since = SteadyClock::now();
  add(Note{.text = "warm parent pid " + std::to_string(parent.pid) + "] ready"});
  for (SpawnRequest& request : std::exchange(waiting_, {})) serve(std::move(request));
}

void WarmLauncher::pump(LogPump& pump, const char* stream) {
  if (!pump) return;
  const int fd = pump.fd();
  const bool more = pump.pump(kLogBudget, [&](std::string_view line) {
    if (&pump == &parent_->err) parent_->tail.add(line);
    add(Note{.text = "warm parent pid " + std::to_string(parent_->pid) + " " + stream + "] " +
                     std::string(line)});
  });
  if (more) return;
  poller_.remove(fd);
  pump.close();
}

void WarmLauncher::on_parent_gone(const std::string& how) {
  hear_parent();
  Parent& parent = *parent_;
  const State state = parent.state;
  const bool lasted = state == State::kReady && SteadyClock::now() - parent.ready_since >= kRespite;
  if (state == State::kReady) {
    add(Note{.text = "warm parent pid " + std::to_string(parent.pid) + "] " + how +
                     "; another is started, and the workers that it has forked live on",
             .warning = true});
  } else if (state != State::kEnding) {
    const std::string last = parent.tail.text();
    fail_waiting({.step = "warm_parent",
                  .error = ECHILD,
                  .message = "the warm parent ended (" + how +
                             ") while it imported the modules of `preload`" +
                             (last.empty() ? "" : "; its last words:\n" + last),
                  .stage = "environment"});
  }
  if (parent.channel) poller_.remove(parent.channel->fd());
  if (parent.out) poller_.remove(parent.out.fd());
  if (parent.err) poller_.remove(parent.err.fd());
  parent_.reset();
  if (!waiting_.empty() || lasted) start_parent(*how_);
}

}  // namespace lair::worker
