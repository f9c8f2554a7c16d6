// Pool: warm, supervised Python worker processes, called concurrently. Start here.
//
//   lair::Pool pool{{.name = "text", .worker = lair::python("textstats"), .size = 4}};
//   pool.wait_ready();
//   int n = pool.call<int>("count_words", "to be or not to be");
//
// The calling thread checks a worker out, talks to it directly and checks it in; the pool coordinates and
// never carries a byte of a call. One supervisor thread a pool starts, watches and ends workers, through
// a small process of its own, `lair-keeper`, which makes sure that none outlives the program.
//
// Every call ends exactly once, by its deadline, with a value or a typed Error that says whether the
// command may have run. A worker that dies or babbles is replaced, never reused. One whose call is late or cancelled is
// reused only if it proves that it has given the call up.
//
// Calls that do not block, and streams: lair/endpoint.hpp, docs/async.md. Functions that workers call: docs/callbacks.md.
//
// The library installs no signal handler, changes no signal disposition and raises no SIGPIPE. In a child
// that the program fork()s, a pool is inert: its calls are kUnavailable and its destructor touches nothing.
//
// Thread-safety: all members may be called from any number of threads; destruction must come last, and neither it nor
// shutdown() may be where a call's completion runs that names no executor.
#pragma once

#include <algorithm>
#include <lair/array.hpp>
#include <lair/endpoint.hpp>
#include <lair/expose.hpp>
#include <lair/health.hpp>
#include <lair/installed.hpp>
#include <lair/lease.hpp>
#include <lair/options.hpp>
#include <lair/session.hpp>
#include <lair/stats.hpp>
#include <lair/worker_stack.hpp>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace lair {

namespace pool {
class Shell;
}

// One command as a worker announced it. `params` and `doc` as in docs/protocol.md.
struct CommandInfo {
  std::string name;
  std::string kind;  // "call"
  std::string doc;
  Json params;  // array of {name, kind, required, default?, annotation?}
};

class Pool final : public Endpoint {
 public:
  static constexpr Duration kChangeTimeout = std::chrono::minutes(5);

  // Starts the keeper and (unless `lazy`) all workers, in parallel, and returns without waiting for them.
  // Throws CallError: kInvalidArgument for a bad setting, kUnavailable where lair-keeper is not found.
  explicit Pool(PoolOptions options);
  // The same without exceptions.
  static Result<Pool> create(PoolOptions options);

  Pool(Pool&&) noexcept;
  Pool& operator=(Pool&&) noexcept;  // shuts down the pool it was
  Pool(const Pool&) = delete;
  Pool& operator=(const Pool&) = delete;
  ~Pool() override;  // as shutdown()

  // Blocks until `count` workers (default: all of `size`) are ready, `timeout` (default: `start_timeout` and 0.5 s) has
  // passed, or it is clear that they will not be. Starts them where the pool is lazy. The error is that
  // of the failed start: its stage, its reason, the worker's last stderr lines.
  Result<void> try_wait_ready(std::optional<std::size_t> count = {}, std::optional<Duration> timeout = {});
  void wait_ready(std::optional<std::size_t> count = {}, std::optional<Duration> timeout = {}) {
    try_wait_ready(count, timeout).value();
  }

  Result<Json> invoke(const CallOptions& options, std::string_view command, Json arguments) override;
  std::optional<Error> invoke_typed(const CallOptions& options, std::string_view command,
                                    const detail::TypedArguments& arguments,
                                    detail::ResultSink& result) override;
  void start(const CallOptions& options, std::string_view command, Json arguments, Completion done) override;
  std::unique_ptr<StreamSource> open(const CallOptions& options, std::string_view command,
                                     Json arguments) override;
  void run_map(const MapOptions& options, std::string_view command, detail::MapJob& job) override;

  // An array in memory that the pool shares with its workers (lair/array.hpp): calls take it as it is. Its elements are whatever
  // was there before. Blocks while the system zeroes new memory, some 0.3 s a GiB. kUnavailable: `array_memory` is used up, or
  // the machine's is; kInvalidArgument: more elements than can be counted.
  template <ArrayElement T>
  Result<Array<T>> try_array(Shape shape) {
    auto made = make_array(Array<T>::kDType, std::move(shape));
    if (!made) return std::move(made).error();
    return Array<T>(*std::move(made));
  }
  template <ArrayElement T>
  Array<T> array(Shape shape) {
    return try_array<T>(std::move(shape)).value();
  }
  // The same, with these elements, in the order of C. An empty shape: one dimension. Throws std::invalid_argument if they are not
  // as many as the shape has.
  template <ArrayElement T>
  Result<Array<T>> try_array_of(std::span<const T> elements, Shape shape = {}) {
    auto made = try_array<T>(detail::shape_for(std::move(shape), elements.size()));
    if (made) std::copy(elements.begin(), elements.end(), made->data());
    return made;
  }
  template <ArrayElement T>
  Array<T> array_of(std::span<const T> elements, Shape shape = {}) {
    return try_array_of<T>(elements, std::move(shape)).value();
  }

  // Lets workers call `function` by this name (lair/expose.hpp), which must not begin with "lair.session." or "lair.array.". In place of an earlier one of that name; an empty
  // HostFunction takes it away. Any time: calls under way may call it, too.
  void expose_json(std::string name, HostFunction function);
  template <class Function>
  void expose(std::string name, Function function) {
    expose_json(std::move(name), detail::host_function(std::move(function)));
  }

  // Takes a worker for several calls. Blocks at most `checkout_timeout`. `file` and `line`: where this is called;
  // the warning about a lease that is held for long (`lease_warning`) says so.
  Result<Lease> try_checkout(const CheckoutOptions& options = {}, const char* file = __builtin_FILE(),
                             int line = __builtin_LINE());
  Lease checkout(const CheckoutOptions& options = {}, const char* file = __builtin_FILE(),
                 int line = __builtin_LINE()) {
    return try_checkout(options, file, line).value();
  }

  // The session of this name, opened if there is none (lair/session.hpp, docs/sessions.md). Never blocks. kInvalidArgument: the
  // id is empty or longer than 256 bytes, or the session has another affinity; kOverloaded: `max_sessions`, or too many
  // workers are exclusively somebody's already.
  Result<Session> try_session(std::string_view id, const SessionOptions& options = {});
  Session session(std::string_view id, const SessionOptions& options = {}) {
    return try_session(id, options).value();
  }
  // The session of this id, if there is one.
  std::optional<Session> find_session(std::string_view id) const;
  // Those that are open, or lost and not opened again, in the order in which they were opened.
  std::vector<SessionInfo> sessions() const;

  // The commands that workers announced; empty until one is ready, and for protocol 1 programs.
  std::vector<CommandInfo> commands() const;

  PoolStats stats() const;

  // How the pool is, as known now; never blocks. Idle workers are checked every `health_interval`.
  PoolHealth health() const;
  // Has every idle worker checked now instead. Returns at once: health() will tell.
  void check();

  // What the worker in a slot is doing right now: the frames of its Python threads, also while C code holds the GIL. Blocks
  // until it has written them, a millisecond or so, `timeout` at most; its call goes on (docs/telemetry.md says what that
  // means to C code that waits). kUnavailable: the slot has no worker, or one that cannot tell (protocol 1);
  // kDeadlineExceeded: it did not answer, as a stopped one does not; kWorkerLost: it ended meanwhile.
  Result<WorkerStack> stack(std::uint32_t slot, Duration timeout = std::chrono::seconds(1));

  // --- Changes at run time: docs/operations.md -----------------------------------------------------
  // Each blocks until it is complete, for `timeout` at most (then kDeadlineExceeded, and it goes on). Callers need not be
  // held back: calls go on meanwhile, and none fails for it. `reload` and its kin throw what `try_reload` and its return.

  // New code: every worker is replaced by one that has imported it anew, one after another, each when its successor is
  // ready. The first that does not start ends it (kUnavailable, with the reason): the others keep serving with the code
  // that they have, and health() says so until a start succeeds.
  Result<void> try_reload(Duration timeout = kChangeTimeout);
  void reload(Duration timeout = kChangeTimeout) { try_reload(timeout).value(); }
  // Another number of workers, 1 to four times the pool's first size (64 at least). More are started at once; fewer end as
  // they come free.
  Result<void> try_resize(std::size_t size, Duration timeout = kChangeTimeout);
  void resize(std::size_t size, Duration timeout = kChangeTimeout) { try_resize(size, timeout).value(); }
  // Replaces the worker of one slot, the new one ready before the old one goes.
  Result<void> try_recycle(std::uint32_t slot, Duration timeout = kChangeTimeout);
  void recycle(std::uint32_t slot, Duration timeout = kChangeTimeout) { try_recycle(slot, timeout).value(); }

  // Callers wait from now on, each until its deadline; calls under way go on. Until resume().
  void pause();
  void resume();
  // New calls are refused (kUnavailable) from now on, until resume(); returns when those under way and those that already
  // waited have ended. Workers stay up.
  Result<void> try_drain(Duration timeout = kChangeTimeout);
  void drain(Duration timeout = kChangeTimeout) { try_drain(timeout).value(); }

  // Refuses new calls, fails waiters, lets calls in flight finish within `grace` (default:
  // `shutdown_grace`), then ends the workers, gently and then not, and returns when every process is
  // reaped. Idempotent; a second caller waits for the same end.
  void shutdown(std::optional<Duration> grace = {});

  const PoolOptions& options() const noexcept;  // as resolved: no zero is left that means "default"

 private:
  explicit Pool(std::shared_ptr<pool::Shell> shell) noexcept;
  Result<detail::ArrayData> make_array(DType dtype, Shape shape);
  std::shared_ptr<pool::Shell> shell_;  // leases share it
};

}  // namespace lair
