// How a pool and its workers are, in a word each and in words.
//
// *Live* and *serving* are different questions. A worker is live when it has a process that is not known to be unwell; it
// serves when it can be given calls. A pool is live until it is shut down; it serves when a call made now would reach a
// worker. Restart what is not live; send no traffic to what does not serve.
//
// Thread-safety: values.
#pragma once

#include <cstdint>
#include <lair/deadline.hpp>
#include <lair/json.hpp>
#include <optional>
#include <string>
#include <vector>

namespace lair {

struct WorkerHealth {
  std::uint32_t slot = 0;
  std::uint64_t generation = 0;
  int pid = 0;
  bool live = false;
  bool serving = false;
  unsigned failed_checks = 0;               // in a row, answered with an error
  std::optional<Duration> last_check = {};  // ago; none if it has not answered one yet
  std::string reason = {};                  // why it is not well, or does not serve yet
};

struct PoolHealth {
  bool live = false;
  bool serving = false;
  bool degraded = false;  // something is not as it should be: `reasons`
  std::vector<std::string> reasons = {};
  std::vector<WorkerHealth> workers = {};  // those that have a process
};

Json to_json_value(const PoolHealth& health);

}  // namespace lair
