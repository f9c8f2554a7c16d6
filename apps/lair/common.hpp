// What the subcommands share: which worker is meant, how an error leaves the program, what went wrong with the
// command line.
//
// Thread-safety: the main thread's.
#pragma once

#include <lair/error.hpp>
#include <lair/json.hpp>
#include <lair/options.hpp>
#include <lair/pool.hpp>

#include <CLI/CLI.hpp>
#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

namespace lair::cli {

// docs/cli.md has the table; the numbers never change.
enum ExitStatus : int {
  kOk = 0,
  kUsage = 2,
};
int exit_status(ErrorKind kind) noexcept;

// The command line is wrong. The program says so, points to the help and exits with kUsage.
class UsageError : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

// The worker that `call`, `describe` and `bench` start, as the command line gives it.
struct WorkerArguments {
  std::string module;
  std::vector<std::string> argv;  // what followed `--`
  bool argv_given = false;

  std::string workers = "1";
  std::string timeout;
  std::string start_timeout;
  std::string python;
  std::string venv;
  std::string cwd;
  std::string stdio;
  std::vector<std::string> path;
  std::vector<std::string> env;
  std::vector<std::string> settings;
  bool verbose = false;
  bool quiet = false;
};
void add_worker_options(CLI::App& command, WorkerArguments& arguments);

// The pool that they describe: lazy, logging to stderr. UsageError for what Lair would refuse.
PoolOptions pool_options(const WorkerArguments& arguments);

// Blocks until `count` workers are ready. Unlike a long-lived pool, whose second attempt may find a mended world, a
// command line gives up at the first start that fails.
Result<void> start(Pool& pool, std::size_t count = 1);

// The error in full, for people on stderr (its worker's lines of output stand there already) …
void report(std::string_view subcommand, Error error, bool worker_output_shown);
// … and for programs.
Json to_json(const Error& error);

// Writes to stdout at once. Throws std::runtime_error when it can't.
void print(std::string_view text);

// A JSON value as the user typed it. UsageError with the place; `what` names it ("the arguments").
Json parse_json(std::string_view text, const std::string& what);

// The arguments of a call: JSON text, `@FILE`, `-` for stdin, or nothing. UsageError if they are none.
Json call_arguments(const std::string& given);

// Whatever a terminal or a log can't show is shown as \xNN.
std::string printable(std::string_view bytes);

// Registered by main.cpp; each stores its exit status.
void add_bench(CLI::App& program, WorkerArguments& worker, int& status);
void add_call(CLI::App& program, WorkerArguments& worker, int& status);
void add_describe(CLI::App& program, WorkerArguments& worker, int& status);
void add_doctor(CLI::App& program, WorkerArguments& worker, int& status);
void add_demo(CLI::App& program, WorkerArguments& worker, int& status);

}  // namespace lair::cli
