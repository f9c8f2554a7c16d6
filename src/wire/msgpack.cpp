#include "wire/msgpack.hpp"

#include <cmath>
#include <cstring>
#include <lair/value_writer.hpp>

#include "wire/json_codec.hpp"

namespace lair::wire {

using detail::is_utf8;
using detail::ValueWriter;

namespace {

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

void append_packed(std::string& out, std::uint64_t number) { ValueWriter(out, true).pack(number); }

void append_packed(std::string& out, std::string_view text) {
  ValueWriter writer(out, true);
  writer.text(text);
  if (writer.ok()) return;
  const Json mended =
      Json::parse(Json(std::string(text)).dump(-1, ' ', false, Json::error_handler_t::replace));
  ValueWriter(out, true).text(mended.get_ref<const std::string&>());
}

bool append_packed_value(std::string& out, const Json& value, std::size_t around) {
  ValueWriter writer(out, true, around);
  writer.json(value);
  return writer.ok();
}

Result<std::string> encode_msgpack(const Json& value, std::string_view what) {
  std::string out;
  if (append_packed_value(out, value, 1)) return out;
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
