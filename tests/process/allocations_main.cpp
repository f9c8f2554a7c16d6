// allocations_main native|plain: how much memory typed calls take once they have been made a few times: on the thread that makes
// them, and in the whole program. With the accelerator (MessagePack) and without (JSON); exit status 0: as it should be.
//
// A program of its own, for it has an operator new of its own. LAIR_SHOW=1 shows where the first ones come from.
#include <execinfo.h>

#include <array>
#include <atomic>
#include <cstdio>
#include <cstdlib>
#include <lair/fields.hpp>
#include <lair/pool.hpp>
#include <lair/session.hpp>
#include <new>
#include <string>
#include <string_view>
#include <tuple>

#include "support/paths.hpp"

namespace {

std::atomic<long> all_taken = 0;
thread_local long taken = 0;
thread_local int to_show = 0;

void* take(std::size_t size) {
  ++all_taken;
  ++taken;
  if (to_show > 0) {
    --to_show;
    std::array<void*, 30> frames{};
    ::backtrace_symbols_fd(frames.data(), ::backtrace(frames.data(), 30), 2);
    std::fputs("\n", stderr);
  }
  void* memory = std::malloc(size == 0 ? 1 : size);
  if (memory == nullptr) throw std::bad_alloc();
  return memory;
}

}  // namespace

void* operator new(std::size_t size) { return take(size); }
void* operator new[](std::size_t size) { return take(size); }
void operator delete(void* memory) noexcept { std::free(memory); }
void operator delete[](void* memory) noexcept { std::free(memory); }
void operator delete(void* memory, std::size_t) noexcept { std::free(memory); }
void operator delete[](void* memory, std::size_t) noexcept { std::free(memory); }

namespace allocations {

struct Point {
  double x = 0;
  int y = 0;
};
LAIR_FIELDS(Point, x, y)

}  // namespace allocations

namespace {

constexpr long kCalls = 3000;

// True: as many as there may be.
template <class Call>
bool count(const char* what, long allowed_each, const Call& call) {
  for (int i = 0; i < 200; ++i) call();
  if (std::getenv("LAIR_SHOW") != nullptr) to_show = 8;
  const long own_before = taken;
  const long all_before = all_taken;
  for (long i = 0; i < kCalls; ++i) call();
  const long own = taken - own_before;
  const long all = all_taken - all_before;
  to_show = 0;
  std::printf("%s: %ld on the calling thread, %ld in all, in %ld calls\n", what, own, all, kCalls);
  // What other threads do now and then (a check of an idle worker, a look for slow calls) has nothing to do with the calls.
  return own == allowed_each * kCalls && all - own < kCalls / 10;
}

void expect(bool truth, const char* what) {
  if (truth) return;
  std::fprintf(stderr, "it is not so that %s\n", what);
  std::exit(2);
}

}  // namespace

int main(int, char** argv) {
  const bool native = argv[1] == std::string_view("native");
  lair::PoolOptions options{.name = "typed", .size = 1};
  options.worker = lair::python("typed");
  options.worker.python_path = {lair::test::in_source("tests/workers")};
  options.worker.env["LAIR_NATIVE"] = native ? "on" : "off";
  lair::Pool pool(options);
  pool.wait_ready();

  expect(pool.call<std::string>("codec") == (native ? "msgpack" : "json"), "it has this codec");

  const auto add = pool.fn<int(int, int)>("add");
  const std::string text(200, 'x');
  const std::array<double, 50> floats{};
  bool good = count("add", 0, [&] { expect(add(2, 3) == 5, "2 + 3 = 5"); });
  good &= count("a string, which is the result", 1, [&] {
    expect(pool.call<std::string>({.timeout = std::chrono::seconds(60)}, "same", text) == text,
           "the value comes back");
  });
  good &= count("structs and tuples", 0, [&] {
    const auto back = pool.call<std::tuple<allocations::Point, int>>(
        "same", std::tuple(allocations::Point{.x = 0.5, .y = 7}, -1));
    expect(std::get<0>(back).y == 7, "the value comes back");
  });
  good &= count("50 floats", 0, [&] {
    expect(pool.call<std::array<double, 50>>("same", floats) == floats, "the value comes back");
  });
  lair::Session session = pool.session("one", {.affinity = lair::Affinity::kStrict});
  good &= count("in a session", 0, [&] { expect(session.call<int>("add", 2, 3) == 5, "2 + 3 = 5"); });
  session.end();
  lair::Lease lease = pool.checkout();
  good &= count("on a lease", 0, [&] { expect(lease.call<int>("add", 2, 3) == 5, "2 + 3 = 5"); });
  return good ? 0 : 1;
}
