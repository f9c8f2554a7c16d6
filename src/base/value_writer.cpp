#include "lair/value_writer.hpp"

#include <cmath>
#include <cstring>

#include "base/json_codec.hpp"

namespace lair::detail {

static_assert(kMostLevels == base::kMostNesting);

bool is_utf8(std::string_view text) {
  const auto* at = reinterpret_cast<const unsigned char*>(text.data());
  const unsigned char* const end = at + text.size();
  const auto follows = [&](std::ptrdiff_t count) {
    if (end - at <= count) return false;
    for (std::ptrdiff_t i = 1; i <= count; ++i) {
      if ((at[i] & 0xc0) != 0x80) return false;
    }
    return true;
  };
  while (at != end) {
    std::uint64_t eight = 0;
    if (end - at >= 8 && (std::memcpy(&eight, at, 8), (eight & 0x8080808080808080u) == 0)) {
      at += 8;
    } else if (*at < 0x80) {
      at += 1;
    } else if (*at >= 0xc2 && *at < 0xe0) {
      if (!follows(1)) return false;
      at += 2;
    } else if ((*at & 0xf0) == 0xe0) {
      if (!follows(2) || (*at == 0xe0 && at[1] < 0xa0) || (*at == 0xed && at[1] >= 0xa0)) return false;
      at += 3;
    } else if (*at >= 0xf0 && *at < 0xf5) {
      if (!follows(3) || (*at == 0xf0 && at[1] < 0x90) || (*at == 0xf4 && at[1] >= 0x90)) return false;
      at += 4;
    } else {
      return false;
    }
  }
  return true;
}

// --- Both ---------------------------------------------------------------------------------------------

void ValueWriter::number(double value) {
  if (!std::isfinite(value)) {
    ok_ = false;
  } else if (packed_) {
    std::uint64_t bits = 0;
    std::memcpy(&bits, &value, sizeof bits);
    put(0xcb, bits, 8);
  } else {
    char text[32];
    char* end = std::to_chars(text, text + sizeof text, value).ptr;
    out_.append(text, end);
    // A float stays one: Python has two kinds of numbers.
    if (std::string_view(text, static_cast<std::size_t>(end - text)).find_first_of(".e") ==
        std::string_view::npos) {
      out_ += ".0";
    }
  }
}

void ValueWriter::text(std::string_view value) {
  if (!is_utf8(value)) {
    ok_ = false;
  } else if (packed_) {
    pack_length(value.size(), 0xa0, 32, 0xd9, 0xda);
    out_ += value;
  } else {
    quote(value);
  }
}

void ValueWriter::key(std::string_view name) {
  if (packed_) return text(name);
  comma();
  text(name);
  out_ += ':';
}

void ValueWriter::begin(std::size_t count, unsigned fixed, unsigned wide, char open) {
  if (depth_ >= kMostLevels) ok_ = false;
  ++depth_;
  if (packed_) {
    pack_length(count, fixed, 16, 0, wide);
  } else {
    out_ += open;
    first_ = true;
  }
}

void ValueWriter::end(char close) {
  --depth_;
  if (packed_) return;
  out_ += close;
  first_ = false;
}

void ValueWriter::json(const Json& value) {
  if (!ok_) return;
  switch (value.type()) {
    case Json::value_t::null:
      return null();
    case Json::value_t::boolean:
      return boolean(value.get<bool>());
    case Json::value_t::number_unsigned:
      return integer(value.get<std::uint64_t>());
    case Json::value_t::number_integer:
      return integer(value.get<std::int64_t>());
    case Json::value_t::number_float:
      return number(value.get<double>());
    case Json::value_t::string:
      return text(value.get_ref<const std::string&>());
    case Json::value_t::array:
      begin_array(value.size());
      if (!ok_) return;
      for (const Json& one : value) {
        element();
        json(one);
      }
      return end_array();
    case Json::value_t::object:
      begin_object(value.size());
      if (!ok_) return;
      for (auto member = value.begin(); member != value.end(); ++member) {
        key(member.key());
        json(*member);
      }
      return end_object();
    default:
      ok_ = false;
  }
}

// --- JSON -----------------------------------------------------------------------------------------------

void ValueWriter::quote(std::string_view value) {
  static constexpr char kHex[] = "0123456789abcdef";
  out_ += '"';
  std::size_t plain = 0;  // what is copied as it is begins here
  for (std::size_t i = 0; i < value.size(); ++i) {
    const auto c = static_cast<unsigned char>(value[i]);
    if (c >= 0x20 && c != '"' && c != '\\') continue;
    out_.append(value, plain, i - plain);
    plain = i + 1;
    if (c >= 0x20) {
      const char escaped[2] = {'\\', static_cast<char>(c)};
      out_.append(escaped, sizeof escaped);
    } else {
      const char escaped[6] = {'\\', 'u', '0', '0', kHex[c >> 4], kHex[c & 15]};
      out_.append(escaped, sizeof escaped);
    }
  }
  out_.append(value, plain, value.size() - plain);
  out_ += '"';
}

// --- MessagePack ----------------------------------------------------------------------------------------

void ValueWriter::put(unsigned type, std::uint64_t value, int width) {
  char bytes[9];
  bytes[0] = static_cast<char>(type);
  for (int i = width; i > 0; --i, value >>= 8) bytes[i] = static_cast<char>(value & 0xff);
  out_.append(bytes, static_cast<std::size_t>(width) + 1);
}

void ValueWriter::pack(std::uint64_t value) {
  if (value < 0x80) return byte(static_cast<unsigned>(value));
  if (value < 0x100) return put(0xcc, value, 1);
  if (value < 0x10000) return put(0xcd, value, 2);
  if (value <= 0xffffffffu) return put(0xce, value, 4);
  put(0xcf, value, 8);
}

void ValueWriter::pack_negative(std::int64_t value) {
  const auto bits = static_cast<std::uint64_t>(value);
  if (value >= -32) return byte(static_cast<unsigned>(bits & 0xff));
  if (value >= INT8_MIN) return put(0xd0, bits, 1);
  if (value >= INT16_MIN) return put(0xd1, bits, 2);
  if (value >= INT32_MIN) return put(0xd2, bits, 4);
  put(0xd3, bits, 8);
}

// Within the type byte if it is below `most`, else in 1 (if there is a `type8`), 2 or 4 bytes.
void ValueWriter::pack_length(std::size_t length, unsigned fixed, std::size_t most, unsigned type8,
                              unsigned type16) {
  if (length > 0xffffffffu) {
    ok_ = false;
  } else if (length < most) {
    byte(fixed | static_cast<unsigned>(length));
  } else if (type8 != 0 && length < 0x100) {
    put(type8, length, 1);
  } else if (length < 0x10000) {
    put(type16, length, 2);
  } else {
    put(type16 + 1, length, 4);
  }
}

}  // namespace lair::detail
