// One worker as the shell sees it: a row for each (slot, generation), from spawn until it is reaped and its channel
// is back. The pidfd stays open as long, so that no poller ever watches a number that now means something else.
//
// Thread-safety: in groups, below.
#pragma once

#include <array>
#include <deque>
#include <lair/error.hpp>
#include <lair/stats.hpp>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "core/types.hpp"
#include "os/journal.hpp"
#include "pool/arrays.hpp"
#include "worker/channel.hpp"
#include "worker/launcher.hpp"
#include "worker/log_pump.hpp"

namespace lair::pool {

struct Record {
  Record(core::WorkerRef worker, std::size_t stderr_lines) : ref(worker), stderr_tail(stderr_lines) {}

  // Constant.
  const core::WorkerRef ref;

  // Written by the supervisor before the worker is ready, constant from then on.
  worker::Process process;
  std::shared_ptr<const wire::Announcement> announcement;

  // Owned in turn: by the supervisor (starting, stopping), by whoever holds the worker (busy).
  std::optional<worker::Channel> channel;
  TimePoint rests_since;               // when it was last given back
  Lent lent;                           // of the pool's arrays
  std::optional<os::Journal> journal;  // of its batches; opened for the first one

  // Its own lock.
  worker::StderrTail stderr_tail;

  // Guarded by the shell's mutex.
  std::optional<ExitStatus> exit;
  const char* stage = "spawn";       // while starting
  StartTimes start;                  // set when it is ready
  std::string complaint;             // what speaks against it; empty: nothing
  std::optional<TimePoint> checked;  // when it last answered a check
  std::uint64_t memory = 0;          // private bytes, when they were last looked at
  struct Running {
    core::Epoch epoch;         // of the hold
    std::string_view command;  // its caller's, who waits for it
    TimePoint since;
    bool reported = false;  // as slow
    core::SessionKey session = 0;
  };
  std::deque<Running> running;  // the calls that it has, about by age; a lease has none between its calls
};

using RecordPtr = std::shared_ptr<Record>;

// For messages: "0.1 (pid 4711)".
inline std::string name_of(const Record& record) {
  return std::to_string(record.ref.slot) + '.' + std::to_string(record.ref.generation) + " (pid " +
         std::to_string(record.process.pid) + ')';
}

// By slot: its worker's, and that of the worker beside it while one succeeds the other.
using Records = std::vector<std::array<RecordPtr, 2>>;

}  // namespace lair::pool
