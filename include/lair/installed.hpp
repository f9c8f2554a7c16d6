// Which installed tree a program was compiled against.
//
// A pool needs two things at run time that are not in the library: lair-keeper and the Python SDK. A static library in a
// tree that was moved after its installation can't know where they are now; its headers do, because the compiler had
// just found them there. Including <lair/pool.hpp> is all that a program does for it.
//
// Thread-safety: any thread.
#pragma once

namespace lair::detail {

// `file`: this header's path, as the compiler gives it. The first one that is absolute is kept. The value is true.
bool note_header(const char* file) noexcept;

// Lair's own programs lie in the tree themselves.
#ifndef LAIR_IN_TREE
inline const bool kHeaderNoted = note_header(__FILE__);
#endif

}  // namespace lair::detail
