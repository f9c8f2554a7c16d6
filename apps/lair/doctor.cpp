// `lair doctor`: does Lair work here, what does it guarantee, and how is mended what is wrong?
#include "doctor.hpp"

#include <lair/version.hpp>
#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <memory>
#include <utility>

#include "base/duration.hpp"
#include "common.hpp"
#include "os/proc.hpp"

namespace lair::cli {

namespace doctor {

std::string_view to_string(Verdict verdict) noexcept {
  switch (verdict) {
    case Verdict::kGood:
      return "ok";
    case Verdict::kNote:
      return "note";
    case Verdict::kWarning:
      return "warning";
    case Verdict::kBad:
      return "bad";
    case Verdict::kSkipped:
      return "skipped";
  }
  return "?";
}

std::string shown(Duration duration) {
  constexpr auto kStep = std::chrono::microseconds(100);  // what is shown is read, not computed with
  return base::format_duration(std::max<Duration>((duration + kStep / 2) / kStep * kStep, kStep));
}

void fail(Finding& found, const Error& error, std::string remedy) {
  found.verdict = Verdict::kBad;
  found.kind = error.kind;
  found.text = error.message;
  found.remedy = std::move(remedy);
}

double seconds(Duration duration) { return std::chrono::duration<double>(duration).count(); }

}  // namespace doctor

namespace {

using doctor::Finding;
using doctor::Findings;
using doctor::Verdict;

// Served where no worker is named: a module of the standard library with plain functions.
constexpr const char* kStandIn = "shlex";

const char* colour_of(Verdict verdict) {
  switch (verdict) {
    case Verdict::kGood:
      return "\033[32m";
    case Verdict::kNote:
      return "\033[36m";
    case Verdict::kWarning:
      return "\033[33m";
    case Verdict::kBad:
      return "\033[31m";
    case Verdict::kSkipped:
      return "\033[2m";
  }
  return "";
}

std::string indented(const std::string& text, std::size_t by) {
  std::string out;
  for (const char c : text) {
    out += c;
    if (c == '\n') out.append(by, ' ');
  }
  return out;
}

std::string padded(std::string text, std::size_t width) {
  text.resize(std::max(width, text.size()), ' ');
  return text;
}

int status_of(const Findings& findings) {
  const auto bad = std::find_if(findings.begin(), findings.end(),
                                [](const Finding& each) { return each.verdict == Verdict::kBad; });
  return bad == findings.end() ? int{kOk} : exit_status(bad->kind);
}

std::string for_people(const Findings& findings, bool colours) {
  constexpr std::size_t kVerdict = 9;
  constexpr std::size_t kName = 18;
  std::string text = "lair " LAIR_VERSION_STRING "\n";
  std::string group;
  for (const Finding& each : findings) {
    if (each.group != group) {
      group = each.group;
      text += '\n' + group + '\n';
    }
    const std::string verdict = padded(std::string(to_string(each.verdict)), kVerdict);
    text += "  " + (colours ? colour_of(each.verdict) + verdict + "\033[0m" : verdict) +
            padded(each.name, kName) + indented(printable(each.text), 2 + kVerdict + kName) + '\n';
    if (!each.remedy.empty()) {
      const std::size_t margin = 2 + kVerdict + kName;
      text += std::string(margin, ' ') + "→ " + indented(printable(each.remedy), margin + 2) + '\n';
    }
  }
  const auto count = [&](Verdict verdict) {
    return std::count_if(findings.begin(), findings.end(),
                         [&](const Finding& each) { return each.verdict == verdict; });
  };
  const auto counted = [](auto n, const char* what) {
    return std::to_string(n) + ' ' + what + (n == 1 ? "" : "s");
  };
  const auto bad = count(Verdict::kBad);
  text += bad == 0 ? "\nLair works here" : "\nLair does not work here: " + counted(bad, "problem");
  if (const auto warnings = count(Verdict::kWarning); warnings > 0)
    text += ", " + counted(warnings, "warning");
  return text + ".\n";
}

std::string for_programs(const Findings& findings) {
  Json checks = Json::array();
  for (const Finding& each : findings) {
    Json check = {{"group", each.group},
                  {"name", each.name},
                  {"verdict", to_string(each.verdict)},
                  {"text", each.text},
                  {"facts", each.facts}};
    if (!each.remedy.empty()) check["remedy"] = each.remedy;
    checks.push_back(std::move(check));
  }
  const int status = status_of(findings);
  const Json report = {{"version", LAIR_VERSION_STRING},
                       {"usable", status == kOk},
                       {"exit_status", status},
                       {"checks", std::move(checks)}};
  return report.dump(2, ' ', false, Json::error_handler_t::replace) + '\n';
}

int run(WorkerArguments worker, bool json) {
  const bool stand_in = worker.module.empty() && !worker.argv_given;
  if (stand_in) worker.module = kStandIn;
  PoolOptions options = pool_options(worker);
  if (options.size == 0) options.size = os::usable_cpus();
  if (!worker.verbose) {  // what a worker writes is shown with what is wrong with it
    options.logger.reset();
    options.log_level = "off";
  }
  Findings findings;
  const doctor::Programs programs = doctor::examine_programs(findings, options);
  doctor::examine_worker(findings, options, programs, stand_in);
  doctor::examine_system(findings, options);
  std::stable_sort(findings.begin(), findings.end(), [](const Finding& a, const Finding& b) {
    return a.group != "guarantees" && b.group == "guarantees";  // the sum of the others comes last
  });

  const char* no_colour = std::getenv("NO_COLOR");
  const bool colours = ::isatty(STDOUT_FILENO) == 1 && (no_colour == nullptr || *no_colour == '\0');
  print(json ? for_programs(findings) : for_people(findings, colours));
  return status_of(findings);
}

}  // namespace

void add_doctor(CLI::App& program, WorkerArguments& worker, int& status) {
  auto json = std::make_shared<bool>(false);
  CLI::App* command =
      program.add_subcommand("doctor", "Says whether Lair works here, and how to mend what is wrong");
  add_worker_options(*command, worker);
  command->add_flag("--json", *json, "Prints the findings as JSON");
  command->footer(
      R"(With --module, or a worker program's command line after '--', that worker is tried as well.

Examples:
  lair doctor
  lair doctor --venv ~/venv --module pkg.mod --workers 8
  lair doctor -- python3 worker.py --worker-id {worker_id}

The exit status is 0 where Lair works.)");
  command->callback([&worker, &status, json] { status = run(worker, *json); });
}

}  // namespace lair::cli
