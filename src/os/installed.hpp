// Where the parts of Lair are that a pool needs at run time: lair-keeper and the Python SDK.
//
// An installed tree may be moved, copied or mounted elsewhere, so everything is looked for relative to what is at hand:
// the program, the library, the headers that the program was compiled with (lair/installed.hpp). The configured prefix
// comes last.
//
// Thread-safety: any thread.
#pragma once

#include <string>
#include <vector>

namespace lair::os {

enum class Part {
  kLibexec,  // libexec/lair: lair-keeper
  kData,     // share/lair: python/
};

// The directories in which to look, best first, each once. None need exist.
std::vector<std::string> places_of(Part part);

}  // namespace lair::os
