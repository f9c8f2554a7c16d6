// Whatever comes in answer to the offer is an announcement, a failed start or malformed.
#include <string>
#include <string_view>
#include <variant>

#include "base/assert.hpp"
#include "wire/handshake.hpp"

extern "C" int LLVMFuzzerTestOneInput(const unsigned char* data, std::size_t size) {
  using namespace lair::wire;
  const std::string_view payload(reinterpret_cast<const char*>(data), size);
  const auto reply = decode_handshake(payload);
  if (const auto* announced = std::get_if<Announcement>(&reply)) {
    LAIR_ASSERT(announced->concurrency == 1 && announced->max_frame > 0);
    LAIR_ASSERT(announced->stack_signal == 0 ||
                (announced->stack_signal >= 34 && announced->stack_signal <= 64));
    LAIR_ASSERT(
        announced->stacks.signal == 0 ||
        (announced->stacks.signal >= 34 && announced->stacks.signal <= 64 && announced->stacks.fd >= 3));
    for (const Command& command : announced->commands) LAIR_ASSERT(announced->knows(command.name));
  } else if (const auto* malformed = std::get_if<Malformed>(&reply)) {
    LAIR_ASSERT(!malformed->problem.empty());
  }
  return 0;
}
