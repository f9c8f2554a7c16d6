// Calls in coroutines of Boost.Asio: one after another, side by side, against the clock, and as a stream. The endpoint is a
// fake, so that this runs without Python; a lair::Pool takes its place as it is.
#include <lair/asio.hpp>
#include <lair/testing.hpp>

#include <boost/asio/co_spawn.hpp>
#include <boost/asio/experimental/awaitable_operators.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <chrono>
#include <exception>
#include <iostream>
#include <string>

namespace net = boost::asio;
using namespace std::chrono_literals;
using namespace net::experimental::awaitable_operators;
using net::use_awaitable;

net::awaitable<void> talk(lair::Endpoint& python) {
  const std::string text = "to be or not to be";
  std::cout << co_await lair::asio::call<int>(python, "count_words", text)(use_awaitable) << " words\n";

  const auto [words, letters] =
      co_await (lair::asio::call<int>(python, "count_words", text)(use_awaitable) &&
                lair::asio::call<int>(python, "count_letters", text)(use_awaitable));
  std::cout << words << " words of " << letters << " letters\n";

  // Whoever comes second is cancelled. (A deadline is simpler: {.timeout = 20ms}.)
  net::steady_timer timer(co_await net::this_coro::executor, 20ms);
  const auto first = co_await (lair::asio::call<int>(python, "ponder", text)(use_awaitable) ||
                               timer.async_wait(use_awaitable));
  std::cout << (first.index() == 0 ? "pondered\n" : "gave up pondering\n");

  auto tokens = python.stream<std::string>("tokens", text);
  while (const auto token = co_await lair::asio::next(tokens)(use_awaitable)) std::cout << *token << ' ';
  std::cout << '\n';

  const auto wrong = co_await lair::asio::try_call<int>(python, "count_words", 42)(use_awaitable);
  if (!wrong) std::cout << to_string(wrong.error().kind) << ": " << wrong.error().message << '\n';
}

int main() {
  namespace fake = lair::fake;
  lair::FakeEndpoint python(lair::FakeTime::kStands);
  python.on("count_words", fake::returns(6));
  python.on("count_words", fake::with(42),
            fake::raises("AttributeError", "'int' object has no attribute 'split'"));
  python.on("count_letters", fake::computes([](const std::string& text) { return text.size(); }));
  python.on("ponder", fake::hangs());
  python.on("tokens", fake::yields({"to", "be", "or", "not"}));

  net::io_context io;
  int status = 0;
  net::co_spawn(io, talk(python), [&status](std::exception_ptr error) {
    if (error) status = 1;
  });
  io.run();
  return status;
}
