// A worker, started, called and ended as a pool does it; and whether a process that hides is caught.
#include <lair/pool.hpp>

#include <csignal>
#include <cstdlib>
#include <utility>

#include "common.hpp"
#include "doctor.hpp"
#include "os/pidfd.hpp"
#include "os/wait.hpp"
#include "trial.hpp"

namespace lair::cli::doctor {

namespace {

constexpr const char* kGroup = "worker";

// A grandchild that leaves its parent, its session and its process group, and wants to live.
constexpr const char* kHide = R"(
import os, signal, sys
read, write = os.pipe()
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(number, signal.SIG_IGN)
        os.write(write, str(os.getpid()).encode())
        while True:
            signal.pause()
    os._exit(0)
os.wait()
print(os.read(read, 32).decode(), flush=True)
while True:
    signal.pause()
)";

class Examination {
 public:
  Examination(Findings& findings, const PoolOptions& options, const Programs& programs, bool stand_in)
      : findings_(findings),
        options_(options),
        programs_(programs),
        stand_in_(stand_in),
        python_(options.worker.argv.empty()) {}

  void run() {
    worker();
    grandchild();
  }

 private:
  std::string described() const {
    if (!python_) return "program " + options_.worker.argv.front();
    return "module " + options_.worker.module +
           (stand_in_ ? " (of the standard library; --module names yours)" : "");
  }

  void worker() {
    Finding found{.group = kGroup, .name = "start", .facts = {{"stand_in", stand_in_}}};
    if (python_) found.facts["module"] = options_.worker.module;
    if (!programs_.work) {
      found.verdict = Verdict::kSkipped;
      found.text = described() + ": not tried, because of what stands above";
      add(std::move(found));
      return;
    }
    auto pool = Pool::create(options_);
    const Result<void> ready = pool ? start(*pool) : Result<void>(pool.error());
    if (!ready) {
      fail_start(found, ready.error());
      add(std::move(found));
      return;
    }
    const StartTimes took = pool->stats().workers.at(0).start;
    const Duration whole = took.whole();
    found.facts.update({{"seconds", seconds(whole)},
                        {"environment", seconds(took.environment)},
                        {"spawn", seconds(took.spawn)},
                        {"handshake", seconds(took.handshake)},
                        {"warm_up", seconds(took.warm_up)},
                        {"verify", seconds(took.verify)},
                        {"commands", pool->commands().size()}});
    found.text = described() + ": ready after " + shown(whole) + "\nenvironment " + shown(took.environment) +
                 ", spawn " + shown(took.spawn) + ", handshake (interpreter and imports) " +
                 shown(took.handshake) +
                 (took.warm_up > Duration::zero() ? ", warm_up " + shown(took.warm_up) : "") +
                 (took.verify > Duration::zero() ? ", verify " + shown(took.verify) : "");
    add(std::move(found));
    call(*pool);
    end(*pool);
  }

  std::string remedy_for(const Error& error) const {
    const std::string python = programs_.interpreter.empty() ? "python3" : programs_.interpreter;
    if (error.stage == "environment") {
      if (!error.python || error.python->type != "ModuleNotFoundError")
        return "The module can't be imported; what is above names the place.";
      return "Yours? Name its folder: --path DIR, or --cwd DIR, where imports begin. Somebody else's? "
             "Install it:\n" +
             python + " -m pip install …; or give the environment that has it: --venv DIR.";
    }
    if (error.stage == "handshake") {
      if (!python_) {
        return "A worker program answers the first ping on its stdout, and prints nothing else there: "
               "docs/protocol.md.\nWhere it insists on pipes: --stdio pipe. Where it needs longer: "
               "--start-timeout.";
      }
      return "It runs, but ends or is not ready in time. What does the module do while it is imported?\n" +
             python + " -X importtime tells; --start-timeout gives it more.";
    }
    if (error.stage == "warm_up")
      return "Its on_start functions failed, or take longer than --start-timeout.";
    if (error.stage == "verify")
      return "The command that `verify` names failed, or takes longer than --start-timeout. It is called "
             "without arguments.";
    return "`system` below shows the limits.";
  }

  void fail_start(Finding& found, Error error) const {
    found.facts["stage"] = error.stage;
    // It is one worker, not a pool that would be waited for.
    if (const std::size_t at = error.message.find("worker 0."); at != error.message.npos)
      error.message.erase(0, at);
    // Python's own words, once: a worker that can't import its module writes them to stderr, too.
    if (error.python && error.worker) error.worker->stderr_tail.clear();
    fail(found, error, remedy_for(error));
    found.text = described() + ":\n" + error.report();
  }

  void call(Pool& pool) {
    Finding found{.group = kGroup, .name = "call"};
    const TimePoint began = SteadyClock::now();
    const auto reply = pool.invoke({}, "ping", Json::object());
    const Duration took = SteadyClock::now() - began;
    found.facts = {{"seconds", seconds(took)}};
    found.text = "ping answered within " + shown(took);
    if (!reply && reply.error().kind == ErrorKind::kUnknownCommand) {
      found.text += " (it does not know the command, which it need not)";
    } else if (!reply) {
      fail(found, reply.error(), "The worker starts, but its calls fail: look at what the message names.");
    }
    add(std::move(found));
  }

  void end(Pool& pool) {
    Finding found{.group = kGroup, .name = "end"};
    const TimePoint began = SteadyClock::now();
    pool.shutdown();
    const Duration took = SteadyClock::now() - began;
    found.facts = {{"seconds", seconds(took)}};
    found.text = "the pool shut down within " + shown(took);
    if (took >= options_.terminate_grace) {
      found.verdict = Verdict::kNote;
      found.text += ": the worker had to be killed, for it ended neither when asked nor by SIGTERM";
    }
    add(std::move(found));
  }

  // --- The promise, tried --------------------------------------------------------------------------
  void grandchild() {
    Finding found{.group = "guarantees", .name = "no orphans"};
    if (!programs_.work || !python_) {
      found.verdict = Verdict::kSkipped;
      found.text = "not tried: that takes lair-keeper and a Python";
      add(std::move(found));
      return;
    }
    worker::SpawnRequest request = programs_.environment->request({.slot = 0, .generation = 1});
    request.argv = {request.argv.front(), "-S", "-E", "-c", kHide};
    auto trial = Trial::start(std::move(request), Deadline::after(kPatience));
    const auto line =
        trial ? trial->first_line(Deadline::after(kPatience)) : Result<std::string>(trial.error());
    const int pid = line ? std::atoi(line->c_str()) : 0;
    const os::Fd hidden = pid > 1 ? os::open_pidfd(pid) : os::Fd();
    if (!hidden) {
      fail(found,
           line ? Error{.kind = ErrorKind::kUnavailable, .message = "the process that hides can't be watched"}
                : line.error(),
           "");
      found.remedy = "Whether orphans are caught is not known: report it, with `system` above.";
      found.verdict = Verdict::kWarning;
      add(std::move(found));
      return;
    }
    const TimePoint began = SteadyClock::now();
    trial->let_go();
    const bool gone = os::wait_for_io({.exit_fd = hidden.get()}, Deadline::after(kPatience)).exited;
    const Duration took = SteadyClock::now() - began;
    found.facts = {{"holds", gone}, {"seconds", seconds(took)}};
    if (gone) {
      found.text =
          "yes: when the program ends, however it ends, its workers and all below them end with it\n"
          "(tried: a grandchild with a session of its own was gone after " +
          shown(took) + ')';
    } else {
      (void)os::signal_pidfd(hidden.get(), SIGKILL);
      found.verdict = Verdict::kBad;
      found.text = "no: a grandchild with a session of its own lived on";
      found.remedy = "The keeper could not see it: is /proc mounted, and PR_SET_CHILD_SUBREAPER allowed?";
    }
    add(std::move(found));
  }

  void add(Finding found) { findings_.push_back(std::move(found)); }

  Findings& findings_;
  const PoolOptions& options_;
  const Programs& programs_;
  const bool stand_in_;
  const bool python_;
};

}  // namespace

void examine_worker(Findings& findings, const PoolOptions& options, const Programs& programs, bool stand_in) {
  Examination(findings, options, programs, stand_in).run();
}

}  // namespace lair::cli::doctor
