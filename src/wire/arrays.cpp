#include "wire/arrays.hpp"

#include "wire/msgpack.hpp"

namespace lair::wire {

namespace {

// More dimensions than numpy has.
constexpr std::size_t kMostDimensions = 64;

Json shape_json(const Shape& shape) {
  Json text = Json::array();
  for (const std::size_t each : shape) text.push_back(each);
  return text;
}

Json argument_json(const ArrayArgument& array) {
  const bool contiguous = array.strides == detail::contiguous_strides(array.dtype, array.shape);
  Json strides;
  if (!contiguous) {
    strides = Json::array();
    for (const std::ptrdiff_t each : array.strides) strides.push_back(each);
  }
  return Json::array({array.path, array.block.segment, array.block.offset, array.block.size, array.first,
                      std::string(array_typestr(array.dtype)), shape_json(array.shape), std::move(strides),
                      array.inout});
}

template <class Number>
bool read(const Json& from, Number& to) {
  if (!from.is_number_unsigned()) return false;
  const auto number = from.get<std::uint64_t>();
  to = static_cast<Number>(number);
  return to == number;
}

bool read_shape(const Json& from, Shape& shape) {
  if (!from.is_array() || from.size() > kMostDimensions) return false;
  shape.resize(from.size());
  for (std::size_t i = 0; i < from.size(); ++i) {
    if (!read(from[i], shape[i])) return false;
  }
  return true;
}

bool read_strides(const Json& from, ArrayResult& array) {
  if (from.is_null()) {
    array.strides = detail::contiguous_strides(array.dtype, array.shape);
    return true;
  }
  if (!from.is_array() || from.size() != array.shape.size()) return false;
  for (const Json& each : from) {
    if (!each.is_number_integer() || (each.is_number_unsigned() && each.get<std::uint64_t>() > PTRDIFF_MAX))
      return false;
    array.strides.push_back(each.get<std::ptrdiff_t>());
  }
  return true;
}

}  // namespace

std::string encode_arrays(const ArraysOfCall& arrays, bool packed) {
  Json in = Json::array();
  for (const ArrayArgument& array : arrays.arguments) in.push_back(argument_json(array));
  Json said = {{"in", std::move(in)}};
  if (arrays.wanted) {
    said["out"] = arrays.grant
                      ? Json::array({arrays.grant->segment, arrays.grant->offset, arrays.grant->size})
                      : Json();
  }
  if (!arrays.dropped.empty()) said["dropped"] = arrays.dropped;
  if (!packed) return said.dump();
  std::string out;
  (void)append_packed_value(out, said, 2);  // there is nothing in it that cannot be sent
  return out;
}

std::optional<std::vector<ArrayResult>> decode_array_results(const Json& said) {
  if (!said.is_array()) return std::nullopt;
  std::vector<ArrayResult> results;
  for (const Json& each : said) {
    if (!each.is_array() || each.size() < 7 || !each[0].is_array() || !each[4].is_string())
      return std::nullopt;
    ArrayResult array{.path = each[0].get_ref<const Json::array_t&>()};
    const auto dtype = dtype_of_typestr(each[4].get_ref<const std::string&>());
    if (!dtype || !read(each[1], array.segment) || !read(each[2], array.block) ||
        !read(each[3], array.first) || !read_shape(each[5], array.shape))
      return std::nullopt;
    array.dtype = *dtype;
    if (!detail::bytes_of(array.dtype, array.shape) || !read_strides(each[6], array)) return std::nullopt;
    results.push_back(std::move(array));
  }
  return results;
}

std::optional<std::vector<BlockAt>> decode_released(const Json& said) {
  if (!said.is_array()) return std::nullopt;
  std::vector<BlockAt> blocks(said.size());
  for (std::size_t i = 0; i < said.size(); ++i) {
    const Json& each = said[i];
    if (!each.is_array() || each.size() < 2 || !read(each[0], blocks[i].segment) ||
        !read(each[1], blocks[i].offset))
      return std::nullopt;
  }
  return blocks;
}

Json* place_in(Json& value, std::span<const Json> path) {
  Json* at = &value;
  for (const Json& step : path) {
    if (at->is_object() && step.is_string()) {
      const auto found = at->find(step.get_ref<const std::string&>());
      if (found == at->end()) return nullptr;
      at = &*found;
    } else if (at->is_array() && step.is_number_unsigned() && step < Json(at->size())) {
      at = &(*at)[step.get<std::size_t>()];
    } else {
      return nullptr;
    }
  }
  return at;
}

}  // namespace lair::wire
