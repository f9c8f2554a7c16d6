// The programs: lair-keeper, the SDK, the interpreter.
#include <lair/version.hpp>

#include <cstdio>
#include <cstdlib>
#include <sstream>
#include <utility>

#include "common.hpp"
#include "doctor.hpp"
#include "os/machine.hpp"
#include "os/proc.hpp"
#include "trial.hpp"
#include "worker/keeper_launcher.hpp"

extern "C" char** environ;

namespace lair::cli::doctor {

namespace {

constexpr const char* kGroup = "programs";

// Any version can run it: version, the interpreter behind a shim, prefix, the SDK's version and file, its accelerator.
constexpr const char* kWhoAreYou = R"(
import sys
def say(text): print("lair-doctor:" + text)
say("%d.%d.%d" % sys.version_info[:3])
say(sys.executable)
say(sys.prefix)
if sys.version_info >= (3, 9):
    import lair_worker
    say(lair_worker.__version__)
    say(lair_worker.__file__)
    try:
        from lair_worker._codec import native
        say(native.__file__)
    except (ImportError, AttributeError):
        pass
)";

bool is_set(const char* variable) {
  const char* value = std::getenv(variable);
  return value != nullptr && *value != '\0';
}

// The answers to kWhoAreYou, without what else a start-up file may print.
std::vector<std::string> answers_in(const std::string& output) {
  constexpr std::string_view kMark = "lair-doctor:";
  std::vector<std::string> answers;
  std::istringstream lines(output);
  for (std::string line; std::getline(lines, line);) {
    if (line.starts_with(kMark)) answers.push_back(line.substr(kMark.size()));
  }
  answers.resize(std::max<std::size_t>(answers.size(), 6));
  return answers;
}

class Examination {
 public:
  Examination(Findings& findings, const PoolOptions& options)
      : findings_(findings), options_(options), python_(options.worker.argv.empty()) {}

  Programs run() {
    program();
    const bool keeper_works = keeper();
    const bool sdk_there = !python_ || sdk();
    const bool found = program_of_worker();
    Programs programs;
    if (found && sdk_there) programs.environment = lookup();
    programs.work = programs.environment && keeper_works && (!python_ || interpreter(*programs.environment));
    if (found && python_ && !(programs.environment && keeper_works)) {
      findings_.push_back({.group = kGroup,
                           .name = "interpreter",
                           .verdict = Verdict::kSkipped,
                           .text = program_ + ": not tried, because of what stands above",
                           .facts = {{"path", program_}}});
    }
    programs.interpreter = interpreter_;
    return programs;
  }

 private:
  void program() {
    findings_.push_back({.group = kGroup,
                         .name = "lair",
                         .text = os::program_path() + ", version " LAIR_VERSION_STRING,
                         .facts = {{"path", os::program_path()}, {"version", LAIR_VERSION_STRING}}});
  }

  bool keeper() {
    Finding found{.group = kGroup, .name = "lair-keeper"};
    const auto path = worker::find_keeper();
    if (!path) {
      fail(found, path.error(),
           "Install Lair whole (cmake --install, or the package lair), or set LAIR_KEEPER.");
      return add(std::move(found));
    }
    // Something that surely runs: this program, as it was started.
    std::vector<std::string> environment;
    for (char** entry = environ; *entry != nullptr; ++entry) environment.emplace_back(*entry);
    const TimePoint began = SteadyClock::now();
    auto trial = Trial::start({.key = {.slot = 0, .generation = 1},
                               .argv = {os::program_path(), "--version"},
                               .env = std::move(environment)},
                              Deadline::after(kPatience));
    const Duration took = SteadyClock::now() - began;
    auto ended = trial ? trial->end(Deadline::after(kPatience)) : Result<Trial::Ended>(trial.error());
    found.facts = {{"path", *path}, {"seconds", seconds(took)}};
    if (!ended || ended->status != lair::ExitStatus{.how = lair::ExitStatus::How::kExited, .code = 0}) {
      constexpr std::uint64_t kFewFiles = 64;
      const char* remedy =
          "Run it by hand: it must say that it does nothing by hand. A sandbox may keep it from making "
          "processes; "
          "`system` below says more.";
      if (is_set("LAIR_KEEPER"))
        remedy =
            "LAIR_KEEPER names it: unset that, or set it to the lair-keeper of Lair " LAIR_VERSION_STRING ".";
      else if (os::open_files_limit().soft < kFewFiles)
        remedy = "This process may open too few files (see `system` below): ulimit -n 4096.";
      fail(found,
           ended ? Error{.kind = ErrorKind::kUnavailable,
                         .message = "its first process " + ended->status.describe()}
                 : ended.error(),
           remedy);
      found.text = *path + " does not work: " + found.text;
      return add(std::move(found));
    }
    found.text = *path + ", made its first process within " + shown(took);
    return add(std::move(found));
  }

  bool sdk() {
    Finding found{.group = kGroup, .name = "SDK"};
    const auto path = pool::find_sdk();
    if (!path) {
      fail(found, path.error(),
           is_set("LAIR_SDK")
               ? "Unset LAIR_SDK, or set it to the directory that holds lair_worker."
               : "Install Lair whole (cmake --install, or the package lair), or set LAIR_SDK.");
    } else {
      found.text = *path;
      found.facts = {{"path", *path}};
    }
    return add(std::move(found));
  }

  // The file only; that it runs is the next question.
  bool program_of_worker() {
    const auto path = pool::find_worker_program(options_.worker);
    if (path) {
      program_ = *path;
      if (!python_)
        findings_.push_back(
            {.group = kGroup, .name = "worker program", .text = *path, .facts = {{"path", *path}}});
      return true;
    }
    Finding found{.group = kGroup, .name = python_ ? "interpreter" : "worker program"};
    fail(found, path.error(),
         !python_ ? "Give its path, or put its directory on PATH."
                  : "Install Python 3.9 or newer (apt install python3), or name one: --python PROGRAM, "
                    "--venv DIR.");
    return add(std::move(found));
  }

  std::optional<pool::Environment> lookup() {
    auto environment = pool::Environment::look_up(options_);
    if (environment) return *std::move(environment);
    Finding found{.group = kGroup, .name = "environment"};
    fail(found, environment.error(), "");
    add(std::move(found));
    return std::nullopt;
  }

  bool interpreter(const pool::Environment& environment) {
    Finding found{.group = kGroup, .name = "interpreter", .facts = {{"path", program_}}};
    worker::SpawnRequest request = environment.request({.slot = 0, .generation = 1});
    const std::string name = request.argv.front();
    request.argv = {name, "-c", kWhoAreYou};
    const TimePoint began = SteadyClock::now();
    auto trial = Trial::start(std::move(request), Deadline::after(kPatience));
    const auto ended = trial ? trial->end(Deadline::after(kPatience)) : Result<Trial::Ended>(trial.error());
    const Duration took = SteadyClock::now() - began;
    if (!ended) {
      fail(found, ended.error(), "Name another interpreter: --python PROGRAM, --venv DIR.");
      found.text = name + " does not run: " + found.text;
      return add(std::move(found));
    }
    const std::vector<std::string> answers = answers_in(ended->out);
    const std::string& version = answers[0];
    const std::string& executable = answers[1];
    const std::string& sdk_version = answers[3];
    int major = 0;
    int minor = 0;
    if (std::sscanf(version.c_str(), "%d.%d", &major, &minor) != 2) {
      found.verdict = Verdict::kBad;
      found.text = name + " is no Python: asked for its version, it " + ended->status.describe() +
                   " and wrote\n" + (ended->out + ended->err).substr(0, 2000);
      found.remedy = "Name the interpreter: --python PROGRAM, --venv DIR.";
      return add(std::move(found));
    }
    found.facts.update({{"version", version},
                        {"executable", executable},
                        {"prefix", answers[2]},
                        {"seconds", seconds(took)}});
    found.text = name + ", Python " + version + ", runs in " + shown(took);
    if (major < 3 || (major == 3 && minor < 9)) {
      found.verdict = Verdict::kBad;
      found.text = name + " is Python " + version + "; workers need Python 3.9 or newer";
      found.remedy = "Name a newer one: --python PROGRAM, --venv DIR (python3.11 -m venv DIR makes one).";
      return add(std::move(found));
    }
    if (sdk_version.empty()) {
      found.verdict = Verdict::kBad;
      found.text += ", but it can't load lair_worker:\n" + ended->err.substr(0, 2000);
      found.remedy =
          "Something in its environment or LAIR_SDK is in the way: PYTHONHOME, PYTHONPATH, --env, --path?";
      return add(std::move(found));
    }
    interpreter_ = executable;
    if (environment.probe({}))
      found.text += "\na script (a version manager's shim?) for " + executable + "; a pool asks it once";
    findings_.push_back(std::move(found));
    findings_.push_back(accelerator(answers[5]));
    for (Finding& each : findings_) {
      if (each.name == "SDK") judge_sdk(each, sdk_version, answers[4]);
    }
    return true;
  }

  static Finding accelerator(const std::string& file) {
    Finding found{.group = kGroup, .name = "accelerator", .text = file};
    if (!file.empty()) {
      found.facts = {{"path", file}};
      return found;
    }
    found.verdict = Verdict::kNote;
    found.text = "none for this interpreter: its workers speak JSON";
    found.remedy = "Where that matters, build it: docs/python.md, 'The accelerator'.";
    return found;
  }

  static void judge_sdk(Finding& found, const std::string& version, const std::string& file) {
    found.facts.update({{"version", version}, {"file", file}});
    found.text += ", version " + version;
    if (version == LAIR_VERSION_STRING) return;
    found.verdict = Verdict::kWarning;
    found.text += ", but the library is " LAIR_VERSION_STRING;
    found.remedy =
        is_set("LAIR_SDK") ? "LAIR_SDK names it: unset that." : "Install Lair whole, from one version.";
  }

  bool add(Finding found) {
    const bool good = found.verdict != Verdict::kBad;
    findings_.push_back(std::move(found));
    return good;
  }

  Findings& findings_;
  const PoolOptions& options_;
  const bool python_;
  std::string program_;
  std::string interpreter_;
};

}  // namespace

Programs examine_programs(Findings& findings, const PoolOptions& options) {
  return Examination(findings, options).run();
}

}  // namespace lair::cli::doctor
