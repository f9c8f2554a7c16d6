// LAIR_ASSERT: a check for programmer errors and broken invariants, in every build type. It costs a compare;
// going on with a pool whose counts do not add up costs an afternoon.
//
// Thread-safety: any thread; writes one line to stderr with one write(2), then aborts.
#pragma once

namespace lair::base {

[[noreturn]] void assertion_failed(const char* expression, const char* file, int line,
                                   const char* why) noexcept;

}  // namespace lair::base

// LAIR_ASSERT(condition) or LAIR_ASSERT(condition, "why it must hold").
#define LAIR_ASSERT(condition, ...) \
  (static_cast<bool>(condition)     \
       ? void()                     \
       : ::lair::base::assertion_failed(#condition, __FILE__, __LINE__, "" __VA_ARGS__))
