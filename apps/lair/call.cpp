// `lair call`: one call on a worker that is started for it.
#include <memory>
#include <optional>
#include <string>
#include <utility>

#include "common.hpp"

namespace lair::cli {

namespace {

struct CallArguments {
  std::string command;
  std::string json;
  std::optional<std::string> session;
  std::string affinity;
  bool idempotent = false;
  bool as_json = false;
  bool pretty = false;
};

Result<Json> call_once(const WorkerArguments& worker, const CallArguments& call, Json arguments) {
  PoolOptions options = pool_options(worker);
  options.lazy = options.lazy || call.session;  // a wrong id is to be refused before there is a worker
  auto pool = Pool::create(std::move(options));
  if (!pool) return std::move(pool).error();
  // It lasts as long as the pool; what it stores, with --set session_store=FILE, until its ttl has passed.
  std::optional<Session> session;
  if (call.session) {
    SessionOptions bound;
    if (!call.affinity.empty()) bound.affinity = parse_affinity(call.affinity);
    auto opened = pool->try_session(*call.session, bound);
    if (!opened) return std::move(opened).error();
    session = *std::move(opened);
  }
  if (auto ready = start(*pool); !ready) return std::move(ready).error();
  Endpoint& endpoint = session ? static_cast<Endpoint&>(*session) : *pool;
  auto result = endpoint.invoke({.idempotent = call.idempotent}, call.command, std::move(arguments));
  // Before the pool ends: a worker that takes its time to die must not keep the user waiting.
  if (result) {
    const Json shown = call.as_json ? Json{{"result", *result}} : *result;
    print(shown.dump(call.pretty ? 2 : -1, ' ', false, Json::error_handler_t::replace) + '\n');
  }
  return result;  // the pool ends here, and with it the log: an error's report comes below the worker's last words
}

int run(const WorkerArguments& worker, const CallArguments& call) {
  Json arguments = call_arguments(call.json);
  const Result<Json> result = call_once(worker, call, std::move(arguments));
  if (result) return kOk;
  if (call.as_json)
    print(Json{{"error", to_json(result.error())}}.dump(call.pretty ? 2 : -1, ' ', false,
                                                        Json::error_handler_t::replace) +
          '\n');
  report("call", result.error(), !worker.quiet);
  return exit_status(result.error().kind);
}

}  // namespace

void add_call(CLI::App& program, WorkerArguments& worker, int& status) {
  auto call = std::make_shared<CallArguments>();
  CLI::App* command = program.add_subcommand("call", "Calls one command of a worker and prints its result");
  command->add_option("COMMAND", call->command, "The command's name: for --module, a function's")
      ->required()
      ->type_name("");
  command
      ->add_option("JSON", call->json, "Its arguments: {keywords} or [positions]; - is stdin, @FILE a file")
      ->type_name("");
  add_worker_options(*command, worker);
  command->add_flag("--idempotent", call->idempotent,
                    "The command may run twice: it is tried again when its worker is lost");
  auto* session = command->add_option("--session", call->session, "Calls it in the session with this id");
  session->type_name("ID");
  command->add_option("--affinity", call->affinity, "The session's: prefer (default), strict or exclusive")
      ->type_name("KIND")
      ->check(CLI::IsMember({"prefer", "strict", "exclusive"}))
      ->needs(session);
  command->add_flag("--json", call->as_json, R"(Prints {"result": …} or {"error": {…}} on stdout)");
  command->add_flag("--pretty", call->pretty, "Prints JSON on several lines");
  command->footer(R"(A worker program's command line follows '--'.

Examples:
  lair call --module textstats count_words '["to be or not to be"]'
  lair call --module tools/parse.py --timeout 5s parse @request.json
  lair call ping -- python3 worker.py --mode pool-worker --worker-id {worker_id}

The exit status tells the kinds of errors apart: docs/cli.md)");
  command->callback([&worker, &status, call] { status = run(worker, *call); });
}

}  // namespace lair::cli
