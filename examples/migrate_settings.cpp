// Settings and the single bridge of docs/migrating.md: a pool of one worker, from JSON.
#include <lair/pool.hpp>

#include <iostream>

#include "worker_file.hpp"

int main() try {
  lair::Json settings = lair::Json::parse(R"({
    "name": "bridge", "size": 1, "lazy": true,
    "checkout_timeout": "5s", "timeout": "30s", "health_interval": "30s", "session_ttl": "1h"
  })");
  settings["module"] = worker_file("migrate_new_worker.py");

  lair::Pool bridge{lair::parse_pool_options(settings).value()};
  std::cout << bridge.call("count_words", lair::kwargs{{"text", "one worker"}}).dump() << '\n';

  settings["pool_size"] = 4;  // a name of the original's
  std::cout << lair::parse_pool_options(settings).error().message << '\n';
} catch (const lair::CallError& error) {
  std::cerr << error.what() << '\n';
  return 1;
}
