// Results that are read straight out of their message, where all of it is as it ordinarily is; decode_reply does the rest.
#include <optional>

#include "wire/message.hpp"
#include "wire/msgpack.hpp"

namespace lair::wire {

namespace {

using detail::ValueReader;

// The kind of a message for `header`, of which its fourth element is to be read next; nothing if there is none.
std::optional<std::uint64_t> open_message(const CallHeader& header, ValueReader& in,
                                          ValueReader::Place& message) {
  const auto next = [&] { return in.element(message) == ValueReader::Next::kOne; };
  const auto number = [&](std::uint64_t& value) {
    ValueReader::Integer read;
    if (!next() || !in.integer(read) || read.negative) return false;
    value = read.amount;
    return true;
  };
  std::uint64_t kind = 0;
  std::uint64_t id = 0;
  std::uint64_t generation = 0;
  const bool fits = in.begin_array(message) && number(kind) && number(id) && id == header.id &&
                    number(generation) && generation == header.generation && next();
  return fits ? std::optional(kind) : std::nullopt;
}

}  // namespace

OpenReply::OpenReply(const CallHeader& header, std::string_view payload)
    : takes_arrays_(header.takes_arrays), in_(payload, is_msgpack(payload)) {
  if (header.protocol == Protocol::kTwo && !header.batch && !header.stream)
    kind_ = open_message(header, in_, message_).value_or(0);
}

bool OpenReply::ends() { return in_.element(message_) == ValueReader::Next::kEnd && in_.done(); }

bool OpenReply::read_value(detail::ResultSink& result) {
  return is(Kind::kResult) && result.read_from(in_) && ends();
}

bool OpenReply::read_array(ArrayResult& array) {
  return is(Kind::kResult) && takes_arrays_ && in_.null() &&
         in_.element(message_) == ValueReader::Next::kOne && read_array_result(in_, array) && ends();
}

bool OpenReply::read_release(std::vector<BlockAt>& released) {
  if (!is(Kind::kRelease)) return false;
  const std::size_t before = released.size();
  if (read_released(in_, released) && ends()) return true;
  released.resize(before);
  return false;
}

std::optional<bool> read_values(const CallHeader& header, std::string_view payload, std::size_t most,
                                detail::ValuesSink& values) {
  if (header.protocol != Protocol::kTwo || !header.batch) return std::nullopt;
  using Next = ValueReader::Next;
  ValueReader in(payload, is_msgpack(payload));
  ValueReader::Place message;
  ValueReader::Place array;
  const auto kind = open_message(header, in, message);
  const bool last = kind == static_cast<std::uint64_t>(Kind::kResult);
  if (!last && kind != static_cast<std::uint64_t>(Kind::kChunk)) return std::nullopt;
  if (!in.begin_array(array)) return std::nullopt;
  Next next = in.element(array);
  for (std::size_t count = 0; next == Next::kOne; next = in.element(array)) {
    if (++count > most || !values.read_from(in)) return std::nullopt;
  }
  if (next != Next::kEnd) return std::nullopt;
  next = in.element(message);
  if (next == Next::kOne) {  // the errors, of which there are to be none
    if (!in.begin_array(array) || in.element(array) != Next::kEnd) return std::nullopt;
    next = in.element(message);
  }
  if (next != Next::kEnd || !in.done()) return std::nullopt;
  return last;
}

}  // namespace lair::wire
