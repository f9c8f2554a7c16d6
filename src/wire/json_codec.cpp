#include "wire/json_codec.hpp"

#include <cmath>
#include <optional>

namespace lair::wire {

namespace {

// Finds the first number or binary value that JSON can't carry. The walk costs a few per cent of the
// encoding, which would silently write `null` instead.
std::optional<std::string> find_unsayable(const Json& value, std::string& place) {
  const std::size_t length = place.size();
  switch (value.type()) {
    case Json::value_t::number_float: {
      const double number = value.get<double>();
      if (std::isfinite(number)) return std::nullopt;
      return place + (std::isnan(number) ? " is NaN" : " is Infinity") + ", which JSON cannot say";
    }
    case Json::value_t::binary: return place + " is binary, which JSON cannot say";
    case Json::value_t::discarded: return place + " is a discarded value (the result of a failed parse)";
    case Json::value_t::array:
      for (std::size_t i = 0; i < value.size(); ++i) {
        if (!value[i].is_structured() && !value[i].is_number_float() && !value[i].is_binary()) continue;
        place += '[' + std::to_string(i) + ']';
        if (auto found = find_unsayable(value[i], place)) return found;
        place.resize(length);
      }
      return std::nullopt;
    case Json::value_t::object:
      for (const auto& [key, member] : value.items()) {
        place += '.' + key;
        if (auto found = find_unsayable(member, place)) return found;
        place.resize(length);
      }
      return std::nullopt;
    default: return std::nullopt;
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
      auto found = find_bad_text(member, place + '.' + key);
      if (!found.empty()) return found;
    }
  }
  return {};
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

std::optional<Json> decode_json(std::string_view text, std::string& problem) {
  try {
    return Json::parse(text);
  } catch (const Json::exception& error) {
    problem = error.what();
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

}  // namespace lair::wire
