#include "os/handover.hpp"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include <algorithm>
#include <cstring>

#include "os/memfd.hpp"

namespace lair::os {

void Handover::Unmap::operator()(Page* page) const noexcept { ::munmap(page, sizeof(Page)); }

Handover Handover::open(int pid, int fd) { return map(open_memfd_of(pid, fd, kName, O_RDWR), End::kHost); }

Handover Handover::map(const Fd& fd, End end) {
  Handover handover;
  struct stat status {};
  // A page that its file has lost would be a SIGBUS for who reads it.
  if (!fd || (::fcntl(fd.get(), F_GET_SEALS) & F_SEAL_SHRINK) == 0 || ::fstat(fd.get(), &status) != 0 ||
      status.st_size < static_cast<off_t>(sizeof(Page)))
    return handover;
  void* const memory = ::mmap(nullptr, sizeof(Page), PROT_READ | PROT_WRITE, MAP_SHARED, fd.get(), 0);
  if (memory == MAP_FAILED) return handover;
  handover.page_.reset(static_cast<Page*>(memory));
  handover.in_ = end == End::kHost ? &handover.page_->to_host : &handover.page_->to_worker;
  handover.out_ = end == End::kHost ? &handover.page_->to_worker : &handover.page_->to_host;
  return handover;
}

bool Handover::give(const Piece* pieces, std::size_t count) {
  std::size_t size = 0;
  for (std::size_t i = 0; i < count; ++i) size += pieces[i].size;
  std::uint32_t expected = Box::kLooks;
  if (size > kMost || !out_->state.compare_exchange_strong(expected, Box::kWriting)) return false;
  char* to = out_->data;
  for (std::size_t i = 0; i < count; ++i) to = std::copy_n(pieces[i].data, pieces[i].size, to);
  out_->size.store(static_cast<std::uint32_t>(size), std::memory_order_relaxed);
  expected = Box::kWriting;
  return out_->state.compare_exchange_strong(expected, Box::kFull);
}

bool Handover::untaken() const { return out_->state.load() == Box::kFull; }

void Handover::look() { in_->state.store(Box::kLooks); }

std::size_t Handover::take(char* data) {
  if (in_->state.load(std::memory_order_acquire) != Box::kFull) return 0;
  const std::size_t size = copy(*in_, data);
  in_->state.store(Box::kAsleep);
  return size;
}

std::size_t Handover::look_away(char* data) {
  return in_->state.exchange(Box::kAsleep) == Box::kFull ? copy(*in_, data) : 0;
}

std::size_t Handover::copy(const Box& box, char* data) {
  const std::size_t size = std::min<std::size_t>(box.size.load(std::memory_order_relaxed), kMost);
  std::memcpy(data, box.data, size);
  return size;
}

}  // namespace lair::os
