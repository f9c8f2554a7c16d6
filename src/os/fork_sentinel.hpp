// ForkSentinel: tells whether this process is the one that made it, or a child forked from it.
//
// It is a page that the kernel wipes in a fork()ed child (MADV_WIPEONFORK, Linux 4.14), so asking costs one load:
// no global, no atfork handler that would outlive the library, no getpid() on the path of a call. Where the kernel
// refuses, it asks getpid().
//
// Thread-safety: any thread.
#pragma once

#include <atomic>
#include <cstdint>

namespace lair::os {

class ForkSentinel {
 public:
  ForkSentinel();
  ~ForkSentinel();
  ForkSentinel(const ForkSentinel&) = delete;
  ForkSentinel& operator=(const ForkSentinel&) = delete;

  bool in_child() const noexcept;

 private:
  using Mark = std::atomic<std::uint32_t>;
  Mark* mark_ = nullptr;
  int pid_ = 0;
};

}  // namespace lair::os
