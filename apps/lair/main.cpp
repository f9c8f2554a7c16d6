// `lair`: Lair from the command line. This file reads the command line; each subcommand has a file of its own.
//
// No signal is handled (but SIGINT by `bench`, which reports before it ends): SIGINT and SIGTERM end the program as
// they end any other, and lair-keeper then ends every worker, as it would after SIGKILL or a crash.
#include <lair/version.hpp>

#include <algorithm>
#include <cstdio>
#include <string>
#include <string_view>
#include <vector>

#include "base/nearest.hpp"
#include "common.hpp"

namespace lair::cli {

namespace {

constexpr const char* kExamples = R"(
Examples:
  lair demo
  lair doctor
  lair describe --module textstats
  lair call --module textstats count_words '["to be or not to be"]'
  lair call ping -- python3 worker.py --mode pool-worker --worker-id {worker_id}
  lair bench --workers 4 --callers 16

'lair SUBCOMMAND --help' says more. Exit statuses: docs/cli.md)";

std::vector<std::string> long_options(const CLI::App& app) {
  std::vector<std::string> names;
  for (const CLI::Option* option : app.get_options()) {
    for (const std::string& name : option->get_lnames()) names.push_back("--" + name);
  }
  return names;
}

std::string suggestion(std::string_view given, const std::vector<std::string>& known) {
  const std::vector<std::string_view> names(known.begin(), known.end());
  return base::did_you_mean(given, names);
}

// CLI11's own text names everything that was left over; the first is the one to mend.
std::string unexpected(const CLI::App& app, const std::string& argument) {
  if (argument.starts_with('-')) {
    const std::string name = argument.substr(0, argument.find('='));
    return "unknown option '" + printable(name) + "'" + suggestion(name, long_options(app));
  }
  return "unexpected argument '" + printable(argument) + "'; a worker program's command line follows '--'";
}

int refuse(const CLI::App& app, const std::string& what) {
  const std::string name = app.get_parent() == nullptr ? "lair" : "lair " + app.get_name();
  std::fprintf(stderr, "%s: %s\nSee '%s --help'.\n", name.c_str(), what.c_str(), name.c_str());
  return kUsage;
}

int run(std::vector<std::string> arguments) {
  WorkerArguments worker;
  int status = kOk;
  CLI::App program("Lair keeps a pool of warm, supervised Python workers. This is it from the command line.",
                   "lair");
  program.set_version_flag("--version", "lair " LAIR_VERSION_STRING);
  program.footer(kExamples);
  add_bench(program, worker, status);
  add_call(program, worker, status);
  add_describe(program, worker, status);
  add_doctor(program, worker, status);
  add_demo(program, worker, status);

  // Everything behind the first "--" is the worker's, options and all; CLI11 would make COMMAND and JSON of it.
  if (const auto dashes = std::find(arguments.begin(), arguments.end(), "--"); dashes != arguments.end()) {
    worker.argv_given = true;
    worker.argv.assign(dashes + 1, arguments.end());
    arguments.erase(dashes, arguments.end());
  }
  if (arguments.empty()) {
    std::fputs(program.help().c_str(), stderr);
    return kUsage;
  }

  const CLI::App* current = &program;
  std::vector<std::string> subcommands;
  for (const CLI::App* each : program.get_subcommands({})) {
    subcommands.push_back(each->get_name());
    if (each->get_name() == arguments.front()) current = each;
  }
  if (current == &program && !arguments.front().starts_with('-')) {
    return refuse(program, "unknown subcommand '" + printable(arguments.front()) + "'" +
                               suggestion(arguments.front(), subcommands) +
                               "; there are bench, call, describe, doctor and demo");
  }

  try {
    std::reverse(arguments.begin(), arguments.end());  // as CLI11 wants a vector
    program.parse(std::move(arguments));
    if (current == &program) return refuse(program, "a subcommand is expected first");
    return status;
  } catch (const CLI::Success& wish) {  // --help, --version
    return program.exit(wish);
  } catch (const CLI::ExtrasError&) {
    std::vector<std::string> left = current->remaining();
    if (left.empty()) left = program.remaining();
    return refuse(*current, left.empty() ? "unexpected arguments" : unexpected(*current, left.front()));
  } catch (const CLI::ParseError& error) {
    return refuse(*current, error.what());
  } catch (const UsageError& error) {
    return refuse(*current, error.what());
  } catch (const CallError& error) {
    report(current->get_name(), error.error(), false);
    return exit_status(error.error().kind);
  } catch (const std::exception& error) {
    std::fprintf(stderr, "lair: %s\n", error.what());
    return exit_status(ErrorKind::kInternal);
  }
}

}  // namespace

}  // namespace lair::cli

int main(int argc, char** argv) { return lair::cli::run({argv + std::min(argc, 1), argv + argc}); }
