// A call's arrays on their way to a worker and back: copied into the pool's memory where they are not there, lent to the
// worker for as long as it has a view of them, taken over from its reply.
//
// Thread-safety: `Lent` is with the worker's channel, what a call has is its driver's.
#pragma once

#include <lair/array.hpp>
#include <lair/result.hpp>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "pool/arena.hpp"
#include "wire/message.hpp"

namespace lair::pool {

struct Record;

// What a worker has of the pool's arrays. It ends with the worker's record: when its process is known to be dead.
struct Lent {
  std::map<std::pair<std::uint32_t, std::uint64_t>, BlockPtr> blocks;
  // It has said in this call that it has no view of these any more, which counts from its last frame on: until then a result may
  // be in them.
  std::vector<wire::BlockAt> released;
  std::vector<std::uint32_t> segments;  // that it maps

  void lend(const BlockPtr& block) { blocks[{block->at().segment, block->at().offset}] = block; }
  void settle() {
    for (const wire::BlockAt& each : released) blocks.erase({each.segment, each.offset});
    released.clear();
  }
};

// What a call has of arrays.
struct CallArrays {
  wire::ListedArrays arguments;
  std::vector<BlockPtr> blocks;                // that these are in
  std::shared_ptr<detail::TakenArrays> taken;  // its result may hold some, which are kept here
  // For the worker that has been found.
  std::string encoded;
  BlockPtr grant;  // room for a result

  bool empty() const { return blocks.empty() && taken == nullptr; }
};

// Whether there may be arrays: a look at the arguments themselves, not into them.
bool has_arrays(const Json& arguments);
// Takes arrays out of `arguments`, and leaves null in their places. The error is the call's.
std::optional<Error> take_arguments(Arena& arena, Json& arguments, bool packed, CallArrays& arrays);
// The same of arguments that are arrays themselves.
std::optional<Error> take_arguments(Arena& arena, std::span<const detail::ArrayArgument> arguments,
                                    bool packed, CallArrays& arrays);

// Makes `encoded`, what is said to the worker; empty: it need not be told anything. Once that is about to be sent, `lend`.
void write_arrays(Record& record, Arena& arena, CallArrays& arrays, std::string_view command, bool packed);
void lend(Record& record, CallArrays& arrays);

// After each reply that is not the last: whether it was of arrays only. After the last one, puts the result's into it; then `reply`
// may become Malformed.
bool took_release(Record& record, const wire::Reply& reply);
void take_results(Record& record, Arena& arena, CallArrays& arrays, std::string_view command,
                  wire::Reply& reply);

// Of a last reply: the same for a result that is an array itself and goes straight into `result`. False: take_results is for it.
bool take_array(Record& record, Arena& arena, const CallArrays& arrays, std::string_view command,
                wire::OpenReply& reply, detail::ResultSink& result);

// A worker asks for a segment, or for room for a result. Nothing: it asks for something else.
inline constexpr std::string_view kArrayPrefix = "lair.array.";
inline constexpr std::string_view kAllocateArray = "lair.array.allocate";
std::optional<std::size_t> bytes_asked(const wire::Callback& asked);  // of kAllocateArray
inline Json json_of(const wire::BlockAt& at) { return Json::array({at.segment, at.offset, at.size}); }
struct ArrayAnswer {
  Result<Json> result;
  std::shared_ptr<const os::Segment> segment = {};  // whose descriptor goes with it
};
std::optional<ArrayAnswer> serve_arrays(Record& record, Arena& arena, const wire::Callback& asked);

}  // namespace lair::pool
