// AsyncCall: a call that the reactor drives, and where it is.
//
// Thread-safety: made by its caller's thread, then for whoever has the reactor's turn.
#pragma once

#include <functional>
#include <lair/endpoint.hpp>
#include <memory>
#include <optional>
#include <set>
#include <stop_token>
#include <string>
#include <vector>

#include "pool/bell.hpp"
#include "pool/course.hpp"
#include "pool/held_worker.hpp"
#include "pool/stream_buffer.hpp"

namespace lair::pool {

struct AsyncCall {
  enum class Stage : std::uint8_t {
    kNew,         // or ended, and nobody has been told yet
    kQueued,      // until its wait ends
    kOnWorker,    // until its deadline
    kGivingUp,    // over for its caller; until its worker has given it up
    kDescribing,  // its worker has ended; until it is known how
    kPausing,     // until it is tried again
  };

  std::uint64_t key = 0;
  std::string command;
  Course course;
  Executor executor;
  Completion done;                          // on the reactor's thread
  std::shared_ptr<StreamBuffer> stream;     // where its items go
  std::optional<Error> refusal;             // it could not even set out
  std::shared_ptr<HeldWorker> held;         // a lease's
  std::shared_ptr<std::uint64_t> key_told;  // where its stream's buffer finds the key
  using OnStop = std::stop_callback<std::function<void()>>;
  std::vector<std::unique_ptr<OnStop>> chained;  // stop requests that end it
  std::optional<OnStop> on_stop;

  Stage stage = Stage::kNew;
  TimePoint due = TimePoint::max();  // when the stage ends
  Wait wait;
  bool waits_within = false;  // and is counted as such
  bool would_deadlock = false;

  std::optional<Hold> hold;
  wire::CallHeader header;
  std::string chain;
  unsigned attempts = 0;
  std::uint64_t written_at = 0;     // it has been sent when its line has written so much
  std::uint64_t told_at = 0;        // and its CANCEL, when so much
  bool began = false;               // the worker has said something
  std::set<std::uint64_t> asked;    // numbers of host functions' calls that are under way
  std::size_t storing = 0;          // how much of what it has told the store is under way
  std::optional<wire::Reply> last;  // its last frame, which counts when that is done
  core::Reason gives_up = core::Reason::kNone;
  TimePoint gives_up_by = TimePoint::max();
  Bell bell;
  std::optional<Try> failed;
};

}  // namespace lair::pool
