// The adapter layers of docs/migrating.md: code takes an Endpoint&; a pool and a fake are endpoints.
#include <lair/pool.hpp>
#include <lair/testing.hpp>

#include <iostream>
#include <string>

#include "worker_file.hpp"

// The program's own code. It does not know who answers.
int words_in(lair::Endpoint& python, const std::string& text) {
  const auto reply = python.try_call("count_words", lair::kwargs{{"text", text}});
  return reply ? reply->at("words").get<int>() : -1;
}

int main() try {
  // The test: no process, no Python, no time.
  lair::FakeEndpoint mock;
  mock.on("count_words", lair::fake::returns({{"words", 6}}),
          lair::fake::fails(lair::ErrorKind::kWorkerLost));
  std::cout << "fake: " << words_in(mock, "to be or not to be") << ", then " << words_in(mock, "again")
            << '\n';

  // In production.
  lair::Pool pool{{.worker = lair::python(worker_file("migrate_new_worker.py")), .size = 1}};
  std::cout << "pool: " << words_in(pool, "to be or not to be") << '\n';
} catch (const lair::CallError& error) {
  std::cerr << error.what() << '\n';
  return 1;
}
