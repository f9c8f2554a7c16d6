// The known name that a mistyped one most resembles: "did you mean …?".
//
// Thread-safety: pure.
#pragma once

#include <optional>
#include <span>
#include <string>
#include <string_view>

namespace lair::base {

// The closest of `known` by insertions, deletions, substitutions and swaps of neighbours, if no more than a
// third of the letters differ (but one always may). The first of equals.
std::optional<std::string_view> nearest(std::string_view name, std::span<const std::string_view> known);

// " (did you mean 'size'?)", or nothing.
std::string did_you_mean(std::string_view name, std::span<const std::string_view> known);

}  // namespace lair::base
