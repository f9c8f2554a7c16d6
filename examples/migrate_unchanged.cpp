// The first step of docs/migrating.md: a script of the original pool, unchanged, under Lair.
#include <lair/pool.hpp>

#include <iostream>

#include "worker_file.hpp"

using namespace std::chrono_literals;

int main() try {
  const std::string script = worker_file("migrate_old_worker.py");
  lair::Pool pool{{
      .name = "old",
      .worker =
          lair::command({"python3", script, "--mode", "pool-worker", "--worker-id", "{worker_id}"}),  // argv
      .size = 2,               // pool_size: 2
      .checkout_timeout = 5s,  // checkout_timeout: 5_000
      .timeout = 30s,          // timeout: 30_000
  }};
  pool.wait_ready();

  // execute_anonymous(:count_words, %{text: ...}). Protocol 1 has keyword arguments only.
  const lair::Json counted = pool.call("count_words", lair::kwargs{{"text", "to be or not to be"}});
  std::cout << "words: " << counted.at("words") << '\n';

  // execute_in_session("ann", ...). The script keeps its state in its process, so the session is strict; its id is
  // added to the arguments as session_id.
  lair::Session ann = pool.session("ann", {.affinity = lair::Affinity::kStrict});
  ann.call("create_program", lair::kwargs{{"id", "qa"}, {"signature", "question -> answer"}});
  const lair::Json done =
      ann.call("execute_program", lair::kwargs{{"program_id", "qa"}, {"inputs", {{"question", "why?"}}}});
  std::cout << "answer: " << done.at("outputs").at("answer") << '\n';

  // {:error, {:communication_error, :python_error, message, context}}
  const auto missing =
      ann.try_call("execute_program", lair::kwargs{{"program_id", "no"}, {"inputs", lair::Json::object()}});
  std::cout << to_string(missing.error().kind) << ": " << missing.error().python->message << '\n';

  ann.end();  // end_session("ann"): the script's cleanup_session is called
} catch (const lair::CallError& error) {
  std::cerr << error.what() << '\n';
  return 1;
}
