#include "core/retry.hpp"

#include "base/backoff.hpp"

namespace lair::core {

bool retry_can_mend(const Error& error, bool idempotent) {
  switch (error.kind) {
    case ErrorKind::kOverloaded:
      return true;
    case ErrorKind::kWorkerLost:
    case ErrorKind::kProtocol:
      return error.delivery == Delivery::kNotSent ||
             (error.delivery == Delivery::kMaybeExecuted && idempotent);
    case ErrorKind::kInvalidArgument:
    case ErrorKind::kUnavailable:  // it lasts for seconds: fail at once
    case ErrorKind::kDeadlineExceeded:
    case ErrorKind::kCancelled:
    case ErrorKind::kSessionLost:
    case ErrorKind::kSessionBusy:
    case ErrorKind::kRemote:
    case ErrorKind::kUnknownCommand:
    case ErrorKind::kInternal:
      break;
  }
  return false;
}

Duration retry_delay(unsigned failures, const Error& error, std::mt19937_64& random) {
  // Full jitter: a mean of 5 ms (doubled, at most 500 ms) ± 100 %. Callers that failed together don't come back together.
  static constexpr base::Backoff kBackoff{
      .first = std::chrono::milliseconds(5), .most = std::chrono::milliseconds(500), .jitter = 1.0};
  const Duration wait = kBackoff.delay(failures, random);
  return wait + std::chrono::milliseconds(error.retry_after_ms.value_or(0));
}

}  // namespace lair::core
