#include "wire/frame.hpp"

#include <algorithm>
#include <cstring>
#include <utility>

#include "base/assert.hpp"

namespace lair::wire {

namespace {

constexpr std::size_t kReadAhead = 16u << 10;
// Space for a large frame grows by at least this much, and then doubles.
constexpr std::size_t kGrowth = 1u << 20;
// A buffer that a large frame has blown up is given back when it is empty.
constexpr std::size_t kKeep = 256u << 10;

std::uint32_t read_length(const char* data) {
  std::array<unsigned char, kHeaderBytes> b;
  std::memcpy(b.data(), data, b.size());
  return std::uint32_t{b[0]} << 24 | std::uint32_t{b[1]} << 16 | std::uint32_t{b[2]} << 8 |
         std::uint32_t{b[3]};
}

}  // namespace

std::array<char, kHeaderBytes> frame_header(std::size_t size) {
  LAIR_ASSERT(size <= 0xffffffffu);
  return {static_cast<char>(size >> 24 & 0xff), static_cast<char>(size >> 16 & 0xff),
          static_cast<char>(size >> 8 & 0xff), static_cast<char>(size & 0xff)};
}

FrameReader::Space FrameReader::space() {
  LAIR_ASSERT(!refused_length_);
  if (begin_ == end_) begin_ = end_ = 0;
  rest();
  std::size_t wanted = kReadAhead;
  if (end_ - begin_ >= kHeaderBytes) {
    const std::size_t frame = kHeaderBytes + read_length(buffer_.data() + begin_);
    const std::size_t held = end_ - begin_;
    if (frame > held) wanted = std::clamp(frame - held, kReadAhead, std::max(kGrowth, held));
  }
  if (buffer_.size() - end_ < wanted && begin_ > 0) {
    std::memmove(buffer_.data(), buffer_.data() + begin_, end_ - begin_);
    end_ -= begin_;
    begin_ = 0;
  }
  if (buffer_.size() - end_ < wanted) buffer_.resize(end_ + wanted);
  return {buffer_.data() + end_, buffer_.size() - end_};
}

void FrameReader::rest() {
  if (begin_ == end_ && buffer_.size() > kKeep) {
    begin_ = end_ = 0;
    std::string().swap(buffer_);
  }
}

void FrameReader::check_length() {
  if (end_ - begin_ < kHeaderBytes) return;
  const std::uint32_t length = read_length(buffer_.data() + begin_);
  if (length > max_frame_) refused_length_ = length;
}

void FrameReader::advance(std::size_t bytes) {
  LAIR_ASSERT(end_ + bytes <= buffer_.size());
  end_ += bytes;
  check_length();
}

std::optional<std::string_view> FrameReader::next() {
  const std::size_t held = end_ - begin_;
  if (refused_length_ || held < kHeaderBytes) return std::nullopt;
  const std::size_t length = read_length(buffer_.data() + begin_);
  if (held - kHeaderBytes < length) return std::nullopt;
  const std::string_view frame(buffer_.data() + begin_ + kHeaderBytes, length);
  begin_ += kHeaderBytes + length;
  check_length();  // of the one behind it
  return frame;
}

OwnedFrame FrameReader::keep(std::string_view frame) {
  if (begin_ != end_) return {.buffer = std::string(frame), .begin = 0, .size = frame.size()};
  const std::size_t begin = begin_ - frame.size();
  begin_ = end_ = 0;
  return {.buffer = std::exchange(buffer_, {}), .begin = begin, .size = frame.size()};
}

}  // namespace lair::wire
