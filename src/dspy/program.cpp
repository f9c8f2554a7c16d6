#include <lair/dspy_program.hpp>
#include <lair/router.hpp>
#include <lair/session.hpp>

#include "dspy/connection.hpp"

namespace lair::dspy {

namespace detail {

namespace {

Session* session_of(Endpoint& endpoint) {
  if (auto* routed = dynamic_cast<RoutedSession*>(&endpoint)) return &routed->session();
  return dynamic_cast<Session*>(&endpoint);
}

}  // namespace

Connection::Connection(std::shared_ptr<Endpoint> to)
    : endpoint(std::move(to)), values(session_of(*endpoint)), session(values != nullptr) {}

}  // namespace detail

Program::Program(std::shared_ptr<detail::Connection> connection, CallOptions options, std::string id)
    : connection_(std::move(connection)), options_(std::move(options)), id_(std::move(id)) {}

std::shared_ptr<Endpoint> Program::endpoint() const { return connection_->endpoint; }

Program Program::with(CallOptions options) const {
  Program other = *this;
  other.options_ = std::move(options);
  return other;
}

Program Program::with(const LM& lm) const {
  Program other = *this;
  other.call_lm_ = std::make_shared<const Json>(settings_of(lm).value());
  return other;
}

Program Program::with_config(Json settings) const {
  Program other = *this;
  other.config_ = std::make_shared<const Json>(std::move(settings));
  return other;
}

Program Program::with_history() const {
  Program other = *this;
  other.history_ = true;
  return other;
}

// What is to be sent along: absent where the session knows it, or the worker's environment.
std::optional<Json> Program::lm() const {
  if (call_lm_) return *call_lm_;
  if (own_lm_) return *own_lm_;
  // One with an LM of its own, whose key this program does not know: the workers' environment may.
  if (!data_ || data_->contains("lm")) return std::nullopt;
  return connection_->lm();
}

Json Program::base_arguments() const {
  Json found = {{"program_id", id_}};
  if (data_) found["program_data"] = *data_;
  if (auto settings = lm()) found["lm"] = *std::move(settings);
  return found;
}

Json Program::arguments(Json inputs) const {
  Json found = base_arguments();
  found["inputs"] = std::move(inputs);
  if (config_) found["config"] = *config_;
  if (history_) found["history"] = true;
  return found;
}

Result<std::vector<Result<Prediction>>> Program::try_call_all(std::vector<Inputs> inputs) const {
  Json list = Json::array();
  for (Inputs& each : inputs) list.push_back(std::move(each).json());
  auto reply = endpoint()->invoke(options_, "execute_program", arguments(std::move(list)));
  if (!reply) return std::move(reply).error();
  std::vector<Result<Prediction>> found;
  try {
    const Json& outputs = reply->at("outputs");
    for (std::size_t i = 0; i < outputs.size(); ++i) {
      if (!outputs.at(i).is_null()) {
        found.emplace_back(Prediction(outputs[i], id_));
        continue;
      }
      const std::string why = reply->at("errors").value(std::to_string(i), "it has given nothing");
      found.emplace_back(Error{.kind = ErrorKind::kRemote,
                               .delivery = Delivery::kExecuted,
                               .message = why,
                               .python = PythonError{"lair_dspy.ExecutionFailed", why, {}}});
    }
  } catch (const Json::exception& mismatch) {
    return lair::detail::wrong_result_type("execute_program", mismatch.what(), *reply);
  }
  return found;
}

Stream<StreamItem> Program::stream(const CallOptions& options, Inputs inputs,
                                   std::vector<std::string> fields) const {
  Json with_fields = arguments(std::move(inputs).json());
  if (!fields.empty()) with_fields["fields"] = std::move(fields);
  return endpoint()->stream<StreamItem>(options, "stream_program", kwargs(std::move(with_fields)));
}

Request<Json> Program::saving() const {
  Json asked = {{"program_id", id_}};
  if (data_) asked["program_data"] = *data_;
  return {endpoint(), options_, "save_program", std::move(asked), [](Json reply) -> Result<Json> {
            if (reply.is_object() && reply.contains("saved")) return std::move(reply["saved"]);
            return lair::detail::wrong_result_type("save_program", "it has no 'saved'", reply);
          }};
}

Result<ProgramInfo> Program::try_info() const {
  return endpoint()->try_call<ProgramInfo>(options_, "get_program_info", kwargs{{"program_id", id_}});
}

Result<void> Program::try_remove() const {
  if (data_) return {};
  return endpoint()->try_call<void>(options_, "delete_program", kwargs{{"program_id", id_}});
}

// Of what is told of a program that came out of this one.
Program Program::made_of(const Json& told) const {
  Program other = *this;
  other.id_ = told.value("program_id", id_);
  if (told.contains("program_data")) other.data_ = std::make_shared<const Json>(told["program_data"]);
  return other;
}

Compilation Program::compile(const std::vector<Json>& trainset, const CompileOptions& how) const {
  Json asked = base_arguments();
  asked["trainset"] = trainset;
  asked["optimizer"] = how.optimizer;
  asked["metric"] = how.metric;
  if (!how.valset.empty()) asked["valset"] = how.valset;
  if (!how.options.empty()) asked["options"] = how.options;
  if (!how.save_as.empty()) asked["save_as"] = how.save_as;
  if (how.replace) asked["replace"] = true;
  if (unnamed_ && how.save_as.empty()) {
    asked["save_as"] = id_ + "-compiled";
    asked["replace"] = true;
  }
  Program base = *this;
  base.unnamed_ = false;
  return {endpoint()->stream<CompileItem>(options_, "compile_program", kwargs(std::move(asked))),
          std::move(base)};
}

Result<std::optional<Compilation::Step>> Compilation::try_next() {
  if (compiled_) return std::optional<Step>();
  auto item = stream_.try_next();
  if (!item) return std::move(item).error();
  if (!*item) {
    return Error{.kind = ErrorKind::kProtocol,
                 .delivery = Delivery::kExecuted,
                 .message = "the stream of 'compile_program' has ended without a result"};
  }
  if (auto* progress = std::get_if<Progress>(&**item)) return std::optional<Step>(*progress);
  if (auto* log = std::get_if<Log>(&**item)) return std::optional<Step>(std::move(*log));
  compiled_ = std::get<Compiled>(**std::move(item));
  return std::optional<Step>();
}

Result<Program> Compilation::try_program() {
  while (!compiled_) {
    if (auto step = try_next(); !step) return std::move(step).error();
  }
  return program_of(*compiled_);
}

}  // namespace lair::dspy
