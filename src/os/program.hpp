// Finding a program as a shell would.
//
// Thread-safety: any thread.
#pragma once

#include <lair/result.hpp>
#include <string>

namespace lair::os {

// The absolute path of `name`: looked up in `path` (colon-separated) if it has no slash, else taken from `cwd` (empty:
// this process's). The error's message says what is missing or not executable, and where was looked.
Result<std::string> find_program(const std::string& name, const std::string& path, const std::string& cwd);

}  // namespace lair::os
