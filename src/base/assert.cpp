#include "base/assert.hpp"

#include <cstdio>
#include <cstdlib>

namespace lair::base {

void assertion_failed(const char* expression, const char* file, int line, const char* why) noexcept {
  // stderr is unbuffered, so one fprintf is one line even when several threads fail at once. No allocation:
  // the heap may be what is broken.
  char message[1024];
  std::snprintf(message, sizeof message, "lair: assertion failed: %s%s%s (%s:%d)\n", expression,
                *why ? ": " : "", why, file, line);
  std::fputs(message, stderr);
  std::abort();
}

}  // namespace lair::base
