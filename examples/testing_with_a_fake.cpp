// How a program that uses Lair is tested without Python. What is tested takes an Endpoint&: in production that is a Pool, in
// a test a FakeEndpoint, which does what the test has scripted and has a time of its own.
#include <lair/testing.hpp>

#include <chrono>
#include <cstdlib>
#include <iostream>
#include <string>

using namespace std::chrono_literals;
namespace fake = lair::fake;

// The program: asks Python, once more if the worker was lost, and does without if it takes too long.
std::string greeting(lair::Endpoint& python, const std::string& name) {
  for (int attempt = 0; attempt < 2; ++attempt) {
    const auto reply = python.try_call<std::string>({.timeout = 200ms}, "compose", name);
    if (reply) return *reply;
    if (reply.error().kind != lair::ErrorKind::kWorkerLost) break;
  }
  return "Hello.";
}

// Its tests. A real one has a framework.
void expect(bool fact, const char* what) {
  std::cout << (fact ? "ok    " : "WRONG ") << what << '\n';
  if (!fact) std::exit(1);
}

int main() {
  lair::FakeEndpoint python;

  python.on("compose", fake::computes([](const std::string& name) { return "Dear " + name + ","; }));
  expect(greeting(python, "Ada") == "Dear Ada,", "composes a greeting");

  python.on("compose", fake::fails(lair::ErrorKind::kWorkerLost), fake::returns("Dear Ada,"));
  expect(greeting(python, "Ada") == "Dear Ada,", "asks again when the worker was lost");
  expect(python.calls("compose").back().arguments == lair::Json({"Ada"}), "for the same name");

  python.forget_calls();
  python.on("compose", fake::returns("Dear Ada,").after(1h));
  const lair::Duration before = python.now();
  expect(greeting(python, "Ada") == "Hello.", "does not wait for ever");
  expect(python.now() - before == 200ms, "but for 200 ms, which took no time");
  expect(python.calls().size() == 1, "and does not ask again then");
}
