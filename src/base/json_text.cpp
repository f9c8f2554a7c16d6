#include "base/json_text.hpp"

namespace lair::base {

std::string shown(const Json& value, std::size_t most) {
  std::string text = value.dump(-1, ' ', false, Json::error_handler_t::replace);
  if (text.size() <= most) return text;
  // 0b10xxxxxx goes on with a character that began before.
  while (most > 0 && (static_cast<unsigned char>(text[most]) & 0xC0) == 0x80) --most;
  return text.substr(0, most) + "…";
}

}  // namespace lair::base
