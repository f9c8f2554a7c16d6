#include "wire/arrays.hpp"

#include <algorithm>
#include <array>
#include <lair/typed.hpp>

#include "base/assert.hpp"
#include "wire/json_codec.hpp"
#include "wire/msgpack.hpp"

namespace lair::wire {

namespace {

using detail::ValueReader;
using Next = ValueReader::Next;

// More dimensions than numpy has.
constexpr std::size_t kMostDimensions = 64;

// is_contiguous takes no notice of strides that lead nowhere, which are told, too.
bool has_usual_strides(const detail::ArrayData& array) {
  auto step = static_cast<std::ptrdiff_t>(size_of(array.dtype));
  for (std::size_t i = array.shape.size(); i-- > 0;) {
    if (array.strides[i] != step) return false;
    step *= static_cast<std::ptrdiff_t>(std::max<std::size_t>(array.shape[i], 1));
  }
  return true;
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

void ListedArrays::add(bool packed, const Json& path, const BlockAt& block, const detail::ArrayData& array,
                       bool inout) {
  packed_ = packed;
  if (count_++ > 0 && !packed) bytes_ += ',';
  detail::ValueWriter out(bytes_, packed, 4);
  out.begin_array(9);
  out.element();
  if (path.is_array()) {
    out.json(path);
  } else {
    out.begin_array(1);
    out.element();
    out.json(path);
    out.end_array();
  }
  for (const std::uint64_t each :
       {std::uint64_t{block.segment}, block.offset, block.size, std::uint64_t{array.first}}) {
    out.element();
    out.integer(each);
  }
  out.element();
  out.text(array_typestr(array.dtype));
  out.element();
  detail::write(out, array.shape);
  out.element();
  if (has_usual_strides(array)) {
    out.null();
  } else {
    detail::write(out, array.strides);
  }
  out.element();
  out.boolean(inout);
  out.end_array();
}

void ListedArrays::append_to(std::string& out, bool packed) const {
  detail::ValueWriter list(out, packed, 3);
  if (packed == packed_ || count_ == 0) {
    list.begin_array(count_);
    out += bytes_;
    list.end_array();
    return;
  }
  // The worker that has been found reads something else.
  std::string own;
  append_to(own, packed_);
  std::string problem;
  const auto value = packed_ ? decode_msgpack(own, problem) : decode_json(own, problem);
  LAIR_ASSERT(value);  // its own work
  list.json(*value);
}

std::string encode_arrays(const ArraysOfCall& arrays, bool packed) {
  std::string said;
  detail::ValueWriter out(said, packed, 2);
  out.begin_object(1 + std::size_t{arrays.wanted} + std::size_t{!arrays.dropped.empty()});
  out.key("in");
  arrays.arguments.append_to(said, packed);
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

bool read_array_result(detail::ValueReader& in, ArrayResult& array) {
  ValueReader::Place list, parts, path;
  const auto next = [&] { return in.element(parts) == Next::kOne; };
  const auto is_empty = [&] { return in.begin_array(path) && in.element(path) == Next::kEnd; };
  std::string type;
  const bool is_one = in.begin_array(list) && in.element(list) == Next::kOne && in.begin_array(parts) &&
                      next() && is_empty() && next() && detail::read(in, array.segment) && next() &&
                      detail::read(in, array.block) && next() && detail::read(in, array.first) && next() &&
                      in.text(type) && next() && detail::read(in, array.shape) && next();
  const auto dtype = is_one ? dtype_of_typestr(type) : std::nullopt;
  if (!dtype || array.shape.size() > kMostDimensions || !detail::bytes_of(*dtype, array.shape)) return false;
  array.dtype = *dtype;
  if (in.null()) {
    array.strides = detail::contiguous_strides(array.dtype, array.shape);
  } else if (!detail::read(in, array.strides) || array.strides.size() != array.shape.size()) {
    return false;
  }
  return in.element(parts) == Next::kEnd && in.element(list) == Next::kEnd;
}

bool read_released(detail::ValueReader& in, std::vector<BlockAt>& blocks) {
  ValueReader::Place list, place;
  if (!in.begin_array(list)) return false;
  for (;;) {
    const Next what = in.element(list);
    if (what != Next::kOne) return what == Next::kEnd;
    BlockAt& block = blocks.emplace_back();
    if (!in.begin_array(place) || in.element(place) != Next::kOne || !detail::read(in, block.segment) ||
        in.element(place) != Next::kOne || !detail::read(in, block.offset) || in.element(place) != Next::kEnd)
      return false;
  }
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
