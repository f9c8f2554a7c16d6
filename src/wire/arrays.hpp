// Arrays in messages: where they are. A message has null in an array's place, and beside its values a list of which arrays
// belong in which places, so that no value has a second meaning and neither codec has a type more.
//
// Thread-safety: pure functions.
#pragma once

#include <cstdint>
#include <lair/array.hpp>
#include <lair/value_reader.hpp>
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

// Those among a call's arguments, encoded one after another: the same for each worker that is asked the call.
class ListedArrays {
 public:
  // `path` leads to it: keys and indices, in a JSON array; or one index alone. `array` is within the block, whose beginning is that
  // of its memory.
  void add(bool packed, const Json& path, const BlockAt& block, const detail::ArrayData& array, bool inout);
  std::size_t count() const { return count_; }
  void append_to(std::string& out, bool packed) const;

 private:
  std::string bytes_;
  std::size_t count_ = 0;
  bool packed_ = false;
};

// What a CALL's meta says of arrays, encoded in the call's codec.
struct ArraysOfCall {
  const ListedArrays& arguments;
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

// The same straight from a message. False: it isn't that, or not as it ordinarily is.
bool read_array_result(detail::ValueReader& in, ArrayResult& array);  // of one, whose path is empty
bool read_released(detail::ValueReader& in, std::vector<BlockAt>& blocks);

// The place in `value` that the path leads to; null: there is none.
Json* place_in(Json& value, std::span<const Json> path);

}  // namespace lair::wire
