#include "os/fork_sentinel.hpp"

#include <sys/mman.h>
#include <unistd.h>

#include <new>

#include "os/failpoint.hpp"

namespace lair::os {

using failpoint::Point;

namespace {
constexpr std::size_t kPage = 4096;
}

ForkSentinel::ForkSentinel() : pid_(::getpid()) {
  void* page = failpoint::refuses(Point::kSentinelMap)
                   ? MAP_FAILED
                   : ::mmap(nullptr, kPage, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (page == MAP_FAILED) return;
  if (failpoint::refuses(Point::kSentinelAdvise) || ::madvise(page, kPage, MADV_WIPEONFORK) != 0) {
    ::munmap(page, kPage);
    return;
  }
  mark_ = new (page) Mark(1);
}

ForkSentinel::~ForkSentinel() {
  if (mark_ != nullptr) ::munmap(mark_, kPage);
}

bool ForkSentinel::in_child() const noexcept {
  if (mark_ != nullptr) return mark_->load(std::memory_order_relaxed) == 0;
  return ::getpid() != pid_;
}

}  // namespace lair::os
