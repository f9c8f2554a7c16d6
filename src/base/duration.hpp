// Durations as people write them: "250ms", "1.5s", "2min", "1h", "forever"; a plain number is seconds.
//
// Thread-safety: pure.
#pragma once

#include <lair/deadline.hpp>
#include <lair/result.hpp>
#include <string>
#include <string_view>

namespace lair::base {

// Units: ns, us, ms, s, min, h; a space may stand before them. The error's message says what is wrong with the
// text ("'5 parsecs' is not a duration: …"); it does not know which setting it was for.
Result<Duration> parse_duration(std::string_view text);
// The same for a number of seconds.
Result<Duration> duration_of_seconds(double seconds);

// For messages: the largest unit that leaves at least 1, at most three decimals: "1.5 s", "250 ms", "2 min",
// "forever". parse_duration reads it back.
std::string format_duration(Duration duration);

}  // namespace lair::base
