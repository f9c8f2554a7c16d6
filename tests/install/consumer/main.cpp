// consumer MODULE: calls a Python module through a pool and prints what came back.
#include <lair/pool.hpp>
#include <lair/version.hpp>

#include <iostream>

int main(int argc, char** argv) try {
  if (argc != 2) return 2;
  lair::PoolOptions options = {.name = "consumer", .worker = lair::python(argv[1]), .size = 2};
  options.log_level = "off";
  lair::Pool pool(std::move(options));
  pool.wait_ready();
  const int words = pool.call<int>("count_words", "to be or not to be");
  const lair::Result<int> wrong = pool.try_call<int>("count_words", 42);
  lair::Lease lease = pool.checkout();
  std::cout << LAIR_VERSION_STRING << ' ' << words << ' ' << to_string(wrong.error().kind) << ' '
            << lease.call<std::string>("where") << '\n';
} catch (const lair::CallError& error) {
  std::cerr << error.what() << '\n';
  return 1;
}
