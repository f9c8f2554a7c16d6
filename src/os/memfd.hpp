// Memory with a descriptor, to be handed to another process.
//
// Thread-safety: any thread.
#pragma once

#include <string_view>

#include "os/fd.hpp"

namespace lair::os {

// One that holds `content`. None (errno set) where the system refuses.
Fd make_memfd(const char* name, std::string_view content) noexcept;

}  // namespace lair::os
