// Program: a DSPy program to run, stream, compile, evaluate and keep. `Client` (lair/dspy.hpp) makes them.
//
//   auto p = qa({{"question", "What is Lair?"}});                    // throws CallError
//   Answer a = qa.call<Answer>(Question{"What is Lair?"});           // any structs that nlohmann::json converts
//   auto r = qa.try_call<Answer>({.timeout = 5s}, question);         // Result<Answer>
//   for (auto& item : qa.stream(question)) std::visit(show, item);   // Token, Status, and at last the Prediction
//
// Where the client's calls belong to a session, the program is in the session's store. Else this object has its data, and sends
// them with each call: any worker will do. What DSPy raises is kRemote, with `lair_dspy.…` as Error::python's type.
//
// A program refers to its client's endpoint, which must live as long, unless the client has been given it.
//
// Thread-safety: a value; copies may be used by any number of threads. `with_…` gives another one and changes nothing.
#pragma once

#include <cstddef>
#include <functional>
#include <lair/dspy_request.hpp>
#include <lair/dspy_signature.hpp>
#include <lair/dspy_tools.hpp>
#include <lair/dspy_values.hpp>
#include <lair/endpoint.hpp>
#include <lair/stream.hpp>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

namespace lair::dspy {

// How a program is made, and what of its type's options differs from the default (docs/dspy.md).
struct ProgramOptions {
  // Its name in its session. Empty: one that follows from the definition, so that the same one is the same program.
  std::string id = {};
  bool replace = false;           // what has this id already; else that is an error
  std::string instructions = {};  // in place of the signature's
  std::vector<Json> demos = {};   // examples for the prompt: {{"question", "…"}, {"answer", "…"}}
  std::optional<LM> lm = {};      // in place of the client's
  std::string adapter = {};       // "chat", "json" or "xml"

  std::optional<int> max_iters = {};     // react (20), program_of_thought (3)
  std::optional<int> n = {};             // best_of_n, refine: attempts at most (3)
  std::optional<double> threshold = {};  // likewise: a reward that is good enough (1.0)
  std::optional<int> fail_count = {};    // likewise: attempts that may fail
  std::string inner = {};                // likewise, and parallel: "predict" or "chain_of_thought"
  std::optional<int> num_threads = {};   // parallel: runs at a time (8)
  std::string interpreter = {};          // program_of_thought: "deno", or "local", which is no sandbox
  Json options = Json::object();         // others, by name
};

// A program before it is one.
struct Definition {
  std::string type = "predict";
  std::optional<Signature> signature = {};  // only a custom program may do without
  std::vector<Tool> tools = {};             // of an agent
  ProgramOptions options = {};
};

struct CompileOptions {
  std::string optimizer =
      "BootstrapFewShot";         // of those that `Client::optimizers` names; case does not matter
  Json metric = "exact_match";    // or "f1", "contains", "identical", "host:NAME" (lair::dspy::judge), …
  std::vector<Json> valset = {};  // for those that take one
  Json options = Json::object();  // of the optimizer
  // The id of what comes out. Empty: it takes the program's place; one that was given no id is left as it is, and what
  // comes out is "ID-compiled".
  std::string save_as = {};
  bool replace = false;  // what has the id `save_as` already
};

struct EvaluateOptions {
  Json metric = "exact_match";  // as of CompileOptions
  bool outputs = false;         // whether the results have them
  std::optional<LM> lm = {};  // in place of the program's, or the session's (without a session, the client's)
  // Examples in one call, and calls at once. 0: up to 8, and as many as a Pool has workers times its `concurrency` (else 4).
  std::size_t slice = 0;
  std::size_t at_once = 0;
  // How many examples are done, of how many. On the thread that evaluates.
  std::function<void(std::size_t done, std::size_t all)> on_progress = {};
};

class Compilation;
class Requests;

namespace detail {
struct Connection;
}

class Program {
 public:
  const std::string& id() const noexcept { return id_; }

  // --- Others like it -------------------------------------------------------------------------------------------------------
  // For calls that are given no options of their own.
  [[nodiscard]] Program with(CallOptions options) const;
  // In place of its own LM, the client's and the session's. kInvalidArgument, thrown: as settings_of.
  [[nodiscard]] Program with(const LM& lm) const;
  // LM settings of each run, for predict, chain_of_thought and parallel: {{"temperature", 0}, {"rollout_id", 2}}. Streams take
  // none, and are refused.
  [[nodiscard]] Program with_config(Json settings) const;
  // Predictions have the LM calls of their run.
  [[nodiscard]] Program with_history() const;

  // --- Runs -----------------------------------------------------------------------------------------------------------------
  Prediction operator()(Inputs inputs) const { return call(std::move(inputs)); }

  template <class R = Prediction>
  R call(Inputs inputs) const {
    return request<R>(std::move(inputs)).get();
  }
  template <class R = Prediction>
  R call(const CallOptions& options, Inputs inputs) const {
    return request<R>(options, std::move(inputs)).get();
  }
  template <class R = Prediction>
  Result<R> try_call(Inputs inputs) const {
    return request<R>(std::move(inputs)).try_get();
  }
  template <class R = Prediction>
  Result<R> try_call(const CallOptions& options, Inputs inputs) const {
    return request<R>(options, std::move(inputs)).try_get();
  }

  // The same in any other form: coroutines, futures, completions (lair/dspy_request.hpp).
  template <class R = Prediction>
  Request<R> request(Inputs inputs) const {
    return request<R>(options_, std::move(inputs));
  }
  template <class R = Prediction>
  Request<R> request(const CallOptions& options, Inputs inputs) const {
    return {endpoint(), options, "execute_program", arguments(std::move(inputs).json()),
            [](Json reply) -> Result<R> {
              auto prediction = lair::detail::result_as<Prediction>("execute_program", std::move(reply));
              if (!prediction) return std::move(prediction).error();
              return prediction->template try_as<R>();
            }};
  }

  // All runs of a `parallel` program, in one call, each with its own outcome. Blocks.
  Result<std::vector<Result<Prediction>>> try_call_all(std::vector<Inputs> inputs) const;
  std::vector<Result<Prediction>> call_all(std::vector<Inputs> inputs) const {
    return try_call_all(std::move(inputs)).value();
  }

  // The outputs while they are made. Returns at once; `fields`: tokens of these outputs only. Destroying the stream closes the
  // request to the language model.
  Stream<StreamItem> stream(Inputs inputs, std::vector<std::string> fields = {}) const {
    return stream(options_, std::move(inputs), std::move(fields));
  }
  Stream<StreamItem> stream(const CallOptions& options, Inputs inputs,
                            std::vector<std::string> fields = {}) const;

  // --- Better ---------------------------------------------------------------------------------------------------------------
  // Has an optimizer improve it on examples: {{"question", "…"}, {"answer", "…"}}. Returns at once.
  Compilation compile(const std::vector<Json>& trainset, const CompileOptions& how = {}) const;

  // Scores it on examples, spread over an endpoint, mostly the pool: by calls that belong to no session, several at once.
  // Blocks until all are done, at the latest until the deadline (`with(CallOptions)`; `idempotent`: slices whose worker was lost are
  // tried again). C++ metrics run on this thread. An example that fails scores 0 and says why; the errors are those of a whole
  // slice, and kInvalidArgument for no examples. The LM is looked up once, before the first slice: if another takes its place
  // meanwhile, in the session or the client, this evaluation goes on with the one it began with.
  Result<Evaluation> try_evaluate(Endpoint& over, const std::vector<Json>& examples,
                                  const EvaluateOptions& how = {}) const;
  Evaluation evaluate(Endpoint& over, const std::vector<Json>& examples,
                      const EvaluateOptions& how = {}) const {
    return try_evaluate(over, examples, how).value();
  }

  // --- Kept -----------------------------------------------------------------------------------------------------------------
  // Each blocks for one call. `save`: JSON for a file, without keys, for Client::load.
  Result<Json> try_save() const { return saving().try_get(); }
  Json save() const { return saving().get(); }
  // How often it has run, what it was compiled with, … As of its session; else only of a worker that happens to have it.
  Result<ProgramInfo> try_info() const;
  ProgramInfo info() const { return try_info().value(); }
  // Takes it from its session; where it is in none, there is nothing to do.
  Result<void> try_remove() const;
  void remove() const { try_remove().value(); }

 private:
  friend class Compilation;
  friend class Requests;
  Program(std::shared_ptr<detail::Connection> connection, CallOptions options, std::string id);

  std::shared_ptr<Endpoint> endpoint() const;
  Json arguments(Json inputs) const;
  Json base_arguments() const;
  std::optional<Json> lm() const;
  Request<Json> saving() const;
  Program made_of(const Json& told) const;

  std::shared_ptr<detail::Connection> connection_;
  CallOptions options_;
  std::string id_;
  bool unnamed_ = false;
  std::shared_ptr<const Json> data_;     // of one that is in no session
  std::shared_ptr<const Json> own_lm_;   // with its key
  std::shared_ptr<const Json> call_lm_;  // of `with`
  std::shared_ptr<const Json> config_;
  bool history_ = false;
};

// An optimizer at work. Destroying it ends it where it next asks an LM or the metric.
//
//   auto compiling = qa.compile(trainset, {.optimizer = "MIPROv2", .metric = "f1"});
//   while (auto step = compiling.next()) ...;      // Progress, or a line of the optimizer's Log
//   auto better = compiling.program();
//
// Thread-safety: one thread at a time. Move-only.
class Compilation {
 public:
  using Step = std::variant<Progress, Log>;

  // Blocks until there is one; nothing at the end, or the error that ended it.
  Result<std::optional<Step>> try_next();
  std::optional<Step> next() { return try_next().value(); }

  // What came out. Waits for it, and drops the steps until then.
  Result<Program> try_program();
  Program program() { return try_program().value(); }
  // What is told of it; empty before the end.
  const std::optional<Compiled>& told() const noexcept { return compiled_; }

  void cancel() { stream_.cancel(); }
  // For coroutines (co_next), in place of `next`: its last item is for `program_of`.
  Stream<CompileItem>& stream() { return stream_; }
  Program program_of(const Compiled& compiled) const { return program_.made_of(compiled.json); }

 private:
  friend class Program;
  Compilation(Stream<CompileItem> stream, Program program)
      : stream_(std::move(stream)), program_(std::move(program)) {}

  Stream<CompileItem> stream_;
  Program program_;
  std::optional<Compiled> compiled_;
};

}  // namespace lair::dspy
