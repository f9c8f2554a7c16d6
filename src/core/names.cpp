#include "core/types.hpp"

namespace lair::core {

const char* to_string(Reason reason) noexcept {
  switch (reason) {
    case Reason::kNone:
      return "none";
    case Reason::kCrash:
      return "crash";
    case Reason::kTimeout:
      return "timeout";
    case Reason::kCancelled:
      return "cancelled";
    case Reason::kProtocol:
      return "protocol";
    case Reason::kUnhealthy:
      return "unhealthy";
    case Reason::kStartFailed:
      return "start_failed";
    case Reason::kIdle:
      return "idle";
    case Reason::kMaxCalls:
      return "max_calls";
    case Reason::kMaxAge:
      return "max_age";
    case Reason::kMaxMemory:
      return "max_memory";
    case Reason::kMemoryLimit:
      return "memory_limit";
    case Reason::kRecycled:
      return "recycled";
    case Reason::kReload:
      return "reload";
    case Reason::kResize:
      return "resize";
    case Reason::kAbandoned:
      return "abandoned";
    case Reason::kShutdown:
      return "shutdown";
  }
  return "?";
}

const char* to_string(WorkerState state) noexcept {
  switch (state) {
    case WorkerState::kStarting:
      return "starting";
    case WorkerState::kIdle:
      return "idle";
    case WorkerState::kBusy:
      return "busy";
    case WorkerState::kChecking:
      return "checking";
    case WorkerState::kStopping:
      return "stopping";
    case WorkerState::kDead:
      return "dead";
  }
  return "?";
}

}  // namespace lair::core
