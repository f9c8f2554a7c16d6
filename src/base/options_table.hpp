// Every knob of a pool, once: its name, what it is, how it is read from and written to JSON. The table drives
// parse_pool_options; a test holds include/lair/options.hpp and docs/config.md against it.
//
// Thread-safety: constant.
#pragma once

#include <lair/options.hpp>
#include <span>
#include <string_view>

namespace lair::base {

struct OptionInfo {
  std::string_view name;  // the member's name, in PoolOptions or WorkerSpec
  std::string_view type;  // "text", "number", "yes or no", "duration", "list of texts", …
  std::string_view unit;  // of a number: "workers", "bytes", …; else empty
  std::string_view doc;   // one line
  // Sets it from JSON; the error says what was expected, without the setting's name. Null: only C++ can.
  Result<void> (*set)(PoolOptions& options, const Json& value);
  // Its value as `set` takes it. Null with `set`.
  Json (*get)(const PoolOptions& options);
};

// In the order of options.hpp.
std::span<const OptionInfo> options_table();
std::span<const std::string_view> option_names();

// The default as docs/config.md gives it: "30 s", "0", "lair", "[]", "none".
std::string default_text(const OptionInfo& option);

// Is each value by itself in its range? (`validate` also asks whether they go together.)
Result<void> check_values(const PoolOptions& options);

// Puts numbers in place of the zeros that mean "default". `options` must be valid.
PoolOptions resolve(PoolOptions options, std::size_t usable_cpus);

}  // namespace lair::base
