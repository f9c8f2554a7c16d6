// Whatever a worker answers is a value, an error or malformed; never a crash, and never a reply to another call.
#include <string_view>
#include <variant>

#include "base/assert.hpp"
#include "wire/json_codec.hpp"
#include "wire/message.hpp"

extern "C" int LLVMFuzzerTestOneInput(const unsigned char* data, std::size_t size) {
  using namespace lair::wire;
  const std::string_view payload(reinterpret_cast<const char*>(data), size);
  for (const Protocol protocol : {Protocol::kOne, Protocol::kTwo}) {
    const CallHeader header{.protocol = protocol, .id = 7, .generation = 3, .command = "f"};
    const Reply reply = decode_reply(header, payload);
    if (const auto* value = std::get_if<Value>(&reply)) {
      // What was let in can be sent on.
      LAIR_ASSERT(encode_json(value->value, "result"));
      CallHeader other = header;
      other.id = 8;
      LAIR_ASSERT(std::holds_alternative<Malformed>(decode_reply(other, payload)));
    }
  }
  (void)decode_started_up(3, payload);
  return 0;
}
