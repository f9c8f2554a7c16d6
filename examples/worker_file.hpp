// Where the examples find their Python: in share/lair/examples of an installed Lair, else next to this file.
#pragma once

#include <filesystem>
#include <string>

inline std::string worker_file(const char* name) {
  std::error_code unknown;
  const auto program = std::filesystem::read_symlink("/proc/self/exe", unknown);
  const auto installed = program.parent_path().parent_path() / "share/lair/examples" / name;
  if (std::filesystem::exists(installed, unknown)) return installed.string();
#ifdef LAIR_EXAMPLES_DIR  // Lair's own build, whose compiler cache shortens __FILE__
  return LAIR_EXAMPLES_DIR "/" + std::string(name);
#else
  return (std::filesystem::path(__FILE__).parent_path() / name).string();
#endif
}
