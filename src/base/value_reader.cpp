#include "lair/value_reader.hpp"

#include <charconv>
#include <cmath>
#include <cstring>

#include "lair/value_writer.hpp"

namespace lair::detail {

namespace {

bool is_digit(char c) { return c >= '0' && c <= '9'; }

double to_double(const ValueReader::Integer& value) {
  const auto amount = static_cast<double>(value.amount);
  return value.negative && value.amount != 0 ? -amount : amount;
}

void append_utf8(std::string& text, std::uint32_t code) {
  const auto put = [&](std::uint32_t byte) { text += static_cast<char>(byte); };
  if (code < 0x80) {
    put(code);
  } else if (code < 0x800) {
    put(0xc0 | code >> 6);
    put(0x80 | (code & 0x3f));
  } else if (code < 0x10000) {
    put(0xe0 | code >> 12);
    put(0x80 | (code >> 6 & 0x3f));
    put(0x80 | (code & 0x3f));
  } else {
    put(0xf0 | code >> 18);
    put(0x80 | (code >> 12 & 0x3f));
    put(0x80 | (code >> 6 & 0x3f));
    put(0x80 | (code & 0x3f));
  }
}

}  // namespace

// --- Both ---------------------------------------------------------------------------------------------

bool ValueReader::null() {
  if (!packed_) return space(), literal("null");
  if (left() == 0 || peek() != 0xc0) return false;
  ++at_;
  return true;
}

bool ValueReader::boolean(bool& value) {
  if (!packed_) {
    space();
    value = left() > 0 && *at_ == 't';
    return literal(value ? "true" : "false");
  }
  if (left() == 0 || (peek() != 0xc2 && peek() != 0xc3)) return false;
  value = peek() == 0xc3;
  ++at_;
  return true;
}

bool ValueReader::integer(Integer& value) {
  if (packed_) return left() > 0 && packed_integer(static_cast<unsigned char>(*at_++), value);
  std::string_view text;
  bool whole = false;
  if (!digits(text, whole) || !whole) return false;
  value.negative = text.front() == '-';
  if (value.negative) text.remove_prefix(1);
  const char* const end = text.data() + text.size();
  if (std::from_chars(text.data(), end, value.amount).ec != std::errc()) return false;
  return !value.negative || value.amount <= std::uint64_t{1} << 63;
}

bool ValueReader::number(double& value) {
  if (packed_) return left() > 0 && packed_number(static_cast<unsigned char>(*at_++), value);
  std::string_view text;
  bool whole = false;
  const char* const begin = (space(), at_);
  if (!digits(text, whole)) return false;
  if (whole && text.size() < 19) {
    Integer number;
    at_ = begin;
    if (!integer(number)) return false;
    value = to_double(number);
    return true;
  }
  const auto read = std::from_chars(text.data(), text.data() + text.size(), value);
  return read.ec == std::errc() && std::isfinite(value);
}

bool ValueReader::text(std::string& value) {
  if (packed_) {
    std::string_view text;
    if (!packed_text(text)) return false;
    value.assign(text);
    return true;
  }
  space();
  std::string_view text;
  if (!quoted(text, value)) return false;
  if (text.data() != value.data()) value.assign(text);
  return true;
}

bool ValueReader::begin(unsigned fixed, unsigned wide, char open, std::size_t least, Place& place) {
  if (!packed_) space();
  if (left() == 0 || depth_ == kMostLevels) return false;
  ++depth_;
  place = {};
  if (!packed_) {
    place.most = left();
    return *at_++ == open;
  }
  const unsigned char type = peek();
  ++at_;
  std::uint64_t count = type & 0x0fu;
  if (type == wide || type == wide + 1) {
    if (!big_endian(type == wide ? 2 : 4, count)) return false;
  } else if ((type & 0xf0u) != fixed) {
    return false;
  }
  place.most = count;
  return count <= left() / least;
}

ValueReader::Next ValueReader::next(Place& place, char close) {
  if (packed_) {
    if (place.most > 0) return --place.most, Next::kOne;
    --depth_;
    return Next::kEnd;
  }
  space();
  if (at_ == end_) return Next::kBad;
  if (*at_ == close) {
    ++at_;
    --depth_;
    return Next::kEnd;
  }
  if (place.first) {
    place.first = false;
    return Next::kOne;
  }
  if (*at_ != ',') return Next::kBad;
  ++at_;
  space();
  return at_ != end_ && *at_ != close ? Next::kOne : Next::kBad;
}

ValueReader::Next ValueReader::member(Place& place, std::string_view& name) {
  const Next what = next(place, '}');
  if (what != Next::kOne) return what;
  if (packed_) return packed_text(name) ? Next::kOne : Next::kBad;
  space();
  if (!quoted(name, scratch_)) return Next::kBad;
  space();
  if (at_ == end_ || *at_ != ':') return Next::kBad;
  ++at_;
  return Next::kOne;
}

bool ValueReader::json(Json& value) {
  bool good = true;
  value = any(good);
  return good;
}

Json ValueReader::any(bool& good) {
  if (!packed_) space();
  const auto bad = [&] {
    good = false;
    return Json();
  };
  if (left() == 0) return bad();
  Place place;
  const char first = *at_;
  const unsigned type = peek();
  if (packed_ ? (type & 0xf0) == 0x90 || type == 0xdc || type == 0xdd : first == '[') {
    if (!begin_array(place)) return bad();
    Json::array_t elements;
    if (packed_) elements.reserve(place.most < 4096 ? place.most : 4096);
    for (;;) {
      const Next what = element(place);
      if (what == Next::kBad) return bad();
      if (what == Next::kEnd) return elements;
      elements.push_back(any(good));
      if (!good) return {};
    }
  }
  if (packed_ ? (type & 0xf0) == 0x80 || type == 0xde || type == 0xdf : first == '{') {
    if (!begin_object(place)) return bad();
    Json::object_t members;
    std::string_view name;
    for (;;) {
      const Next what = member(place, name);
      if (what == Next::kBad) return bad();
      if (what == Next::kEnd) return members;
      std::string key(name);
      members.insert_or_assign(std::move(key), any(good));
      if (!good) return {};
    }
  }
  if (packed_ ? (type & 0xe0) == 0xa0 || (type >= 0xd9 && type <= 0xdb) : first == '"') {
    std::string_view plain;
    if (packed_ ? !packed_text(plain) : !quoted(plain, scratch_)) return bad();
    return std::string(plain);
  }
  if (packed_ ? type == 0xc0 : first == 'n') return null() ? Json() : bad();
  if (packed_ ? type == 0xc2 || type == 0xc3 : first == 't' || first == 'f') {
    bool truth = false;
    return boolean(truth) ? Json(truth) : bad();
  }
  const char* const begin = at_;
  if (Integer whole; integer(whole)) {
    if (whole.negative) return static_cast<std::int64_t>(0 - whole.amount);
    return whole.amount;
  }
  at_ = begin;
  double real = 0;
  return number(real) ? Json(real) : bad();
}

bool ValueReader::skip() {
  if (!packed_) space();
  if (left() == 0) return false;
  Place place;
  const char first = *at_;
  const unsigned type = peek();
  if (packed_ ? (type & 0xf0) == 0x90 || type == 0xdc || type == 0xdd : first == '[') {
    if (!begin_array(place)) return false;
    for (;;) {
      const Next what = element(place);
      if (what != Next::kOne) return what == Next::kEnd;
      if (!skip()) return false;
    }
  }
  if (packed_ ? (type & 0xf0) == 0x80 || type == 0xde || type == 0xdf : first == '{') {
    if (!begin_object(place)) return false;
    std::string_view name;
    for (;;) {
      const Next what = member(place, name);
      if (what != Next::kOne) return what == Next::kEnd;
      if (!skip()) return false;
    }
  }
  std::string_view unused;
  if (packed_ ? (type & 0xe0) == 0xa0 || (type >= 0xd9 && type <= 0xdb) : first == '"')
    return packed_ ? packed_text(unused) : quoted(unused, scratch_);
  if (packed_ ? type == 0xc0 : first == 'n') return null();
  bool truth = false;
  if (packed_ ? type == 0xc2 || type == 0xc3 : first == 't' || first == 'f') return boolean(truth);
  double real = 0;
  return number(real);
}

// --- JSON -----------------------------------------------------------------------------------------------

bool ValueReader::literal(std::string_view word) {
  if (left() < word.size() || std::memcmp(at_, word.data(), word.size()) != 0) return false;
  at_ += word.size();
  return true;
}

bool ValueReader::digits(std::string_view& text, bool& whole) {
  space();
  const char* const begin = at_;
  const auto some = [&] {
    if (at_ == end_ || !is_digit(*at_)) return false;
    while (at_ != end_ && is_digit(*at_)) ++at_;
    return true;
  };
  if (at_ != end_ && *at_ == '-') ++at_;
  if (at_ != end_ && *at_ == '0') {
    ++at_;
  } else if (!some()) {
    return false;
  }
  whole = true;
  if (at_ != end_ && *at_ == '.') {
    whole = false;
    ++at_;
    if (!some()) return false;
  }
  if (at_ != end_ && (*at_ == 'e' || *at_ == 'E')) {
    whole = false;
    ++at_;
    if (at_ != end_ && (*at_ == '+' || *at_ == '-')) ++at_;
    if (!some()) return false;
  }
  text = {begin, static_cast<std::size_t>(at_ - begin)};
  return true;
}

bool ValueReader::quoted(std::string_view& text, std::string& spelt) {
  if (left() == 0 || *at_ != '"') return false;
  ++at_;
  const auto plain = [&] {
    const char* const begin = at_;
    bool ascii = true;
    while (at_ != end_ && *at_ != '"' && *at_ != '\\') {
      const unsigned char c = peek();
      if (c < 0x20) break;
      ascii = ascii && c < 0x80;
      ++at_;
    }
    text = {begin, static_cast<std::size_t>(at_ - begin)};
    return at_ != end_ && peek() >= 0x20 && (ascii || is_utf8(text));
  };
  if (!plain()) return false;
  if (*at_ == '"') {
    ++at_;
    return true;
  }
  spelt.assign(text);
  while (*at_ != '"') {
    ++at_;
    if (!escape(spelt) || !plain()) return false;
    spelt += text;
  }
  ++at_;
  text = spelt;
  return true;
}

bool ValueReader::hex(std::uint32_t& value) {
  if (left() < 4) return false;
  const auto read = std::from_chars(at_, at_ + 4, value, 16);
  if (read.ec != std::errc() || read.ptr != at_ + 4) return false;
  at_ += 4;
  return true;
}

bool ValueReader::escape(std::string& spelt) {
  if (left() == 0) return false;
  switch (*at_++) {
    case '"':
      return spelt += '"', true;
    case '\\':
      return spelt += '\\', true;
    case '/':
      return spelt += '/', true;
    case 'b':
      return spelt += '\b', true;
    case 'f':
      return spelt += '\f', true;
    case 'n':
      return spelt += '\n', true;
    case 'r':
      return spelt += '\r', true;
    case 't':
      return spelt += '\t', true;
    case 'u':
      break;
    default:
      return false;
  }
  std::uint32_t code = 0;
  if (!hex(code) || (code >= 0xdc00 && code < 0xe000)) return false;
  if (code >= 0xd800 && code < 0xdc00) {
    std::uint32_t low = 0;
    if (!literal("\\u") || !hex(low) || low < 0xdc00 || low >= 0xe000) return false;
    code = 0x10000 + ((code - 0xd800) << 10) + (low - 0xdc00);
  }
  append_utf8(spelt, code);
  return true;
}

// --- MessagePack ----------------------------------------------------------------------------------------

bool ValueReader::big_endian(std::size_t width, std::uint64_t& value) {
  if (left() < width) return false;
  value = 0;
  for (; width > 0; --width) value = value << 8 | static_cast<unsigned char>(*at_++);
  return true;
}

bool ValueReader::packed_text(std::string_view& text) {
  if (left() == 0) return false;
  const unsigned char type = peek();
  ++at_;
  std::uint64_t size = type & 0x1fu;
  if (type >= 0xd9 && type <= 0xdb) {
    if (!big_endian(std::size_t{1} << (type - 0xd9), size)) return false;
  } else if ((type & 0xe0) != 0xa0) {
    return false;
  }
  if (size > left()) return false;
  text = {at_, static_cast<std::size_t>(size)};
  at_ += size;
  return is_utf8(text);
}

bool ValueReader::packed_integer(unsigned char type, Integer& value) {
  if (type < 0x80) {
    value = {.amount = type};
    return true;
  }
  std::int64_t number = static_cast<std::int8_t>(type);
  if (type >= 0xcc && type <= 0xcf) {
    value.negative = false;
    return big_endian(std::size_t{1} << (type - 0xcc), value.amount);
  }
  if (type >= 0xd0 && type <= 0xd3) {
    const std::size_t width = std::size_t{1} << (type - 0xd0);
    std::uint64_t bits = 0;
    if (!big_endian(width, bits)) return false;
    const std::size_t unused = 64 - 8 * width;
    number = static_cast<std::int64_t>(bits << unused) >> unused;
  } else if (type < 0xe0) {
    return false;
  }
  value.negative = number < 0;
  value.amount = number < 0 ? 0 - static_cast<std::uint64_t>(number) : static_cast<std::uint64_t>(number);
  return true;
}

bool ValueReader::packed_number(unsigned char type, double& value) {
  std::uint64_t bits = 0;
  if (type == 0xcb) {
    if (!big_endian(8, bits)) return false;
    std::memcpy(&value, &bits, sizeof value);
    return std::isfinite(value);
  }
  if (type == 0xca) {
    if (!big_endian(4, bits)) return false;
    const auto narrow_bits = static_cast<std::uint32_t>(bits);
    float narrow = 0;
    std::memcpy(&narrow, &narrow_bits, sizeof narrow);
    value = narrow;
    return std::isfinite(value);
  }
  Integer whole;
  if (!packed_integer(type, whole)) return false;
  value = to_double(whole);
  return true;
}

}  // namespace lair::detail
