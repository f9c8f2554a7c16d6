#include "common.hpp"

#include <spdlog/logger.h>
#include <spdlog/sinks/base_sink.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cstdio>
#include <cstring>
#include <memory>
#include <mutex>
#include <optional>
#include <utility>

namespace lair::cli {

using namespace std::chrono_literals;

int exit_status(ErrorKind kind) noexcept {
  switch (kind) {
    case ErrorKind::kInternal:
      return 1;
    case ErrorKind::kInvalidArgument:
      return kUsage;
    case ErrorKind::kRemote:
      return 3;
    case ErrorKind::kUnknownCommand:
      return 4;
    case ErrorKind::kDeadlineExceeded:
      return 5;
    case ErrorKind::kUnavailable:
      return 6;
    case ErrorKind::kOverloaded:
      return 7;
    case ErrorKind::kWorkerLost:
      return 8;
    case ErrorKind::kProtocol:
      return 9;
    case ErrorKind::kCancelled:
      return 10;
    case ErrorKind::kSessionLost:
      return 11;
    case ErrorKind::kSessionBusy:
      return 12;
  }
  return 1;
}

// --- Options ------------------------------------------------------------------------------------------
void add_worker_options(CLI::App& command, WorkerArguments& arguments) {
  const auto text = [&](const char* name, std::string& value, const char* type, const char* doc) {
    command.add_option(name, value, doc)->type_name(type);
  };
  const auto list = [&](const char* name, std::vector<std::string>& values, const char* type,
                        const char* doc) {
    // One value each time: `--path a COMMAND` must not swallow COMMAND.
    command.add_option(name, values, doc)->type_name(type)->expected(1)->allow_extra_args(false)->take_all();
  };
  text("-m,--module", arguments.module, "MODULE",
       "Python module (pkg.mod) or file (dir/file.py) whose functions are served");
  text("--timeout", arguments.timeout, "TIME",
       "For the call: 250ms, 5s, 2min, forever; a plain number is seconds [60s]");
  text("--start-timeout", arguments.start_timeout, "TIME", "For the worker's start [30s]");
  text("--python", arguments.python, "PROGRAM", "The interpreter, a path or a name on PATH [python3]");
  text("--venv", arguments.venv, "DIR", "A virtual environment; its bin/python is the interpreter");
  list("--path", arguments.path, "DIR", "Put before Python's module search path; may be repeated");
  text("--cwd", arguments.cwd, "DIR", "The worker's working directory");
  list("--env", arguments.env, "NAME=VALUE", "Set in the worker's environment; may be repeated");
  text("--stdio", arguments.stdio, "KIND",
       "socket or pipe: what a worker program gets as stdin and stdout [socket]");
  text("--workers", arguments.workers, "N", "The pool's size; one is started for each call that waits [1]");
  list("--set", arguments.settings, "NAME=VALUE", "Any other setting of docs/config.md; may be repeated");
  auto* verbose = command.add_flag("-v,--verbose", arguments.verbose, "Says on stderr what the pool does");
  command.add_flag("-q,--quiet", arguments.quiet, "Keeps the worker's output off stderr")->excludes(verbose);
}

static std::pair<std::string, std::string> split_at_equals(const std::string& text, const char* option) {
  const std::size_t equals = text.find('=');
  if (equals == text.npos || equals == 0) {
    throw UsageError(std::string(option) + " '" + text + "': expected NAME=VALUE");
  }
  return {text.substr(0, equals), text.substr(equals + 1)};
}

static Json settings_of(const WorkerArguments& arguments) {
  Json settings = {{"lazy", true}};
  const auto set = [&](const std::string& name, Json value) {
    if (name != "lazy" && settings.contains(name)) {
      throw UsageError("the setting '" + name + "' is given twice; its option and --set mean the same");
    }
    settings[name] = std::move(value);
  };
  const auto set_text = [&](const char* name, const std::string& value) {
    if (!value.empty()) set(name, value);
  };

  if (arguments.module.empty() == !arguments.argv_given) {
    throw UsageError(
        arguments.argv_given
            ? "--module and a command line after '--' contradict each other: give one of them"
            : "which worker? Give --module MODULE, or a worker program's command line after '--'");
  }
  if (arguments.argv_given && arguments.argv.empty()) {
    throw UsageError("nothing follows '--': the worker program's command line is expected there");
  }
  set_text("module", arguments.module);
  if (!arguments.argv.empty()) set("argv", arguments.argv);
  set_text("timeout", arguments.timeout);
  set_text("start_timeout", arguments.start_timeout);
  set_text("interpreter", arguments.python);
  set_text("venv", arguments.venv);
  set_text("cwd", arguments.cwd);
  set_text("stdio", arguments.stdio);
  if (!arguments.path.empty()) set("python_path", arguments.path);
  Json env = Json::object();
  for (const std::string& each : arguments.env) {
    auto [name, value] = split_at_equals(each, "--env");
    env[name] = value;
  }
  if (!env.empty()) set("env", std::move(env));
  if (arguments.verbose) set("log_level", "debug");
  if (arguments.quiet) set("log_level", "off");

  for (const std::string& each : arguments.settings) {
    auto [name, value] = split_at_equals(each, "--set");
    Json parsed =
        Json::parse(value, nullptr, false);  // not JSON: a text, so that nobody needs to quote 5s twice
    set(name, parsed.is_discarded() ? Json(value) : std::move(parsed));
  }
  if (!settings.contains("size")) {
    Json workers = Json::parse(arguments.workers, nullptr, false);
    if (!workers.is_number_unsigned())
      throw UsageError("--workers '" + arguments.workers + "': expected a whole number");
    settings["size"] = std::move(workers);
  }
  return settings;
}

// --- Log ----------------------------------------------------------------------------------------------
namespace {

// Lines without time or level: they are read now, by whoever typed the command. The pool's own warnings are left out
// unless asked for, because the error that they announce is the program's own report.
class StderrSink : public spdlog::sinks::base_sink<std::mutex> {
 public:
  explicit StderrSink(bool warnings) : warnings_(warnings) {}

 protected:
  void sink_it_(const spdlog::details::log_msg& message) override {
    if (message.level >= spdlog::level::warn && !warnings_) return;
    const std::string line = printable({message.payload.data(), message.payload.size()}) + '\n';
    std::fwrite(line.data(), 1, line.size(), stderr);
  }
  void flush_() override { std::fflush(stderr); }

 private:
  const bool warnings_;
};

}  // namespace

PoolOptions pool_options(const WorkerArguments& arguments) {
  auto options = parse_pool_options(settings_of(arguments));
  if (options) {
    if (auto valid = validate(*options); !valid) options = std::move(valid).error();
  }
  if (!options) throw UsageError(options.error().message);
  // JSON lines are the library's own logger's: nothing stands before them.
  if (options->log_level != "off" && options->log_format != "json") {
    options->logger =
        std::make_shared<spdlog::logger>("lair", std::make_shared<StderrSink>(arguments.verbose));
    options->logger->set_level(spdlog::level::from_str(options->log_level));
  }
  return *std::move(options);
}

// --- Start --------------------------------------------------------------------------------------------
Result<void> start(Pool& pool, std::size_t count) {
  const Duration patience = pool.options().start_timeout;
  // The worker's own start_timeout comes first, and its error says what the worker was doing.
  const Deadline deadline = Deadline::after(patience + 2s);
  for (;;) {
    Result<void> ready = pool.try_wait_ready(count, 20ms);
    if (ready || ready.error().kind != ErrorKind::kDeadlineExceeded) {
      if (ready || !deadline.passed()) {
        const PoolStats stats = pool.stats();
        const bool failed = stats.count(SlotState::kBackingOff) + stats.count(SlotState::kFailed) > 0;
        if (ready || failed || stats.count(SlotState::kStarting) == 0) return ready;
      } else {
        return ready;
      }
    } else if (deadline.passed()) {
      return Error{.kind = ErrorKind::kUnavailable,
                   .message = (count == 1 ? "no worker" : "not every worker") +
                              std::string(" became ready in time; give it more with --start-timeout")};
    }
  }
}

// --- Errors -------------------------------------------------------------------------------------------
void report(std::string_view subcommand, Error error, bool worker_output_shown) {
  if (error.worker && worker_output_shown) error.worker->stderr_tail.clear();
  const std::string text = "lair " + std::string(subcommand) + ": " + printable(error.report()) + '\n';
  std::fwrite(text.data(), 1, text.size(), stderr);
}

Json to_json(const Error& error) {
  Json json = {{"kind", to_string(error.kind)},
               {"delivery", to_string(error.delivery)},
               {"message", error.message},
               {"exit_status", exit_status(error.kind)}};
  if (!error.stage.empty()) json["stage"] = error.stage;
  if (error.retry_after_ms) json["retry_after_ms"] = *error.retry_after_ms;
  if (const auto& worker = error.worker) {
    json["worker"] = {{"slot", worker->slot},
                      {"generation", worker->generation},
                      {"pid", worker->pid},
                      {"stderr_tail", worker->stderr_tail}};
    if (worker->exit) json["worker"]["exit"] = worker->exit->describe();
  }
  if (const auto& python = error.python) {
    json["python"] = {{"type", python->type}, {"message", python->message}, {"traceback", python->traceback}};
  }
  return json;
}

void print(std::string_view text) {
  const bool written = std::fwrite(text.data(), 1, text.size(), stdout) == text.size();
  if (!written || std::fflush(stdout) != 0) {
    throw std::runtime_error(std::string("can't write to stdout: ") + std::strerror(errno));
  }
}

// --- JSON that people type --------------------------------------------------------------------------
// The length of the UTF-8 character at the start of `bytes`; 0 if there is none.
static std::size_t utf8_length(std::string_view bytes) {
  const auto byte = [&](std::size_t i) { return static_cast<unsigned char>(bytes[i]); };
  const std::size_t length = byte(0) < 0x80    ? 1
                             : byte(0) >= 0xf0 ? 4
                             : byte(0) >= 0xe0 ? 3
                             : byte(0) >= 0xc2 ? 2
                                               : 0;
  if (length == 0 || length > bytes.size() || byte(0) > 0xf4) return 0;
  for (std::size_t i = 1; i < length; ++i) {
    if ((byte(i) & 0xc0) != 0x80) return 0;
  }
  return length;
}

std::string printable(std::string_view bytes) {
  std::string text;
  while (!bytes.empty()) {
    const std::size_t length = utf8_length(bytes);
    const auto first = static_cast<unsigned char>(bytes.front());
    const bool control = (first < 0x20 && first != '\n' && first != '\t') || first == 0x7f;
    if (length == 0 || control) {
      char escaped[8];
      std::snprintf(escaped, sizeof escaped, "\\x%02x", first);
      text += escaped;
      bytes.remove_prefix(1);
    } else {
      text += bytes.substr(0, length);
      bytes.remove_prefix(length);
    }
  }
  return text;
}

// The line that holds byte `at`, and a caret under it.
static std::string excerpt(std::string_view text, std::size_t at) {
  constexpr std::size_t kBefore = 50;
  constexpr std::size_t kAfter = 20;
  at = std::min(at, text.size());
  std::size_t begin = at == 0 ? 0 : text.rfind('\n', at - 1) + 1;  // npos + 1 is 0
  std::size_t end = std::min(text.find('\n', at), text.size());
  const bool cut_before = at - begin > kBefore;
  const bool cut_after = end - at > kAfter;
  if (cut_before) begin = at - kBefore;
  if (cut_after) end = at + kAfter;
  const auto is_continuation = [&](std::size_t i) { return i < text.size() && (text[i] & 0xc0) == 0x80; };
  for (int i = 0; cut_before && i < 3 && is_continuation(begin) && begin < at; ++i) ++begin;
  for (int i = 0; cut_after && i < 3 && is_continuation(end) && end > at; ++i) --end;

  std::string before = (cut_before ? "…" : "") + printable(text.substr(begin, at - begin));
  std::replace(before.begin(), before.end(), '\t', ' ');
  const auto width = std::count_if(before.begin(), before.end(), [](char c) { return (c & 0xc0) != 0x80; });
  return "\n    " + before + printable(text.substr(at, end - at)) + (cut_after ? "…" : "") + "\n    " +
         std::string(static_cast<std::size_t>(width), ' ') + '^';
}

// nlohmann's text without its code, its place (it counts bytes) and its copy of the input, which the excerpt shows.
static std::string reason(std::string what) {
  if (const auto column = what.find(", column "); column != what.npos) {
    const auto colon = what.find(": ", column);
    if (colon != what.npos) what.erase(0, colon + 2);
  } else if (const auto code = what.find("] "); code != what.npos) {
    what.erase(0, code + 2);
  }
  if (const auto copy = what.find("; last read: '"); copy != what.npos) {
    const auto expected = what.find("; expected", copy);
    what.erase(copy, expected == what.npos ? what.npos : expected - copy);
  }
  return printable(what);
}

Json parse_json(std::string_view text, const std::string& what) {
  try {
    return Json::parse(text);
  } catch (const Json::parse_error& error) {
    const std::size_t at = error.byte == 0 ? 0 : error.byte - 1;
    const auto line =
        1 +
        std::count(text.begin(), text.begin() + static_cast<std::ptrdiff_t>(std::min(at, text.size())), '\n');
    throw UsageError(what + " not JSON, line " + std::to_string(line) + ": " + reason(error.what()) +
                     excerpt(text, at));
  } catch (const Json::exception& error) {  // a number beyond all bounds
    throw UsageError(what + " not JSON: " + reason(error.what()));
  }
}

}  // namespace lair::cli
