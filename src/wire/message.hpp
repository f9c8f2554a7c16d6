// Calls and their replies, in either protocol.
//
// Thread-safety: pure functions.
#pragma once

#include <array>
#include <cstdint>
#include <functional>
#include <lair/deadline.hpp>
#include <lair/json.hpp>
#include <lair/result.hpp>
#include <lair/typed_call.hpp>
#include <optional>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "wire/arrays.hpp"
#include "wire/handshake.hpp"

namespace lair::wire {

struct CallHeader {
  Protocol protocol = Protocol::kTwo;
  std::uint64_t id = 0;
  std::uint64_t generation = 0;
  std::string_view command;
  Duration remaining = kForever;
  std::string_view traceparent = {};
  // Encoded. The worker gives it back with each call of a function of the host's; empty: nothing is known of it.
  std::string_view chain = {};
  // Wants a stream, and may be sent so much of it at first.
  struct Credit {
    std::uint64_t items = 0;
    std::uint64_t bytes = 0;
  };
  std::optional<Credit> stream = {};
  // The session that the call belongs to. Protocol 1 carries only the id: `session_id` in arguments that are an object
  // and have none of their own.
  struct Session {
    std::string_view id;
    std::uint64_t number = 0;
    std::string_view affinity = {};  // "prefer", "strict" or "exclusive"
    // Of its values, by now. Says as well that what it tells the store at its end need not be answered.
    std::optional<std::uint64_t> changes = {};
  };
  std::optional<Session> session = {};
  // What `encode_arrays` has made, in the call's codec; empty: nothing is said of arrays.
  std::string_view arrays = {};
  bool takes_arrays = false;  // its result may hold some
  bool batch = false;         // BATCH, whose arguments are an array of them; protocol 2 only
  bool packed = false;  // the call is sent as MessagePack; protocol 2 only, and its arguments are so, too
};

// A call as it goes out, in pieces, so that large arguments are not copied: `head` begins with the frame's
// header. `arguments` is part or all of what encode_json (or encode_msgpack) made of them, which must outlive this.
struct CallFrame {
  std::string head;
  std::string_view arguments;
  std::string tail;
  int fd = -1;  // goes with the first byte

  std::size_t size() const { return head.size() + arguments.size() + tail.size(); }
  // Of the payload, which is what `max_frame` limits.
  std::size_t payload_size() const { return size() - kHeaderBytes; }
};
// The payload must fit in 32 bits.
CallFrame encode_call(const CallHeader& header, std::string_view arguments);
// The same into `frame`, whose memory is used again.
void encode_call(CallFrame& frame, const CallHeader& header, std::string_view arguments);

// Whole frames. This one has the worker end the call, and prove it by that call's last frame.
std::string encode_cancel(std::uint64_t id, std::uint64_t generation);
// The stream may go on for so much more.
std::string encode_credit(std::uint64_t id, std::uint64_t generation, CallHeader::Credit more);
// What a function of the host's has come to.
std::string encode_callback_result(std::uint64_t id, std::uint64_t generation, std::uint64_t number,
                                   const Result<Json>& result);

// A whole frame that asks the worker to finish and exit.
std::string encode_shutdown(Protocol protocol, std::uint64_t id, std::uint64_t generation);

struct Value {
  Json value;
  std::vector<ArrayResult> arrays = {};  // that belong into it, where it has null
};
// The worker answered with an error.
struct Raised {
  enum class Kind : std::uint8_t { kRemote, kUnknownCommand, kInvalidArgument, kUnencodable };
  Kind kind = Kind::kRemote;
  std::string type;
  std::string message;
  std::string traceback;
};
// Part of a stream, and its end.
struct Items {
  std::vector<Json> items;
  std::size_t bytes = 0;  // of credit that it has cost
};
struct Complete {};
// Of a batch: what became of its next items, and whether these were the last.
struct Answers {
  std::vector<Json> values;
  std::vector<std::pair<std::size_t, Raised>> errors;  // in place of the values at these places, in order
  bool last = false;
};
// The call was cancelled, as asked.
struct Cancelled {
  std::size_t begun = 0;  // of a batch: how many items, the cancelled one being the last
};
// In the middle of the call: a function of the host's is to be called.
struct Callback {
  std::uint64_t number = 0;  // 0: of the session's store, which is to be told, and not to answer
  std::string name;
  Json arguments;
};
// Before the last frame: the worker has no view of these any more.
struct Released {
  std::vector<BlockAt> blocks;
};
using Reply = std::variant<Value, Raised, Items, Answers, Complete, Cancelled, Callback, Released, Malformed>;

// The last frame of its call?
inline bool is_final(const Reply& reply) {
  if (const auto* answers = std::get_if<Answers>(&reply)) return answers->last;
  return !std::holds_alternative<Items>(reply) && !std::holds_alternative<Callback>(reply) &&
         !std::holds_alternative<Released>(reply);
}

// Reads what comes for the call `header`, as MessagePack or JSON: the first byte tells. Anything else is Malformed, also items that were not asked for.
Reply decode_reply(const CallHeader& header, std::string_view payload);
// What mostly comes for the call `header`, read straight from the message: one of these at most. False: decode_reply says what it is.
class OpenReply {
 public:
  OpenReply(const CallHeader& header, std::string_view payload);
  // A RESULT whose value fits.
  bool read_value(detail::ResultSink& result);
  // A RESULT that is an array itself, and nothing else.
  bool read_array(ArrayResult& array);
  // A RELEASE, whose blocks are appended.
  bool read_release(std::vector<BlockAt>& released);

 private:
  bool is(Kind kind) const { return kind_ == static_cast<std::uint64_t>(kind); }
  bool ends();

  const bool takes_arrays_;
  detail::ValueReader in_;
  detail::ValueReader::Place message_;
  std::uint64_t kind_ = 0;  // 0: none that is read here
};
// Of a batch: whether these are its last outcomes, if each of them is a value that `values` takes, and there are at most so many.
// Nothing: decode_reply says what it is.
std::optional<bool> read_values(const CallHeader& header, std::string_view payload, std::size_t most,
                                detail::ValuesSink& values);
// As decode_reply, for a call that is answered at once or not at all: anything but a value or an error is Malformed.
using PlainReply = std::variant<Value, Raised, Malformed>;
PlainReply decode_plain_reply(const CallHeader& header, std::string_view payload);
// The same for one of several calls. `find`: the header of the call with this id, or null.
struct Addressed {
  std::uint64_t id = 0;
  Reply reply;
};
Addressed decode_addressed(std::uint64_t generation,
                           const std::function<const CallHeader*(std::uint64_t id)>& find,
                           std::string_view payload);

// What a starting protocol 2 worker says after its handshake.
struct StartedUp {
  std::vector<std::string> files;  // of its code, if the offer has asked for them
};
std::variant<StartedUp, StartError, Malformed> decode_started_up(std::uint64_t generation,
                                                                 std::string_view payload);

}  // namespace lair::wire
