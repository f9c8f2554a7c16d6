#include "wire/arrays.hpp"

#include <array>
#include <lair/typed.hpp>

namespace lair::wire {

namespace {

// More dimensions than numpy has.
constexpr std::size_t kMostDimensions = 64;

void write_argument(detail::ValueWriter& out, const ArrayArgument& array) {
  out.begin_array(9);
  out.element();
  out.json(array.path);
  for (const std::uint64_t each :
       {std::uint64_t{array.block.segment}, array.block.offset, array.block.size, array.first}) {
    out.element();
    out.integer(each);
  }
  out.element();
  out.text(array_typestr(array.dtype));
  out.element();
  detail::write(out, array.shape);
  out.element();
  if (array.strides == detail::contiguous_strides(array.dtype, array.shape)) {
    out.null();
  } else {
    detail::write(out, array.strides);
  }
  out.element();
  out.boolean(array.inout);
  out.end_array();
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
  std::string said;
  detail::ValueWriter out(said, packed, 2);
  out.begin_object(1 + std::size_t{arrays.wanted} + std::size_t{!arrays.dropped.empty()});
  out.key("in");
  out.begin_array(arrays.arguments.size());
  for (const ArrayArgument& array : arrays.arguments) {
    out.element();
    write_argument(out, array);
  }
  out.end_array();
  if (arrays.wanted) {
    out.key("out");
    if (arrays.grant) {
      detail::write(
          out, std::array<std::uint64_t, 3>{arrays.grant->segment, arrays.grant->offset, arrays.grant->size});
    } else {
      out.null();
    }
  }
  if (!arrays.dropped.empty()) {
    out.key("dropped");
    detail::write(out, arrays.dropped);
  }
  out.end_object();
  return said;  // there is nothing in it that cannot be sent
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
