// What goes into DSPy programs and what comes out: LM settings, inputs, predictions, the items of streams.
//
// Thread-safety: values; no shared state.
#pragma once

#include <concepts>
#include <cstdint>
#include <functional>
#include <initializer_list>
#include <lair/deadline.hpp>
#include <lair/json.hpp>
#include <lair/result.hpp>
#include <optional>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <variant>
#include <vector>

namespace lair::dspy {

// A language model, for `Client::configure`, a program, or some of its runs. What is empty is DSPy's default.
struct LM {
  std::string model = {};                  // "openai/gpt-4o-mini"; with `api_base` also without a provider
  std::string provider = {};               // if `model` does not say it
  std::string api_base = {};               // the endpoint: "http://localhost:8000/v1"
  std::string api_key = {};                // it is in no error, and in nothing that is read back
  std::string api_key_env = {};            // or the variable of the workers' environment that has it
  std::optional<double> temperature = {};  // absent: 0.7, or none for models that take none
  std::optional<int> max_tokens = {};
  std::optional<bool> cache = {};        // absent: answers are kept, and given again for the same question
  std::optional<int> num_retries = {};   // absent: 3
  std::optional<Duration> timeout = {};  // of one request to the endpoint
  std::string adapter = {};              // "chat", "json" or "xml"
  Json extra = Json::object();           // any other setting, by its name: {{"top_p", 0.9}}
};
// kInvalidArgument: `extra` is no object, or has what is a member here.
Result<Json> settings_of(const LM& lm);

// A program's inputs by name; any struct that has a `to_json`, too.
class Inputs {
 public:
  Inputs() = default;
  Inputs(std::initializer_list<std::pair<std::string, Json>> values) {
    for (const auto& [name, value] : values) json_[name] = value;
  }
  template <class T>
  requires(!std::same_as<T, Inputs> && std::constructible_from<Json, const T&>) Inputs(const T& values)
      : json_(values) {}

  const Json& json() const& noexcept { return json_; }
  Json&& json() && noexcept { return std::move(json_); }

 private:
  Json json_ = Json::object();
};

// What one run of a program has given.
class Prediction {
 public:
  Prediction() = default;
  explicit Prediction(Json outputs, std::string program_id = {})
      : program_id_(std::move(program_id)), outputs_(std::move(outputs)) {}

  // All outputs by name; with those that DSPy adds, as `reasoning` and `trajectory`.
  const Json& outputs() const noexcept { return outputs_; }
  bool contains(std::string_view name) const { return outputs_.contains(std::string(name)); }
  // One of them. kInvalidArgument, thrown: there is no such output, with the nearest; for T, its value is of another type.
  const Json& operator[](std::string_view name) const { return *output(name).value(); }
  template <class T>
  T get(std::string_view name) const {
    return try_get<T>(name).value();
  }
  // All of them as a struct that has a `from_json`. kInvalidArgument, thrown: which output does not fit, and what came.
  template <class T>
  T as() const {
    return try_as<T>().value();
  }

  template <class T>
  Result<T> try_get(std::string_view name) const {
    const auto found = output(name);
    if (!found) return found.error();
    try {
      return (*found)->template get<T>();
    } catch (const Json::exception& mismatch) {
      return unfit(name, mismatch.what(), **found);
    }
  }
  template <class T>
  Result<T> try_as() const {
    if constexpr (std::is_same_v<T, Prediction>) {
      return *this;
    } else {
      try {
        return outputs_.template get<T>();
      } catch (const Json::exception& mismatch) {
        return unfit(mismatch.what(), [](const Json& outputs) {
          try {
            static_cast<void>(outputs.template get<T>());
            return true;
          } catch (const Json::exception&) {
            return false;
          }
        });
      }
    }
  }

  const std::string& program_id() const noexcept { return program_id_; }
  double seconds() const noexcept { return seconds_; }
  // Of the language model, answers from the cache included.
  std::uint64_t lm_calls() const noexcept { return lm_calls_; }
  // Token counts by model, of what was asked and not found in the cache.
  const Json& usage() const noexcept { return usage_; }
  // Each of the run's LM calls, if that was asked for (`Program::with_history`); else null.
  const Json& history() const noexcept { return history_; }

  friend void from_json(const Json& result, Prediction& prediction);

 private:
  Result<const Json*> output(std::string_view name) const;
  Error unfit(std::string_view name, const char* what, const Json& value) const;
  Error unfit(const char* what, const std::function<bool(const Json&)>& fits) const;

  std::string program_id_;
  Json outputs_ = Json::object();
  double seconds_ = 0;
  std::uint64_t lm_calls_ = 0;
  Json usage_ = Json::object();
  Json history_;
};

// --- Streams of Program::stream -----------------------------------------------------------------------------------------------
struct Token {
  std::string field;      // the output that it belongs to
  std::string text;       // with the space before it
  std::string predictor;  // the part of the program that it comes from
  bool last = false;      // of this field
};
struct Status {
  std::string message;  // "calling lookup"
};
// The last one is the Prediction.
using StreamItem = std::variant<Token, Status, Prediction>;
void from_json(const Json& item, StreamItem& found);

// --- Streams of Program::compile ----------------------------------------------------------------------------------------------
struct Progress {
  std::uint64_t metric_calls = 0;
  double score = 0;  // of the last one
  std::uint64_t lm_calls = 0;
  double seconds = 0;
};
struct Log {
  std::string level;  // "info", "warning"
  std::string message;
};
struct Compiled {
  std::string program_id;
  std::string optimizer;
  std::optional<double> score = {};  // of the best candidate, if the optimizer has several
  Json demos = Json::object();       // how many, by predictor
  Json json = {};                    // all that was told
};
// The last one is what came out.
using CompileItem = std::variant<Progress, Log, Compiled>;
void from_json(const Json& item, CompileItem& found);

// --- Others -------------------------------------------------------------------------------------------------------------------
struct ProgramInfo {
  std::string id;
  std::string type;       // "chain_of_thought"
  std::string signature;  // as a text; empty for custom programs without one
  std::uint64_t runs = 0;
  std::uint64_t failed_runs = 0;
  bool compiled = false;
  Json json = {};  // all that get_program_info tells: docs/dspy.md
};
void from_json(const Json& told, ProgramInfo& info);

struct Scored {
  std::size_t index = 0;  // of the example
  double score = 0;
  double seconds = 0;
  Json outputs = {};          // if they were asked for
  std::string feedback = {};  // of a metric that gives one
  std::string error = {};     // why the run failed; its score is 0 then
};
void from_json(const Json& told, Scored& scored);

struct Evaluation {
  double score = 0;  // the mean, in per cent
  std::size_t errors = 0;
  std::vector<Scored> results = {};  // one for each example, in order
  std::uint64_t lm_calls = 0;
  double seconds = 0;  // as time goes by, not added up
};

}  // namespace lair::dspy
