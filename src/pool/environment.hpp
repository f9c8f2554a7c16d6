// The environment stage of a start: which interpreter, which SDK, which command line and environment.
//
// Everything that can be looked up is looked up once, before the first worker is spawned. An interpreter that is
// itself a script (a version manager's shim, which costs 20 ms at every start) has to be asked for the real one;
// `probe` is the command line that does, and the supervisor runs it.
//
// Thread-safety: the supervisor's thread.
#pragma once

#include <lair/options.hpp>
#include <lair/result.hpp>
#include <optional>
#include <string>
#include <vector>

#include "worker/launcher.hpp"

namespace lair::pool {

class Environment {
 public:
  // Looks up the program and, for Python workers, the SDK. The error's stage is "environment".
  static Result<Environment> look_up(const PoolOptions& options);

  // A command line that prints the interpreter's real path, if it has to be asked.
  std::optional<worker::SpawnRequest> probe(worker::WorkerKey key) const;
  // What the probe printed. An answer that makes no sense is an error that shows it.
  Result<void> probed(const std::string& output);

  // What to launch for one worker; a warm parent of an older revision is not good enough for it. No file is touched.
  worker::SpawnRequest request(worker::WorkerKey key, std::uint32_t revision = 1) const;
  // Of the files of its code, those that its command line names: a script, a program of the user's own.
  std::vector<std::string> named_files(worker::WorkerKey key) const;
  std::string worker_id(worker::WorkerKey key) const;

  // The program that workers run: the interpreter, or argv[0], as found.
  const std::string& program() const { return program_; }

 private:
  Environment() = default;
  worker::SpawnRequest warm_parent() const;
  std::vector<std::string> variables(std::optional<worker::WorkerKey> key) const;
  std::string filled_in(std::string text, worker::WorkerKey key) const;

  PoolOptions options_;
  std::string program_;
  bool is_script_ = false;
  std::vector<std::string> inherited_;  // "NAME=value", as allowed
};

// The program that workers run, as found: the interpreter, or argv[0].
Result<std::string> find_worker_program(const WorkerSpec& spec);

// Where the Python SDK is: the directory to put on the module search path. `LAIR_SDK` wins; then what lies beside
// the program or the library, then the installed path.
Result<std::string> find_sdk();

}  // namespace lair::pool
