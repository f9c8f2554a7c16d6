#include "os/installed.hpp"

#include <lair/installed.hpp>

#include <algorithm>
#include <array>
#include <atomic>
#include <cstring>
#include <filesystem>

#include "os/proc.hpp"

namespace fs = std::filesystem;

namespace lair::os {

namespace {

// Copied, for the object that the text is in may be unloaded.
std::array<char, 4096> noted_header;
std::atomic<bool> header_claimed = false;
std::atomic<bool> header_noted = false;

// What lies at `target` from `from` in the configured tree, seen from where `from` really is.
fs::path moved(const fs::path& really, const char* from, const fs::path& target) {
  const fs::path place = really / target.lexically_relative(from);
  std::error_code unknown;
  const fs::path real = fs::weakly_canonical(place, unknown);  // as the kernel resolves "..", behind a link
  return unknown ? place.lexically_normal() : real;
}

}  // namespace

std::vector<std::string> places_of(Part part) {
  const fs::path target = part == Part::kLibexec ? LAIR_INSTALL_LIBEXECDIR : LAIR_INSTALL_DATADIR;
  std::vector<std::string> places;
  const auto add = [&places](const fs::path& place) {
    if (std::find(places.begin(), places.end(), place.string()) == places.end())
      places.push_back(place.string());
  };
  const std::string program = program_path();
  const std::string library = library_path();
  if (!program.empty()) add(moved(fs::path(program).parent_path(), LAIR_INSTALL_BINDIR, target));
  if (!library.empty() && library != program)
    add(moved(fs::path(library).parent_path(), LAIR_INSTALL_LIBDIR, target));
  if (header_noted) {
    const fs::path folder = fs::path(noted_header.data()).parent_path().parent_path();  // …/include
    add(moved(folder, LAIR_INSTALL_INCLUDEDIR, target));
  }
#ifdef LAIR_BUILD_DIR
  add(fs::path(LAIR_BUILD_DIR) / (part == Part::kLibexec ? "bin" : "share/lair"));
#endif
  add(target);
  return places;
}

}  // namespace lair::os

bool lair::detail::note_header(const char* file) noexcept {
  using namespace lair::os;
  if (file[0] != '/' || std::strlen(file) >= noted_header.size()) return true;
  if (header_claimed.exchange(true)) return true;
  std::strcpy(noted_header.data(), file);  // NOLINT: it fits
  header_noted = true;
  return true;
}
