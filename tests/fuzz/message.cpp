// Whatever a worker answers is a value, an error or malformed; never a crash, and never a reply to another call.
// Either codec carries what the other does. Whatever the arguments, protocol 1 carries a session beside them and changes nothing else.
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "base/assert.hpp"
#include "wire/frame.hpp"
#include "wire/json_codec.hpp"
#include "wire/message.hpp"
#include "wire/msgpack.hpp"

namespace {

void check_session(const lair::Json& value) {
  using namespace lair::wire;
  const auto arguments = encode_json(value, "args");
  const CallFrame frame = encode_call({.protocol = Protocol::kOne,
                                       .id = 7,
                                       .generation = 3,
                                       .command = "f",
                                       .session = CallHeader::Session{.id = "u"}},
                                      *arguments);
  std::string problem;
  const auto sent =
      decode_json((frame.head + std::string(frame.arguments) + frame.tail).substr(kHeaderBytes), problem);
  LAIR_ASSERT(sent);
  lair::Json expected = value;
  if (expected.is_object()) expected.emplace("session_id", "u");
  LAIR_ASSERT(sent->at("args") == expected);
}

// Both codecs carry the same values.
void check_codecs(const lair::Json& value) {
  using namespace lair::wire;
  const auto packed = encode_msgpack(value, "result");
  LAIR_ASSERT(packed);
  std::string problem;
  const auto read = decode_msgpack(*packed, problem);
  LAIR_ASSERT(read && *read == value);
}

// What is read straight from a message is what it says.
void check_open(const lair::wire::CallHeader& header, std::string_view payload) {
  using namespace lair::wire;
  std::vector<BlockAt> released;
  if (OpenReply(header, payload).read_release(released)) {
    const Reply reply = decode_reply(header, payload);
    LAIR_ASSERT(std::holds_alternative<Released>(reply));
    LAIR_ASSERT(std::get<Released>(reply).blocks == released);
  }
  ArrayResult array;
  if (OpenReply(header, payload).read_array(array)) {
    const Reply reply = decode_reply(header, payload);
    LAIR_ASSERT(std::holds_alternative<Value>(reply));
    const auto& [value, arrays] = std::get<Value>(reply);
    LAIR_ASSERT(value.is_null() && arrays.size() == 1 && arrays[0].path.empty());
    LAIR_ASSERT(arrays[0].segment == array.segment && arrays[0].block == array.block);
    LAIR_ASSERT(arrays[0].first == array.first && arrays[0].dtype == array.dtype);
    LAIR_ASSERT(arrays[0].shape == array.shape && arrays[0].strides == array.strides);
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const unsigned char* data, std::size_t size) {
  using namespace lair::wire;
  const std::string_view payload(reinterpret_cast<const char*>(data), size);
  for (const Protocol protocol : {Protocol::kOne, Protocol::kTwo}) {
    const CallHeader header{.protocol = protocol, .id = 7, .generation = 3, .command = "f"};
    const Reply reply = decode_reply(header, payload);
    if (const auto* value = std::get_if<Value>(&reply)) {
      // What was let in can be sent on.
      LAIR_ASSERT(encode_json(value->value, "result"));
      check_session(value->value);
      check_codecs(value->value);
      CallHeader other = header;
      other.id = 8;
      LAIR_ASSERT(std::holds_alternative<Malformed>(decode_reply(other, payload)));
    }
  }
  check_open({.id = 7, .generation = 3, .command = "f", .takes_arrays = true}, payload);
  (void)decode_started_up(3, payload);
  return 0;
}
