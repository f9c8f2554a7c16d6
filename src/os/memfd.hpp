// Memory with a descriptor, to be handed to another process.
//
// Thread-safety: any thread.
#pragma once

#include <string_view>

#include "os/fd.hpp"

namespace lair::os {

// One that holds `content`. None (errno set) where the system refuses.
Fd make_memfd(const char* name, std::string_view content) noexcept;

// What process `pid` has as descriptor `fd`, opened anew with these flags of open(); none where it is no memfd of this name, or
// the system refuses.
Fd open_memfd_of(int pid, int fd, std::string_view name, int flags);

}  // namespace lair::os
