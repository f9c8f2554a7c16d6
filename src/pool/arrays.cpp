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

// Those of this arena go as they are. Others are copied.
std::optional<Error> add_argument(Arena& arena, const Json& value, const Json& path, CallArrays& arrays) {
  detail::ArrayInJson found = detail::array_in(value);
  detail::ArrayData& array = found.array;
  if (array.memory == nullptr)
    return invalid(path, "is an array that is gone: it must live until the call has been made");
  BlockPtr block = std::dynamic_pointer_cast<Block>(array.memory);
  if (block == nullptr || block->arena() != &arena) {
    if (found.inout)
      return invalid(path, "is inout, and not of this pool's memory: make it by the pool's array()");
    auto copy = arena.allocate(*detail::bytes_of(array.dtype, array.shape));
    if (!copy) return std::move(copy).error();
    block = *std::move(copy);
    detail::copy_elements(block->data(), array);
    array.first = 0;
    array.strides = detail::contiguous_strides(array.dtype, array.shape);
  }
  arrays.arguments.push_back({.where = {.path = path,
                                        .block = block->at(),
                                        .first = array.first,
                                        .dtype = array.dtype,
                                        .shape = std::move(array.shape),
                                        .strides = std::move(array.strides),
                                        .inout = found.inout},
                              .block = block});
  return std::nullopt;
}

std::optional<Error> take_from(Arena& arena, Json& value, Json& path, CallArrays& arrays) {
  if (detail::is_array(value)) {
    auto refusal = add_argument(arena, value, path, arrays);
    value = nullptr;
    return refusal;
  }
  if (!value.is_structured() || path.size() > base::kMostNesting) return std::nullopt;
  std::size_t index = 0;
  for (auto each = value.begin(); each != value.end(); ++each, ++index) {
    if (!each->is_structured() && !each->is_binary()) continue;
    path.push_back(value.is_object() ? Json(each.key()) : Json(index));
    if (auto refusal = take_from(arena, *each, path, arrays)) return refusal;
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

std::optional<Error> take_arguments(Arena& arena, Json& arguments, CallArrays& arrays) {
  Json path = Json::array();
  return take_from(arena, arguments, path, arrays);
}

void write_arrays(Record& record, Arena& arena, CallArrays& arrays, std::string_view command, bool packed) {
  Lent& lent = record.lent;
  arrays.encoded.clear();
  arrays.grant.reset();
  if (arrays.empty() && lent.blocks.empty()) return;
  wire::ArraysOfCall said{.wanted = arrays.taken != nullptr};
  // Lent, for another try may need them.
  for (CallArrays::Argument& argument : arrays.arguments) said.arguments.push_back(std::move(argument.where));
  if (said.wanted) {
    if (const std::size_t bytes = arena.expected(command)) {
      // Where there is none, the worker asks.
      if ((arrays.grant = arena.find(bytes))) said.grant = arrays.grant->at();
    }
  }
  said.dropped = arena.gone(lent.segments);
  for (const std::uint32_t number : said.dropped) std::erase(lent.segments, number);
  arrays.encoded = wire::encode_arrays(said, packed);
  for (std::size_t i = 0; i < arrays.arguments.size(); ++i)
    arrays.arguments[i].where = std::move(said.arguments[i]);
}

void lend(Record& record, CallArrays& arrays) {
  for (const CallArrays::Argument& argument : arrays.arguments) record.lent.lend(argument.block);
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
