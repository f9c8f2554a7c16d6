// DSPy programs after the move of docs/migrating.md: the original's commands, by lair_dspy. The first argument is the URL of a
// language model that speaks OpenAI's protocol, the second the interpreter of an environment with DSPy (default: python3).
#include <lair/pool.hpp>

#include <iostream>
#include <string>

using namespace std::chrono_literals;

int main(int argc, char** argv) try {
  if (argc < 2) {
    std::cerr << "usage: migrate_programs URL [PYTHON]\n";
    return 2;
  }
  lair::PoolOptions options{.name = "dspy", .worker = lair::python("lair_dspy"), .size = 2};
  options.worker.interpreter = argc > 2 ? argv[2] : "python3";
  options.start_timeout = 2min;  // DSPy's import takes seconds
  options.concurrency = 16;      // its calls wait for the network
  lair::Pool pool{options};

  // A `prefer` session, the default, is enough: programs and the LM are in the session's store, and any worker has them.
  lair::Session ann = pool.session("ann");
  ann.call("configure_lm",
           lair::kwargs{{"model", "openai/test"}, {"api_base", argv[1]}, {"api_key", "key-of-ann"}});
  ann.call("create_program", lair::kwargs{{"id", "qa"}, {"signature", "question -> answer"}});

  const lair::kwargs run{{"program_id", "qa"}, {"inputs", {{"question", "What is the capital of France?"}}}};
  const lair::Json done = ann.call("execute_program", run);
  std::cout << done.at("outputs").at("answer").get<std::string>() << '\n';

  const auto wrong = ann.try_call("execute_program", lair::kwargs{{"program_id", "none"}, {"inputs", {}}});
  std::cout << wrong.error().python->type << ": " << wrong.error().python->message << '\n';
  ann.end();
} catch (const lair::CallError& error) {
  std::cerr << error.what() << '\n';
  return 1;
}
