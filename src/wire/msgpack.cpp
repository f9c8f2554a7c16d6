#include "wire/msgpack.hpp"

#include <cmath>
#include <cstring>

#include "wire/json_codec.hpp"

namespace lair::wire {

namespace {

// --- text ---------------------------------------------------------------------------------------------

// RFC 3629: no overlong forms, no surrogates, nothing beyond U+10FFFF.
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

// --- out ----------------------------------------------------------------------------------------------

void put_number(std::string& out, unsigned char type, std::uint64_t number, int width) {
  char bytes[9];
  bytes[0] = static_cast<char>(type);
  for (int i = width; i > 0; --i, number >>= 8) bytes[i] = static_cast<char>(number & 0xff);
  out.append(bytes, static_cast<std::size_t>(width) + 1);
}

// A length within the type byte if it is below `most`, else in 1 (if there is a `type8`), 2 or 4 bytes.
bool put_length(std::string& out, std::size_t length, unsigned fixed, std::size_t most, unsigned type8,
                unsigned type16) {
  if (length > 0xffffffffu) return false;
  if (length < most) {
    out += static_cast<char>(fixed | length);
  } else if (type8 != 0 && length < 0x100) {
    put_number(out, static_cast<unsigned char>(type8), length, 1);
  } else if (length < 0x10000) {
    put_number(out, static_cast<unsigned char>(type16), length, 2);
  } else {
    put_number(out, static_cast<unsigned char>(type16 + 1), length, 4);
  }
  return true;
}

bool put_text(std::string& out, std::string_view text) {
  if (!is_utf8(text) || !put_length(out, text.size(), 0xa0, 32, 0xd9, 0xda)) return false;
  out += text;
  return true;
}

void put_negative(std::string& out, std::int64_t number) {
  const auto bits = static_cast<std::uint64_t>(number);
  if (number >= -32) return put_number(out, static_cast<unsigned char>(bits & 0xff), 0, 0);
  if (number >= INT8_MIN) return put_number(out, 0xd0, bits, 1);
  if (number >= INT16_MIN) return put_number(out, 0xd1, bits, 2);
  if (number >= INT32_MIN) return put_number(out, 0xd2, bits, 4);
  put_number(out, 0xd3, bits, 8);
}

// False: JSON could not say it either, or it is too long.
bool put_value(std::string& out, const Json& value, std::size_t depth) {
  switch (value.type()) {
    case Json::value_t::null:
      out += '\xc0';
      return true;
    case Json::value_t::boolean:
      out += value.get<bool>() ? '\xc3' : '\xc2';
      return true;
    case Json::value_t::number_unsigned:
      append_packed(out, value.get<std::uint64_t>());
      return true;
    case Json::value_t::number_integer: {
      const auto number = value.get<std::int64_t>();
      if (number < 0) {
        put_negative(out, number);
      } else {
        append_packed(out, static_cast<std::uint64_t>(number));
      }
      return true;
    }
    case Json::value_t::number_float: {
      const auto number = value.get<double>();
      std::uint64_t bits = 0;
      std::memcpy(&bits, &number, sizeof bits);
      put_number(out, 0xcb, bits, 8);
      return std::isfinite(number);
    }
    case Json::value_t::string:
      return put_text(out, value.get_ref<const std::string&>());
    case Json::value_t::array:
      if (depth == kMostNesting || !put_length(out, value.size(), 0x90, 16, 0, 0xdc)) return false;
      for (const Json& element : value) {
        if (!put_value(out, element, depth + 1)) return false;
      }
      return true;
    case Json::value_t::object:
      if (depth == kMostNesting || !put_length(out, value.size(), 0x80, 16, 0, 0xde)) return false;
      for (auto member = value.begin(); member != value.end(); ++member) {
        if (!put_text(out, member.key()) || !put_value(out, *member, depth + 1)) return false;
      }
      return true;
    default:
      return false;
  }
}

// --- in -----------------------------------------------------------------------------------------------

// Throws what is wrong, in words.
class Reader {
 public:
  explicit Reader(std::string_view bytes) : bytes_(bytes) {}

  Json whole() {
    Json value = read(0);
    if (at_ != bytes_.size()) throw "there is more behind it";
    return value;
  }
  std::size_t at() const { return at_; }

 private:
  std::size_t left() const { return bytes_.size() - at_; }

  unsigned char byte() {
    if (left() == 0) throw "it ends too soon";
    return static_cast<unsigned char>(bytes_[at_++]);
  }

  // Big-endian, of `width` bytes.
  std::uint64_t number(std::size_t width) {
    if (left() < width) throw "it ends too soon";
    std::uint64_t number = 0;
    for (; width > 0; --width) number = number << 8 | static_cast<unsigned char>(bytes_[at_++]);
    return number;
  }

  std::string text(std::uint64_t size) {
    if (left() < size) throw "a text is longer than the message";
    const std::string_view text = bytes_.substr(at_, size);
    if (!is_utf8(text)) throw "a text is not valid UTF-8";
    at_ += size;
    return std::string(text);
  }

  std::string key() {
    const unsigned char type = byte();
    if ((type & 0xe0) == 0xa0) return text(type & 0x1fu);
    if (type < 0xd9 || type > 0xdb) throw "a key is not text";
    return text(number(std::size_t{1} << (type - 0xd9)));
  }

  // Memory grows with the elements that are there: a length alone costs nothing.
  Json array(std::uint64_t size, std::size_t depth) {
    if (depth == kMostNesting) throw too_deep();
    if (size > left()) throw "an array is longer than the message";
    Json::array_t elements;
    elements.reserve(size < 4096 ? size : 4096);
    for (; size > 0; --size) elements.push_back(read(depth + 1));
    return elements;
  }

  Json object(std::uint64_t size, std::size_t depth) {
    if (depth == kMostNesting) throw too_deep();
    if (size > left() / 2) throw "a map is longer than the message";
    Json::object_t members;
    for (; size > 0; --size) {
      std::string name = key();
      members.insert_or_assign(std::move(name), read(depth + 1));
    }
    return members;
  }

  static const char* too_deep() {
    static const std::string text = "it is nested more than " + std::to_string(kMostNesting) + " levels deep";
    return text.c_str();
  }

  static Json finite(double number) {
    if (!std::isfinite(number)) throw "NaN or Infinity, which JSON cannot say";
    return number;
  }

  static Json integer(std::int64_t number) {
    if (number < 0) return number;
    return static_cast<std::uint64_t>(number);  // as the reader of JSON has it
  }

  Json read(std::size_t depth) {
    const unsigned char type = byte();
    if (type < 0x80) return std::uint64_t{type};
    if (type >= 0xe0) return integer(static_cast<std::int8_t>(type));
    if (type < 0x90) return object(type & 0x0fu, depth);
    if (type < 0xa0) return array(type & 0x0fu, depth);
    if (type < 0xc0) return text(type & 0x1fu);
    switch (type) {
      case 0xc0:
        return nullptr;
      case 0xc2:
      case 0xc3:
        return type == 0xc3;
      case 0xca: {
        const auto bits = static_cast<std::uint32_t>(number(4));
        float narrow = 0;
        std::memcpy(&narrow, &bits, sizeof narrow);
        return finite(narrow);
      }
      case 0xcb: {
        const std::uint64_t bits = number(8);
        double wide = 0;
        std::memcpy(&wide, &bits, sizeof wide);
        return finite(wide);
      }
      case 0xcc:
      case 0xcd:
      case 0xce:
      case 0xcf:
        return number(std::size_t{1} << (type - 0xcc));
      case 0xd0:
        return integer(static_cast<std::int8_t>(number(1)));
      case 0xd1:
        return integer(static_cast<std::int16_t>(number(2)));
      case 0xd2:
        return integer(static_cast<std::int32_t>(number(4)));
      case 0xd3:
        return integer(static_cast<std::int64_t>(number(8)));
      case 0xd9:
      case 0xda:
      case 0xdb:
        return text(number(std::size_t{1} << (type - 0xd9)));
      case 0xdc:
      case 0xdd:
        return array(number(std::size_t{2} << (type - 0xdc)), depth);
      case 0xde:
      case 0xdf:
        return object(number(std::size_t{2} << (type - 0xde)), depth);
      default:
        throw "it has binary or an extension type, which JSON cannot say";
    }
  }

  std::string_view bytes_;
  std::size_t at_ = 0;
};

}  // namespace

void append_packed(std::string& out, std::uint64_t number) {
  if (number < 0x80) return put_number(out, static_cast<unsigned char>(number), 0, 0);
  if (number < 0x100) return put_number(out, 0xcc, number, 1);
  if (number < 0x10000) return put_number(out, 0xcd, number, 2);
  if (number <= 0xffffffffu) return put_number(out, 0xce, number, 4);
  put_number(out, 0xcf, number, 8);
}

void append_packed(std::string& out, std::string_view text) {
  if (put_text(out, text)) return;
  const Json mended =
      Json::parse(Json(std::string(text)).dump(-1, ' ', false, Json::error_handler_t::replace));
  (void)put_text(out, mended.get_ref<const std::string&>());
}

bool append_packed_value(std::string& out, const Json& value, std::size_t around) {
  return put_value(out, value, around);
}

Result<std::string> encode_msgpack(const Json& value, std::string_view what) {
  std::string out;
  if (put_value(out, value, 1)) return out;
  auto refused = encode_json(value, what);  // says where, in the words that JSON's users know
  if (!refused) return std::move(refused).error();
  return Error{.kind = ErrorKind::kInvalidArgument,
               .delivery = Delivery::kNotSent,
               .message = std::string(what) + " is nested more than " + std::to_string(kMostNesting - 1) +
                          " levels deep, or holds a text of 4 GiB"};
}

std::optional<Json> decode_msgpack(std::string_view bytes, std::string& problem) {
  Reader reader(bytes);
  try {
    return reader.whole();
  } catch (const char* what) {
    problem = std::string(what) + ", at byte " + std::to_string(reader.at());
    return std::nullopt;
  }
}

}  // namespace lair::wire
