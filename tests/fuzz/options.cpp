// Any JSON is settings that are valid, or a refusal that says why.
#include <lair/options.hpp>
#include <string>
#include <string_view>

#include "base/assert.hpp"
#include "wire/json_codec.hpp"

extern "C" int LLVMFuzzerTestOneInput(const unsigned char* data, std::size_t size) {
  std::string problem;
  const auto settings =
      lair::wire::decode_json(std::string_view(reinterpret_cast<const char*>(data), size), problem);
  if (!settings) {
    LAIR_ASSERT(!problem.empty());
    return 0;
  }
  const auto options = lair::parse_pool_options(*settings);
  if (!options) {
    LAIR_ASSERT(options.error().kind == lair::ErrorKind::kInvalidArgument &&
                !options.error().message.empty());
  } else if (const auto valid = lair::validate(*options); !valid) {
    LAIR_ASSERT(!valid.error().message.empty());
  }
  return 0;
}
