#include "pool/arrays.hpp"

#include <algorithm>
#include <utility>

#include "base/json_codec.hpp"
#include "pool/record.hpp"

namespace lair::pool {

namespace {

Error invalid(const Json& path, std::string what) {
  std::string place = "argument";
  for (const Json& step : path) place += '[' + step.dump() + ']';
  return {.kind = ErrorKind::kInvalidArgument,
          .delivery = Delivery::kNotSent,
          .message = place + ' ' + std::move(what)};
}

// Those of this arena go as they are. Others are copied. `path` as wire::ListedArrays has it.
std::optional<Error> add_argument(Arena& arena, const detail::ArrayData& array, bool inout, const Json& path,
                                  bool packed, CallArrays& arrays) {
  if (!detail::fits(array))
    return invalid(path, "is an array that is gone: it must live until the call has been made");
  if (auto block = std::dynamic_pointer_cast<Block>(array.memory); block && block->arena() == &arena) {
    arrays.arguments.add(packed, path, block->at(), array, inout);
    arrays.blocks.push_back(std::move(block));
    return std::nullopt;
  }
  if (inout) return invalid(path, "is inout, and not of this pool's memory: make it by the pool's array()");
  auto copy = arena.allocate(*detail::bytes_of(array.dtype, array.shape));
  if (!copy) return std::move(copy).error();
  const BlockPtr block = *std::move(copy);
  detail::copy_elements(block->data(), array);
  const detail::ArrayData copied{.memory = block,
                                 .dtype = array.dtype,
                                 .shape = array.shape,
                                 .strides = detail::contiguous_strides(array.dtype, array.shape)};
  arrays.arguments.add(packed, path, block->at(), copied, inout);
  arrays.blocks.push_back(block);
  return std::nullopt;
}

std::optional<Error> take_from(Arena& arena, Json& value, Json& path, bool packed, CallArrays& arrays) {
  if (detail::is_array(value)) {
    const detail::ArrayInJson found = detail::array_in(value);
    value = nullptr;
    return add_argument(arena, found.array, found.inout, path, packed, arrays);
  }
  if (!value.is_structured() || path.size() > base::kMostNesting) return std::nullopt;
  std::size_t index = 0;
  for (auto each = value.begin(); each != value.end(); ++each, ++index) {
    if (!each->is_structured() && !each->is_binary()) continue;
    path.push_back(value.is_object() ? Json(each.key()) : Json(index));
    if (auto refusal = take_from(arena, *each, path, packed, arrays)) return refusal;
    path.erase(path.size() - 1);
  }
  return std::nullopt;
}

std::optional<std::size_t> number_at(const Json& object, const char* key) {
  const auto found = object.is_object() ? object.find(key) : object.end();
  if (found == object.end() || !found->is_number_unsigned()) return std::nullopt;
  return found->get<std::size_t>();
}

}  // namespace

bool has_arrays(const Json& arguments) {
  return std::any_of(arguments.begin(), arguments.end(), [](const Json& each) { return each.is_binary(); });
}

std::optional<Error> take_arguments(Arena& arena, Json& arguments, bool packed, CallArrays& arrays) {
  Json path = Json::array();
  return take_from(arena, arguments, path, packed, arrays);
}

std::optional<Error> take_arguments(Arena& arena, std::span<const detail::ArrayArgument> arguments,
                                    bool packed, CallArrays& arrays) {
  for (const detail::ArrayArgument& each : arguments) {
    if (auto refusal = add_argument(arena, *each.array, each.inout, each.index, packed, arrays))
      return refusal;
  }
  return std::nullopt;
}

void write_arrays(Record& record, Arena& arena, CallArrays& arrays, std::string_view command, bool packed) {
  Lent& lent = record.lent;
  arrays.encoded.clear();
  arrays.grant.reset();
  if (arrays.empty() && lent.blocks.empty()) return;
  wire::ArraysOfCall said{.arguments = arrays.arguments, .wanted = arrays.taken != nullptr};
  if (said.wanted) {
    if (const std::size_t bytes = arena.expected(command)) {
      // Where there is none, the worker asks.
      if ((arrays.grant = arena.find(bytes))) said.grant = arrays.grant->at();
    }
  }
  said.dropped = arena.gone(lent.segments);
  for (const std::uint32_t number : said.dropped) std::erase(lent.segments, number);
  arrays.encoded = wire::encode_arrays(said, packed);
}

void lend(Record& record, CallArrays& arrays) {
  for (const BlockPtr& block : arrays.blocks) record.lent.lend(block);
  if (arrays.grant) record.lent.lend(std::exchange(arrays.grant, nullptr));
}

bool took_release(Record& record, const wire::Reply& reply) {
  const auto* released = std::get_if<wire::Released>(&reply);
  if (released == nullptr) return false;
  auto& all = record.lent.released;
  all.insert(all.end(), released->blocks.begin(), released->blocks.end());
  return true;
}

void take_results(Record& record, Arena& arena, CallArrays& arrays, std::string_view command,
                  wire::Reply& reply) {
  Lent& lent = record.lent;
  if (auto* value = std::get_if<wire::Value>(&reply); value != nullptr && !value->arrays.empty()) {
    std::size_t most = 0;
    for (wire::ArrayResult& each : value->arrays) {
      const auto block = lent.blocks.find({each.segment, each.block});
      Json* const place = wire::place_in(value->value, each.path);
      detail::ArrayData array{.memory = block == lent.blocks.end() ? nullptr : block->second,
                              .first = each.first,
                              .dtype = each.dtype,
                              .shape = std::move(each.shape),
                              .strides = std::move(each.strides)};
      if (arrays.taken == nullptr || place == nullptr || !place->is_null() || !detail::fits(array)) {
        reply = wire::Malformed{"a result with an array that is not where it may be"};
        lent.settle();
        return;
      }
      *place = detail::array_as_json(array, false);
      most = std::max(most, array.memory->size());
      const std::lock_guard lock(arrays.taken->mutex);
      arrays.taken->kept.push_back(std::move(array.memory));
    }
    arena.expect(command, most);
  }
  lent.settle();
}

bool take_array(Record& record, Arena& arena, const CallArrays& arrays, std::string_view command,
                wire::OpenReply& reply, detail::ResultSink& result) {
  Lent& lent = record.lent;
  wire::ArrayResult said;
  if (arrays.taken == nullptr || !reply.read_array(said) || said.dtype != result.array_type()) return false;
  const auto block = lent.blocks.find({said.segment, said.block});
  if (block == lent.blocks.end()) return false;
  detail::ArrayData array{.memory = block->second,
                          .first = said.first,
                          .dtype = said.dtype,
                          .shape = std::move(said.shape),
                          .strides = std::move(said.strides)};
  if (!detail::fits(array)) return false;
  arena.expect(command, array.memory->size());
  result.keep_array(std::move(array));
  return true;
}

std::optional<std::size_t> bytes_asked(const wire::Callback& asked) {
  return number_at(asked.arguments, "bytes");
}

std::optional<ArrayAnswer> serve_arrays(Record& record, Arena& arena, const wire::Callback& asked) {
  if (!asked.name.starts_with(kArrayPrefix) || !record.announcement->arrays) return std::nullopt;
  if (asked.name == "lair.array.segment") {
    const auto wanted = number_at(asked.arguments, "segment");
    auto segment =
        wanted && *wanted <= 0xffff'ffffu ? arena.segment(static_cast<std::uint32_t>(*wanted)) : nullptr;
    if (segment != nullptr) {
      auto& mapped = record.lent.segments;
      const auto one = static_cast<std::uint32_t>(*wanted);
      if (std::find(mapped.begin(), mapped.end(), one) == mapped.end()) mapped.push_back(one);
      return ArrayAnswer{.result = Json{{"size", segment->size()}}, .segment = std::move(segment)};
    }
  } else if (asked.name == kAllocateArray) {
    if (const auto bytes = bytes_asked(asked)) {
      const auto block = arena.allocate(*bytes);
      if (!block) return ArrayAnswer{.result = block.error()};
      record.lent.lend(*block);
      return ArrayAnswer{.result = json_of((*block)->at())};
    }
  }
  return ArrayAnswer{.result = Error{.kind = ErrorKind::kInvalidArgument,
                                     .delivery = Delivery::kNotSent,
                                     .message = "the host has no such array memory to give: " + asked.name}};
}

}  // namespace lair::pool
