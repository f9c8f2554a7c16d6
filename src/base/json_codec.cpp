#include "base/json_codec.hpp"

#include <cmath>
#include <lair/array.hpp>
#include <lair/value_reader.hpp>
#include <optional>

namespace lair::base {

namespace {

// Finds the first number or binary value that JSON can't carry. The walk costs a few per cent of the
// encoding, which would silently write `null` instead.
std::optional<std::string> find_unsayable(const Json& value, std::string& place, std::size_t depth = 0) {
  if (depth > kMostNesting) return "it is nested more than " + std::to_string(kMostNesting) + " levels deep";
  const std::size_t length = place.size();
  switch (value.type()) {
    case Json::value_t::number_float: {
      const double number = value.get<double>();
      if (std::isfinite(number)) return std::nullopt;
      return place + (std::isnan(number) ? " is NaN" : " is Infinity") + ", which JSON cannot say";
    }
    case Json::value_t::binary:
      if (detail::is_array(value))
        return place + " is a lair::Array, which goes among a call's arguments, and back as its result";
      return place + " is binary, which JSON cannot say";
    case Json::value_t::discarded:
      return place + " is a discarded value (the result of a failed parse)";
    case Json::value_t::array:
      for (std::size_t i = 0; i < value.size(); ++i) {
        if (!value[i].is_structured() && !value[i].is_number_float() && !value[i].is_binary()) continue;
        place += '[' + std::to_string(i) + ']';
        if (auto found = find_unsayable(value[i], place, depth + 1)) return found;
        place.resize(length);
      }
      return std::nullopt;
    case Json::value_t::object:
      for (const auto& [key, member] : value.items()) {
        place += '.' + key;
        if (auto found = find_unsayable(member, place, depth + 1)) return found;
        place.resize(length);
      }
      return std::nullopt;
    default:
      return std::nullopt;
  }
}

// Only after the encoder has refused the text: which one was it?
std::string find_bad_text(const Json& value, const std::string& place) {
  if (value.is_string()) {
    try {
      (void)value.dump();
      return {};
    } catch (const Json::exception&) {
      return place;
    }
  }
  if (value.is_array()) {
    for (std::size_t i = 0; i < value.size(); ++i) {
      auto found = find_bad_text(value[i], place + '[' + std::to_string(i) + ']');
      if (!found.empty()) return found;
    }
  }
  if (value.is_object()) {
    for (const auto& [key, member] : value.items()) {
      if (!find_bad_text(Json(key), place).empty()) return place + "'s key";
      auto found = find_bad_text(member, std::string(place).append(".").append(key));
      if (!found.empty()) return found;
    }
  }
  return {};
}

// Whether the brackets of the text open deeper than a value may be nested. Such a value could be parsed, but each
// copy and comparison of it would recurse as deep, until the host's stack is full.
bool nests_too_deep(std::string_view text) {
  if (text.size() < 2 * kMostNesting) return false;
  std::size_t depth = 0;
  bool in_string = false;
  for (std::size_t i = 0; i < text.size(); ++i) {
    const char c = text[i];
    if (in_string) {
      if (c == '\\') ++i;
      in_string = c != '"';
    } else if (c == '"') {
      in_string = true;
    } else if (c == '[' || c == '{') {
      if (++depth > kMostNesting) return true;
    } else if ((c == ']' || c == '}') && depth > 0) {
      --depth;
    }
  }
  return false;
}

Error invalid(std::string message) {
  return {.kind = ErrorKind::kInvalidArgument, .delivery = Delivery::kNotSent, .message = std::move(message)};
}

}  // namespace

Result<std::string> encode_json(const Json& value, std::string_view what) {
  std::string place(what);
  if (auto unsayable = find_unsayable(value, place)) return invalid(*std::move(unsayable));
  try {
    return value.dump();
  } catch (const Json::exception&) {
    const std::string where = find_bad_text(value, std::string(what));
    return invalid((where.empty() ? std::string(what) : where) +
                   " is not valid UTF-8; JSON text must be (encode bytes as base64, or as latin-1 text)");
  }
}

// nlohmann's parser takes twice as long; it says what is wrong with what the reader does not accept.
std::optional<Json> decode_json(std::string_view text, std::string& problem) {
  detail::ValueReader reader(text, false);
  if (Json value; reader.json(value) && reader.done()) return value;
  if (nests_too_deep(text)) {
    problem = "it is nested more than " + std::to_string(kMostNesting) + " levels deep";
    return std::nullopt;
  }
  try {
    return Json::parse(text);
  } catch (const Json::exception& error) {
    // nlohmann shows the last token, which may be a megabyte of babble.
    problem = printable(error.what(), 200);
    return std::nullopt;
  }
}

std::string printable(std::string_view data, std::size_t limit) {
  static constexpr char kHex[] = "0123456789abcdef";
  std::string text;
  for (const char c : data.substr(0, limit)) {
    const auto byte = static_cast<unsigned char>(c);
    if (c == '\n') {
      text += "\\n";
    } else if (byte < 0x20 || byte >= 0x7f) {
      text += {'\\', 'x', kHex[byte >> 4], kHex[byte & 15]};
    } else {
      text += c;
    }
  }
  if (data.size() > limit) text += "… (" + std::to_string(data.size()) + " bytes)";
  return text;
}

}  // namespace lair::base
