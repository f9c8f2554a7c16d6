// `lair demo`: the example examples/code_metrics.cpp, whole. What the demonstration shows is what its reader reads.
#define LAIR_DEMO
#include "../../examples/code_metrics.cpp"  // NOLINT(bugprone-suspicious-include): it is one function, used twice

#include <memory>

#include "common.hpp"

namespace lair::cli {

void add_demo(CLI::App& program, WorkerArguments& worker, int& status) {
  struct Arguments {
    int files = 0;
    bool json = false;
  };
  auto demo = std::make_shared<Arguments>();
  CLI::App* command =
      program.add_subcommand("demo", "Measures Python's standard library with one and with all cores");
  command->add_option("--files", demo->files, "Only a sample of N files [all]")
      ->type_name("N")
      ->check(CLI::PositiveNumber);
  command->add_flag("--json", demo->json, "Prints the results as JSON");
  command->footer(
      "One of the workers is killed on the way; no file is lost. The source: examples/code_metrics.cpp");
  command->callback([&worker, &status, demo] {
    if (worker.argv_given)
      throw UsageError("the demonstration brings its own worker; nothing may follow '--'");
    status = code_metrics::run(demo->files, demo->json);
  });
}

}  // namespace lair::cli
