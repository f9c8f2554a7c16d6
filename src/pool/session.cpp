// The public face of a session: session.hpp over the shell.
#include "lair/session.hpp"

#include <utility>

#include "pool/shell.hpp"
#include "pool/stream_buffer.hpp"

namespace lair {

using pool::SessionEntry;
using pool::Shell;

namespace {

// One use of a session's store after another, and none of a session that is over.
template <class Use>
auto with_store(Shell& shell, SessionEntry& session, const Use& use) -> decltype(use(shell.session_store())) {
  if (shell.inert()) return shell.inert_error();
  const std::lock_guard one_at_a_time(session.fence);
  if (auto refusal = shell.may_use_store(session)) return *std::move(refusal);
  return use(shell.session_store());
}

}  // namespace

Session::Session(std::shared_ptr<Shell> shell, std::shared_ptr<SessionEntry> entry) noexcept
    : shell_(std::move(shell)), entry_(std::move(entry)) {}

const std::string& Session::id() const noexcept { return entry_->id; }

SessionInfo Session::info() const {
  if (shell_->inert()) return {.id = entry_->id, .open = false, .cause = shell_->inert_error().message};
  return shell_->session_info(*entry_);
}

Result<Json> Session::invoke(const CallOptions& options, std::string_view command, Json arguments) {
  if (shell_->inert()) return shell_->inert_error();
  return shell_->call(options, command, arguments, {.session = entry_});
}

std::optional<Error> Session::invoke_typed(const CallOptions& options, std::string_view command,
                                           const detail::TypedArguments& arguments,
                                           detail::ResultSink& result) {
  if (shell_->inert()) return shell_->inert_error();
  return shell_->call(options, command, arguments, result, {.session = entry_});
}

void Session::run_map(const MapOptions& options, std::string_view command, detail::MapJob& job) {
  if (shell_->inert() || shell_->on_reactor()) return Endpoint::run_map(options, command, job);
  shell_->map(options, command, job, {.session = entry_});
}

void Session::start(const CallOptions& options, std::string_view command, Json arguments, Completion done) {
  if (shell_->inert()) return done(shell_->inert_error());
  shell_->start(options, command, arguments, std::move(done), {.session = entry_});
}

std::unique_ptr<StreamSource> Session::open(const CallOptions& options, std::string_view command,
                                            Json arguments) {
  if (shell_->inert()) return std::make_unique<pool::NoStream>(shell_->inert_error());
  return shell_->open(options, command, arguments, {.session = entry_});
}

Result<std::optional<Json>> Session::try_get(std::string_view key) const {
  return with_store(*shell_, *entry_, [&](auto& store) { return store.get(entry_->id, std::string(key)); });
}

Result<void> Session::try_put(std::string_view key, const Json& value) {
  return with_store(*shell_, *entry_, [&](auto& store) {
    return pool::counted(*entry_, store.put(entry_->id, std::string(key), value));
  });
}

Result<bool> Session::try_erase(std::string_view key) {
  return with_store(*shell_, *entry_, [&](auto& store) {
    return pool::counted(*entry_, store.erase(entry_->id, std::string(key)));
  });
}

Result<bool> Session::try_compare_and_set(std::string_view key, const std::optional<Json>& expected,
                                          const std::optional<Json>& value) {
  return with_store(*shell_, *entry_, [&](auto& store) {
    return pool::counted(*entry_, store.compare_and_set(entry_->id, std::string(key), expected, value));
  });
}

Result<std::vector<std::string>> Session::try_keys(std::string_view prefix) const {
  return with_store(*shell_, *entry_, [&](auto& store) { return store.keys(entry_->id, prefix); });
}

Result<void> Session::try_end(Duration timeout) {
  if (shell_->inert()) return shell_->inert_error();
  return shell_->end_session(entry_, timeout);
}

Result<void> Session::try_reopen() {
  if (shell_->inert()) return shell_->inert_error();
  return shell_->reopen_session(entry_);
}

}  // namespace lair
