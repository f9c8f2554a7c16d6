#include "pool/environment.hpp"

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <map>
#include <string_view>

#include "os/installed.hpp"
#include "os/program.hpp"

extern "C" char** environ;

namespace lair::pool {

namespace fs = std::filesystem;
using worker::SpawnRequest;
using worker::StdioMode;
using worker::WorkerKey;

namespace {

// Importing numpy starts as many BLAS threads as there are cores, in every worker; a pool wants one each.
constexpr const char* kThreadCounts[] = {"OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS",
                                         "NUMEXPR_NUM_THREADS", "VECLIB_MAXIMUM_THREADS"};

Error failed(std::string message) {
  return {.kind = ErrorKind::kUnavailable,
          .delivery = Delivery::kNotSent,
          .message = std::move(message),
          .stage = "environment"};
}

bool allowed(std::string_view name, const std::optional<std::vector<std::string>>& patterns) {
  if (!patterns) return true;
  return std::any_of(patterns->begin(), patterns->end(), [&](std::string_view pattern) {
    if (!pattern.empty() && pattern.back() == '*')
      return name.substr(0, pattern.size() - 1) == pattern.substr(0, pattern.size() - 1);
    return name == pattern;
  });
}

// A worker must not mistake its host's place in some other pool for its own.
bool is_of_a_worker(std::string_view name) {
  return name == "LAIR_CHANNEL_FD" || name == "LAIR_WORKER_ID" || name == "LAIR_SLOT" ||
         name == "LAIR_GENERATION" || name == "LAIR_POOL";
}

bool is_script(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  char magic[2] = {};
  file.read(magic, 2);
  return file.gcount() == 2 && magic[0] == '#' && magic[1] == '!';
}

// From the host's directory; unchanged if that is gone.
std::string made_absolute(const fs::path& path) {
  std::error_code unknown;
  const fs::path whole = fs::absolute(path, unknown);
  return (unknown ? path : whole).string();
}

std::string replaced(std::string text, const std::string& from, const std::string& to) {
  for (std::size_t at = text.find(from); at != std::string::npos; at = text.find(from, at + to.size())) {
    text.replace(at, from.size(), to);
  }
  return text;
}

}  // namespace

Result<std::string> find_sdk() {
  if (const char* set = std::getenv("LAIR_SDK"); set != nullptr && *set != '\0') {
    if (fs::exists(fs::path(set) / "lair_worker" / "__init__.py")) return std::string(set);
    return failed(std::string("LAIR_SDK is set to ") + set +
                  ", which has no lair_worker/__init__.py; unset it, or set it to the directory that holds "
                  "lair_worker");
  }
  std::string looked;
  for (const std::string& folder : os::places_of(os::Part::kData)) {
    const fs::path place = fs::path(folder) / "python";
    std::error_code ignored;
    if (fs::exists(place / "lair_worker" / "__init__.py", ignored)) return place.string();
    looked += "\n  " + place.string();
  }
  return failed("the Python SDK (lair_worker) was not found; looked in:" + looked +
                "\nInstall Lair whole, or set LAIR_SDK to the directory that holds lair_worker.");
}

Result<std::string> find_worker_program(const WorkerSpec& spec) {
  std::error_code unreadable;
  if (!spec.cwd.empty() && !fs::is_directory(spec.cwd, unreadable)) {
    return failed("cwd = \"" + spec.cwd + "\" is not a directory" +
                  (unreadable ? " (" + unreadable.message() + ")" : ""));
  }
  // The worker's own PATH decides, as it would in a shell.
  const auto own_path = spec.env.find("PATH");
  const char* host_path = std::getenv("PATH");
  const std::string path = own_path != spec.env.end() ? own_path->second
                           : host_path != nullptr     ? host_path
                                                      : "";

  std::string wanted;
  if (!spec.argv.empty()) {
    wanted = spec.argv.front();
  } else if (!spec.venv.empty()) {
    wanted = made_absolute(fs::path(spec.venv) / "bin" / "python");
    if (!fs::exists(wanted, unreadable)) {
      return failed("venv = \"" + spec.venv + "\" has no bin/python; make one with: python3 -m venv " +
                    spec.venv);
    }
  } else {
    wanted = spec.interpreter.empty() ? "python3" : spec.interpreter;
  }
  auto program = os::find_program(wanted, path, spec.cwd);
  if (!program) {
    const char* what = spec.argv.empty() ? "interpreter" : "worker program";
    return failed(std::string(what) + " \"" + wanted + "\": " + program.error().message +
                  (spec.argv.empty()
                       ? "\nSet `interpreter` (--python) or `venv` to a Python of version 3.9 or later."
                       : ""));
  }
  return program;
}

Result<Environment> Environment::look_up(const PoolOptions& options) {
  Environment found;
  found.options_ = options;
  const WorkerSpec& spec = options.worker;

  for (char** entry = environ; entry != nullptr && *entry != nullptr; ++entry) {
    const std::string_view text(*entry);
    const std::string_view name = text.substr(0, text.find('='));
    if (allowed(name, spec.inherit_env) && !is_of_a_worker(name)) found.inherited_.emplace_back(text);
  }

  auto program = find_worker_program(spec);
  if (!program) return std::move(program).error();
  found.program_ = *std::move(program);

  if (!spec.argv.empty()) return found;
  auto sdk = find_sdk();
  if (!sdk) return std::move(sdk).error();
  found.is_script_ = is_script(found.program_);
  // Lair's own SDK first: it fits this library's protocol.
  found.options_.worker.python_path.insert(found.options_.worker.python_path.begin(), *std::move(sdk));
  return found;
}

std::optional<SpawnRequest> Environment::probe(WorkerKey key) const {
  if (!is_script_) return std::nullopt;
  SpawnRequest request = this->request(key);
  request.argv = {program_, "-S", "-E", "-c", "import sys; print(sys.executable)"};
  request.stdio = StdioMode::kNoChannel;
  request.cpus.clear();
  request.warm.reset();
  return request;
}

Result<void> Environment::probed(const std::string& output) {
  const bool usable = !output.empty() && output.front() == '/' && fs::exists(output);
  if (!usable) {
    return failed("the interpreter " + program_ + " is a script; asked for the Python behind it, it said \"" +
                  output + "\". Set `interpreter` (--python) to the real one.");
  }
  program_ = output;
  is_script_ = false;
  return {};
}

std::string Environment::worker_id(WorkerKey key) const {
  return options_.name + '-' + std::to_string(key.slot) + '-' + std::to_string(key.generation);
}

std::vector<std::string> Environment::named_files(WorkerKey key) const {
  const WorkerSpec& spec = options_.worker;
  std::vector<std::string> files;
  const auto add = [&](const std::string& name) {
    const fs::path path = spec.cwd.empty() ? fs::path(name) : fs::path(spec.cwd) / name;
    std::error_code none;
    if (fs::is_regular_file(path, none))
      files.push_back(fs::path(made_absolute(path)).lexically_normal().string());
  };
  if (spec.argv.empty()) {
    if (spec.module.find('/') != std::string::npos || spec.module.ends_with(".py")) add(spec.module);
    return files;
  }
  // A program that was found on PATH is a tool: not what is edited.
  if (spec.argv[0].find('/') != std::string::npos) add(spec.argv[0]);
  for (std::size_t i = 1; i < spec.argv.size(); ++i) add(filled_in(spec.argv[i], key));
  return files;
}

// Of a worker, or (no key) of the warm parent, which is nobody's place.
std::vector<std::string> Environment::variables(std::optional<WorkerKey> key) const {
  const WorkerSpec& spec = options_.worker;
  std::map<std::string, std::string, std::less<>> env;
  for (const std::string& entry : inherited_) {
    const std::size_t equals = entry.find('=');
    if (equals != std::string::npos) env.emplace(entry.substr(0, equals), entry.substr(equals + 1));
  }
  if (spec.argv.empty()) {
    for (const char* name : kThreadCounts) env.emplace(name, "1");
    // Bytecode is known by its source's second and size: two versions of one size within a second would look the same.
    if (options_.watch) env.emplace("PYTHONDONTWRITEBYTECODE", "1");
  }
  if (!spec.venv.empty()) {
    const std::string root = made_absolute(spec.venv);
    env["VIRTUAL_ENV"] = root;
    const auto inherited = env.find("PATH");
    env["PATH"] = root + "/bin" + (inherited == env.end() ? "" : ':' + inherited->second);
  }
  for (const auto& [name, value] : spec.env) {
    if (key) {
      env[name] = filled_in(value, *key);
    } else if (filled_in(value, {}) == value) {
      env[name] = value;
    } else {
      env.erase(name);  // each worker's own
    }
  }
  if (spec.argv.empty()) {
    std::string search;
    for (const std::string& place : spec.python_path) {
      if (!search.empty()) search += ':';
      search += made_absolute(place);
    }
    const auto own = env.find("PYTHONPATH");
    env["PYTHONPATH"] = search + (own == env.end() || own->second.empty() ? "" : ':' + own->second);
  }
  env["LAIR_POOL"] = options_.name;
  if (key) {
    env["LAIR_WORKER_ID"] = worker_id(*key);
    env["LAIR_SLOT"] = std::to_string(key->slot);
    env["LAIR_GENERATION"] = std::to_string(key->generation);
  }
  std::vector<std::string> entries;
  for (const auto& [name, value] : env) entries.push_back(std::string(name).append("=").append(value));
  return entries;
}

std::string Environment::filled_in(std::string text, WorkerKey key) const {
  text = replaced(std::move(text), "{slot}", std::to_string(key.slot));
  text = replaced(std::move(text), "{generation}", std::to_string(key.generation));
  return replaced(std::move(text), "{worker_id}", worker_id(key));
}

SpawnRequest Environment::request(WorkerKey key, std::uint32_t revision) const {
  const WorkerSpec& spec = options_.worker;
  SpawnRequest request;
  request.key = key;
  request.cwd = spec.cwd;
  if (!spec.cpu_affinity.empty()) request.cpus = spec.cpu_affinity[key.slot % spec.cpu_affinity.size()];
  request.env = variables(key);
  if (spec.argv.empty()) {
    request.argv = {program_, "-m", "lair_worker", spec.module};
    request.stdio = StdioMode::kChannelFd;
    if (spec.start == "fork") {
      SpawnRequest parent = warm_parent();
      parent.key.generation = revision;
      request.warm = std::make_shared<const SpawnRequest>(std::move(parent));
    }
  } else {
    request.argv.push_back(program_);
    for (std::size_t i = 1; i < spec.argv.size(); ++i) request.argv.push_back(filled_in(spec.argv[i], key));
    request.stdio = spec.stdio == "pipe" ? StdioMode::kStdioPipe : StdioMode::kStdioSocket;
  }
  return request;
}

SpawnRequest Environment::warm_parent() const {
  const WorkerSpec& spec = options_.worker;
  SpawnRequest request;
  request.argv = {program_, "-m", "lair_worker", "--warm-parent", spec.module};
  request.argv.insert(request.argv.end(), spec.preload.begin(), spec.preload.end());
  request.cwd = spec.cwd;
  request.env = variables(std::nullopt);
  return request;
}

}  // namespace lair::pool
