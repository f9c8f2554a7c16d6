// Segment: memory that other processes can map by its descriptor, and that can be neither cut nor grown, so that nobody's view
// of it ever ends in SIGBUS: all of it is there from the start, or it is refused.
//
// Thread-safety: constant, but for `discard`.
#pragma once

#include <cstddef>

#include "os/fd.hpp"

namespace lair::os {

class Segment {
 public:
  Segment() = default;
  // `size` > 0. None (errno set) where the system has not so much, or no more descriptors or mappings.
  static Segment make(std::size_t size) noexcept;
  Segment(Segment&& other) noexcept;
  Segment& operator=(Segment&&) = delete;
  ~Segment();

  explicit operator bool() const { return data_ != nullptr; }
  std::byte* data() const { return data_; }
  std::size_t size() const { return size_; }
  int fd() const { return fd_.get(); }

  // Gives its pages back, whoever still maps them: they would see zeros.
  void discard() noexcept;

 private:
  Fd fd_;
  std::byte* data_ = nullptr;
  std::size_t size_ = 0;
};

}  // namespace lair::os
