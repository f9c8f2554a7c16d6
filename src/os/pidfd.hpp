// A process by descriptor instead of by number: it can't come to mean another one.
//
// Readable in a poll once the process has ended, reaped or not.
//
// Thread-safety: any thread.
#pragma once

#include "os/fd.hpp"

namespace lair::os {

// None (errno set) where there is no such process.
Fd open_pidfd(int pid) noexcept;
// False if it has ended (or may not be signalled).
bool signal_pidfd(int pidfd, int signal_number) noexcept;
// Collects the exit status of a child. Blocks. False if somebody else did, or the host ignores SIGCHLD.
bool reap_pidfd(int pidfd) noexcept;
// The same by number: for a child that has not been reaped, so that it is still its own.
bool reap_child(int pid) noexcept;
// The same for one that has ended, if it is a child of ours at all. Never blocks.
void reap_if_ours(int pidfd) noexcept;

}  // namespace lair::os
