#include <lair/dspy.hpp>

#include "dspy/connection.hpp"
#include "dspy/errors.hpp"

namespace lair::dspy {

namespace {

Result<Json> options_of(const ProgramOptions& options) {
  if (!options.options.is_object()) return invalid("ProgramOptions::options is an object of options by name");
  Json found = options.options;
  const auto add = [&](const char* name, const auto& value) {
    if (value) found[name] = *value;
  };
  add("max_iters", options.max_iters);
  add("n", options.n);
  add("threshold", options.threshold);
  add("fail_count", options.fail_count);
  add("num_threads", options.num_threads);
  if (!options.inner.empty()) found["inner"] = options.inner;
  if (!options.interpreter.empty()) found["interpreter"] = options.interpreter;
  return found;
}

// Of everything but keys: FNV-1a. Programs that are declared alike are one.
std::string id_of(const std::string& type, Json arguments) {
  if (arguments.contains("lm")) arguments["lm"].erase("api_key");
  std::uint64_t hash = 0xcbf29ce484222325;
  for (const char c : arguments.dump(-1, ' ', false, Json::error_handler_t::replace)) {
    hash = (hash ^ static_cast<unsigned char>(c)) * 0x100000001b3;
  }
  static constexpr char kDigits[] = "0123456789abcdef";
  std::string id = type + '-';
  for (int shift = 60; shift >= 0; shift -= 4) id += kDigits[(hash >> shift) & 15];
  return id;
}

Result<Json> arguments_of(const Definition& definition, bool session) {
  const ProgramOptions& given = definition.options;
  auto options = options_of(given);
  if (!options) return options;
  Json found = {{"program_type", definition.type}};
  if (!options->empty()) found["options"] = *std::move(options);
  if (definition.signature) found["signature"] = definition.signature->json();
  if (!definition.tools.empty()) found["tools"] = definition.tools;
  if (!given.instructions.empty()) found["instructions"] = given.instructions;
  if (!given.demos.empty()) found["demos"] = given.demos;
  if (!given.adapter.empty()) found["adapter"] = given.adapter;
  if (given.lm) {
    auto settings = settings_of(*given.lm);
    if (!settings) return settings;
    found["lm"] = *std::move(settings);
  }
  found["id"] = given.id.empty() ? id_of(definition.type, found) : given.id;
  // Without a session it is made on some worker, which may have made it before, only to be checked.
  if (given.replace || given.id.empty() || !session) found["replace"] = true;
  return found;
}

Definition defined(std::string type, Signature signature, ProgramOptions options) {
  return {.type = std::move(type), .signature = std::move(signature), .options = std::move(options)};
}

}  // namespace

Client::Client(std::shared_ptr<Endpoint> endpoint)
    : connection_(std::make_shared<detail::Connection>(std::move(endpoint))) {}

Client::Client(Endpoint& endpoint) : Client(std::shared_ptr<Endpoint>(std::shared_ptr<void>(), &endpoint)) {}

Client Client::with(CallOptions options) const {
  Client other = *this;
  other.options_ = std::move(options);
  return other;
}

// --- Requests -----------------------------------------------------------------------------------------------------------------

Request<Json> Requests::configure(const LM& lm, Check check) const {
  Json settings = settings_of(lm).value();
  Json asked = settings;
  if (check == Check::kEndpoint) asked["check"] = true;
  return {connection_->endpoint, options_, "configure_lm", std::move(asked),
          [connection = connection_, settings = std::move(settings)](Json reply) -> Result<Json> {
            connection->set_lm(settings);
            return reply;
          }};
}

Request<Program> Requests::create(const Definition& definition) const {
  Json asked = arguments_of(definition, connection_->session).value();
  Program program(connection_, options_, asked["id"].get<std::string>());
  program.unnamed_ = definition.options.id.empty();
  if (asked.contains("lm")) program.own_lm_ = std::make_shared<const Json>(asked["lm"]);
  return {connection_->endpoint, options_, "create_program", std::move(asked),
          [program = std::move(program)](Json reply) -> Result<Program> {
            if (reply.is_object()) return program.made_of(reply);
            return lair::detail::wrong_result_type("create_program", "it is no object", reply);
          }};
}

Request<Program> Requests::find(std::string id) const {
  Program program(connection_, options_, id);
  return {connection_->endpoint, options_, "get_program_info", Json{{"program_id", std::move(id)}},
          [program = std::move(program)](Json) -> Result<Program> { return program; }};
}

Request<Program> Requests::load(Json saved, const LoadOptions& options) const {
  Json asked = {{"saved", std::move(saved)}};
  if (!options.id.empty()) asked["program_id"] = options.id;
  if (options.replace || !connection_->session) asked["replace"] = true;
  if (options.allow_code) asked["allow_code"] = true;
  Program program(connection_, options_, options.id);
  return {connection_->endpoint, options_, "load_program", std::move(asked),
          [program = std::move(program)](Json reply) -> Result<Program> {
            if (reply.is_object() && reply.contains("program_id")) return program.made_of(reply);
            return lair::detail::wrong_result_type("load_program", "it has no 'program_id'", reply);
          }};
}

Request<std::vector<ProgramInfo>> Requests::list() const {
  return {connection_->endpoint, options_, "list_programs", Json::object(),
          [](Json reply) -> Result<std::vector<ProgramInfo>> {
            return lair::detail::result_as<std::vector<ProgramInfo>>(
                "list_programs", reply.is_object() ? reply.value("programs", Json()) : Json());
          }};
}

Request<std::vector<std::string>> Requests::optimizers() const {
  return {connection_->endpoint, options_, "list_optimizers", Json::object(),
          [](Json reply) -> Result<std::vector<std::string>> {
            return lair::detail::result_as<std::vector<std::string>>(
                "list_optimizers", reply.is_object() ? reply.value("optimizers", Json()) : Json());
          }};
}

// --- Client -------------------------------------------------------------------------------------------------------------------

Result<Json> Client::try_configure(const LM& lm, Check check) {
  if (auto settings = settings_of(lm); !settings) return settings;
  return request().configure(lm, check).try_get();
}

Result<Program> Client::try_create(const Definition& definition) {
  if (auto good = arguments_of(definition, connection_->session); !good) return std::move(good).error();
  return request().create(definition).try_get();
}

Program Client::predict(Signature signature, ProgramOptions options) {
  return create(defined("predict", std::move(signature), std::move(options)));
}

Program Client::chain_of_thought(Signature signature, ProgramOptions options) {
  return create(defined("chain_of_thought", std::move(signature), std::move(options)));
}

Program Client::react(Signature signature, std::vector<Tool> tools, ProgramOptions options) {
  Definition agent = defined("react", std::move(signature), std::move(options));
  agent.tools = std::move(tools);
  return create(agent);
}

Program Client::program_of_thought(Signature signature, ProgramOptions options) {
  return create(defined("program_of_thought", std::move(signature), std::move(options)));
}

Program Client::best_of_n(Signature signature, Json reward, ProgramOptions options) {
  options.options["reward"] = std::move(reward);
  return create(defined("best_of_n", std::move(signature), std::move(options)));
}

Program Client::refine(Signature signature, Json reward, ProgramOptions options) {
  options.options["reward"] = std::move(reward);
  return create(defined("refine", std::move(signature), std::move(options)));
}

Program Client::parallel(Signature signature, ProgramOptions options) {
  return create(defined("parallel", std::move(signature), std::move(options)));
}

Program Client::custom(std::string module, Json args, ProgramOptions options) {
  options.options["module"] = std::move(module);
  if (!args.empty()) options.options["args"] = std::move(args);
  return create({.type = "custom", .options = std::move(options)});
}

}  // namespace lair::dspy
