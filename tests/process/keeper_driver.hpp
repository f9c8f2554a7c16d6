// A KeeperLauncher in a test's hands: asks for one thing at a time and waits, with a deadline, for what comes of it.
//
// Thread-safety: one thread.
#pragma once

#include <gtest/gtest.h>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "process/keeper_io.hpp"
#include "worker/keeper_launcher.hpp"

namespace lair::test {

class KeeperDriver {
 public:
  explicit KeeperDriver(std::size_t capacity = 64) {
    auto started = worker::KeeperLauncher::start({.capacity = capacity});
    if (!started) {
      ADD_FAILURE() << started.error().message;
      return;
    }
    launcher_ = *std::move(started);
  }

  worker::KeeperLauncher& operator*() { return *launcher_; }
  worker::KeeperLauncher* operator->() { return launcher_.get(); }
  void stop() { launcher_.reset(); }

  worker::SpawnRequest request(std::vector<std::string> argv) {
    worker::SpawnRequest request;
    request.key = {.slot = 0, .generation = ++generation_};
    request.argv = std::move(argv);
    request.env = {"PATH=/usr/bin:/bin"};
    request.stdio = worker::StdioMode::kNoChannel;
    return request;
  }
  worker::SpawnRequest shell(const std::string& script) { return request({"/bin/sh", "-c", script}); }

  // The next event; empty after `patience`.
  std::optional<worker::LaunchEvent> next(Duration patience = kPatience) {
    const Deadline deadline = Deadline::after(patience);
    while (at_ == events_.size()) {
      if (os::wait_for_io({.in_fd = launcher_->poll_fd()}, deadline).timed_out) return std::nullopt;
      events_ = launcher_->take_events();
      at_ = 0;
    }
    return std::move(events_[at_++]);
  }

  // The next event, which must be a T; a default T (and a failed test) otherwise.
  template <class T>
  T expect() {
    auto event = next();
    if (!event) {
      ADD_FAILURE() << "no event came";
      return {};
    }
    if (T* wanted = std::get_if<T>(&*event)) return std::move(*wanted);
    if (const auto* failed = std::get_if<worker::SpawnFailed>(&*event)) {
      ADD_FAILURE() << "spawn failed at step " << failed->step << ": " << failed->message;
    } else {
      ADD_FAILURE() << "an event of another kind came: " << event->index();
    }
    return {};
  }

  worker::Spawned spawn(worker::SpawnRequest request) {
    launcher_->spawn(std::move(request));
    return expect<worker::Spawned>();
  }
  worker::SpawnFailed spawn_failing(worker::SpawnRequest request) {
    launcher_->spawn(std::move(request));
    return expect<worker::SpawnFailed>();
  }
  // Spawned, then its end.
  worker::Exited run(worker::SpawnRequest request) {
    const worker::Spawned kept = spawn(std::move(request));
    return expect<worker::Exited>();
  }

 private:
  std::unique_ptr<worker::KeeperLauncher> launcher_;
  std::vector<worker::LaunchEvent> events_;
  std::size_t at_ = 0;
  std::uint64_t generation_ = 0;
};

}  // namespace lair::test
