#include <lair/options.hpp>

#include <algorithm>
#include <array>
#include <optional>
#include <set>
#include <string_view>

#include "base/assert.hpp"
#include "base/duration.hpp"
#include "base/nearest.hpp"
#include "base/options_table.hpp"

namespace lair {

namespace {

using namespace std::chrono_literals;

constexpr std::size_t kMostWorkers = 4096;
constexpr std::size_t kSmallestFrame = 64u << 10;
constexpr std::size_t kLargestFrame = 1u << 30;
constexpr std::size_t kMostStderrLines = 10'000;
constexpr int kMostCpus = 1024;  // CPU_SETSIZE of glibc's fixed cpu_set_t

Result<void> refuse(std::string_view setting, const std::string& why) {
  return Error{.kind = ErrorKind::kInvalidArgument,
               .message = "setting '" + std::string(setting) + "': " + why};
}

std::string in_quotes(std::string_view text) { return "'" + std::string(text) + "'"; }

// Not <cctype>: its answers depend on the host's locale.
bool is_digit(char c) { return c >= '0' && c <= '9'; }
bool is_letter(char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z'); }

bool has_nul(std::string_view text) { return text.find('\0') != text.npos; }

// --- Texts that reach execve --------------------------------------------------------------------------
Result<void> check_text(std::string_view setting, std::string_view text) {
  if (has_nul(text)) return refuse(setting, "contains a NUL byte");
  return {};
}

Result<void> check_env_name(std::string_view setting, std::string_view name) {
  if (name.empty()) return refuse(setting, "a variable without a name");
  if (has_nul(name)) return refuse(setting, "a variable's name contains a NUL byte");
  if (name.find('=') != name.npos)
    return refuse(setting, "the variable's name " + in_quotes(name) + " contains '='");
  return {};
}

Result<void> check_env(const WorkerSpec& worker) {
  // What a worker is told about itself; a second opinion would break it in ways hard to find.
  static constexpr std::array<std::string_view, 5> kLairsOwn = {
      "LAIR_WORKER_ID", "LAIR_SLOT", "LAIR_GENERATION", "LAIR_POOL", "LAIR_CHANNEL_FD"};
  for (const auto& [name, value] : worker.env) {
    if (auto ok = check_env_name("env", name); !ok) return ok;
    if (has_nul(value)) return refuse("env", "the value of " + in_quotes(name) + " contains a NUL byte");
    if (std::ranges::find(kLairsOwn, name) != kLairsOwn.end()) {
      return refuse("env", in_quotes(name) + " is set by Lair itself");
    }
  }
  if (worker.inherit_env) {
    for (const std::string& pattern : *worker.inherit_env) {
      if (auto ok = check_env_name("inherit_env", pattern); !ok) return ok;
      if (const auto star = pattern.find('*'); star != pattern.npos && star + 1 != pattern.size()) {
        return refuse("inherit_env", "in " + in_quotes(pattern) + ", '*' stands elsewhere than at the end");
      }
    }
  }
  return {};
}

// pkg.mod, or nothing.
bool is_dotted_name(std::string_view name) {
  bool at_start = true;
  for (const char c : name) {
    const bool any_script = static_cast<unsigned char>(c) >= 0x80;  // Python allows letters of all of them
    const bool letter = is_letter(c) || c == '_' || any_script;
    if (at_start ? !letter : !(letter || is_digit(c) || c == '.')) return false;
    at_start = c == '.';
  }
  return name.empty() || !at_start;
}

// A dotted name, or a path. What starts with '-' would be an option to whoever parses it next.
Result<void> check_module(const std::string& module) {
  if (auto ok = check_text("module", module); !ok) return ok;
  if (module.starts_with('-')) return refuse("module", in_quotes(module) + " starts with '-'");
  const bool is_path = module.find('/') != module.npos || module.ends_with(".py");
  if (is_path || is_dotted_name(module)) return {};
  if (module.ends_with('.')) return refuse("module", in_quotes(module) + " ends with '.'");
  return refuse("module",
                in_quotes(module) + " is neither a module's name (pkg.mod) nor a path (dir/file.py)");
}

Result<void> check_start(const WorkerSpec& worker) {
  if (worker.start != "spawn" && worker.start != "fork") {
    return refuse("start", in_quotes(worker.start) + " is neither 'spawn' nor 'fork'");
  }
  for (const std::string& module : worker.preload) {
    if (module.empty() || !is_dotted_name(module))
      return refuse("preload", in_quotes(module) + " is not a module's name (pkg.mod)");
  }
  return {};
}

Result<void> check_affinity(const std::vector<std::vector<int>>& lists) {
  for (const std::vector<int>& cpus : lists) {
    if (cpus.empty()) return refuse("cpu_affinity", "a list without CPUs: its workers could not run");
    std::set<int> seen;
    for (const int cpu : cpus) {
      if (cpu < 0 || cpu >= kMostCpus) {
        return refuse("cpu_affinity", std::to_string(cpu) + " is not a CPU's number (0 to " +
                                          std::to_string(kMostCpus - 1) + ")");
      }
      if (!seen.insert(cpu).second) {
        return refuse("cpu_affinity", "CPU " + std::to_string(cpu) + " stands twice in a list");
      }
    }
  }
  return {};
}

Result<void> check_worker(const WorkerSpec& worker) {
  if (auto ok = check_module(worker.module); !ok) return ok;
  for (const std::string& argument : worker.argv) {
    if (auto ok = check_text("argv", argument); !ok) return ok;
  }
  if (!worker.argv.empty() && worker.argv[0].empty()) return refuse("argv", "the program's name is empty");
  if (auto ok = check_text("interpreter", worker.interpreter); !ok) return ok;
  if (auto ok = check_text("venv", worker.venv); !ok) return ok;
  if (auto ok = check_text("cwd", worker.cwd); !ok) return ok;
  for (const std::string& directory : worker.python_path) {
    if (directory.empty()) {
      return refuse("python_path", "an empty directory name; the working directory is \".\"");
    }
    if (directory.find(':') != directory.npos) {
      return refuse("python_path",
                    in_quotes(directory) + " contains ':', which separates the entries of PYTHONPATH");
    }
    if (auto ok = check_text("python_path", directory); !ok) return ok;
  }
  if (worker.stdio != "socket" && worker.stdio != "pipe") {
    return refuse("stdio", in_quotes(worker.stdio) + " is neither 'socket' nor 'pipe'");
  }
  if (auto ok = check_start(worker); !ok) return ok;
  if (auto ok = check_env(worker); !ok) return ok;
  return check_affinity(worker.cpu_affinity);
}

// --- Numbers and durations ------------------------------------------------------------------------------
Result<void> check_number(std::string_view setting, std::size_t value, std::size_t least, std::size_t most) {
  if (value >= least && value <= most) return {};
  return refuse(setting, std::to_string(value) + " is not between " + std::to_string(least) + " and " +
                             std::to_string(most));
}

struct DurationRule {
  std::string_view setting;
  Duration PoolOptions::*member;
  bool zero_is_sensible;
  Duration most;             // kForever: "forever" is allowed
  std::string_view why_not;  // beyond `most`
};

constexpr DurationRule kDurationRules[] = {
    {"overflow_after", &PoolOptions::overflow_after, true, 24h,
     "overflow workers would never start; use overflow = 0"},
    {"overflow_idle", &PoolOptions::overflow_idle, true, kForever, ""},
    {"start_timeout", &PoolOptions::start_timeout, false, 24h,
     "a worker that hangs while it starts would hold its slot"},
    {"checkout_timeout", &PoolOptions::checkout_timeout, true, kForever, ""},
    {"timeout", &PoolOptions::timeout, false, kForever, ""},
    {"barging_window", &PoolOptions::barging_window, true, 10s, "waiters could be passed over for that long"},
    {"health_interval", &PoolOptions::health_interval, false, kForever, ""},
    {"health_timeout", &PoolOptions::health_timeout, true, 1h,
     "a worker that hangs would keep its slot for that long"},
    {"max_age", &PoolOptions::max_age, false, kForever, ""},
    {"idle_ttl", &PoolOptions::idle_ttl, true, kForever, ""},
    {"memory_interval", &PoolOptions::memory_interval, false, 1h, "a worker could grow for that long unseen"},
    {"queue_target", &PoolOptions::queue_target, false, kForever, ""},
    {"queue_interval", &PoolOptions::queue_interval, false, 1h, "a queue could stand still for that long"},
    {"lease_warning", &PoolOptions::lease_warning, false, kForever, ""},
    {"slow_call", &PoolOptions::slow_call, false, kForever, ""},
    {"session_ttl", &PoolOptions::session_ttl, false, kForever, ""},
    {"session_grace", &PoolOptions::session_grace, true, 24h,
     "new code, or a leak, would wait for that long"},
    {"cancel_grace", &PoolOptions::cancel_grace, true, 1h,
     "a worker that hangs would keep its slot for that long"},
    {"shutdown_grace", &PoolOptions::shutdown_grace, true, 24h,
     "one hung call would keep the program from ending"},
    {"terminate_grace", &PoolOptions::terminate_grace, true, 24h,
     "one hung worker would keep the program from ending"},
    {"spin", &PoolOptions::spin, true, 1ms, "callers and workers would keep cores from others for nothing"},
};

Result<void> check_duration(const DurationRule& rule, Duration value) {
  if (value < Duration::zero()) return refuse(rule.setting, base::format_duration(value) + " is negative");
  if (value == Duration::zero() && !rule.zero_is_sensible) return refuse(rule.setting, "must be more than 0");
  if (value > rule.most) {
    return refuse(rule.setting, base::format_duration(value) + " is more than " +
                                    base::format_duration(rule.most) + ": " + std::string(rule.why_not));
  }
  return {};
}

struct BreakerRule {
  std::string_view setting;
  std::size_t BreakerOptions::*member;
  std::size_t most;
};
constexpr BreakerRule kBreakerNumbers[] = {
    {"breaker_min_calls", &BreakerOptions::min_calls, 1'000'000},
    {"breaker_failure_percent", &BreakerOptions::failure_percent, 100},
    {"breaker_probes", &BreakerOptions::probes, 1000},
    {"breaker_crashes", &BreakerOptions::crashes, 1000},
};

Result<void> check_breaker(const BreakerOptions& breaker) {
  for (const BreakerRule& rule : kBreakerNumbers) {
    if (auto ok = check_number(rule.setting, breaker.*rule.member, 1, rule.most); !ok) return ok;
  }
  if (breaker.window < 100ms || breaker.window > 1h) {
    return refuse("breaker_window", base::format_duration(breaker.window) + " is not between 100 ms and 1 h");
  }
  const auto check_time = [](std::string_view setting, Duration time) -> Result<void> {
    if (time > Duration::zero() && time <= 24h) return {};
    return refuse(setting, base::format_duration(time) + " is not more than 0 and at most 24 h");
  };
  if (auto ok = check_time("breaker_open_for", breaker.open_for); !ok) return ok;
  if (auto ok = check_time("breaker_open_at_most", breaker.open_at_most); !ok) return ok;
  return check_time("breaker_crash_window", breaker.crash_window);
}

Result<void> check_name(std::string_view name) {
  if (name.empty() || name.size() > 64) return refuse("name", "must have 1 to 64 characters");
  for (const char c : name) {
    if (!is_letter(c) && !is_digit(c) && c != '_' && c != '-' && c != '.') {
      return refuse("name", in_quotes(name) + " has other characters than letters, digits, '_', '-' and '.'");
    }
  }
  return {};
}

Result<void> check_log_level(std::string_view level) {
  static constexpr std::array<std::string_view, 5> kLevels = {"debug", "info", "warn", "error", "off"};
  if (std::ranges::find(kLevels, level) != kLevels.end()) return {};
  return refuse("log_level", in_quotes(level) + " is not one of debug, info, warn, error and off" +
                                 base::did_you_mean(level, kLevels));
}

// --- What must not be said together ------------------------------------------------------------------------
Result<void> check_combinations(const WorkerSpec& worker) {
  if (worker.module.empty() && worker.argv.empty()) {
    return refuse("module", "neither it nor 'argv' is set; use lair::python(…) or lair::command(…)");
  }
  if (!worker.module.empty() && !worker.argv.empty())
    return refuse("module", "contradicts 'argv': set one of them");
  if (!worker.interpreter.empty() && !worker.venv.empty()) {
    return refuse("interpreter", "contradicts 'venv', which brings its own: set one of them");
  }
  if (!worker.argv.empty()) {
    constexpr auto kWhy = "is for Python workers (module), not for argv";
    if (!worker.interpreter.empty()) return refuse("interpreter", kWhy);
    if (!worker.venv.empty()) return refuse("venv", kWhy);
    if (!worker.python_path.empty()) return refuse("python_path", kWhy);
    if (worker.start != "spawn") return refuse("start", kWhy);
    if (!worker.preload.empty()) return refuse("preload", kWhy);
  } else if (worker.stdio != "socket") {
    return refuse("stdio", "is for argv workers; a Python worker (module) has a channel of its own");
  }
  if (!worker.preload.empty() && worker.start != "fork") {
    return refuse("preload", "is what a warm parent imports, and workers have one with start = 'fork' only");
  }
  return {};
}

}  // namespace

namespace base {

Result<void> check_values(const PoolOptions& options) {
  if (auto ok = check_name(options.name); !ok) return ok;
  if (auto ok = check_worker(options.worker); !ok) return ok;
  if (auto ok = check_number("size", options.size, 0, kMostWorkers); !ok) return ok;
  if (auto ok = check_number("overflow", options.overflow, 0, kMostWorkers); !ok) return ok;
  if (auto ok = check_number("max_frame", options.max_frame, kSmallestFrame, kLargestFrame); !ok) return ok;
  if (auto ok = check_number("stderr_lines", options.stderr_lines, 0, kMostStderrLines); !ok) return ok;
  for (const DurationRule& rule : kDurationRules) {
    if (auto ok = check_duration(rule, options.*rule.member); !ok) return ok;
  }
  if (auto ok = check_text("verify", options.verify); !ok) return ok;
  if (options.verify == "shutdown") return refuse("verify", "'shutdown' would end the worker");
  if (auto ok = check_breaker(options.breaker); !ok) return ok;
  if (auto ok = check_number("retries", options.retries, 0, 100); !ok) return ok;
  if (auto ok = check_number("retry_percent", options.retry_percent, 1, 100); !ok) return ok;
  if (auto ok = check_number("concurrency", options.concurrency, 1, 65536); !ok) return ok;
  if (auto ok = check_number("max_nesting", options.max_nesting, 1, 100); !ok) return ok;
  if (auto ok = check_number("max_sessions", options.max_sessions, 1, 10'000'000); !ok) return ok;
  if (auto ok = check_number("session_value_limit", options.session_value_limit, 1u << 10, 1u << 30); !ok)
    return ok;
  if (auto ok = check_number("session_limit", options.session_limit, 1u << 10, std::size_t{1} << 40); !ok)
    return ok;
  if (auto ok = check_text("session_store", options.session_store); !ok) return ok;
  if (options.log_format != "text" && options.log_format != "json") {
    return refuse("log_format", in_quotes(options.log_format) + " is neither 'text' nor 'json'");
  }
  return check_log_level(options.log_level);
}

PoolOptions resolve(PoolOptions options, std::size_t usable_cpus) {
  LAIR_ASSERT(usable_cpus >= 1);
  if (options.size == 0) options.size = std::min(usable_cpus, kMostWorkers);
  if (options.max_starting == 0) options.max_starting = usable_cpus + 2;
  if (options.health_timeout == Duration::zero())
    options.health_timeout = std::min<Duration>(5s, options.health_interval);
  if (options.max_waiters == 0) options.max_waiters = 8 * (options.size + options.overflow);
  return options;
}

}  // namespace base

WorkerSpec python(std::string module) { return {.module = std::move(module)}; }
WorkerSpec command(std::vector<std::string> argv) { return {.argv = std::move(argv)}; }

Result<void> validate(const PoolOptions& options) {
  if (auto ok = base::check_values(options); !ok) return ok;
  if (options.breaker.open_at_most < options.breaker.open_for) {
    return refuse("breaker_open_at_most", "is less than breaker_open_for");
  }
  if (options.idle_ttl != kForever && !options.lazy) {
    return refuse("idle_ttl", "is for lazy pools: an eager one would start the worker again at once");
  }
  if (options.session_value_limit > options.session_limit) {
    return refuse("session_value_limit", "is more than session_limit");
  }
  if (options.max_memory > 0 && options.memory_limit > 0 && options.max_memory > options.memory_limit) {
    return refuse("max_memory",
                  "is more than memory_limit: workers would be killed before they are replaced");
  }
  return check_combinations(options.worker);
}

}  // namespace lair
