#include "support/fake_launcher.hpp"

#include <fcntl.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include <csignal>
#include <cstdint>

#include "base/assert.hpp"
#include "wire/frame.hpp"
#include "wire/limits.hpp"

namespace lair::test {

using worker::WorkerKey;

namespace {

constexpr int kFakePids = 1'000'000'000;  // no process has such a pid

ExitStatus status_of(int signal_number, int code) {
  if (signal_number != 0) return {.how = ExitStatus::How::kSignalled, .code = signal_number};
  return {.how = ExitStatus::How::kExited, .code = code};
}

}  // namespace

// --- FakeWorker -------------------------------------------------------------------------------------

FakeWorker::FakeWorker(FakeWorld& world, WorkerKey key, os::Fd channel, os::Fd err, os::Fd exit)
    : world_(world), key_(key), channel_(std::move(channel)), err_(std::move(err)), exit_(std::move(exit)) {}

std::optional<std::string> FakeWorker::read_frame() {
  const auto read_exactly = [this](char* data, std::size_t size) {
    while (size > 0) {
      const ssize_t n = ::recv(channel_.get(), data, size, 0);
      if (n <= 0) return false;
      data += n;
      size -= static_cast<std::size_t>(n);
    }
    return true;
  };
  unsigned char header[wire::kHeaderBytes];
  if (!read_exactly(reinterpret_cast<char*>(header), sizeof header)) return std::nullopt;
  std::string payload(
      std::size_t{header[0]} << 24 | std::size_t{header[1]} << 16 | std::size_t{header[2]} << 8 | header[3],
      '\0');
  if (!read_exactly(payload.data(), payload.size())) return std::nullopt;
  return payload;
}

std::optional<Json> FakeWorker::read() {
  const auto payload = read_frame();
  if (!payload) return std::nullopt;
  return Json::parse(*payload);
}

bool FakeWorker::write_raw(std::string_view bytes) {
  while (!bytes.empty()) {
    const ssize_t n = ::send(channel_.get(), bytes.data(), bytes.size(), MSG_NOSIGNAL);
    if (n <= 0) return false;
    bytes.remove_prefix(static_cast<std::size_t>(n));
  }
  return true;
}

bool FakeWorker::write_frame(std::string_view payload) {
  const auto header = wire::frame_header(payload.size());
  return write_raw(std::string(header.data(), header.size()) + std::string(payload));
}

void FakeWorker::log(std::string_view text) {
  [[maybe_unused]] const auto written = ::write(err_.get(), text.data(), text.size());
}

bool FakeWorker::await(const std::string& gate) {
  std::unique_lock lock(world_.mutex_);
  ++world_.waiting_at_[gate];
  world_.changed_.notify_all();
  world_.changed_.wait(lock, [&] { return killed_by_ != 0 || world_.open_gates_.count(gate) != 0; });
  --world_.waiting_at_[gate];
  return killed_by_ == 0;
}

void FakeWorker::close_channel() {
  const std::lock_guard lock(world_.mutex_);
  channel_.reset();
}

// --- Behaviours -------------------------------------------------------------------------------------

bool shake_hands(FakeWorker& worker, const std::vector<std::string>& commands, const Json& more) {
  if (!worker.read()) return false;
  Json announced = Json::array();
  for (const std::string& name : commands) announced.push_back({{"name", name}, {"kind", "call"}});
  Json lair = {{"version", 2},
               {"codec", "json"},
               {"concurrency", 1},
               {"max_frame", 64u << 20},
               {"commands", std::move(announced)}};
  lair.update(more);
  return worker.write({{"id", 0},
                       {"success", true},
                       {"timestamp", "now"},
                       {"result", {{"status", "ok"}, {"lair", std::move(lair)}}}});
}

Behaviour protocol_two(Handler handler, std::vector<std::string> commands, Json more) {
  return [handler = std::move(handler), commands = std::move(commands),
          more = std::move(more)](FakeWorker& worker) {
    if (!shake_hands(worker, commands, more)) return;
    if (!worker.write({4, 0, worker.generation()})) return;
    while (const auto message = worker.read()) {
      if (message->at(0) == 5) return;
      if (message->at(0) == 9) continue;  // a CANCEL that came too late
      const Json& id = message->at(1);
      try {
        const auto value = handler(worker, message->at(3), message->at(4));
        if (value) worker.write({2, id, worker.generation(), *value});
      } catch (const FakeRaise& raise) {
        worker.write(
            {3,
             id,
             worker.generation(),
             {{"type", raise.type}, {"message", raise.message}, {"traceback", ""}, {"kind", "remote"}}});
      }
    }
  };
}

Behaviour protocol_one(Handler handler) {
  return [handler = std::move(handler)](FakeWorker& worker) {
    while (const auto request = worker.read()) {
      const std::string command = request->at("command");
      Json reply = {{"id", request->at("id")}, {"success", true}, {"timestamp", "now"}};
      if (command == "ping") {
        reply["result"] = {{"status", "ok"}};
      } else if (command != "shutdown") {
        try {
          const auto value = handler(worker, command, request->at("args"));
          if (!value) continue;
          reply["result"] = *value;
        } catch (const FakeRaise& raise) {
          reply["success"] = false;
          reply["error"] = raise.message;
        }
      }
      worker.write(reply);
      if (command == "shutdown") return;
    }
  };
}

// --- FakeWorld --------------------------------------------------------------------------------------

class FakeWorld::FakeLauncher final : public worker::Launcher {
 public:
  explicit FakeLauncher(FakeWorld& world) : world_(world) {}
  ~FakeLauncher() override {
    world_.kill_all();
    std::vector<std::thread> threads;
    {
      const std::lock_guard lock(world_.mutex_);
      for (auto& [key, fake] : world_.workers_) threads.push_back(std::move(fake->thread_));
    }
    for (std::thread& thread : threads) thread.join();
    // The world may get another launcher, whose workers count from one again.
    const std::lock_guard lock(world_.mutex_);
    world_.workers_.clear();
    world_.events_.clear();
    world_.held_.clear();
    world_.doomed_.clear();
  }

  int poll_fd() const noexcept override { return world_.told_.fd(); }
  std::vector<worker::LaunchEvent> take_events() override {
    const std::lock_guard lock(world_.mutex_);
    world_.told_.drain();
    return std::exchange(world_.events_, {});
  }
  void spawn(worker::SpawnRequest request) override { world_.spawn(request.key); }
  void signal(WorkerKey key, int signal_number) override {
    if (world_.on_signal) world_.on_signal(key, signal_number);
    world_.kill(key, signal_number);
  }

 private:
  FakeWorld& world_;
};

FakeWorld::FakeWorld(Behaviour behaviour) : behaviour_(std::move(behaviour)) {}
FakeWorld::~FakeWorld() = default;

std::unique_ptr<worker::Launcher> FakeWorld::launcher() { return std::make_unique<FakeLauncher>(*this); }

void FakeWorld::behave(Behaviour behaviour) {
  const std::lock_guard lock(mutex_);
  behaviour_ = std::move(behaviour);
}

void FakeWorld::give_own_pid() {
  const std::lock_guard lock(mutex_);
  own_pid_ = true;
}

void FakeWorld::hold_spawns() {
  const std::lock_guard lock(mutex_);
  holding_ = true;
}

void FakeWorld::release_spawns() {
  const std::lock_guard lock(mutex_);
  holding_ = false;
  for (const WorkerKey key : std::exchange(held_, {})) start(key);
}

void FakeWorld::fail_spawns(bool permanent) {
  const std::lock_guard lock(mutex_);
  spawning_ = permanent ? Spawning::kFailsForGood : Spawning::kFails;
}

void FakeWorld::mend_spawns() {
  const std::lock_guard lock(mutex_);
  spawning_ = Spawning::kWorks;
}

void FakeWorld::open(const std::string& gate) {
  const std::lock_guard lock(mutex_);
  open_gates_.insert(gate);
  changed_.notify_all();
}

std::size_t FakeWorld::at_gate(const std::string& gate) const {
  const std::lock_guard lock(mutex_);
  const auto found = waiting_at_.find(gate);
  return found == waiting_at_.end() ? 0 : found->second;
}

std::size_t FakeWorld::alive() const {
  const std::lock_guard lock(mutex_);
  std::size_t n = 0;
  for (const auto& [key, fake] : workers_) n += fake->gone_ ? 0 : 1;
  return n;
}

std::size_t FakeWorld::spawned() const {
  const std::lock_guard lock(mutex_);
  return spawned_;
}

void FakeWorld::spawn(WorkerKey key) {
  const std::lock_guard lock(mutex_);
  ++spawned_;
  if (holding_) {
    held_.push_back(key);
  } else {
    start(key);
  }
}

void FakeWorld::start(WorkerKey key) {
  if (spawning_ != Spawning::kWorks) {
    events_.emplace_back(worker::SpawnFailed{.key = key,
                                             .step = "exec",
                                             .error = 11,
                                             .message = "the test lets no worker be spawned",
                                             .permanent = spawning_ == Spawning::kFailsForGood});
    told_.notify();
    return;
  }
  int channel[2];
  int err[2];
  LAIR_ASSERT(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, channel) == 0);
  LAIR_ASSERT(::pipe2(err, O_CLOEXEC | O_NONBLOCK) == 0);
  os::Fd exit(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
  os::Fd exit_for_host = os::duplicate(exit.get());
  auto& fake = workers_[key];
  LAIR_ASSERT(fake == nullptr, "a worker is spawned twice");
  fake = std::make_unique<FakeWorker>(*this, key, os::Fd(channel[1]), os::Fd(err[1]), std::move(exit));
  worker::Spawned spawned{.key = key, .process = {}, .pipes = {}};
  spawned.process.pid = own_pid_ ? ::getpid() : kFakePids + static_cast<int>(spawned_);
  spawned.process.exit_fd = std::move(exit_for_host);
  spawned.pipes.channel = os::Fd(channel[0]);
  spawned.pipes.stderr_log = os::Fd(err[0]);
  events_.emplace_back(std::move(spawned));
  told_.notify();
  if (doomed_.erase(key) != 0) kill_locked(*fake, SIGKILL);
  fake->thread_ = std::thread([this, worker = fake.get(), behaviour = behaviour_] {
    behaviour(*worker);
    end(*worker);
  });
}

// As a process's end: its descriptors close, its pidfd fires, its parent hears of it.
void FakeWorld::end(FakeWorker& fake) {
  const std::lock_guard lock(mutex_);
  fake.channel_.reset();
  fake.err_.reset();
  const std::uint64_t one = 1;
  [[maybe_unused]] const auto written = ::write(fake.exit_.get(), &one, sizeof one);
  fake.exit_.reset();
  fake.gone_ = true;
  events_.emplace_back(
      worker::Exited{.key = fake.key_, .status = status_of(fake.killed_by_, fake.exit_code), .usage = {}});
  told_.notify();
  changed_.notify_all();
}

void FakeWorld::kill_locked(FakeWorker& fake, int signal_number) {
  const bool ends_it = signal_number == SIGKILL || (signal_number == SIGTERM && !fake.ignores_sigterm);
  if (!ends_it || fake.gone_ || fake.killed_by_ != 0) return;
  fake.killed_by_ = signal_number;
  // Unblocks its reads and writes; what it has written before can still be read.
  if (fake.channel_) ::shutdown(fake.channel_.get(), SHUT_RDWR);
  changed_.notify_all();
}

void FakeWorld::kill(WorkerKey key, int signal_number) {
  const std::lock_guard lock(mutex_);
  const auto found = workers_.find(key);
  if (found != workers_.end()) {
    kill_locked(*found->second, signal_number);
  } else if (signal_number == SIGKILL) {
    doomed_.insert(key);
  }
}

void FakeWorld::kill_all(int signal_number) {
  const std::lock_guard lock(mutex_);
  for (auto& [key, fake] : workers_) kill_locked(*fake, signal_number);
}

}  // namespace lair::test
