#include "os/program.hpp"

#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <string_view>

namespace lair::os {

namespace fs = std::filesystem;

namespace {

Error unusable(std::string message) {
  return {.kind = ErrorKind::kUnavailable, .delivery = Delivery::kNotSent, .message = std::move(message)};
}

enum class Found { kNo, kNotExecutable, kYes };

Found look_at(const fs::path& file) {
  std::error_code ignored;
  if (!fs::exists(file, ignored)) return Found::kNo;
  if (fs::is_directory(file, ignored) || ::access(file.c_str(), X_OK) != 0) return Found::kNotExecutable;
  return Found::kYes;
}

}  // namespace

Result<std::string> find_program(const std::string& name, const std::string& path, const std::string& cwd) {
  if (name.empty()) return unusable("no program is named");
  // Relative places are the worker's.
  std::error_code unknown;
  const fs::path base = cwd.empty() ? fs::current_path(unknown) : fs::absolute(cwd, unknown);
  if (unknown) return unusable("the current directory is gone, so relative paths lead nowhere");
  if (name.find('/') != std::string::npos) {
    // Not made shorter: the parent of a linked directory is its target's.
    const bool climbs = name.find("..") != std::string::npos;
    const fs::path file = climbs ? base / name : (base / name).lexically_normal();
    switch (look_at(file)) {
      case Found::kYes:
        return file.string();
      case Found::kNotExecutable:
        return unusable(file.string() + " is not an executable file");
      case Found::kNo:
        break;
    }
    return unusable(file.string() + " does not exist");
  }
  std::string seen_but_unusable;
  std::string_view rest = path;
  while (!rest.empty()) {
    const std::size_t colon = std::min(rest.find(':'), rest.size());
    const std::string folder(colon == 0 ? "." : rest.substr(0, colon));
    const fs::path file = base / folder / name;
    const Found found = look_at(file);
    if (found == Found::kYes) return file.string();
    if (found == Found::kNotExecutable && seen_but_unusable.empty()) seen_but_unusable = file.string();
    rest.remove_prefix(std::min(colon + 1, rest.size()));
  }
  if (!seen_but_unusable.empty()) return unusable(seen_but_unusable + " is not an executable file");
  return unusable("not found on PATH (" + path + ")");
}

}  // namespace lair::os
