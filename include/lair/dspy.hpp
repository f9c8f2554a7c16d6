// DSPy programs on the workers of an Endpoint: a Session, a Pool, a Lease, in tests a FakeEndpoint. Start here.
//
//   lair::Pool pool{{.name = "dspy", .worker = lair::python("lair_dspy"), .size = 4, .concurrency = 16}};
//   lair::dspy::Client dspy(pool.session("user-42"));
//   dspy.configure({.model = "openai/gpt-4o-mini", .api_key = key, .temperature = 0.2});
//
//   auto qa = dspy.chain_of_thought("question -> answer: str, confidence: float");
//   auto p = qa({{"question", "Why is the sky blue?"}});
//   std::cout << p["answer"] << p.get<double>("confidence");
//
// In a session, programs and the LM are in its store: any worker runs them, and they outlast workers. Calls of a session run one
// after another. Without a session, programs and LM are kept by these objects and sent along: calls run on all workers at once.
//
// What begins with `try_` gives a Result, its companion throws CallError; both block. `request()` has the same as requests, for
// coroutines, futures and completions. docs/dspy.md has the whole picture.
//
// Errors: kRemote for what lair_dspy refuses or DSPy raises, the kind in Error::python's type ("lair_dspy.NoLM"); kInvalidArgument
// for what is wrong on this side of the channel; and those of any call. No error has a key in it.
//
// Thread-safety: any number of threads, if that is true of the endpoint. Values: copies share the endpoint and the LM.
#pragma once

#include <concepts>
#include <lair/dspy_program.hpp>
#include <lair/dspy_request.hpp>
#include <lair/dspy_signature.hpp>
#include <lair/dspy_tools.hpp>
#include <lair/dspy_values.hpp>
#include <lair/endpoint.hpp>
#include <memory>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

namespace lair::dspy {

// Whether `configure` asks the endpoint of the model once, so that a wrong key is an error there and not later.
enum class Check : std::uint8_t { kNo, kEndpoint };

struct LoadOptions {
  std::string id = {};      // empty: its own
  bool replace = false;     // what has this id already; else that is an error
  bool allow_code = false;  // it may name Python code to import: only from where you trust
};

// What a client can be asked, as requests. Arguments that make no sense throw CallError (kInvalidArgument) at once.
class Requests {
 public:
  Request<Json> configure(const LM& lm, Check check = Check::kNo) const;
  Request<Program> create(const Definition& definition) const;
  Request<Program> find(std::string id) const;
  Request<Program> load(Json saved, const LoadOptions& options = {}) const;
  Request<std::vector<ProgramInfo>> list() const;
  Request<std::vector<std::string>> optimizers() const;

 private:
  friend class Client;
  Requests(std::shared_ptr<detail::Connection> connection, CallOptions options)
      : connection_(std::move(connection)), options_(std::move(options)) {}

  std::shared_ptr<detail::Connection> connection_;
  CallOptions options_;
};

class Client {
 public:
  // The endpoint must outlive this and the programs that are made by it.
  explicit Client(Endpoint& endpoint);
  // Keeps it: a Session, a RoutedSession, a Lease.
  template <std::derived_from<Endpoint> Kept>
  explicit Client(Kept&& endpoint) requires(!std::is_lvalue_reference_v<Kept>)
      : Client(std::shared_ptr<Endpoint>(std::make_shared<Kept>(std::move(endpoint)))) {}
  explicit Client(std::shared_ptr<Endpoint> endpoint);

  // The same, with these options for its calls, and those of the programs that it makes.
  [[nodiscard]] Client with(CallOptions options) const;
  // The same operations as requests.
  Requests request() const { return {connection_, options_}; }

  // --- The language model ---------------------------------------------------------------------------------------------------
  // Of the session, or else of the programs of this client. Gives what the worker says of it, without its key.
  Result<Json> try_configure(const LM& lm, Check check = Check::kNo);
  Json configure(const LM& lm, Check check = Check::kNo) { return request().configure(lm, check).get(); }

  // --- Programs -------------------------------------------------------------------------------------------------------------
  // Declares one, with one call. A signature that can't be read throws before that.
  Result<Program> try_create(const Definition& definition);
  Program create(const Definition& definition) { return request().create(definition).get(); }

  Program predict(Signature signature, ProgramOptions options = {});
  Program chain_of_thought(Signature signature, ProgramOptions options = {});
  // An agent with tools: lair::dspy::tool.
  Program react(Signature signature, std::vector<Tool> tools, ProgramOptions options = {});
  // The language model writes code, which runs in a sandbox, if Deno is installed.
  Program program_of_thought(Signature signature, ProgramOptions options = {});
  // The attempt that the reward likes best; `refine` gives advice in between. `reward`: lair::dspy::judge, or "import:module:name".
  Program best_of_n(Signature signature, Json reward, ProgramOptions options = {});
  Program refine(Signature signature, Json reward, ProgramOptions options = {});
  // For Program::call_all.
  Program parallel(Signature signature, ProgramOptions options = {});
  // A dspy.Module of your own, "package.module:Class", that the workers can import; `args` are for its constructor.
  Program custom(std::string module, Json args = Json::object(), ProgramOptions options = {});

  // One that is in the session. kRemote, `lair_dspy.ProgramNotFound`, names the nearest.
  Result<Program> try_find(std::string id) { return request().find(std::move(id)).try_get(); }
  Program find(std::string id) { return request().find(std::move(id)).get(); }
  // One that Program::save gave.
  Result<Program> try_load(Json saved, const LoadOptions& options = {}) {
    return request().load(std::move(saved), options).try_get();
  }
  Program load(Json saved, const LoadOptions& options = {}) {
    return request().load(std::move(saved), options).get();
  }
  // All of the session.
  Result<std::vector<ProgramInfo>> try_list() { return request().list().try_get(); }
  std::vector<ProgramInfo> list() { return request().list().get(); }
  // The optimizers of the installed DSPy.
  Result<std::vector<std::string>> try_optimizers() { return request().optimizers().try_get(); }
  std::vector<std::string> optimizers() { return request().optimizers().get(); }

 private:
  std::shared_ptr<detail::Connection> connection_;
  CallOptions options_;
};

}  // namespace lair::dspy
