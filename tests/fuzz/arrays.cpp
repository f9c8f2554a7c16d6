// Whatever a worker says of arrays: what is taken for one lies within its memory, wherever it says that its elements are.
#include <cstddef>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "base/assert.hpp"
#include "wire/arrays.hpp"
#include "wire/json_codec.hpp"

namespace {

using namespace lair;

constexpr std::size_t kMemory = 256;
constexpr std::size_t kMostCopied = 64 << 10;

class Memory final : public detail::ArrayMemory {
 public:
  Memory()
      : ArrayMemory(new std::byte[kMemory](), kMemory) {
  }  // of its own, so that AddressSanitizer sees its ends
  ~Memory() override { delete[] data(); }
};

void check_within(const detail::ArrayData& array) {
  const auto bytes = detail::bytes_of(array.dtype, array.shape);
  LAIR_ASSERT(bytes);
  if (!detail::fits(array) || *bytes > kMostCopied) return;
  std::vector<std::byte> copy(*bytes);
  detail::copy_elements(copy.data(), array);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const unsigned char* data, std::size_t size) {
  std::string problem;
  auto said = wire::decode_json(std::string_view(reinterpret_cast<const char*>(data), size), problem);
  if (!said) return 0;
  (void)wire::decode_released(*said);
  const auto results = wire::decode_array_results(*said);
  if (!results) return 0;
  const auto memory = std::make_shared<Memory>();
  for (const wire::ArrayResult& each : *results) {
    // Its path leads somewhere in what is said, or nowhere.
    if (Json* const place = wire::place_in(*said, each.path)) (void)place->type();
    check_within({.memory = memory,
                  .first = each.first,
                  .dtype = each.dtype,
                  .shape = each.shape,
                  .strides = each.strides});
  }
  return 0;
}
