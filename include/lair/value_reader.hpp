// ValueReader: values, straight out of the bytes of a message, without a Json in between. What lair/typed.hpp reads with.
//
// Reads JSON text or MessagePack, one value after another, each as the type that is asked for. False: it is something else,
// or no value at all; the reader is then of no further use, and Lair reads the same bytes by way of Json, which says what is
// wrong and where. What is accepted here is what is accepted there, with the same value.
//
// Thread-safety: none; one message at a time.
#pragma once

#include <cstddef>
#include <cstdint>
#include <lair/json.hpp>
#include <string>
#include <string_view>

namespace lair::detail {

class ValueReader {
 public:
  ValueReader(std::string_view bytes, bool packed)
      : at_(bytes.data()), end_(bytes.data() + bytes.size()), packed_(packed) {}

  bool packed() const { return packed_; }
  // Nothing is left.
  bool done() {
    if (!packed_) space();
    return at_ == end_;
  }

  // The next value is a null; it is taken, if it is one.
  bool null();
  bool boolean(bool& value);
  // An integer as its sign and its amount.
  struct Integer {
    bool negative = false;
    std::uint64_t amount = 0;
  };
  bool integer(Integer& value);
  bool number(double& value);  // an integer, too
  bool text(std::string& value);
  bool json(Json& value);
  // Any value, which is checked as if it were read.
  bool skip();

  // An array's or an object's place in itself; `most`: no more than so many elements are left.
  struct Place {
    std::size_t most = 0;
    bool first = true;
  };
  enum class Next : std::uint8_t { kOne, kEnd, kBad };
  bool begin_array(Place& place) { return begin(0x90, 0xdc, '[', 1, place); }
  // kOne: an element is to be read.
  Next element(Place& place) { return next(place, ']'); }
  bool begin_object(Place& place) { return begin(0x80, 0xde, '{', 2, place); }
  // kOne: its value is to be read. `name` is valid until the reader is next used.
  Next member(Place& place, std::string_view& name);

 private:
  std::size_t left() const { return static_cast<std::size_t>(end_ - at_); }
  unsigned char peek() const { return static_cast<unsigned char>(*at_); }
  void space() {
    while (at_ != end_ && (*at_ == ' ' || *at_ == '\n' || *at_ == '\t' || *at_ == '\r')) ++at_;
  }
  bool literal(std::string_view word);
  bool big_endian(std::size_t width, std::uint64_t& value);
  bool begin(unsigned fixed, unsigned wide, char open, std::size_t least, Place& place);
  Next next(Place& place, char close);
  Json any(bool& good);
  bool packed_text(std::string_view& text);
  // The text between quotation marks: where it stands, or, if it has escapes, in `spelt`.
  bool quoted(std::string_view& text, std::string& spelt);
  bool escape(std::string& spelt);
  bool hex(std::uint32_t& value);
  // What JSON's number consists of; `whole`: it has neither fraction nor exponent.
  bool digits(std::string_view& text, bool& whole);
  bool packed_integer(unsigned char type, Integer& value);
  bool packed_number(unsigned char type, double& value);

  const char* at_;
  const char* const end_;
  const bool packed_;
  std::size_t depth_ = 0;
  std::string scratch_;
};

}  // namespace lair::detail
