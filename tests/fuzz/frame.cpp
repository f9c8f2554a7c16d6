// A stream of frames, cut at places of the fuzzer's choice, gives the same frames as in one piece. The first bytes of
// the input choose the limit and the cuts.
#include <algorithm>
#include <cstring>
#include <string>
#include <vector>

#include "base/assert.hpp"
#include "wire/frame.hpp"

namespace {

using lair::wire::FrameReader;

struct Outcome {
  std::vector<std::string> frames;
  bool refused = false;
  bool operator==(const Outcome&) const = default;
};

// `cut(n)`: how many of the next n bytes come at once, at least 1.
template <class Cut>
Outcome read(std::string_view stream, std::size_t limit, Cut cut) {
  FrameReader reader(limit);
  Outcome outcome;
  while (!stream.empty()) {
    const FrameReader::Space space = reader.space();
    LAIR_ASSERT(space.size > 0);
    const std::size_t size = std::min({space.size, stream.size(), cut(stream.size())});
    std::memcpy(space.data, stream.data(), size);
    reader.advance(size);
    stream.remove_prefix(size);
    while (const auto frame = reader.next()) {
      LAIR_ASSERT(frame->size() <= limit);
      outcome.frames.emplace_back(*frame);
    }
    if (reader.refused_length()) {
      LAIR_ASSERT(*reader.refused_length() > limit);
      outcome.refused = true;
      break;
    }
  }
  return outcome;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const unsigned char* data, std::size_t size) {
  if (size < 2) return 0;
  const std::size_t limit = 1 + data[0] * 16u;
  const std::size_t step = 1 + data[1];
  const std::string_view stream(reinterpret_cast<const char*>(data) + 2, size - 2);
  const Outcome whole = read(stream, limit, [](std::size_t left) { return left; });
  const Outcome pieces = read(stream, limit, [&](std::size_t) { return step; });
  const Outcome bytes = read(stream, limit, [](std::size_t) { return std::size_t{1}; });
  LAIR_ASSERT(whole == pieces && whole == bytes);
  return 0;
}
