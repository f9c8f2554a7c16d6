// Calls and their replies, in either protocol.
//
// Thread-safety: pure functions.
#pragma once

#include <array>
#include <cstdint>
#include <lair/deadline.hpp>
#include <lair/json.hpp>
#include <optional>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "wire/handshake.hpp"

namespace lair::wire {

struct CallHeader {
  Protocol protocol = Protocol::kTwo;
  std::uint64_t id = 0;
  std::uint64_t generation = 0;
  std::string_view command;
  Duration remaining = kForever;
};

// A call as it goes out, in pieces, so that large arguments are not copied: `head` begins with the frame's
// header. `arguments` is what encode_json made of them and must outlive this.
struct CallFrame {
  std::string head;
  std::string_view arguments;
  std::string tail;

  std::size_t size() const { return head.size() + arguments.size() + tail.size(); }
  // Of the payload, which is what `max_frame` limits.
  std::size_t payload_size() const { return size() - kHeaderBytes; }
};
// The payload must fit in 32 bits.
CallFrame encode_call(const CallHeader& header, std::string_view arguments);

// A whole frame that asks the worker to finish and exit.
std::string encode_shutdown(Protocol protocol, std::uint64_t id, std::uint64_t generation);

struct Value {
  Json value;
};
// The worker answered with an error.
struct Raised {
  enum class Kind : std::uint8_t { kRemote, kUnknownCommand, kInvalidArgument, kUnencodable };
  Kind kind = Kind::kRemote;
  std::string type;
  std::string message;
  std::string traceback;
};
using Reply = std::variant<Value, Raised, Malformed>;

// Reads the reply to the call `header`; anything but that call's reply is Malformed.
Reply decode_reply(const CallHeader& header, std::string_view payload);

// What a starting protocol 2 worker says after its handshake.
struct StartedUp {
  std::vector<std::string> files;  // of its code, if the offer has asked for them
};
std::variant<StartedUp, StartError, Malformed> decode_started_up(std::uint64_t generation,
                                                                 std::string_view payload);

}  // namespace lair::wire
