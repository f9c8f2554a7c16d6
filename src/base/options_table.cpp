#include "base/options_table.hpp"

#include <array>
#include <limits>

#include "base/duration.hpp"
#include "base/json_text.hpp"
#include "base/nearest.hpp"

namespace lair {

namespace base {

namespace {

Error expected(std::string_view what, const Json& value) {
  return {.kind = ErrorKind::kInvalidArgument,
          .message = "expected " + std::string(what) + ", got " + shown(value, 60)};
}

// --- One `read` and one `write` for each type a knob can have ----------------------------------------
Result<void> read(const Json& value, std::string& out) {
  if (!value.is_string()) return expected("a text", value);
  out = value.get<std::string>();
  return {};
}
Json write(const std::string& value) { return value; }

Result<void> read(const Json& value, bool& out) {
  if (!value.is_boolean()) return expected("true or false", value);
  out = value.get<bool>();
  return {};
}
Json write(bool value) { return value; }

// A parsed 4 is an unsigned number, one put into a Json by C++ a signed one. 4.0 is refused: whoever computed
// it may as well have computed 4.5.
std::optional<std::uint64_t> whole_number(const Json& value) {
  if (value.is_number_unsigned()) return value.get<std::uint64_t>();
  if (value.is_number_integer() && value.get<std::int64_t>() >= 0) return value.get<std::uint64_t>();
  return std::nullopt;
}

Result<void> read(const Json& value, std::size_t& out) {
  const auto number = whole_number(value);
  if (!number) return expected("a whole number that is not negative", value);
  out = *number;
  return {};
}
Json write(std::size_t value) { return value; }

Result<void> read(const Json& value, int& out) {
  const auto number = whole_number(value);
  if (!number || *number > std::numeric_limits<int>::max()) return expected("a CPU's number", value);
  out = static_cast<int>(*number);
  return {};
}
Json write(int value) { return value; }

Result<void> read(const Json& value, Duration& out) {
  if (!value.is_number() && !value.is_string()) {
    return expected("a duration (seconds, or a text like \"250ms\")", value);
  }
  Result<Duration> parsed = value.is_number() ? duration_of_seconds(value.get<double>())
                                              : parse_duration(value.get_ref<const std::string&>());
  if (!parsed) return std::move(parsed).error();
  out = *parsed;
  return {};
}
Json write(Duration value) { return format_duration(value); }

template <class T>
Result<void> read(const Json& value, std::vector<T>& out) {
  if (!value.is_array()) return expected("a list", value);
  std::vector<T> items(value.size());
  for (std::size_t i = 0; i < items.size(); ++i) {
    if (auto ok = read(value[i], items[i]); !ok) return ok;
  }
  out = std::move(items);
  return {};
}
template <class T>
Json write(const std::vector<T>& values) {
  Json list = Json::array();
  for (const T& value : values) list.push_back(write(value));
  return list;
}

Result<void> read(const Json& value, std::map<std::string, std::string>& out) {
  if (!value.is_object()) return expected("an object of texts", value);
  std::map<std::string, std::string> members;
  for (const auto& [name, member] : value.items()) {
    if (auto ok = read(member, members[name]); !ok) return ok;
  }
  out = std::move(members);
  return {};
}
Json write(const std::map<std::string, std::string>& values) { return values; }

Result<void> read(const Json& value, std::optional<std::vector<std::string>>& out) {
  if (value.is_null()) return out.reset(), Result<void>();
  return read(value, out.emplace());
}
Json write(const std::optional<std::vector<std::string>>& value) { return value ? write(*value) : Json(); }

// --- From a member to a row ---------------------------------------------------------------------------
template <auto member>
auto& field(auto& options) {
  if constexpr (requires { options.*member; }) {
    return options.*member;
  } else if constexpr (requires { options.breaker.*member; }) {
    return options.breaker.*member;
  } else {
    return options.worker.*member;
  }
}
template <auto member>
Result<void> set(PoolOptions& options, const Json& value) {
  return read(value, field<member>(options));
}
template <auto member>
Json get(const PoolOptions& options) {
  return write(field<member>(options));
}

template <auto member>
constexpr OptionInfo row(std::string_view name, std::string_view type, std::string_view unit,
                         std::string_view doc) {
  return {name, type, unit, doc, &set<member>, &get<member>};
}

using P = PoolOptions;
using W = WorkerSpec;
using B = BreakerOptions;

constexpr std::array kTable = {
    // clang-format off
    row<&W::module>("module", "text", "", "Python module or script that the workers serve"),
    row<&W::argv>("argv", "list of texts", "", "command line of any other program that speaks protocol 1"),
    row<&W::interpreter>("interpreter", "text", "", "Python interpreter: a path, or a name on PATH"),
    row<&W::venv>("venv", "text", "", "virtual environment whose Python is used"),
    row<&W::python_path>("python_path", "list of texts", "", "directories put before Python's module search path"),
    row<&W::start>("start", "text", "", "how a Python worker starts: spawn, or fork from a warm parent"),
    row<&W::preload>("preload", "list of texts", "", "modules that the warm parent imports (start = fork)"),
    row<&W::cwd>("cwd", "text", "", "working directory of the workers"),
    row<&W::env>("env", "object of texts", "", "environment variables set for the workers"),
    row<&W::inherit_env>("inherit_env", "list of texts", "", "names of the host's environment variables to pass on"),
    row<&W::stdio>("stdio", "text", "", "how an argv worker is connected: socket or pipe"),
    row<&W::cpu_affinity>("cpu_affinity", "list of lists of numbers", "CPUs", "CPUs that each slot's workers may use"),
    row<&P::name>("name", "text", "", "the pool's name in logs, metrics and worker ids"),
    row<&P::size>("size", "number", "workers", "workers kept; 0: one for each usable CPU"),
    row<&P::overflow>("overflow", "number", "workers", "workers beyond size, in times of need"),
    row<&P::overflow_after>("overflow_after", "duration", "", "wait of a caller after which an overflow worker starts"),
    row<&P::overflow_idle>("overflow_idle", "duration", "", "idle time after which an overflow worker is retired"),
    row<&P::lazy>("lazy", "yes or no", "", "start workers on demand, not at once"),
    row<&P::concurrency>("concurrency", "number", "calls", "calls that one worker may have in flight"),
    row<&P::max_starting>("max_starting", "number", "workers", "workers that may be starting at once; 0: usable CPUs + 2"),
    row<&P::start_timeout>("start_timeout", "duration", "", "longest start of a worker, from spawn to ready"),
    row<&P::verify>("verify", "text", "", "command that a worker must answer before it serves"),
    row<&P::checkout_timeout>("checkout_timeout", "duration", "", "longest wait for a worker"),
    row<&P::timeout>("timeout", "duration", "", "longest call, wait for a worker included"),
    row<&P::max_waiters>("max_waiters", "number", "callers", "callers that may wait at once; 0: 8 x (size + overflow)"),
    row<&P::barging_window>("barging_window", "duration", "", "wait up to which an arriving caller may go first"),
    row<&P::health_interval>("health_interval", "duration", "", "rest after which an idle worker is checked"),
    row<&P::health_timeout>("health_timeout", "duration", "", "time to answer a check; 0: min(5 s, health_interval)"),
    row<&P::max_calls>("max_calls", "number", "calls", "calls after which a worker is replaced, give or take a tenth; 0: never"),
    row<&P::max_age>("max_age", "duration", "", "age at which a worker is replaced, less up to a tenth"),
    row<&P::idle_ttl>("idle_ttl", "duration", "", "idle time after which a lazy pool's worker is ended"),
    row<&P::max_memory>("max_memory", "number", "bytes", "private memory beyond which a worker is replaced; 0: never"),
    row<&P::memory_limit>("memory_limit", "number", "bytes", "private memory beyond which a worker is killed; 0: never"),
    row<&P::memory_interval>("memory_interval", "duration", "", "how often workers' memory is looked at"),
    row<&P::queue_target>("queue_target", "duration", "", "wait that a queue may stand at for queue_interval before it is shed"),
    row<&P::queue_interval>("queue_interval", "duration", "", "time for which a queue must stand still before it is shed"),
    row<&P::lease_warning>("lease_warning", "duration", "", "time after which a lease that is still held is reported"),
    row<&P::slow_call>("slow_call", "duration", "", "time after which a call that still runs is reported with its stack"),
    row<&P::watch>("watch", "yes or no", "", "reload when a file of the workers' code changes on disk"),
    row<&B::enabled>("breaker_enabled", "yes or no", "", "refuse commands for a while that cost too many workers"),
    row<&B::window>("breaker_window", "duration", "", "time within which a command's failures are counted"),
    row<&B::min_calls>("breaker_min_calls", "number", "calls", "fewer calls within the window prove nothing"),
    row<&B::failure_percent>("breaker_failure_percent", "number", "per cent", "part of the calls that must have failed"),
    row<&B::open_for>("breaker_open_for", "duration", "", "time for which a command is refused; the n-th time in a row n times as long"),
    row<&B::open_at_most>("breaker_open_at_most", "duration", "", "longest time for which a command is refused"),
    row<&B::probes>("breaker_probes", "number", "calls", "trial calls at once after that; as many successes end it"),
    row<&B::crashes>("breaker_crashes", "number", "workers", "crashes of workers for which a command is refused"),
    row<&B::crash_window>("breaker_crash_window", "duration", "", "time within which they are counted"),
    row<&P::retries>("retries", "number", "retries", "how often an idempotent call is tried again"),
    row<&P::array_memory>("array_memory", "number", "bytes", "memory that arrays may take; 0: half of what there is"),
    row<&P::retry_percent>("retry_percent", "number", "per cent", "retries for each hundred calls, at most"),
    row<&P::max_nesting>("max_nesting", "number", "calls", "calls within calls, through functions that workers call"),
    row<&P::session_ttl>("session_ttl", "duration", "", "time without use after which a session ends"),
    row<&P::max_sessions>("max_sessions", "number", "sessions", "sessions that there may be at once"),
    row<&P::session_grace>("session_grace", "duration", "", "time that a worker to be replaced stays for its sessions"),
    row<&P::session_store>("session_store", "text", "", "file for what sessions store; empty: memory"),
    row<&P::session_value_limit>("session_value_limit", "number", "bytes", "largest value that a session may store"),
    row<&P::session_limit>("session_limit", "number", "bytes", "most that one session may store"),
    row<&P::cancel_grace>("cancel_grace", "duration", "", "time to give up a call that has missed its deadline"),
    row<&P::shutdown_grace>("shutdown_grace", "duration", "", "time for calls in flight at shutdown"),
    row<&P::terminate_grace>("terminate_grace", "duration", "", "time from SIGTERM to SIGKILL"),
    row<&P::spin>("spin", "duration", "", "time to look for the next message before sleeping, where calls follow quickly"),
    row<&P::max_frame>("max_frame", "number", "bytes", "largest message in either direction"),
    row<&P::stderr_lines>("stderr_lines", "number", "lines", "lines of a worker's stderr kept for error messages"),
    OptionInfo{"logger", "spdlog::logger", "", "where logs and workers' output go", nullptr, nullptr},
    row<&P::log_level>("log_level", "text", "", "least severity that is logged"),
    row<&P::log_format>("log_format", "text", "", "form of the log's lines: text or json"),
    OptionInfo{"on_event", "PoolEventCallback", "", "called with each event of the pool", nullptr, nullptr},
    // clang-format on
};

constexpr auto kNames = [] {
  std::array<std::string_view, kTable.size()> names{};
  for (std::size_t i = 0; i < names.size(); ++i) names[i] = kTable[i].name;
  return names;
}();

}  // namespace

std::span<const OptionInfo> options_table() { return kTable; }
std::span<const std::string_view> option_names() { return kNames; }

std::string default_text(const OptionInfo& option) {
  if (!option.get) return "none";
  const Json value = option.get(PoolOptions{});
  if (value.is_string()) return value.get<std::string>();
  return value.is_null() ? "none" : value.dump();
}

}  // namespace base

Result<PoolOptions> parse_pool_options(const Json& settings) {
  if (!settings.is_object()) {
    return Error{.kind = ErrorKind::kInvalidArgument,
                 .message = "a pool's settings are a JSON object, not " + base::shown(settings, 60)};
  }
  PoolOptions options;
  for (const auto& [name, value] : settings.items()) {
    const base::OptionInfo* option = nullptr;
    for (const base::OptionInfo& known : base::options_table()) {
      if (known.name == name) option = &known;
    }
    if (!option) {
      return Error{
          .kind = ErrorKind::kInvalidArgument,
          .message = "unknown setting '" + name + "'" + base::did_you_mean(name, base::option_names())};
    }
    if (!option->set) {
      return Error{.kind = ErrorKind::kInvalidArgument,
                   .message = "setting '" + name + "' can only be given in C++"};
    }
    if (auto ok = option->set(options, value); !ok) {
      Error error = std::move(ok).error();
      error.message = "setting '" + name + "': " + error.message;
      return error;
    }
  }
  if (auto ok = base::check_values(options); !ok) return std::move(ok).error();
  return options;
}

}  // namespace lair
