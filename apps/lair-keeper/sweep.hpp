// Finding the keeper's children without a list of them: workers' orphans, which the kernel hands to the keeper as their
// subreaper.
#pragma once

#include <cstddef>
#include <sys/types.h>

namespace lair::keeper {

// Puts up to `most` pids of this process's children (living, or dead and unreaped) into `pids`. A child that starts or ends
// meanwhile may be missed or be gone: its end brings a SIGCHLD, and with it the next look. Allocates nothing.
std::size_t list_children(pid_t* pids, std::size_t most);

}  // namespace lair::keeper
