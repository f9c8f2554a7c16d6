// Arrays in messages: where they are. A message has null in an array's place, and beside its values a list of which arrays
// belong in which places, so that no value has a second meaning and neither codec has a type more.
//
// Thread-safety: pure functions.
#pragma once

#include <cstdint>
#include <lair/array.hpp>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace lair::wire {

// A block of shared memory: what is lent, and released, as one.
struct BlockAt {
  std::uint32_t segment = 0;
  std::uint64_t offset = 0;
  std::uint64_t size = 0;
  friend bool operator==(const BlockAt&, const BlockAt&) = default;
};

// One among a call's arguments. `path` leads to it: keys and indices, in a JSON array.
struct ArrayArgument {
  Json path;
  BlockAt block;
  std::uint64_t first = 0;  // of the block's bytes
  DType dtype = DType::kUInt8;
  Shape shape;
  Strides strides;  // bytes
  bool inout = false;
};

// What a CALL's meta says of arrays, encoded in the call's codec.
struct ArraysOfCall {
  std::vector<ArrayArgument> arguments;
  bool wanted = false;                 // its result may hold some
  std::optional<BlockAt> grant;        // where there is room for one
  std::vector<std::uint32_t> dropped;  // segments that nothing is in any more
};
std::string encode_arrays(const ArraysOfCall& arrays, bool packed);

// One in a result.
struct ArrayResult {
  std::vector<Json> path;
  std::uint32_t segment = 0;
  std::uint64_t block = 0;  // its offset in the segment
  std::uint64_t first = 0;
  DType dtype = DType::kUInt8;
  Shape shape;
  Strides strides;
};
// Nothing: it isn't [[path, segment, block, first, type, shape, strides or null], …].
std::optional<std::vector<ArrayResult>> decode_array_results(const Json& said);

// What the worker has no view of any more: [[segment, offset], …].
std::optional<std::vector<BlockAt>> decode_released(const Json& said);

// The place in `value` that the path leads to; null: there is none.
Json* place_in(Json& value, std::span<const Json> path);

}  // namespace lair::wire
