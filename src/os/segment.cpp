#include "os/segment.hpp"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/resource.h>

#include <cerrno>
#include <utility>

#include "os/failpoint.hpp"

namespace lair::os {

using failpoint::Point;

namespace {

// The kernel's answer to a file beyond RLIMIT_FSIZE is a signal that ends the program.
bool may_have(std::size_t size) {
  rlimit limit{};
  if (::getrlimit(RLIMIT_FSIZE, &limit) != 0 || limit.rlim_cur == RLIM_INFINITY || size <= limit.rlim_cur)
    return true;
  errno = EFBIG;
  return false;
}

}  // namespace

Segment Segment::make(std::size_t size) noexcept {
  Segment made;
  if (!may_have(size)) return made;
  Fd fd(failpoint::refuses(Point::kSegmentCreate)
            ? -1
            : ::memfd_create("lair-arrays", MFD_CLOEXEC | MFD_ALLOW_SEALING));
  if (!fd) return made;
  int refused = 0;
  do {
    refused = failpoint::refuses(Point::kSegmentAllocate)
                  ? -1
                  : ::fallocate(fd.get(), 0, 0, static_cast<off_t>(size));
  } while (refused != 0 && errno == EINTR);
  if (refused != 0) return made;
  if (::fcntl(fd.get(), F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL) != 0) return made;
  void* const data = failpoint::refuses(Point::kSegmentMap)
                         ? MAP_FAILED
                         : ::mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd.get(), 0);
  if (data == MAP_FAILED) return made;
  made.fd_ = std::move(fd);
  made.data_ = static_cast<std::byte*>(data);
  made.size_ = size;
  return made;
}

Segment::Segment(Segment&& other) noexcept
    : fd_(std::move(other.fd_)),
      data_(std::exchange(other.data_, nullptr)),
      size_(std::exchange(other.size_, 0)) {}

Segment::~Segment() {
  if (data_ != nullptr) ::munmap(data_, size_);
}

void Segment::discard() noexcept {
  (void)::fallocate(fd_.get(), FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, static_cast<off_t>(size_));
}

}  // namespace lair::os
