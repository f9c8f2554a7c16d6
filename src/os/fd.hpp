// Fd: a file descriptor with one owner. Move-only; closes on destruction.
//
// Every descriptor that Lair makes is CLOEXEC from birth: the host is threaded and may fork and exec at any
// moment, and an inherited copy of a channel would hide a worker's end from us.
//
// Thread-safety: as an int: const members from any thread, others one thread at a time.
#pragma once

#include <utility>

namespace lair::os {

class Fd {
 public:
  Fd() = default;
  explicit Fd(int fd) noexcept : fd_(fd) {}  // takes ownership; negative means none
  Fd(Fd&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
  Fd& operator=(Fd&& other) noexcept {
    if (this != &other) reset(other.release());
    return *this;
  }
  Fd(const Fd&) = delete;
  Fd& operator=(const Fd&) = delete;
  ~Fd() { reset(); }

  int get() const noexcept { return fd_; }  // -1 where there is none
  explicit operator bool() const noexcept { return fd_ >= 0; }

  // Gives up ownership without closing.
  [[nodiscard]] int release() noexcept { return std::exchange(fd_, -1); }
  // Closes what it holds and takes `fd` instead. Leaves errno as it was.
  void reset(int fd = -1) noexcept;

 private:
  int fd_ = -1;
};

// A second descriptor of the same open file, CLOEXEC. None (errno set) where the system refuses.
[[nodiscard]] Fd duplicate(int fd) noexcept;

}  // namespace lair::os
