#include "failpoints/scenario.hpp"

#include <algorithm>
#include <condition_variable>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <lair/array.hpp>
#include <mutex>
#include <numeric>
#include <thread>

#include "support/paths.hpp"
#include "support/pools.hpp"

namespace lair::test {

namespace {

using namespace std::chrono_literals;
namespace failpoint = os::failpoint;

// The patience of everybody. Where a fault is got over nobody needs it, and machines may stand still for seconds.
constexpr Duration enough(Demand demand) { return demand == Demand::kEnded ? 10s : 40s; }
// Less than any timeout, also of the pool's own, so that a fault which is got over by a timeout alone is found; where it is not
// got over, more than all the patience of a shutdown. Without the time for which the machine stood still.
constexpr Duration too_long(Demand demand) { return demand == Demand::kEnded ? 25s : 8s; }

// Ends what hangs, and tells for how long nobody ran: it only sleeps, and is now and then much later than it should be.
class Watchdog {
 public:
  explicit Watchdog(std::string what) : thread_([this, what = std::move(what)] { watch(what); }) {}
  ~Watchdog() {
    {
      const std::lock_guard lock(mutex_);
      done_ = true;
    }
    changed_.notify_all();
    thread_.join();
  }

  Duration stood_still() const {
    const std::lock_guard lock(mutex_);
    return stood_still_;
  }

 private:
  void watch(const std::string& what) {
    std::unique_lock lock(mutex_);
    const TimePoint end = SteadyClock::now() + 120s;
    for (TimePoint before = SteadyClock::now(); before < end;) {
      if (changed_.wait_for(lock, 10ms, [this] { return done_; })) return;
      const TimePoint now = SteadyClock::now();
      if (now - before > 100ms) stood_still_ += now - before;
      before = now;
    }
    std::fprintf(stderr, "hangs: %s\n", what.c_str());
    std::abort();
  }

  mutable std::mutex mutex_;
  Duration stood_still_{};
  std::condition_variable changed_;
  bool done_ = false;
  std::thread thread_;
};

PoolOptions options_of(Kind kind, Demand demand) {
  const bool python = kind == Kind::kPython || kind == Kind::kForked;
  WorkerSpec worker = python ? python_worker("sdk_echo") : command({in_bin("worker-echo")});
  if (kind == Kind::kForked) worker.start = "fork";
  if (kind == Kind::kPipe) worker.stdio = "pipe";
  PoolOptions options = options_for(std::move(worker), 2);
  options.max_starting = 2;
  options.watch = python;
  options.start_timeout = enough(demand);
  options.health_interval = enough(demand);
  options.checkout_timeout = demand == Demand::kEnded ? Duration(300ms) : enough(demand);
  options.timeout = demand == Demand::kEnded ? Duration(500ms) : 2 * enough(demand);
  options.shutdown_grace = enough(demand);
  options.terminate_grace = 1s;
  options.spin = Duration::zero();  // or it would look as often as there is time for
  return options;
}

}  // namespace

std::string describe(const Armed& armed) {
  const failpoint::Info& info = failpoint::all()[static_cast<std::size_t>(armed.point)];
  const auto& [error, most, nth, every, times] = armed.fault;
  std::string text = armed.process == failpoint::Process::kHost ? "library" : "keeper";
  text += std::string(": ") + info.name + ", from call " + std::to_string(nth) + " on every " +
          std::to_string(every) + ", " + std::to_string(times) + " times, ";
  return text + (error != 0 ? ::strerrorname_np(error) : "at most " + std::to_string(most) + " bytes");
}

void Scenario::complain(const std::string& what) { wrong_ += what + '\n'; }

// A refusal by the system has honest names, and these are they.
void Scenario::judge(const Error& error, const char* where) {
  const bool late = error.kind == ErrorKind::kDeadlineExceeded && demand_ == Demand::kEnded;
  const bool honest = error.kind == ErrorKind::kUnavailable || error.kind == ErrorKind::kWorkerLost ||
                      error.kind == ErrorKind::kOverloaded || error.kind == ErrorKind::kInternal || late;
  if (demand_ == Demand::kUnnoticed || !honest || error.message.empty())
    complain(std::string(where) + ": " + std::string(to_string(error.kind)) + ": " + error.message);
}

void Scenario::calls(Endpoint& endpoint, std::size_t most_bytes) {
  for (std::size_t size = 1; size <= most_bytes; size *= 60) {
    std::string text;
    for (std::size_t i = 0; i < size; ++i) text += static_cast<char>('a' + i % 26);
    const Json sent = kind_ == Kind::kPython || kind_ == Kind::kForked ? Json(text) : Json{{"value", text}};
    const auto got = endpoint.invoke({}, "echo", Json{{"value", text}});
    if (!got) {
      judge(got.error(), "a call");
    } else if (*got != sent) {
      complain("a wrong result of " + std::to_string(size) + " bytes");
    }
  }
}

// Memory is taken whoever works; it goes to those that can take it.
void Scenario::arrays(Pool& pool) {
  const auto array = pool.try_array<double>({600});
  if (!array) return judge(array.error(), "an array");
  std::iota(array->data(), array->data() + 600, 0.0);
  if (kind_ != Kind::kPython && kind_ != Kind::kForked) return;
  const auto got = pool.try_call<Array<double>>("echo", *array);
  if (!got) return judge(got.error(), "a call with an array");
  const auto sent = array->span();
  const auto back = got->span();
  if (!std::equal(back.begin(), back.end(), sent.begin(), sent.end())) complain("another array");
}

void Scenario::use(Pool& pool) {
  Result<Json> beside = Json();
  std::thread other([&] { beside = pool.invoke({}, "echo", Json{{"value", 1}}); });
  calls(pool, 250'000);
  arrays(pool);
  other.join();
  if (!beside) judge(beside.error(), "a call beside the others");
  const auto stack = pool.stack(0, demand_ == Demand::kEnded ? Duration(300ms) : enough(demand_));
  if (!stack && kind_ == Kind::kPython) judge(stack.error(), "a stack");
  if (stack && stack->frames.find("lair_worker") == std::string::npos) {
    complain("a stack without frames: " + stack->frames);
  }
  if (auto lease = pool.try_checkout()) {
    calls(*lease, 100);
  } else {
    judge(lease.error(), "a checkout");
  }
}

void Scenario::live() {
  auto made = Pool::create(options_of(kind_, demand_));
  if (!made) return judge(made.error(), "making the pool");
  Pool pool = *std::move(made);
  const auto ready = pool.try_wait_ready(2, demand_ == Demand::kEnded ? Duration(300ms) : enough(demand_));
  if (!ready) judge(ready.error(), "waiting for it");
  if (ready || demand_ != Demand::kEnded) use(pool);
  if (demand_ != Demand::kEnded) {
    if (!eventually([&] { return pool.stats().count(SlotState::kIdle) == 2; }))
      complain("the pool is not well again: " + to_json_value(pool.stats()).dump());
    if (const auto last = pool.invoke({}, "echo", Json{{"value", 2}}); !last)
      judge(last.error(), "the last call");
  }
  const PoolStats stats = pool.stats();
  if (stats.inflight != 0 ||
      stats.admitted != stats.ok + stats.error + stats.timeout + stats.crashed + stats.shed + stats.cancelled)
    complain("the books don't add up: " + to_json_value(stats).dump());
  const bool smooth = stats.workers_started == 2 && stats.workers_exited == 0 && stats.ok == stats.admitted;
  if (demand_ == Demand::kUnnoticed && !smooth) complain("it was noticed: " + to_json_value(stats).dump());
  pool.shutdown(enough(demand_));
}

std::string Scenario::run(const std::optional<Armed>& armed, Demand demand) {
  demand_ = demand;
  wrong_.clear();
  const Watchdog watchdog(armed ? describe(*armed) : "no fault");
  const LeakCheck leaks;
  failpoint::disarm_all();
  if (armed) failpoint::arm(armed->process, armed->point, armed->fault);
  const TimePoint began = SteadyClock::now();
  live();
  if (SteadyClock::now() - began - watchdog.stood_still() >= too_long(demand)) complain("it took too long");
  if (const std::string leaked = leaks.leaked(); !leaked.empty()) complain("left over: " + leaked);
  return armed && !wrong_.empty() ? describe(*armed) + ":\n" + wrong_ : wrong_;
}

}  // namespace lair::test
