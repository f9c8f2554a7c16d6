// The one kind of error that is found on this side of the channel.
//
// Thread-safety: pure.
#pragma once

#include <lair/error.hpp>
#include <string>
#include <utility>

namespace lair::dspy {

inline Error invalid(std::string message) {
  return {.kind = ErrorKind::kInvalidArgument, .delivery = Delivery::kNotSent, .message = std::move(message)};
}

}  // namespace lair::dspy
