// ValueWriter: values, straight into the bytes of a message, without a Json in between. What lair/typed.hpp writes with.
//
// As JSON text or as MessagePack, appended to a buffer that is its caller's and used again. What cannot be sent (NaN, text
// that is no UTF-8, what is nested too deep) makes `ok` false, and no more is written: Lair then has the same value encoded by
// way of Json, which names the place.
//
// Thread-safety: none; one message at a time.
#pragma once

#include <charconv>
#include <cstddef>
#include <cstdint>
#include <lair/json.hpp>
#include <string>
#include <string_view>

namespace lair::detail {

// RFC 3629: no overlong forms, no surrogates, nothing beyond U+10FFFF.
bool is_utf8(std::string_view text);

// How deep the arrays and objects of a message may be nested, its own included.
inline constexpr std::size_t kMostLevels = 1000;

class ValueWriter {
 public:
  // `around`: so many arrays are around what is written.
  ValueWriter(std::string& out, bool packed, std::size_t around = 1)
      : out_(out), packed_(packed), depth_(around) {}

  bool ok() const { return ok_; }
  bool packed() const { return packed_; }

  void null() { packed_ ? byte(0xc0) : literal("null"); }
  void boolean(bool value) {
    if (packed_) return byte(value ? 0xc3 : 0xc2);
    literal(value ? "true" : "false");
  }
  void integer(std::int64_t value) {
    if (value >= 0) return integer(static_cast<std::uint64_t>(value));
    packed_ ? pack_negative(value) : digits(value);
  }
  void integer(std::uint64_t value) { packed_ ? pack(value) : digits(value); }
  void number(double value);
  void text(std::string_view value);
  // By way of nlohmann's own conversions.
  void json(const Json& value);

  // So many elements follow, each after `element`, and then `end_array`. The same for objects, with `key` before each value.
  void begin_array(std::size_t count) { begin(count, 0x90, 0xdc, '['); }
  void element() {
    if (!packed_) comma();
  }
  void end_array() { end(']'); }
  void begin_object(std::size_t count) { begin(count, 0x80, 0xde, '{'); }
  void key(std::string_view name);
  void end_object() { end('}'); }

  // MessagePack's own pieces.
  void pack(std::uint64_t value);

 private:
  void byte(unsigned value) { out_ += static_cast<char>(value); }
  void literal(std::string_view text) { out_ += text; }
  template <class Integer>
  void digits(Integer value) {
    char text[20];
    out_.append(text, std::to_chars(text, text + sizeof text, value).ptr);
  }
  void comma() {
    if (!first_) out_ += ',';
    first_ = false;
  }
  void begin(std::size_t count, unsigned fixed, unsigned wide, char open);
  void end(char close);
  void put(unsigned type, std::uint64_t value, int width);
  void pack_negative(std::int64_t value);
  void pack_length(std::size_t length, unsigned fixed, std::size_t most, unsigned type8, unsigned type16);
  void quote(std::string_view value);

  std::string& out_;
  const bool packed_;
  bool ok_ = true;
  bool first_ = true;  // of JSON's array or object: no comma yet
  std::size_t depth_;
};

}  // namespace lair::detail
