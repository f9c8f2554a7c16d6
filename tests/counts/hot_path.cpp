// What a call costs the thread that makes it, for callgrind to count: `counted` does a case over and over; how often is printed.
// The workers are threads of this program, which do not count: valgrind knows no pidfd, so there are no processes.
//
//   lair-hot-path CASE
#include <array>
#include <cstdio>
#include <functional>
#include <lair/typed_call.hpp>
#include <map>
#include <string>
#include <vector>

#include "base/assert.hpp"
#include "base/options_table.hpp"
#include "pool/shell.hpp"
#include "support/fake_launcher.hpp"
#include "wire/frame.hpp"
#include "wire/json_codec.hpp"
#include "wire/message.hpp"
#include "wire/msgpack.hpp"

namespace {

using lair::Json;

constexpr int kTimes = 1000;

const Json& value() {
  static const Json value = {{"label", "positive"},
                             {"score", 0.75},
                             {"words", {"some", "of", "the", "text"}},
                             {"counts", {1, 20, 300, 4000}},
                             {"known", true}};
  return value;
}

void encode(bool packed) {
  const auto arguments = packed ? lair::wire::encode_msgpack(value(), "arguments")
                                : lair::wire::encode_json(value(), "arguments");
  const lair::wire::CallFrame frame = lair::wire::encode_call({.id = 12345,
                                                               .generation = 3,
                                                               .command = "classify",
                                                               .remaining = std::chrono::seconds(30),
                                                               .packed = packed},
                                                              *arguments);
  LAIR_ASSERT(frame.size() > 0);
}

void decode(bool packed) {
  static const Json reply = {2, 12345, 3, value()};
  static const std::string text = *lair::wire::encode_json(reply, "reply");
  static const std::string bytes = *lair::wire::encode_msgpack(reply, "reply");
  const auto read = lair::wire::decode_plain_reply({.id = 12345, .generation = 3, .command = "classify"},
                                                   packed ? bytes : text);
  LAIR_ASSERT(std::holds_alternative<lair::wire::Value>(read));
}

lair::pool::Shell& shell() {
  static lair::test::FakeWorld world(lair::test::protocol_two(
      [](lair::test::FakeWorker&, const std::string&, const Json& arguments) { return arguments; }));
  static lair::pool::Shell shell(
      [] {
        lair::PoolOptions options{.size = 1, .log_level = "off"};
        options.worker = lair::command({"/bin/sh"});  // looked up, never run
        return lair::base::resolve(options, 1);
      }(),
      world.launcher());
  return shell;
}

void checkout() {
  const lair::pool::Hold hold =
      shell().take({.exclusive = true, .queue_deadline = lair::Deadline::never()}).value();
  shell().give_back(hold, {});
}

// --- Typed ----------------------------------------------------------------------------------------------
struct Verdict {
  std::string label;
  double score = 0;
  std::vector<std::string> words;
  std::vector<int> counts;
  bool known = false;
};
LAIR_FIELDS(Verdict, label, score, words, counts, known)

void encode_typed(bool packed) {
  static const auto verdict = lair::detail::from_dom<Verdict>(value());
  static std::string arguments;
  static lair::wire::CallFrame frame;
  arguments.clear();
  lair::detail::ValueWriter out(arguments, packed);
  lair::detail::view_of(verdict).write_to(out);
  lair::wire::encode_call(frame,
                          {.id = 12345,
                           .generation = 3,
                           .command = "classify",
                           .remaining = std::chrono::seconds(30),
                           .packed = packed},
                          arguments);
  LAIR_ASSERT(out.ok() && frame.size() > 0);
}

void decode_typed(bool packed) {
  static const Json reply = {2, 12345, 3, value()};
  static const std::string text = *lair::wire::encode_json(reply, "reply");
  static const std::string bytes = *lair::wire::encode_msgpack(reply, "reply");
  lair::detail::ResultOf<Verdict> result;
  LAIR_ASSERT(lair::wire::read_result({.id = 12345, .generation = 3, .command = "classify"},
                                      packed ? bytes : text, result));
}

void call_typed() {
  lair::detail::ResultOf<std::array<int, 2>> result;
  LAIR_ASSERT(!shell().call({}, "echo", lair::detail::view_of(2, 3), result));
  LAIR_ASSERT(result.take("echo").value()[1] == 3);
}

void call() { LAIR_ASSERT(shell().call({}, "echo", {2, 3}).value() == Json({2, 3})); }

}  // namespace

// By this name callgrind knows when to count.
extern "C" __attribute__((noinline)) void counted(const std::function<void()>& work) {
  for (int i = 0; i < kTimes; ++i) work();
}

int main(int argc, char** argv) {
  const std::map<std::string, std::function<void()>> cases = {
      {"encode_json", [] { encode(false); }},
      {"encode_msgpack", [] { encode(true); }},
      {"decode_json", [] { decode(false); }},
      {"decode_msgpack", [] { decode(true); }},
      {"checkout", checkout},
      {"call", call},
      {"encode_typed_json", [] { encode_typed(false); }},
      {"encode_typed_msgpack", [] { encode_typed(true); }},
      {"decode_typed_json", [] { decode_typed(false); }},
      {"decode_typed_msgpack", [] { decode_typed(true); }},
      {"call_typed", call_typed},
  };
  const auto work = argc > 1 ? cases.find(argv[1]) : cases.end();
  if (work == cases.end()) {
    std::fprintf(stderr, "usage: lair-hot-path CASE; the cases:\n");
    for (const auto& [name, unused] : cases) std::fprintf(stderr, "  %s\n", name.c_str());
    return 2;
  }
  for (int i = 0; i < 100; ++i) work->second();
  counted(work->second);
  std::printf("%d\n", kTimes);
}
