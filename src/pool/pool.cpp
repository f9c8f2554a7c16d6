// The public face: pool.hpp and lease.hpp over the shell.
#include "lair/pool.hpp"

#include <algorithm>
#include <mutex>
#include <utility>

#include "base/assert.hpp"
#include "base/options_table.hpp"
#include "os/machine.hpp"
#include "os/proc.hpp"
#include "pool/shell.hpp"
#include "pool/stream_buffer.hpp"
#include "worker/keeper_launcher.hpp"
#include "worker/warm_launcher.hpp"

namespace lair {

using pool::Hold;
using pool::Shell;

struct Lease::Impl {
  std::shared_ptr<Shell> shell;
  std::shared_ptr<pool::HeldWorker> held;
  pool::LeaseWatch::Ticket ticket = 0;

  // Before a call; why there can be none.
  std::optional<Error> enter(std::string_view command) const {
    if (shell->inert()) return shell->inert_error();
    const auto state = held->use();
    if (state != pool::HeldWorker::State::kFree) return shell->not_free(state, *held, command);
    return std::nullopt;
  }
  // After it. Only the thread that calls may release, so nobody has meanwhile.
  void leave() const { (void)held->leave(); }
};

namespace {

// In a forked child the supervisor's thread does not exist, locks may be held for ever, and the processes are the
// parent's: the only right thing to do with a pool is nothing.
void abandon_in_child(std::shared_ptr<Shell> shell) {
  new std::shared_ptr<Shell>(std::move(shell));  // NOLINT: leaked on purpose
}

}  // namespace

// --- Pool ------------------------------------------------------------------------------------------

Pool::Pool(std::shared_ptr<Shell> shell) noexcept : shell_(std::move(shell)) {}

Pool::Pool(PoolOptions options) : Pool(std::move(create(std::move(options)).value())) {}

Result<Pool> Pool::create(PoolOptions options) {
  if (auto valid = validate(options); !valid) return std::move(valid).error();
  options = base::resolve(std::move(options), os::usable_cpus());
  if (options.array_memory == 0) {
    const os::Budget budget = os::own_cgroups().memory;
    const std::uint64_t left = budget.most > budget.used ? budget.most - budget.used : 0;
    options.array_memory = static_cast<std::size_t>(std::min(os::available_memory(), left) / 2);
  }
  // A slot has at most one worker being started or ended, and at most one whose lease has not come back.
  auto launcher =
      worker::KeeperLauncher::start({.capacity = 2 * (pool::most_size_of(options) + options.overflow) + 8});
  if (!launcher) return std::move(launcher).error();
  try {
    std::unique_ptr<worker::Launcher> chosen = *std::move(launcher);
    if (options.worker.start == "fork") chosen = std::make_unique<worker::WarmLauncher>(std::move(chosen));
    auto store = store::open_store(options.session_store, pool::store_limits(options));
    if (!store) return std::move(store).error();
    return Pool(std::make_shared<Shell>(std::move(options), std::move(chosen), *std::move(store)));
  } catch (const CallError& refused) {
    return refused.error();
  }
}

Pool::Pool(Pool&&) noexcept = default;

Pool& Pool::operator=(Pool&& other) noexcept {
  Pool old(std::move(*this));
  shell_ = std::move(other.shell_);
  return *this;
}

Pool::~Pool() {
  if (shell_ == nullptr) return;
  if (shell_->inert()) {
    abandon_in_child(std::move(shell_));
  } else {
    shell_->shutdown(std::nullopt);
  }
}

Result<void> Pool::try_wait_ready(std::optional<std::size_t> count, std::optional<Duration> timeout) {
  if (shell_->inert()) return shell_->inert_error();
  return shell_->wait_ready(count, timeout);
}

Result<detail::ArrayData> Pool::make_array(DType dtype, Shape shape) {
  if (shell_->inert()) return shell_->inert_error();
  const auto bytes = detail::bytes_of(dtype, shape);
  if (!bytes) {
    return Error{.kind = ErrorKind::kInvalidArgument,
                 .delivery = Delivery::kNotSent,
                 .message = "an array of more bytes than can be counted"};
  }
  auto block = shell_->arena().allocate(*bytes);
  if (!block) return std::move(block).error();
  detail::ArrayData array{.memory = *std::move(block), .dtype = dtype};
  array.strides = detail::contiguous_strides(dtype, shape);
  array.shape = std::move(shape);
  return array;
}

Result<Json> Pool::invoke(const CallOptions& options, std::string_view command, Json arguments) {
  if (shell_->inert()) return shell_->inert_error();
  return shell_->call(options, command, arguments);
}

std::optional<Error> Pool::invoke_typed(const CallOptions& options, std::string_view command,
                                        const detail::TypedArguments& arguments, detail::ResultSink& result) {
  if (shell_->inert()) return shell_->inert_error();
  return shell_->call(options, command, arguments, result);
}

void Pool::run_map(const MapOptions& options, std::string_view command, detail::MapJob& job) {
  if (shell_->inert() || shell_->on_reactor()) return Endpoint::run_map(options, command, job);
  shell_->map(options, command, job);
}

Result<Lease> Pool::try_checkout(const CheckoutOptions& options, const char* file, int line) {
  if (shell_->inert()) return shell_->inert_error();
  const Deadline deadline = Deadline::after(options.timeout.value_or(shell_->options().checkout_timeout));
  Result<Hold> hold = shell_->take_lease(deadline);
  if (!hold) return std::move(hold).error();
  const pool::LeaseWatch::Ticket ticket = shell_->lease_taken(*hold, file, line);
  auto held = std::make_shared<pool::HeldWorker>(*std::move(hold));
  return Lease(std::unique_ptr<Lease::Impl>(
      new Lease::Impl{.shell = shell_, .held = std::move(held), .ticket = ticket}));
}

Result<Session> Pool::try_session(std::string_view id, const SessionOptions& options) {
  if (shell_->inert()) return shell_->inert_error();
  auto session = shell_->open_session(id, options);
  if (!session) return std::move(session).error();
  return Session(shell_, *std::move(session));
}

std::optional<Session> Pool::find_session(std::string_view id) const {
  if (shell_->inert()) return std::nullopt;
  auto found = shell_->find_session(id);
  if (found == nullptr) return std::nullopt;
  return Session(shell_, std::move(found));
}

std::vector<SessionInfo> Pool::sessions() const {
  if (shell_->inert()) return {};
  return shell_->sessions();
}

void Pool::start(const CallOptions& options, std::string_view command, Json arguments, Completion done) {
  // There, no thread is left that could say so later.
  if (shell_->inert()) return done(shell_->inert_error());
  shell_->start(options, command, arguments, std::move(done));
}

std::unique_ptr<StreamSource> Pool::open(const CallOptions& options, std::string_view command,
                                         Json arguments) {
  if (shell_->inert()) return std::make_unique<pool::NoStream>(shell_->inert_error());
  return shell_->open(options, command, arguments);
}

void Pool::expose_json(std::string name, HostFunction function) {
  if (!shell_->inert()) shell_->host_functions().expose(std::move(name), std::move(function));
}

std::vector<CommandInfo> Pool::commands() const {
  if (shell_->inert()) return {};
  return shell_->commands();
}

PoolStats Pool::stats() const {
  if (shell_->inert()) return {};
  return shell_->stats();
}

PoolHealth Pool::health() const {
  if (shell_->inert()) return {.degraded = true, .reasons = {shell_->inert_error().message}};
  return shell_->health();
}

void Pool::check() {
  if (!shell_->inert()) shell_->check_now();
}

Result<void> Pool::try_reload(Duration timeout) {
  return shell_->inert() ? Result<void>(shell_->inert_error()) : shell_->reload(timeout);
}

Result<void> Pool::try_resize(std::size_t size, Duration timeout) {
  return shell_->inert() ? Result<void>(shell_->inert_error()) : shell_->resize(size, timeout);
}

Result<void> Pool::try_recycle(std::uint32_t slot, Duration timeout) {
  return shell_->inert() ? Result<void>(shell_->inert_error()) : shell_->recycle(slot, timeout);
}

Result<void> Pool::try_drain(Duration timeout) {
  return shell_->inert() ? Result<void>(shell_->inert_error()) : shell_->drain(timeout);
}

void Pool::pause() {
  if (!shell_->inert()) shell_->admit(core::Admission::kPaused);
}

void Pool::resume() {
  if (!shell_->inert()) shell_->admit(core::Admission::kOpen);
}

Result<WorkerStack> Pool::stack(std::uint32_t slot, Duration timeout) {
  if (shell_->inert()) return shell_->inert_error();
  return shell_->stack(slot, timeout);
}

void Pool::shutdown(std::optional<Duration> grace) {
  if (!shell_->inert()) shell_->shutdown(grace);
}

const PoolOptions& Pool::options() const noexcept { return shell_->options(); }

// --- Lease -----------------------------------------------------------------------------------------

Lease::Lease(std::unique_ptr<Impl> impl) noexcept : impl_(std::move(impl)) {}
Lease::Lease(Lease&&) noexcept = default;

Lease& Lease::operator=(Lease&& other) noexcept {
  if (this != &other) {
    release();
    impl_ = std::move(other.impl_);
  }
  return *this;
}

Lease::~Lease() { release(); }

void Lease::release() noexcept {
  if (impl_ == nullptr) return;
  const std::unique_ptr<Impl> impl = std::move(impl_);
  Shell& shell = *impl->shell;
  if (shell.inert()) {
    abandon_in_child(std::move(impl->shell));
    return;
  }
  shell.lease_returned(impl->ticket);
  if (impl->held->release()) {
    const Hold& hold = impl->held->hold();
    shell.give_back(hold, {.completed = hold.completed});
  }
}

Result<Json> Lease::invoke(const CallOptions& options, std::string_view command, Json arguments) {
  LAIR_ASSERT(impl_ != nullptr);
  const Impl& impl = *impl_;  // stays where it is if the lease is moved meanwhile
  if (auto refusal = impl.enter(command)) return *std::move(refusal);
  Result<Json> result = impl.shell->call_on(impl.held->hold(), options, command, arguments);
  impl.leave();
  return result;
}

std::optional<Error> Lease::invoke_typed(const CallOptions& options, std::string_view command,
                                         const detail::TypedArguments& arguments,
                                         detail::ResultSink& result) {
  LAIR_ASSERT(impl_ != nullptr);
  const Impl& impl = *impl_;
  if (auto refusal = impl.enter(command)) return refusal;
  auto failed = impl.shell->call_on(impl.held->hold(), options, command, arguments, result);
  impl.leave();
  return failed;
}

void Lease::start(const CallOptions& options, std::string_view command, Json arguments, Completion done) {
  LAIR_ASSERT(impl_ != nullptr);
  if (impl_->shell->inert()) return done(impl_->shell->inert_error());
  impl_->shell->start(options, command, arguments, std::move(done), {.held = impl_->held});
}

std::unique_ptr<StreamSource> Lease::open(const CallOptions& options, std::string_view command,
                                          Json arguments) {
  LAIR_ASSERT(impl_ != nullptr);
  if (impl_->shell->inert()) return std::make_unique<pool::NoStream>(impl_->shell->inert_error());
  return impl_->shell->open(options, command, arguments, {.held = impl_->held});
}

WorkerIdentity Lease::worker() const {
  LAIR_ASSERT(impl_ != nullptr);
  return impl_->shell->identity(impl_->held->record());
}

}  // namespace lair
