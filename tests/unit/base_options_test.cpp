// Floor 0, the settings: reading, refusing, filling in; and options.hpp, the table and docs/config.md agree.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <lair/options.hpp>

#include <algorithm>
#include <functional>
#include <set>

#include "base/options_table.hpp"

namespace lair {
namespace {

using namespace std::chrono_literals;
using namespace std::string_literals;
using testing::HasSubstr;

PoolOptions good() { return {.worker = python("textstats")}; }
PoolOptions good_argv() { return {.worker = command({"worker"})}; }

// --- Validation ---------------------------------------------------------------------------------------
struct Refusal {
  const char* setting;  // that the message must name
  const char* because;  // and a part of the reason
  std::function<void(PoolOptions&)> spoil;
  PoolOptions (*from)() = good;
};

const Refusal kRefusals[] = {
    {"module", "neither", [](auto& o) { o.worker.module = ""; }},
    {"module", "contradicts 'argv'", [](auto& o) { o.worker.argv = {"worker"}; }},
    {"module", "NUL", [](auto& o) { o.worker.module = "a\0b"s; }},
    {"module", "starts with '-'", [](auto& o) { o.worker.module = "-c.py"; }},
    {"module", "neither a module's name", [](auto& o) { o.worker.module = "text stats"; }},
    {"module", "neither a module's name", [](auto& o) { o.worker.module = "text..stats"; }},
    {"module", "neither a module's name", [](auto& o) { o.worker.module = "1text"; }},
    {"module", "ends with '.'", [](auto& o) { o.worker.module = "text."; }},
    {"argv", "empty",
     [](auto& o) {
       o.worker.argv = {"", "x"};
     },
     good_argv},
    {"argv", "NUL",
     [](auto& o) {
       o.worker.argv = {"worker", "a\0b"s};
     },
     good_argv},
    {"interpreter", "contradicts 'venv'",
     [](auto& o) { o.worker.interpreter = "python3", o.worker.venv = ".venv"; }},
    {"interpreter", "for Python workers", [](auto& o) { o.worker.interpreter = "python3"; }, good_argv},
    {"interpreter", "NUL", [](auto& o) { o.worker.interpreter = "\0"s; }},
    {"venv", "for Python workers", [](auto& o) { o.worker.venv = ".venv"; }, good_argv},
    {"venv", "NUL", [](auto& o) { o.worker.venv = "\0"s; }},
    {"python_path", "for Python workers", [](auto& o) { o.worker.python_path = {"lib"}; }, good_argv},
    {"python_path", "empty", [](auto& o) { o.worker.python_path = {""}; }},
    {"python_path", "':'", [](auto& o) { o.worker.python_path = {"a:b"}; }},
    {"python_path", "NUL", [](auto& o) { o.worker.python_path = {"\0"s}; }},
    {"start", "neither 'spawn' nor 'fork'", [](auto& o) { o.worker.start = "exec"; }},
    {"start", "for Python workers", [](auto& o) { o.worker.start = "fork"; }, good_argv},
    {"preload", "start = 'fork' only", [](auto& o) { o.worker.preload = {"json"}; }},
    {"preload", "for Python workers", [](auto& o) { o.worker.preload = {"json"}; }, good_argv},
    {"preload", "not a module's name",
     [](auto& o) {
       o.worker.start = "fork";
       o.worker.preload = {"json", "lib/x.py"};
     }},
    {"preload", "not a module's name",
     [](auto& o) {
       o.worker.start = "fork";
       o.worker.preload = {""};
     }},
    {"cwd", "NUL", [](auto& o) { o.worker.cwd = "a\0b"s; }},
    {"env", "without a name",
     [](auto& o) {
       o.worker.env = {{"", "x"}};
     }},
    {"env", "'='",
     [](auto& o) {
       o.worker.env = {{"A=B", "x"}};
     }},
    {"env", "NUL",
     [](auto& o) {
       o.worker.env = {{"A\0"s, "x"}};
     }},
    {"env", "NUL",
     [](auto& o) {
       o.worker.env = {{"A", "\0"s}};
     }},
    {"env", "Lair itself",
     [](auto& o) {
       o.worker.env = {{"LAIR_CHANNEL_FD", "3"}};
     }},
    {"inherit_env", "'*' stands", [](auto& o) { o.worker.inherit_env = {{"A*B"}}; }},
    {"inherit_env", "'*' stands", [](auto& o) { o.worker.inherit_env = {{"**"}}; }},
    {"inherit_env", "without a name", [](auto& o) { o.worker.inherit_env = {{""}}; }},
    {"inherit_env", "'='", [](auto& o) { o.worker.inherit_env = {{"A=1"}}; }},
    {"stdio", "neither", [](auto& o) { o.worker.stdio = "file"; }, good_argv},
    {"stdio", "for argv", [](auto& o) { o.worker.stdio = "pipe"; }},
    {"cpu_affinity", "without CPUs",
     [](auto& o) {
       o.worker.cpu_affinity = {{0}, {}};
     }},
    {"cpu_affinity", "not a CPU", [](auto& o) { o.worker.cpu_affinity = {{-1}}; }},
    {"cpu_affinity", "not a CPU", [](auto& o) { o.worker.cpu_affinity = {{1024}}; }},
    {"cpu_affinity", "twice",
     [](auto& o) {
       o.worker.cpu_affinity = {{1, 1}};
     }},
    {"name", "1 to 64", [](auto& o) { o.name = ""; }},
    {"name", "1 to 64", [](auto& o) { o.name = std::string(65, 'a'); }},
    {"name", "letters", [](auto& o) { o.name = "a b"; }},
    {"name", "letters", [](auto& o) { o.name = "a/b"; }},
    {"size", "between 0 and 4096", [](auto& o) { o.size = 4097; }},
    {"overflow", "between 0 and 4096", [](auto& o) { o.overflow = 4097; }},
    {"overflow_after", "negative", [](auto& o) { o.overflow_after = -1ms; }},
    {"overflow_after", "never start", [](auto& o) { o.overflow_after = kForever; }},
    {"overflow_idle", "negative", [](auto& o) { o.overflow_idle = -1ms; }},
    {"start_timeout", "more than 0", [](auto& o) { o.start_timeout = 0s; }},
    {"start_timeout", "hold its slot", [](auto& o) { o.start_timeout = kForever; }},
    {"checkout_timeout", "negative", [](auto& o) { o.checkout_timeout = -1s; }},
    {"timeout", "more than 0", [](auto& o) { o.timeout = 0s; }},
    {"timeout", "negative", [](auto& o) { o.timeout = -1s; }},
    {"barging_window", "passed over", [](auto& o) { o.barging_window = 11s; }},
    {"barging_window", "negative", [](auto& o) { o.barging_window = -1ns; }},
    {"health_interval", "more than 0", [](auto& o) { o.health_interval = 0s; }},
    {"health_timeout", "hangs", [](auto& o) { o.health_timeout = 2h; }},
    {"health_timeout", "negative", [](auto& o) { o.health_timeout = -1s; }},
    {"max_age", "more than 0", [](auto& o) { o.max_age = 0s; }},
    {"max_memory", "more than memory_limit",
     [](auto& o) {
       o.max_memory = 2;
       o.memory_limit = 1;
     }},
    {"concurrency", "between 1 and 65536", [](auto& o) { o.concurrency = 0; }},
    {"concurrency", "between 1 and 65536", [](auto& o) { o.concurrency = 65537; }},
    {"retry_percent", "between 1 and 100", [](auto& o) { o.retry_percent = 0; }},
    {"retry_percent", "between 1 and 100", [](auto& o) { o.retry_percent = 101; }},
    {"max_nesting", "between 1 and 100", [](auto& o) { o.max_nesting = 0; }},
    {"max_nesting", "between 1 and 100", [](auto& o) { o.max_nesting = 101; }},
    {"cancel_grace", "negative", [](auto& o) { o.cancel_grace = -1ms; }},
    {"cancel_grace", "hangs", [](auto& o) { o.cancel_grace = 2h; }},
    {"memory_interval", "unseen", [](auto& o) { o.memory_interval = 2h; }},
    {"idle_ttl", "lazy pools", [](auto& o) { o.idle_ttl = 1s; }},
    {"queue_target", "more than 0", [](auto& o) { o.queue_target = 0s; }},
    {"queue_interval", "stand still", [](auto& o) { o.queue_interval = kForever; }},
    {"lease_warning", "more than 0", [](auto& o) { o.lease_warning = 0s; }},
    {"slow_call", "more than 0", [](auto& o) { o.slow_call = 0s; }},
    {"slow_call", "negative", [](auto& o) { o.slow_call = -1s; }},
    {"breaker_window", "between 100 ms and 1 h", [](auto& o) { o.breaker.window = 99ms; }},
    {"breaker_window", "between 100 ms and 1 h", [](auto& o) { o.breaker.window = kForever; }},
    {"breaker_min_calls", "between 1 and 1000000", [](auto& o) { o.breaker.min_calls = 0; }},
    {"breaker_failure_percent", "between 1 and 100", [](auto& o) { o.breaker.failure_percent = 0; }},
    {"breaker_failure_percent", "between 1 and 100", [](auto& o) { o.breaker.failure_percent = 101; }},
    {"breaker_open_for", "more than 0", [](auto& o) { o.breaker.open_for = 0s; }},
    {"breaker_open_for", "at most 24 h", [](auto& o) { o.breaker.open_for = kForever; }},
    {"breaker_open_at_most", "at most 24 h", [](auto& o) { o.breaker.open_at_most = 25h; }},
    {"breaker_open_at_most", "less than breaker_open_for", [](auto& o) { o.breaker.open_at_most = 4s; }},
    {"breaker_probes", "between 1 and 1000", [](auto& o) { o.breaker.probes = 0; }},
    {"breaker_crashes", "between 1 and 1000", [](auto& o) { o.breaker.crashes = 0; }},
    {"breaker_crash_window", "more than 0", [](auto& o) { o.breaker.crash_window = -1s; }},
    {"session_ttl", "more than 0", [](auto& o) { o.session_ttl = 0s; }},
    {"session_grace", "more than", [](auto& o) { o.session_grace = 25h; }},
    {"session_store", "NUL", [](auto& o) { o.session_store = std::string("a\0b", 3); }},
    {"max_sessions", "not between 1 and", [](auto& o) { o.max_sessions = 0; }},
    {"session_value_limit", "not between", [](auto& o) { o.session_value_limit = 1; }},
    {"session_limit", "not between", [](auto& o) { o.session_limit = 1; }},
    {"retries", "between 0 and 100", [](auto& o) { o.retries = 101; }},
    {"verify", "would end the worker", [](auto& o) { o.verify = "shutdown"; }},
    {"shutdown_grace", "hung call", [](auto& o) { o.shutdown_grace = kForever; }},
    {"shutdown_grace", "negative", [](auto& o) { o.shutdown_grace = -1s; }},
    {"terminate_grace", "hung worker", [](auto& o) { o.terminate_grace = kForever; }},
    {"terminate_grace", "negative", [](auto& o) { o.terminate_grace = -1s; }},
    {"spin", "for nothing", [](auto& o) { o.spin = 1ms + 1us; }},
    {"spin", "negative", [](auto& o) { o.spin = -1us; }},
    {"max_frame", "between 65536 and 1073741824", [](auto& o) { o.max_frame = 65535; }},
    {"max_frame", "between 65536 and 1073741824", [](auto& o) { o.max_frame = (1u << 30) + 1; }},
    {"stderr_lines", "between 0 and 10000", [](auto& o) { o.stderr_lines = 10'001; }},
    {"log_level", "(did you mean 'debug'?)", [](auto& o) { o.log_level = "debgu"; }},
    {"log_format", "neither 'text' nor 'json'", [](auto& o) { o.log_format = "xml"; }},
};

TEST(Validate, RefusesEachBadValueByName) {
  for (const Refusal& refusal : kRefusals) {
    PoolOptions options = refusal.from();
    refusal.spoil(options);
    const auto result = validate(options);
    ASSERT_FALSE(result) << refusal.setting << ": " << refusal.because;
    EXPECT_EQ(result.error().kind, ErrorKind::kInvalidArgument);
    EXPECT_EQ(result.error().delivery, Delivery::kNotSent);
    EXPECT_THAT(result.error().message, HasSubstr("setting '"s + refusal.setting + "': "));
    EXPECT_THAT(result.error().message, HasSubstr(refusal.because));
  }
}

const Refusal kAcceptances[] = {
    {"module", "a path", [](auto& o) { o.worker.module = "tools/parse.py"; }},
    {"module", "another script", [](auto& o) { o.worker.module = "./my worker.py"; }},
    {"module", "of any script", [](auto& o) { o.worker.module = "pkg.größe_2"; }},
    {"argv", "empty arguments",
     [](auto& o) {
       o.worker.argv = {"worker", ""};
     },
     good_argv},
    {"stdio", "pipe", [](auto& o) { o.worker.stdio = "pipe"; }, good_argv},
    {"start", "a warm parent with nothing but the SDK", [](auto& o) { o.worker.start = "fork"; }},
    {"preload", "modules and submodules",
     [](auto& o) {
       o.worker.start = "fork";
       o.worker.preload = {"json", "os.path"};
     }},
    {"inherit_env", "all of a prefix",
     [](auto& o) {
       o.worker.inherit_env = {{"PATH", "LC_*", "*"}};
     }},
    {"inherit_env", "none", [](auto& o) { o.worker.inherit_env.emplace(); }},
    {"checkout_timeout", "more than timeout", [](auto& o) { o.checkout_timeout = 1h; }},
    {"checkout_timeout", "0: only if one is free", [](auto& o) { o.checkout_timeout = 0s; }},
    {"timeout", "forever", [](auto& o) { o.timeout = kForever; }},
    {"overflow_idle", "forever", [](auto& o) { o.overflow_idle = kForever; }},
    {"barging_window", "strict hand-off", [](auto& o) { o.barging_window = 0s; }},
    {"health_interval", "forever", [](auto& o) { o.health_interval = kForever; }},
    {"lease_warning", "forever", [](auto& o) { o.lease_warning = kForever; }},
    {"shutdown_grace", "none", [](auto& o) { o.shutdown_grace = 0s; }},
    {"stderr_lines", "none", [](auto& o) { o.stderr_lines = 0; }},
    {"name", "all kinds of characters", [](auto& o) { o.name = "A_z-0.9"; }},
    {"defaults", "python", [](auto&) {}},
    {"defaults", "argv", [](auto&) {}, good_argv},
};

TEST(Validate, AcceptsTheEdges) {
  for (const Refusal& acceptance : kAcceptances) {
    PoolOptions options = acceptance.from();
    acceptance.spoil(options);
    const auto result = validate(options);
    EXPECT_TRUE(result) << acceptance.setting << ", " << acceptance.because << ": " << result.error().message;
  }
}

TEST(Validate, HasARefusalForEverySettingThatCanBeWrong) {
  std::set<std::string_view> untested(base::option_names().begin(), base::option_names().end());
  for (const Refusal& refusal : kRefusals) untested.erase(refusal.setting);
  // Any value of these is sensible.
  EXPECT_EQ(untested,
            (std::set<std::string_view>{"lazy", "max_starting", "max_waiters", "max_calls", "memory_limit",
                                        "array_memory", "watch", "breaker_enabled", "logger", "on_event"}));
}

// --- Reading from JSON -----------------------------------------------------------------------------------
TEST(ParsePoolOptions, ReadsEverySetting) {
  const auto options = parse_pool_options(Json::parse(R"({
    "name": "text", "module": "textstats", "interpreter": "/usr/bin/python3", "python_path": ["lib"], "cwd": "/tmp",
    "env": {"CUDA_VISIBLE_DEVICES": "{slot}"}, "inherit_env": ["PATH"], "cpu_affinity": [[0, 1], [2]],
    "size": 4, "overflow": 2, "overflow_after": "100ms", "overflow_idle": 5, "lazy": true, "max_starting": 3,
    "start_timeout": "10 s", "checkout_timeout": 0.5, "timeout": "forever", "max_waiters": 9, "barging_window": 0,
    "health_interval": "20s", "health_timeout": 3, "lease_warning": "2h", "max_calls": 1000, "max_age": "1h", "idle_ttl": "5min",
    "max_memory": 100, "concurrency": 7, "max_nesting": 3, "cancel_grace": "1s", "memory_limit": 200, "memory_interval": "2s", "queue_target": "3s", "queue_interval": "4s", "slow_call": "3s", "shutdown_grace": "1min", "terminate_grace": 2, "spin": "20us", "max_frame": 65536, "stderr_lines": 3, "log_level": "warn", "log_format": "json",
    "breaker_enabled": false, "breaker_window": "20s", "breaker_min_calls": 50, "breaker_failure_percent": 40,
    "breaker_open_for": 2, "breaker_open_at_most": "10s", "breaker_probes": 1, "breaker_crashes": 5,
    "breaker_crash_window": "5min", "retries": 4, "retry_percent": 20, "array_memory": 300})"));
  ASSERT_TRUE(options) << options.error().message;
  EXPECT_EQ(options->name, "text");
  EXPECT_EQ(options->worker.module, "textstats");
  EXPECT_EQ(options->worker.interpreter, "/usr/bin/python3");
  EXPECT_EQ(options->worker.python_path, std::vector<std::string>{"lib"});
  EXPECT_EQ(options->worker.cwd, "/tmp");
  EXPECT_EQ(options->worker.env.at("CUDA_VISIBLE_DEVICES"), "{slot}");
  EXPECT_EQ(options->worker.inherit_env, std::vector<std::string>{"PATH"});
  EXPECT_EQ(options->worker.cpu_affinity, (std::vector<std::vector<int>>{{0, 1}, {2}}));
  EXPECT_EQ(options->size, 4u);
  EXPECT_EQ(options->overflow, 2u);
  EXPECT_EQ(options->overflow_after, 100ms);
  EXPECT_EQ(options->overflow_idle, 5s);
  EXPECT_TRUE(options->lazy);
  EXPECT_EQ(options->max_starting, 3u);
  EXPECT_EQ(options->start_timeout, 10s);
  EXPECT_EQ(options->checkout_timeout, 500ms);
  EXPECT_EQ(options->timeout, kForever);
  EXPECT_EQ(options->max_waiters, 9u);
  EXPECT_EQ(options->barging_window, 0s);
  EXPECT_EQ(options->health_interval, 20s);
  EXPECT_EQ(options->health_timeout, 3s);
  EXPECT_EQ(options->lease_warning, 2h);
  EXPECT_EQ(options->slow_call, 3s);
  EXPECT_EQ(options->max_calls, 1000u);
  EXPECT_EQ(options->max_age, 1h);
  EXPECT_EQ(options->idle_ttl, 5min);
  EXPECT_EQ(options->max_memory, 100u);
  EXPECT_EQ(options->memory_limit, 200u);
  EXPECT_EQ(options->memory_interval, 2s);
  EXPECT_EQ(options->concurrency, 7u);
  EXPECT_EQ(options->max_nesting, 3u);
  EXPECT_EQ(options->cancel_grace, 1s);
  EXPECT_EQ(options->queue_target, 3s);
  EXPECT_EQ(options->queue_interval, 4s);
  EXPECT_EQ(options->shutdown_grace, 1min);
  EXPECT_EQ(options->terminate_grace, 2s);
  EXPECT_EQ(options->spin, 20us);
  EXPECT_EQ(options->max_frame, 65536u);
  EXPECT_EQ(options->stderr_lines, 3u);
  EXPECT_EQ(options->log_level, "warn");
  EXPECT_FALSE(options->breaker.enabled);
  EXPECT_EQ(options->breaker.window, 20s);
  EXPECT_EQ(options->breaker.min_calls, 50u);
  EXPECT_EQ(options->breaker.failure_percent, 40u);
  EXPECT_EQ(options->breaker.open_for, 2s);
  EXPECT_EQ(options->breaker.open_at_most, 10s);
  EXPECT_EQ(options->breaker.probes, 1u);
  EXPECT_EQ(options->breaker.crashes, 5u);
  EXPECT_EQ(options->breaker.crash_window, 5min);
  EXPECT_EQ(options->retries, 4u);
  EXPECT_EQ(options->retry_percent, 20u);
  EXPECT_EQ(options->array_memory, 300u);
  EXPECT_EQ(options->log_format, "json");
  EXPECT_TRUE(validate(*options));
}

TEST(ParsePoolOptions, TakesNumbersThatCppPutThere) {
  const auto options = parse_pool_options({{"size", 4}, {"timeout", 2}, {"stderr_lines", 5u}});
  ASSERT_TRUE(options) << options.error().message;
  EXPECT_EQ(options->size, 4u);
  EXPECT_EQ(options->timeout, 2s);
  EXPECT_FALSE(parse_pool_options({{"size", -4}}));
}

TEST(ParsePoolOptions, LeavesTheRestAtItsDefault) {
  const auto options = parse_pool_options(Json::object());
  ASSERT_TRUE(options) << "what is missing is for validate() to say";
  for (const base::OptionInfo& option : base::options_table()) {
    if (option.get) {
      EXPECT_EQ(option.get(*options), option.get(PoolOptions{})) << option.name;
    }
  }
}

TEST(ParsePoolOptions, RefusesTheWrongTypeByName) {
  const char* const kCases[][2] = {
      {R"({"size": "four"})", "setting 'size': expected a whole number that is not negative, got \"four\""},
      {R"({"size": -1})", "setting 'size': expected a whole number"},
      {R"({"size": 4.0})", "setting 'size': expected a whole number"},
      {R"({"size": null})", "setting 'size': expected"},
      {R"({"size": true})", "setting 'size': expected"},
      {R"({"size": 4097})", "setting 'size': 4097 is not between"},
      {R"({"lazy": 1})", "setting 'lazy': expected true or false"},
      {R"({"name": 7})", "setting 'name': expected a text"},
      {R"({"argv": "worker"})", "setting 'argv': expected a list"},
      {R"({"argv": ["worker", 1]})", "setting 'argv': expected a text, got 1"},
      {R"({"env": {"A": 1}})", "setting 'env': expected a text, got 1"},
      {R"({"env": []})", "setting 'env': expected an object"},
      {R"({"inherit_env": "PATH"})", "setting 'inherit_env': expected a list"},
      {R"({"cpu_affinity": [0]})", "setting 'cpu_affinity': expected a list, got 0"},
      {R"({"cpu_affinity": [[99999999999]]})", "setting 'cpu_affinity': expected a CPU's number"},
      {R"({"timeout": true})", "setting 'timeout': expected a duration"},
      {R"({"timeout": "soon"})", "setting 'timeout': 'soon' is not a duration"},
      {R"({"timeout": -1})", "setting 'timeout': '-1' is not a duration: it is negative"},
      {R"({"timeout": 1e300})", "setting 'timeout': '1e+300' is not a duration: too long"},
      {R"({"logger": "stderr"})", "setting 'logger' can only be given in C++"},
      {R"({"sise": 4})", "unknown setting 'sise' (did you mean 'size'?)"},
      {R"({"max_overflow_workers": 4})", "unknown setting 'max_overflow_workers'"},
      {R"([])", "a pool's settings are a JSON object, not []"},
  };
  for (const auto& [settings, expected] : kCases) {
    const auto options = parse_pool_options(Json::parse(settings));
    ASSERT_FALSE(options) << settings;
    EXPECT_THAT(options.error().message, HasSubstr(expected));
    EXPECT_EQ(options.error().kind, ErrorKind::kInvalidArgument);
  }
}

TEST(ParsePoolOptions, ReadsBackWhatTheTableWrites) {
  PoolOptions options = good();
  options.worker.env = {{"A", "1"}};
  options.worker.cpu_affinity = {{3}};
  options.timeout = kForever;
  options.overflow_after = 1500ms;
  Json settings = Json::object();
  for (const base::OptionInfo& option : base::options_table()) {
    if (option.get) settings[std::string(option.name)] = option.get(options);
  }
  const auto parsed = parse_pool_options(settings);
  ASSERT_TRUE(parsed) << parsed.error().message;
  for (const base::OptionInfo& option : base::options_table()) {
    if (option.get) {
      EXPECT_EQ(option.get(*parsed), option.get(options)) << option.name;
    }
  }
}

// --- Filling in -------------------------------------------------------------------------------------------
TEST(Resolve, PutsNumbersInPlaceOfZeros) {
  PoolOptions options = good();
  options.overflow = 2;
  const PoolOptions resolved = base::resolve(options, 6);
  EXPECT_EQ(resolved.size, 6u);
  EXPECT_EQ(resolved.max_starting, 8u);
  EXPECT_EQ(resolved.max_waiters, 64u);
  EXPECT_TRUE(validate(resolved));
}

TEST(Resolve, LeavesWhatWasSaid) {
  PoolOptions options = good();
  options.size = 3, options.max_starting = 1, options.max_waiters = 5;
  const PoolOptions resolved = base::resolve(options, 6);
  EXPECT_EQ(resolved.size, 3u);
  EXPECT_EQ(resolved.max_starting, 1u);
  EXPECT_EQ(resolved.max_waiters, 5u);
}

TEST(Resolve, KeepsTheSizeInItsRangeOnHugeMachines) { EXPECT_TRUE(validate(base::resolve(good(), 8192))); }

}  // namespace
}  // namespace lair
