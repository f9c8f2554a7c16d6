// Frames: a u32 big-endian length, then that many bytes.
//
// FrameReader turns a byte stream, in pieces of any size, back into frames. A frame over the limit is refused
// before anything is allocated for it, and memory for the others grows with the bytes that really come: a
// header alone costs nothing.
//
// Thread-safety: one thread at a time.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "wire/limits.hpp"

namespace lair::wire {

// The header of a frame of `size` bytes; `size` must fit in 32 bits.
std::array<char, kHeaderBytes> frame_header(std::size_t size);

// A frame that outlives its reader's buffer, or has it.
struct OwnedFrame {
  std::string buffer;
  std::size_t begin = 0;
  std::size_t size = 0;
  std::string_view bytes() const { return std::string_view(buffer).substr(begin, size); }
};

class FrameReader {
 public:
  explicit FrameReader(std::size_t max_frame) : max_frame_(max_frame) {}

  // Where the next bytes of the stream should be read to, and how many at most. Never empty. Reading straight
  // into the frame spares a copy of large ones.
  struct Space {
    char* data;
    std::size_t size;
  };
  Space space();
  // Says that `bytes` were read there.
  void advance(std::size_t bytes);

  // The next whole frame, if there is one. Valid until the next call of a non-const member.
  std::optional<std::string_view> next();
  // That frame, to keep. Without a copy where nothing has come behind it.
  OwnedFrame keep(std::string_view frame);
  // Set once a frame was announced that is longer than the limit: its length. The stream is then of no use.
  std::optional<std::uint64_t> refused_length() const { return refused_length_; }

  // All frames have been taken and read: gives back what a large one has had allocated.
  void rest();

  // Nothing of an unfinished or an untaken frame is held.
  bool empty() const { return begin_ == end_; }
  // The first bytes held, for error messages.
  std::string_view held() const { return std::string_view(buffer_).substr(begin_, end_ - begin_); }

 private:
  void check_length();

  const std::size_t max_frame_;
  std::string buffer_;
  std::size_t begin_ = 0;  // first byte not taken
  std::size_t end_ = 0;    // past the last byte read
  std::optional<std::uint64_t> refused_length_;
};

}  // namespace lair::wire
