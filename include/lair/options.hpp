// Every knob of a pool and of a call: meaning, unit, default, and what happens if it is set badly.
//
// `PoolOptions` is an aggregate for designated initialisers; `parse_pool_options` reads the same knobs
// from JSON (the command line and configuration files use it) and refuses what it does not know.
// docs/config.md lists them all and a test keeps it equal to this file.
//
// Thread-safety: values.
#pragma once

#include <algorithm>
#include <array>
#include <chrono>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <lair/deadline.hpp>
#include <lair/json.hpp>
#include <lair/result.hpp>
#include <lair/telemetry.hpp>
#include <map>
#include <memory>
#include <optional>
#include <stop_token>
#include <string>
#include <string_view>
#include <vector>

namespace spdlog {
class logger;
}

namespace lair {

namespace detail {
struct TakenArrays;  // lair/array.hpp
}

// How a worker is launched. Make one with `python()` or `command()`.
// `{slot}`, `{generation}` and `{worker_id}` are replaced in `argv` and in the values of `env`.
struct WorkerSpec {
  // A Python module (`pkg.mod`) or a script (`path/to/file.py`) served by Lair's own SDK, or empty.
  std::string module = {};
  // The command line of any other program that speaks protocol 1 on stdin and stdout, or empty.
  std::vector<std::string> argv = {};

  // --- Python workers only -------------------------------------------------------------------------
  // A path, or a name looked up on PATH. Empty: the venv's, if one is set, else "python3".
  std::string interpreter = {};
  // Root of a virtual environment; its bin/python is the interpreter. Contradicts `interpreter`.
  std::string venv = {};
  // Directories put before the interpreter's own module search path.
  std::vector<std::string> python_path = {};
  // "spawn": each worker is an interpreter of its own. "fork": each is forked from a warm parent, a process that has
  // imported `preload` once for all of them (docs/adr/0010-warm-parent.md).
  std::string start = "spawn";
  // Modules that the warm parent imports: {"numpy", "mylib.tables"}. For start = "fork".
  std::vector<std::string> preload = {};

  // --- Every worker --------------------------------------------------------------------------------
  // Working directory. Empty: the host's. Relative module paths and argv[0] are looked up from here.
  std::string cwd = {};
  // Set in the worker's environment, over what it inherits: {{"CUDA_VISIBLE_DEVICES", "{slot}"}}.
  std::map<std::string, std::string> env = {};
  // Names inherited from the host; a trailing `*` matches a prefix. Empty optional: everything.
  // An empty list: nothing but what Lair and `env` set.
  std::optional<std::vector<std::string>> inherit_env = {};
  // For `command()` workers: "socket" (default) or "pipe", for programs that insist on pipes.
  std::string stdio = "socket";
  // CPUs that the workers may run on: `{{0, 1}, {2, 3}}` gives slot 0 CPUs 0 and 1, slot 1 CPUs 2 and 3,
  // slot 2 CPUs 0 and 1 again. Empty: the host's affinity.
  std::vector<std::vector<int>> cpu_affinity = {};
};

// `lair::python("textstats")`, `lair::python("tools/parse.py")`.
WorkerSpec python(std::string module);
// `lair::command({"python3", "worker.py", "--worker-id", "{worker_id}"})`.
WorkerSpec command(std::vector<std::string> argv);

// When calls of a command are refused for a while, because it costs too many workers: docs/reliability.md. Crashes of
// workers, missed deadlines and broken protocol are failures; Python exceptions are not, nor is what reached no worker.
// In JSON, `breaker_enabled`, `breaker_window` and so on, directly among the others.
struct BreakerOptions {
  // false: counts (see BreakerStats), never refuses.
  bool enabled = true;
  // Of the last calls within this time, at least `min_calls`, so many per cent have failed: it opens. 100 ms to 1 h.
  Duration window = std::chrono::seconds(10);
  std::size_t min_calls = 20;
  std::size_t failure_percent = 50;
  // It refuses for this long, the n-th time in a row n times as long, up to `open_at_most`. At most 24 h.
  Duration open_for = std::chrono::seconds(5);
  Duration open_at_most = std::chrono::seconds(60);
  // Then so many trial calls may run at once; as many successes close it, one failure opens it again.
  std::size_t probes = 3;
  // A command that has crashed so many workers within this time is refused in the same way, whatever its other calls did.
  std::size_t crashes = 3;
  Duration crash_window = std::chrono::seconds(60);
};

struct PoolOptions {
  // Names the pool in logs, metrics and worker ids. Letters, digits, '_', '-', '.'; 1 to 64 characters.
  std::string name = "lair";
  WorkerSpec worker = {};

  // Workers kept. 0: the number of usable CPUs (affinity and cgroup quota honoured). At most 4096.
  std::size_t size = 0;
  // Workers beyond `size`, started when a waiter has waited `overflow_after`. At most 4096.
  std::size_t overflow = 0;
  Duration overflow_after = std::chrono::milliseconds(250);
  // An overflow worker idle this long is retired.
  Duration overflow_idle = std::chrono::seconds(60);
  // false: all workers start at once, in parallel. true: one per waiting caller, on demand.
  bool lazy = false;
  // Calls that one worker may have in flight: `async def` commands, and all of those of a module that says that it is
  // thread-safe. At most 65536. A worker whose module has neither has one at a time.
  std::size_t concurrency = 1;
  // Workers that may be loading their interpreter and imports at once. 0: usable CPUs + 2. Those already
  // in `on_start` don't count: they wait for something else (docs/adr/0007-start-bound.md).
  std::size_t max_starting = 0;

  // From spawn to ready, for each worker.
  Duration start_timeout = std::chrono::seconds(30);
  // A command of the workers' that each must answer before it serves, called without arguments and within `start_timeout`: any
  // answer but an error will do. Empty: none.
  std::string verify = {};
  // Longest wait for a worker. Passing it is kOverloaded (or kUnavailable where none is up).
  Duration checkout_timeout = std::chrono::seconds(30);
  // A whole call: queue wait + service. Passing it is kDeadlineExceeded. `kForever` is allowed.
  Duration timeout = std::chrono::seconds(60);
  // Callers that may wait at once; one more is refused with kOverloaded. 0: 8 × (size + overflow).
  std::size_t max_waiters = 0;
  // A waiter that has waited this long is given the next free worker; before that, a caller that
  // arrives may take it first (docs/adr/0004-handoff.md). 0: strict hand-off, always.
  Duration barging_window = std::chrono::milliseconds(5);

  // An idle worker is asked whether it is well (`ping`) when it has rested this long. `kForever`: never. A busy worker is
  // governed by its call's deadline.
  Duration health_interval = std::chrono::seconds(30);
  // The time that it has to answer; one that does not is replaced. One that answers with an error is degraded, and
  // replaced at the third such answer in a row. 0: min(5 s, health_interval).
  Duration health_timeout = Duration::zero();

  // A worker that has completed this many calls (± 10 %), or lived this long (− up to 10 %), is replaced; the new one is ready
  // before the old one goes. 0 and `kForever`: never.
  std::size_t max_calls = 0;
  Duration max_age = kForever;
  // Of a lazy pool: a worker that nobody has used for this long is ended, and started again when it is needed.
  Duration idle_ttl = kForever;
  // A worker with more private memory than this (bytes) is replaced when it is free; 0: never.
  std::size_t max_memory = 0;
  // One with more than this is killed, in the middle of its call if it has one; 0: never.
  std::size_t memory_limit = 0;
  // How often their memory is looked at, if either is set.
  Duration memory_interval = std::chrono::seconds(1);

  // The queue stands still when its oldest waiter has waited longer than `queue_target` for all of `queue_interval`: then
  // callers that have waited for twice the target are refused with kOverloaded. Spared are those that workers now
  // starting will serve, and calls without a deadline. `kForever`: never.
  Duration queue_target = std::chrono::seconds(10);
  Duration queue_interval = std::chrono::seconds(10);

  // A lease held longer than this is reported in the log, with the line where it was taken. `kForever`: never.
  Duration lease_warning = std::chrono::seconds(60);

  // A call that a worker has been at for longer than this is reported while it runs, once, with its Python stack: in the
  // log, as an event and in the statistics. `kForever`: never.
  Duration slow_call = kForever;

  // For development: the pool is reloaded when a file of the workers' code changes on disk (docs/operations.md).
  bool watch = false;

  BreakerOptions breaker = {};
  // How often a call that is marked `idempotent` is tried again, unless it says so itself. At most 100.
  std::size_t retries = 2;
  // Retries are at most so many per cent of the pool's calls, and ten more. 1 to 100.
  std::size_t retry_percent = 10;

  // Bytes of memory that arrays (docs/arrays.md) may take, at most. 0: half of what the machine, or the control group, has to
  // give when the pool is made.
  std::size_t array_memory = 0;

  // Calls from Python to exposed functions, of calls that were made by such functions, and so on: how deep. 1 to 100.
  std::size_t max_nesting = 8;

  // Sessions (docs/sessions.md). How long one is kept after its last use, if it does not say so itself.
  Duration session_ttl = std::chrono::hours(1);
  // How many there may be. At least 1.
  std::size_t max_sessions = 100'000;
  // A worker that is to be replaced stays for so long if strict or exclusive sessions are at home there; then they are lost.
  Duration session_grace = std::chrono::seconds(30);
  // The file that keeps what sessions put into their store; made if it is not there. Empty: memory, until the pool ends.
  std::string session_store = {};
  // Largest value of a session, and all keys and values of one, bytes of JSON. 1 KiB … 1 GiB.
  std::size_t session_value_limit = 1u << 20;
  std::size_t session_limit = 16u << 20;

  // How long a worker may take to give up a call that has missed its deadline, before it is killed. 0: it is killed at once.
  Duration cancel_grace = std::chrono::milliseconds(250);
  // On shutdown: how long calls in flight may take to finish.
  Duration shutdown_grace = std::chrono::seconds(30);
  // From SIGTERM (and the shutdown command) to SIGKILL of the worker's process group.
  Duration terminate_grace = std::chrono::seconds(5);

  // Calls that follow one another quickly: for how long a caller looks for the answer, and a worker with the accelerator for the next
  // call, before it sleeps, letting other threads run meanwhile. Small frames change hands in memory then. At most 1 ms; 0: they
  // always sleep.
  Duration spin = std::chrono::microseconds(100);

  // Largest message in either direction, bytes. 64 KiB … 1 GiB.
  std::size_t max_frame = 64u << 20;
  // Lines of a worker's stderr that are kept for error messages.
  std::size_t stderr_lines = 20;
  // Where the pool's log and its workers' output go, line by line. Null: a logger on stderr. Calls to it
  // are made on a thread of its own: a slow sink delays nobody, and loses lines beyond 8192 (counted).
  std::shared_ptr<spdlog::logger> logger = {};
  // "debug", "info", "warn", "error" or "off": what is logged when `logger` is null.
  std::string log_level = "info";
  // "text", or "json": each line is a JSON object, and events have their fields (docs/telemetry.md).
  std::string log_format = "text";
  // Called with each event of the pool (docs/telemetry.md), on the thread that calls the logger. May be empty.
  PoolEventCallback on_event = {};
};

// Has a piece of work done somewhere: an event loop's `post`, a thread pool's `submit`. Called from any thread; must not block.
using Executor = std::function<void(std::function<void()>)>;

// A W3C trace context ("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"), or none.
class TraceParent {
 public:
  static constexpr std::size_t kMost = 63;  // characters; version 00 has 55

  TraceParent() = default;
  // Longer than kMost: the call is refused (kInvalidArgument).
  template <std::convertible_to<std::string_view> Text>
  TraceParent(const Text& text) {  // NOLINT: implicit by design
    const std::string_view view = text;
    size_ = static_cast<std::uint8_t>(std::min(view.size(), kMost + 1));
    std::copy_n(view.data(), std::min(view.size(), kMost), text_.data());
  }

  std::string_view view() const { return {text_.data(), std::min<std::size_t>(size_, kMost)}; }
  bool empty() const { return size_ == 0; }
  bool fits() const { return size_ <= kMost; }

 private:
  std::array<char, kMost> text_{};
  std::uint8_t size_ = 0;
};

// For one call. Absent: the pool's setting.
// No member may point into itself, as std::string does: g++ 12 moves a temporary of a `co_await` expression bit by bit.
struct CallOptions {
  // Queue wait + service. `kForever` is allowed.
  std::optional<Duration> timeout = {};
  // Queue wait alone.
  std::optional<Duration> checkout_timeout = {};
  // The command may run twice without harm: it is tried again also when its worker was lost, or broke the protocol, after
  // it may have run.
  bool idempotent = false;
  // How often it may be tried again, after a short wait, within its timeout and the pool's budget
  // (`retry_percent`). Absent: the pool's `retries` if idempotent, else 0. Where it is not idempotent, only what has
  // certainly not run is tried again: a full queue, workers that were lost before. Not for leases.
  std::optional<std::size_t> retries = {};
  // A stop request ends the call at once with kCancelled, wherever it is. Its worker is told to give it up, and stays.
  std::stop_token stop = {};
  // W3C trace context: travels with the call, to Python's `context()` and to what it calls back.
  TraceParent traceparent = {};
  // Where the outcome of a call that does not block is handled. Empty: on a thread of the endpoint's.
  Executor executor = {};
  // Of a stream: how many items, and bytes of them, the worker may send ahead of their consumer.
  std::size_t stream_items = 64;
  std::size_t stream_bytes = 1u << 20;
  // Of a call whose result holds arrays: see detail::options_for. The calls' own.
  std::shared_ptr<detail::TakenArrays> taken_arrays = {};
};

// For one checkout of a lease.
struct CheckoutOptions {
  // Queue wait. Absent: the pool's `checkout_timeout`.
  std::optional<Duration> timeout = {};
};

// Reads a pool's settings from a JSON object: names as in PoolOptions and WorkerSpec (`module`, `argv`,
// `env` … directly among the others), durations as numbers of seconds or as text ("250ms", "5s", "2min",
// "forever"). An unknown name, a wrong type and a value out of range are errors that name the setting; an
// unknown name comes with the nearest known one.
Result<PoolOptions> parse_pool_options(const Json& settings);

// Checks the options against each other: Ok, or kInvalidArgument naming the setting. Pool does it first.
Result<void> validate(const PoolOptions& options);

}  // namespace lair
