// What a call costs the thread that makes it, for callgrind to count: `counted` does a case over and over; how often is printed.
// The workers are threads of this program, which do not count: valgrind knows no pidfd, so there are no processes.
//
//   lair-hot-path CASE
#include <array>
#include <cstdio>
#include <functional>
#include <lair/array.hpp>
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

lair::PoolOptions one_worker() {
  lair::PoolOptions options{.size = 1, .log_level = "off"};
  options.array_memory = 64u << 20;
  options.worker = lair::command({"/bin/sh"});  // looked up, never run
  return lair::base::resolve(options, 1);
}

lair::pool::Shell& shell() {
  static lair::test::FakeWorld world(lair::test::protocol_two(
      [](lair::test::FakeWorker&, const std::string&, const Json& arguments) { return arguments; }));
  static lair::pool::Shell shell(one_worker(), world.launcher());
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
  const lair::wire::CallHeader header{.id = 12345, .generation = 3, .command = "classify"};
  LAIR_ASSERT(lair::wire::OpenReply(header, packed ? bytes : text).read_value(result));
}

void call_typed() {
  lair::detail::ResultOf<std::array<int, 2>> result;
  LAIR_ASSERT(!shell().call({}, "echo", lair::detail::view_of(2, 3), result));
  LAIR_ASSERT(result.take("echo").value()[1] == 3);
}

// --- Arrays ---------------------------------------------------------------------------------------------

// All of them in one write: else it would be chance how many reads they take.
void say(lair::test::FakeWorker& worker, const Json& messages) {
  std::string bytes;
  for (const Json& message : messages) {
    const std::string payload = *lair::wire::encode_msgpack(message, "message");
    const auto header = lair::wire::frame_header(payload.size());
    bytes.append(header.data(), header.size()) += payload;
  }
  worker.write_raw(bytes);
}

// `look` takes an array, `blank` gives one of 1000 bytes; neither keeps a view.
void take_and_give_arrays(lair::test::FakeWorker& worker) {
  const Json announced = {{"codec", "msgpack"}, {"features", {"callback", "arrays"}}};
  if (!lair::test::shake_hands(worker, {"look", "blank"}, announced)) return;
  if (!worker.write({4, 0, worker.generation()})) return;
  const Json generation = worker.generation();
  while (const auto frame = worker.read_frame()) {
    std::string problem;
    const Json message =
        lair::wire::is_msgpack(*frame) ? *lair::wire::decode_msgpack(*frame, problem) : Json::parse(*frame);
    if (message[0] == 5) return;
    const Json& id = message[1];
    const Json& arrays = message[5].at("arrays");
    Json released = Json::array();
    for (const Json& each : arrays["in"]) released.push_back({each[1], each[2]});
    Json result = {2, id, generation, nullptr};
    if (message[3] == "blank") {
      Json room = arrays["out"];
      if (room.is_null()) {
        const Json asked = {{"bytes", 1000}};
        say(worker, Json::array({{11, id, generation, 1, "lair.array.allocate", asked, Json::object()}}));
        room = Json::parse(*worker.read_frame())[5];
      }
      released.push_back({room[0], room[1]});
      const Json bytes = {Json::array(), room[0], room[1], 0, "|u1", {1000}, nullptr};
      result.push_back(Json::array({bytes}));
    }
    say(worker, Json::array({{14, id, generation, released}, result}));
  }
}

lair::pool::Shell& arrays_shell() {
  static lair::test::FakeWorld world(take_and_give_arrays);
  static lair::pool::Shell shell(one_worker(), world.launcher());
  return shell;
}

void call_with_array() {
  static const lair::Array<std::uint8_t> array = [] {
    lair::detail::ArrayData data{.memory = arrays_shell().arena().allocate(1000).value(), .shape = {1000}};
    data.strides = lair::detail::contiguous_strides(data.dtype, data.shape);
    return lair::Array<std::uint8_t>(std::move(data));
  }();
  lair::detail::ResultOf<void> result;
  LAIR_ASSERT(!arrays_shell().call({}, "look", lair::detail::view_of(array), result));
  LAIR_ASSERT(result.take("look"));
}

void call_for_array() {
  using Bytes = lair::Array<std::uint8_t>;
  lair::detail::ResultOf<Bytes> result;
  const auto options = lair::detail::options_for<Bytes>(lair::CallOptions{});
  LAIR_ASSERT(!arrays_shell().call(options, "blank", lair::detail::view_of(1000), result));
  LAIR_ASSERT(result.take("blank").value().size() == 1000);
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
      {"call_with_array", call_with_array},
      {"call_for_array", call_for_array},
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
