// Lair in one screen: a pool of warm Python workers, called like functions.
#include <lair/pool.hpp>

#include <chrono>
#include <iostream>
#include <string>

#include "worker_file.hpp"

using namespace std::chrono_literals;

int main() try {
  const std::string text = "to be or not to be";
  lair::Pool pool{{.name = "text", .worker = lair::python(worker_file("textstats.py")), .size = 2}};
  pool.wait_ready();

  // Positional arguments; an error is thrown.
  const int words = pool.call<int>("count_words", text);
  // Keyword arguments; any JSON as result.
  const lair::Json report = pool.call("analyse", lair::kwargs{{"text", text}, {"top", 2}});
  std::cout << words << " words: " << report.dump() << '\n';

  // Without exceptions: a value or an Error.
  const auto wrong = pool.try_call<int>({.timeout = 1s}, "count_words", 42);
  if (!wrong) std::cout << to_string(wrong.error().kind) << ": " << wrong.error().message << '\n';
} catch (const lair::CallError& error) {
  std::cerr << error.what() << '\n';
  return 1;
}
