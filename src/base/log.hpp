// How loud a line of the log is.
#pragma once

#include <cstdint>

namespace lair::base {

enum class LogLevel : std::uint8_t { kDebug, kInfo, kWarn, kError };

}  // namespace lair::base
