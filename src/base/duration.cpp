#include "base/duration.hpp"

#include <array>
#include <charconv>
#include <cmath>
#include <cstdio>

namespace lair::base {

namespace {

struct Unit {
  std::string_view name;
  double nanoseconds;
};
constexpr std::array kUnits = {Unit{"h", 3600e9}, Unit{"min", 60e9}, Unit{"s", 1e9},
                               Unit{"ms", 1e6},   Unit{"us", 1e3},   Unit{"ns", 1}};

Error complaint(std::string_view text, std::string_view why) {
  return {.kind = ErrorKind::kInvalidArgument,
          .message = "'" + std::string(text) + "' is not a duration: " + std::string(why)};
}

Result<Duration> of(double count, double unit, std::string_view text) {
  if (!std::isfinite(count)) return complaint(text, "not a finite number; without a limit is \"forever\"");
  if (count < 0) return complaint(text, "it is negative");
  const double nanoseconds = count * unit;
  // 2^63: from there on the count would not fit, and 292 years are no longer a timeout.
  if (nanoseconds >= 0x1p63) return complaint(text, "too long; without a limit is \"forever\"");
  return Duration(std::llround(nanoseconds));
}

}  // namespace

Result<Duration> parse_duration(std::string_view text) {
  if (text == "forever") return kForever;
  double count = 0;
  const char* const end = text.data() + text.size();
  const auto [rest, failed] = std::from_chars(text.data(), end, count);
  if (failed == std::errc::result_out_of_range) return complaint(text, "the number is out of range");
  if (failed != std::errc())
    return complaint(text, "write it like \"250ms\", \"1.5s\", \"2min\", \"1h\" or \"forever\"");
  std::string_view unit(rest, static_cast<std::size_t>(end - rest));
  if (unit.empty()) return of(count, 1e9, text);
  if (unit.front() == ' ') unit.remove_prefix(1);
  for (const Unit& known : kUnits) {
    if (unit == known.name) return of(count, known.nanoseconds, text);
  }
  return complaint(text, "units are ns, us, ms, s, min and h");
}

Result<Duration> duration_of_seconds(double seconds) {
  char text[32];
  std::snprintf(text, sizeof text, "%g", seconds);
  return of(seconds, 1e9, text);
}

std::string format_duration(Duration duration) {
  if (duration == kForever) return "forever";
  const double nanoseconds = static_cast<double>(duration.count());
  if (nanoseconds == 0) return "0 s";
  Unit chosen = kUnits.back();
  for (const Unit& unit : kUnits) {
    if (std::abs(nanoseconds) >= unit.nanoseconds) {
      chosen = unit;
      break;
    }
  }
  char number[48];
  std::snprintf(number, sizeof number, "%.3f", nanoseconds / chosen.nanoseconds);
  std::string text = number;
  text.erase(text.find_last_not_of('0') + 1);
  if (text.back() == '.') text.pop_back();
  return text.append(" ").append(chosen.name);
}

}  // namespace lair::base
