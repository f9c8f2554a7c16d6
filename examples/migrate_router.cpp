// The last step of docs/migrating.md: from the old script to a new module, little by little.
#include <lair/pool.hpp>
#include <lair/router.hpp>

#include <iostream>

#include "worker_file.hpp"

int main() try {
  const std::string script = worker_file("migrate_old_worker.py");
  lair::Pool before{{.name = "old", .worker = lair::command({"python3", script}), .size = 2}};
  lair::Pool after{{.name = "new", .worker = lair::python(worker_file("migrate_new_worker.py")), .size = 2}};
  before.wait_ready();
  after.wait_ready();

  lair::Router router(before, after);  // all calls go to the first pool
  const auto call = [&] { router.call("count_words", lair::kwargs{{"text", "to be or not to be"}}); };

  router.share(5);  // per cent of calls, and of sessions
  for (int i = 0; i < 100; ++i) call();
  lair::RouterStats stats = router.stats();
  std::cout << "at 5 %: " << stats.first.calls << " old, " << stats.second.calls << " new\n";

  // A session stays where it was opened. Here the first one's programs are in the old script's memory.
  lair::RoutedSession ann = router.session("ann", {.affinity = lair::Affinity::kStrict});
  ann.call("create_program", lair::kwargs{{"id", "qa"}, {"signature", "question -> answer"}});
  router.share(100);
  const lair::kwargs run{{"program_id", "qa"}, {"inputs", {{"question", "why?"}}}};
  std::cout << "ann, on the " << (ann.on_second() ? "new" : "old") << ": "
            << ann.call("execute_program", run).at("outputs").dump() << '\n';

  for (int i = 0; i < 100; ++i) call();
  stats = router.stats();
  if (!stats.second.errors.empty()) router.back();  // everything to the first again
  std::cout << "at the end: " << stats.second.calls << " new, " << stats.second.errors.size()
            << " kinds of errors\n";

  ann.session().end();  // the old pool may go when its last session has ended
} catch (const lair::CallError& error) {
  std::cerr << error.what() << '\n';
  return 1;
}
