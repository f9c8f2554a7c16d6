#include "wire/packed_call.hpp"

#include "wire/json_codec.hpp"
#include "wire/msgpack.hpp"

namespace lair::wire {

void append_packed_head(std::string& head, const CallHeader& header) {
  append_packed_array(head, 6);
  append_packed(head, static_cast<std::uint64_t>(header.batch ? Kind::kBatch : Kind::kCall));
  append_packed(head, header.id);
  append_packed(head, header.generation);
  append_packed(head, header.command);
}

void append_packed_meta(std::string& tail, const CallHeader& header) {
  const std::size_t map = tail.size();
  std::size_t count = 0;
  const auto key = [&](std::string_view name) {
    append_packed(tail, name);
    ++count;
  };
  append_packed_map(tail, 0);
  if (header.remaining != kForever) {
    key("ms");
    // Rounded down: the worker should never believe that it has longer than the caller will wait.
    append_packed(tail, static_cast<std::uint64_t>(header.remaining.count() / 1'000'000));
  }
  if (!header.traceparent.empty()) {
    key("traceparent");
    append_packed(tail, header.traceparent);
  }
  if (!header.chain.empty()) {
    std::string problem;
    const auto chain = decode_json(header.chain, problem);
    if (auto packed = encode_msgpack(chain.value_or(Json()), "the chain")) {
      key("chain");
      tail += *packed;
    }
  }
  if (header.session) {
    key("session");
    append_packed(tail, header.session->id);
    key("session_number");
    append_packed(tail, header.session->number);
    key("affinity");
    append_packed(tail, header.session->affinity);
    if (header.session->changes) {
      key("session_changes");
      append_packed(tail, *header.session->changes);
    }
  }
  if (!header.arrays.empty()) {
    key("arrays");
    tail += header.arrays;
  }
  if (header.stream) {
    key("stream");
    append_packed_array(tail, 2);
    append_packed(tail, header.stream->items);
    append_packed(tail, header.stream->bytes);
  }
  tail[map] = static_cast<char>(0x80 | count);
}

}  // namespace lair::wire
