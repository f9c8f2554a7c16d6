// The wall clock's time as a text that sorts: "2026-01-31T12:00:00.250Z". For logs only; durations and deadlines are the
// steady clock's.
//
// Thread-safety: pure.
#pragma once

#include <chrono>
#include <string>

namespace lair::base {

std::string utc_text(std::chrono::system_clock::time_point when);

}  // namespace lair::base
