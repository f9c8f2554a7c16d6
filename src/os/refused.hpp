// A system call that a constructor cannot do without was refused.
#pragma once

namespace lair::os {

// Throws CallError (kUnavailable) that names the call and errno.
[[noreturn]] void throw_refused(const char* call);

}  // namespace lair::os
