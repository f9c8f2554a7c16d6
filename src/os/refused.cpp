#include "os/refused.hpp"

#include <cerrno>
#include <cstring>
#include <lair/error.hpp>
#include <string>

namespace lair::os {

void throw_refused(const char* call) {
  throw CallError({.kind = ErrorKind::kUnavailable,
                   .delivery = Delivery::kNotSent,
                   .message = std::string(call) + " was refused: " + std::strerror(errno) +
                              ". The process may be out of descriptors (ulimit -n)."});
}

}  // namespace lair::os
