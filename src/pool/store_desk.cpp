#include "pool/store_desk.hpp"

#include <optional>
#include <string>

#include "pool/shell.hpp"

namespace lair::pool {

namespace {

Error wrong(std::string_view what, std::string message) {
  return {.kind = ErrorKind::kInvalidArgument,
          .delivery = Delivery::kNotSent,
          .message = "session store, " + std::string(what) + ": " + std::move(message)};
}

std::optional<Json> optional_member(const Json& arguments, const char* name) {
  const auto found = arguments.find(name);
  return found == arguments.end() ? std::nullopt : std::optional<Json>(*found);
}

template <class T>
Result<Json> as_json(Result<T> result) {
  if (!result) return std::move(result).error();
  return Json(*std::move(result));
}

}  // namespace

Result<Json> serve_store(store::SessionStore& store, std::string_view what, const Json& arguments,
                         const CallContext& context) {
  if (context.session == nullptr) return wrong(what, "the call belongs to no session");
  SessionEntry& session = *context.session;
  if (!arguments.is_object()) return wrong(what, "arguments go by name");
  const std::lock_guard one_at_a_time(session.fence);
  if (session.live.load() != context.chain.back().epoch) {
    return Error{
        .kind = ErrorKind::kSessionLost,
        .delivery = Delivery::kNotSent,
        .message = "session \"" + session.id +
                   "\": the call that uses its store is over for its caller, or has lost the session"};
  }
  if (what == "list") {
    const auto prefix = arguments.find("prefix");
    if (prefix != arguments.end() && !prefix->is_string()) return wrong(what, "prefix must be a text");
    return as_json(
        store.keys(session.id, prefix == arguments.end() ? "" : prefix->get_ref<const std::string&>()));
  }
  const auto named = arguments.find("key");
  if (named == arguments.end() || !named->is_string()) return wrong(what, "key must be a text");
  const auto& key = named->get_ref<const std::string&>();
  if (what == "get") {
    auto found = store.get(session.id, key);
    if (!found) return std::move(found).error();
    if (!*found) return Json{{"found", false}};
    return Json{{"found", true}, {"value", **std::move(found)}};
  }
  if (what == "put") {
    const auto value = arguments.find("value");
    if (value == arguments.end()) return wrong(what, "value is missing");
    auto done = counted(session, store.put(session.id, key, *value));
    if (!done) return std::move(done).error();
    return Json();
  }
  if (what == "delete") return as_json(counted(session, store.erase(session.id, key)));
  if (what == "compare_and_set") {
    return as_json(
        counted(session, store.compare_and_set(session.id, key, optional_member(arguments, "expected"),
                                               optional_member(arguments, "value"))));
  }
  return wrong(what, "there is no such use; there are get, put, delete, compare_and_set and list");
}

void Shell::not_stored(core::WorkerRef worker, std::string_view command, const CallContext& context,
                       const Error& error) {
  if (error.kind == ErrorKind::kSessionLost) return;  // the call is over for its caller, who has been told so
  const std::string whose =
      context.session == nullptr ? "no session" : "session \"" + context.session->id + '"';
  const std::string message =
      whose + ": what " + quoted(command) + " has left to be put at its end was not: " + error.message;
  tell(base::LogLevel::kWarn, "[" + options_.name + "] " + message,
       {.kind = PoolEventKind::kNotStored,
        .worker = PoolEvent::Worker{worker.slot, worker.generation},
        .reason = std::string(to_string(error.kind)),
        .message = message,
        .command = std::string(command)});
}

}  // namespace lair::pool
