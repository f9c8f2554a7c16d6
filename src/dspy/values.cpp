#include <array>
#include <chrono>
#include <lair/dspy_values.hpp>

#include "base/json_text.hpp"
#include "base/nearest.hpp"
#include "dspy/errors.hpp"

namespace lair::dspy {

namespace {

// nlohmann's text without "[json.exception.type_error.302] ".
std::string reason(std::string_view what) {
  if (const auto end = what.find("] "); what.starts_with('[') && end != what.npos)
    what.remove_prefix(end + 2);
  return std::string(what);
}

Error unfitting(std::string message) {
  return {
      .kind = ErrorKind::kInvalidArgument, .delivery = Delivery::kExecuted, .message = std::move(message)};
}

// Null where there is none, for optional members of results.
const Json& member(const Json& object, const char* name) {
  static const Json kNone;
  const auto found = object.find(name);
  return found == object.end() ? kNone : *found;
}

std::string text(const Json& object, const char* name) {
  const Json& found = member(object, name);
  return found.is_string() ? found.get<std::string>() : std::string();
}

template <class T>
T number(const Json& object, const char* name) {
  const Json& found = member(object, name);
  return found.is_number() ? found.get<T>() : T();
}

}  // namespace

Result<Json> settings_of(const LM& lm) {
  if (!lm.extra.is_object()) return invalid("LM::extra is an object of settings by name");
  Json settings = lm.extra;
  std::string twice;
  const auto add = [&](const char* name, const Json& value) {
    if (!settings.emplace(name, value).second) twice = name;
  };
  const auto add_text = [&](const char* name, const std::string& value) {
    if (!value.empty()) add(name, value);
  };
  const auto add_number = [&](const char* name, const auto& value) {
    if (value) add(name, *value);
  };
  add_text("model", lm.model);
  add_text("provider", lm.provider);
  add_text("api_base", lm.api_base);
  add_text("api_key", lm.api_key);
  add_text("api_key_env", lm.api_key_env);
  add_number("temperature", lm.temperature);
  add_number("max_tokens", lm.max_tokens);
  add_number("cache", lm.cache);
  add_number("num_retries", lm.num_retries);
  if (lm.timeout) add("timeout", std::chrono::duration<double>(*lm.timeout).count());
  add_text("adapter", lm.adapter);
  if (!twice.empty())
    return invalid("LM::extra has '" + twice + "', which is set by the member of that name");
  return settings;
}

// --- Prediction ---------------------------------------------------------------------------------------------------------------

void from_json(const Json& result, Prediction& prediction) {
  prediction.outputs_ = result.at("outputs").get<Json::object_t>();
  prediction.program_id_ = text(result, "program_id");
  prediction.seconds_ = number<double>(result, "execution_time");
  prediction.lm_calls_ = number<std::uint64_t>(result, "lm_calls");
  prediction.usage_ = member(result, "usage");
  prediction.history_ = member(result, "history");
}

Result<const Json*> Prediction::output(std::string_view name) const {
  if (const auto found = outputs_.find(std::string(name)); found != outputs_.end()) return &*found;
  std::vector<std::string_view> known;
  std::string names;
  for (const auto& each : outputs_.items()) {
    known.push_back(each.key());
    names += (names.empty() ? "" : ", ") + each.key();
  }
  return unfitting("the program '" + program_id_ + "' has no output '" + std::string(name) + "'" +
                   base::did_you_mean(name, known) + "; it has given " + (names.empty() ? "none" : names));
}

Error Prediction::unfit(std::string_view name, const char* what, const Json& value) const {
  return unfitting("the output '" + std::string(name) + "' of the program '" + program_id_ +
                   "' is not of the type asked for: " + reason(what) + "; it is " + base::shown(value));
}

// nlohmann says what was expected, but not of which member: it is the one in whose place another value would do.
Error Prediction::unfit(const char* what, const std::function<bool(const Json&)>& fits) const {
  static const std::array<Json, 7> kOthers = {Json(""),      Json(0),       Json(0.5),     Json(true),
                                              Json(nullptr), Json::array(), Json::object()};
  for (const auto& [name, value] : outputs_.items()) {
    for (const Json& other : kOthers) {
      Json changed = outputs_;
      changed[name] = other;
      if (fits(changed)) return unfit(name, what, value);
    }
  }
  return unfitting("the outputs of the program '" + program_id_ + "' are not of the type asked for: " +
                   reason(what) + "; they are " + base::shown(outputs_, 300));
}

// --- Items --------------------------------------------------------------------------------------------------------------------

void from_json(const Json& item, StreamItem& found) {
  const std::string type = item.at("type").get<std::string>();
  if (type == "token") {
    found = Token{.field = text(item, "field"),
                  .text = text(item, "text"),
                  .predictor = text(item, "predictor"),
                  .last = member(item, "last") == true};
  } else if (type == "status") {
    found = Status{.message = text(item, "message")};
  } else {
    found = item.get<Prediction>();
  }
}

void from_json(const Json& item, CompileItem& found) {
  const std::string type = item.at("type").get<std::string>();
  if (type == "progress") {
    found = Progress{.metric_calls = number<std::uint64_t>(item, "metric_calls"),
                     .score = number<double>(item, "score"),
                     .lm_calls = number<std::uint64_t>(item, "lm_calls"),
                     .seconds = number<double>(item, "seconds")};
  } else if (type == "log") {
    found = Log{.level = text(item, "level"), .message = text(item, "message")};
  } else {
    const Json& told = item.at("compiled");
    Compiled compiled{.program_id = item.at("program_id").get<std::string>(),
                      .optimizer = text(told, "optimizer"),
                      .demos = member(told, "demos"),
                      .json = item};
    if (member(told, "score").is_number()) compiled.score = number<double>(told, "score");
    found = std::move(compiled);
  }
}

void from_json(const Json& told, ProgramInfo& info) {
  info.id = told.at("program_id").get<std::string>();
  info.type = text(told, "program_type");
  info.signature = text(told, "signature");
  info.runs = number<std::uint64_t>(told, "execution_count");
  info.failed_runs = number<std::uint64_t>(told, "error_count");
  info.compiled = !member(told, "compiled").is_null();
  info.json = told;
}

void from_json(const Json& told, Scored& scored) {
  scored.index = told.at("index").get<std::size_t>();
  scored.score = told.at("score").get<double>();
  scored.seconds = number<double>(told, "seconds");
  scored.outputs = member(told, "outputs");
  scored.feedback = text(told, "feedback");
  scored.error = text(told, "error");
}

}  // namespace lair::dspy
