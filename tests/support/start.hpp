// Where the time of tests begins that move it by hand.
#pragma once

#include <lair/deadline.hpp>

namespace lair::test {

inline constexpr TimePoint kStart{std::chrono::hours(1)};

}  // namespace lair::test
