// Piece: a part of what is to be written, where that lies in several places.
//
// Thread-safety: as for any value.
#pragma once

#include <cstddef>

namespace lair::os {

struct Piece {
  const char* data;
  std::size_t size;
};

}  // namespace lair::os
