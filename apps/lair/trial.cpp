#include "trial.hpp"

#include <utility>
#include <variant>

#include "base/overloaded.hpp"
#include "os/wait.hpp"

namespace lair::cli {

namespace {
constexpr std::size_t kBudget = 64u << 10;  // whatever fits into a pipe
}

Result<Trial> Trial::start(worker::SpawnRequest request, Deadline deadline) {
  Trial trial;
  auto launcher = worker::KeeperLauncher::start({.capacity = 1});
  if (!launcher) return std::move(launcher).error();
  trial.launcher_ = *std::move(launcher);
  request.stdio = worker::StdioMode::kNoChannel;
  trial.launcher_->spawn(std::move(request));
  while (trial.process_.pid == 0) {
    if (trial.refused_) return *std::move(trial.refused_);
    if (!trial.wait(deadline)) return trial.late("lair-keeper has not started it");
  }
  return trial;
}

bool Trial::wait(Deadline deadline) {
  // Any descriptor that becomes readable will do for the second one.
  const os::Ready ready =
      os::wait_for_io({.in_fd = launcher_->poll_fd(), .exit_fd = out_pipe_ ? out_pipe_.fd() : -1}, deadline);
  const auto pump = [](worker::LogPump& pipe, std::string& text) {
    if (pipe && !pipe.pump(kBudget, [&](std::string_view line) { (text += line) += '\n'; })) pipe.close();
  };
  pump(out_pipe_, out_);
  pump(err_pipe_, err_);
  for (worker::LaunchEvent& event : launcher_->take_events()) {
    std::visit(base::Overloaded{
                   [&](worker::Spawned& spawned) {
                     process_ = std::move(spawned.process);
                     out_pipe_ = worker::LogPump(std::move(spawned.pipes.stdout_log));
                     err_pipe_ = worker::LogPump(std::move(spawned.pipes.stderr_log));
                   },
                   [&](worker::SpawnFailed& failed) {
                     refused_ =
                         Error{.kind = ErrorKind::kUnavailable, .message = failed.message, .stage = "spawn"};
                   },
                   [&](worker::Exited& exited) {
                     pump(out_pipe_, out_);  // it may have written since
                     pump(err_pipe_, err_);
                     exit_ = exited.status;
                   },
                   [](const worker::Note&) {},
               },
               event);
  }
  return !ready.timed_out;
}

Error Trial::late(const char* what) const {
  return {.kind = ErrorKind::kUnavailable,
          .message = std::string(what) + " in time" + (err_.empty() ? "" : "; its stderr:\n" + err_)};
}

Result<std::string> Trial::first_line(Deadline deadline) {
  for (;;) {
    if (const std::size_t newline = out_.find('\n'); newline != out_.npos) return out_.substr(0, newline);
    if (exit_) {
      return Error{.kind = ErrorKind::kUnavailable,
                   .message = "it " + exit_->describe() + (err_.empty() ? "" : "; its stderr:\n" + err_)};
    }
    if (!wait(deadline)) return late("it has said nothing");
  }
}

Result<Trial::Ended> Trial::end(Deadline deadline) {
  while (!exit_) {
    if (!wait(deadline)) return late("it has not ended");
  }
  return Ended{.status = *exit_, .out = out_, .err = err_};
}

}  // namespace lair::cli
