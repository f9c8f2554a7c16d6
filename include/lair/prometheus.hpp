// A pool's statistics as a text that Prometheus scrapes (exposition format 0.0.4). Lair opens no port: a program
// answers GET /metrics with whatever HTTP server it has, Content-Type "text/plain; version=0.0.4".
//
//   std::string text = lair::to_prometheus(pool.stats());
//
// docs/telemetry.md lists the metrics. Each carries the label `pool`; none carries a pid, a slot or a call's id, so the
// number of time series is bounded by the commands (201 at most) and their outcomes.
//
// Thread-safety: pure.
#pragma once

#include <lair/stats.hpp>
#include <span>
#include <string>

namespace lair {

// Several pools in one exposition. Those of the same name are reported as one: added up, and of two oldest waits the
// older.
std::string to_prometheus(std::span<const PoolStats> pools);
std::string to_prometheus(const PoolStats& pool);

}  // namespace lair
