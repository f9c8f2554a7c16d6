// The processes under one that does not do its own sweeping any more.
//
// Thread-safety: any thread.
#pragma once

namespace lair::os {

// Kills (SIGKILL) all that hang on the process with this number, of any depth, but not itself; looks again until none
// is alive. The number must be certain to be that process's: a child that has not been reaped. Where its descendants' parents are
// no subreapers, what a dead one leaves behind may escape. Blocks for a look at /proc for each generation of them.
void kill_descendants(int pid);

}  // namespace lair::os
