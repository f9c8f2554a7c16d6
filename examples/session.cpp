// Sessions: calls that share state. Without an argument their store is in memory; given the name of a file, it is there, and the
// visits that are counted go on where the last run has left off.
#include <lair/pool.hpp>

#include <chrono>
#include <iostream>
#include <string>
#include <utility>
#include <vector>

#include "worker_file.hpp"

using namespace std::chrono_literals;

// Any worker will do: its state is in the store.
void visits(lair::Pool& pool) {
  lair::Session bob = pool.session("bob", {.ttl = 24h});
  bob.call("visit");
  const int visits = bob.call<int>("visit");
  std::cout << "bob was here " << visits << " times; the store says " << *bob.get<int>("visits") << '\n';
}

// One worker, where it keeps a database that is open.
void tables(lair::Pool& pool) {
  lair::Session ann = pool.session("ann", {.affinity = lair::Affinity::kStrict});
  ann.call("load", "city", std::vector<std::pair<std::string, int>>{{"Bern", 134}, {"Basel", 178}});
  ann.call("load", lair::kwargs{{"table", "scratch"}, {"rows", {{7}}}, {"keep", false}});
  std::cout << "ann asks: " << ann.call("ask", "SELECT c0 FROM city ORDER BY c1 DESC").dump() << '\n';

  // Its worker ends, and with it the database. That is said until the session is reopened: nothing goes on as if nothing
  // had happened.
  const auto crashed = ann.try_call("crash");
  const auto after = ann.try_call("ask", "SELECT count(*) FROM scratch");
  std::cout << "then " << to_string(crashed.error().kind) << ", then " << to_string(after.error().kind)
            << ": " << after.error().message << '\n';

  // On another worker, which has made a new database of what is in the store.
  ann.reopen();
  std::cout << "ann asks again: " << ann.call("ask", "SELECT c0 FROM city ORDER BY c1 DESC").dump() << '\n';
  const auto gone = ann.try_call("ask", "SELECT count(*) FROM scratch");
  std::cout << "what was not kept: " << gone.error().python->message << '\n';
  ann.end();  // closes the database, and drops what was stored
}

int main(int argc, char** argv) try {
  lair::PoolOptions options{.name = "tables", .worker = lair::python(worker_file("tables.py")), .size = 2};
  if (argc > 1) options.session_store = argv[1];
  lair::Pool pool{options};
  pool.wait_ready();
  visits(pool);
  tables(pool);
  for (const lair::SessionInfo& session : pool.sessions()) {
    std::cout << "open: " << session.id << ", " << session.calls << " calls, " << session.stored_bytes
              << " bytes\n";
  }
} catch (const lair::CallError& error) {
  std::cerr << error.what() << '\n';
  return 1;
}
