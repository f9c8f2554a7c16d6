// What `lair doctor` found out. doctor.cpp asks and prints; doctor_programs.cpp and doctor_worker.cpp try,
// doctor_system.cpp looks at what the machine allows.
//
// Thread-safety: the main thread's.
#pragma once

#include <lair/error.hpp>
#include <lair/json.hpp>
#include <lair/options.hpp>

#include <optional>
#include <string>
#include <vector>

#include "pool/environment.hpp"

namespace lair::cli::doctor {

enum class Verdict {
  kGood,
  kNote,     // nothing is wrong, but it should be known
  kWarning,  // Lair works here; something else may not
  kBad,      // Lair does not work here
  kSkipped,  // it could not be tried, because of what stands above it
};
std::string_view to_string(Verdict verdict) noexcept;

struct Finding {
  std::string group;  // "programs", "worker", "system", "guarantees"
  std::string name;
  Verdict verdict = Verdict::kGood;
  std::string text;    // one line, or several
  std::string remedy;  // how to mend it; for kWarning and kBad
  Json facts = Json::object();
  ErrorKind kind = ErrorKind::kUnavailable;  // of kBad: decides the exit status
};
using Findings = std::vector<Finding>;

// kBad, with the error's text.
void fail(Finding& found, const Error& error, std::string remedy);

// How long any one trial may take.
inline constexpr Duration kPatience = std::chrono::seconds(10);

// lair-keeper, the SDK, the interpreter.
struct Programs {
  bool work = false;
  std::optional<pool::Environment> environment = {};
  std::string interpreter = {};
};
Programs examine_programs(Findings& findings, const PoolOptions& options);

// A worker, as a pool starts one, and whether a process that hides from it is caught.
void examine_worker(Findings& findings, const PoolOptions& options, const Programs& programs, bool stand_in);

// Kernel, limits, cgroups, memory, PID 1.
void examine_system(Findings& findings, const PoolOptions& options);

// "12.3 ms"
std::string shown(Duration duration);
double seconds(Duration duration);

}  // namespace lair::cli::doctor
