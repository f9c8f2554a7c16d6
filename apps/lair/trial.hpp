// A program run to its end by lair-keeper, as a pool's workers are, and what it wrote.
//
// Thread-safety: the main thread's.
#pragma once

#include <lair/deadline.hpp>
#include <lair/error.hpp>
#include <lair/result.hpp>

#include <memory>
#include <optional>
#include <string>

#include "worker/keeper_launcher.hpp"
#include "worker/log_pump.hpp"

namespace lair::cli {

class Trial {
 public:
  struct Ended {
    lair::ExitStatus status;
    std::string out;
    std::string err;
  };

  // Starts a keeper. Blocks until it has made a process of `request`, or says why it can't; at most until `deadline`.
  static Result<Trial> start(worker::SpawnRequest request, Deadline deadline);

  // The program's first line on stdout, or what it wrote when it ended without one.
  Result<std::string> first_line(Deadline deadline);
  // Waits for its end.
  Result<Ended> end(Deadline deadline);
  // Lets go of the keeper, which ends the program and everything below it.
  void let_go() { launcher_.reset(); }

  int pid() const { return process_.pid; }

 private:
  Trial() = default;
  // Takes what has happened; blocks for more until `deadline`. False when that has passed.
  bool wait(Deadline deadline);
  Error late(const char* what) const;

  std::unique_ptr<worker::KeeperLauncher> launcher_;
  worker::Process process_;
  worker::LogPump out_pipe_;
  worker::LogPump err_pipe_;
  std::optional<lair::ExitStatus> exit_;
  std::optional<Error> refused_;
  std::string out_;
  std::string err_;
};

}  // namespace lair::cli
