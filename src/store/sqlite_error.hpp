// What a refusal of SQLite's means to who runs the program: where, what, why, and what to do about it.
//
// Thread-safety: pure.
#pragma once

#include <lair/error.hpp>
#include <string>

namespace lair::store {

// `doing`: "be opened", "be written". `code` is SQLite's extended one; `system` the errno behind it, or 0; `said`
// SQLite's own words.
Error sqlite_error(const std::string& path, const char* doing, int code, int system, const std::string& said);

// The same for what Lair finds wrong by itself: `why`, and what to do.
Error store_error(const std::string& path, const char* doing, const std::string& why);

}  // namespace lair::store
