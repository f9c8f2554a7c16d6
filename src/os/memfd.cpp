#include "os/memfd.hpp"

#include <sys/mman.h>
#include <unistd.h>

#include <cerrno>

#include "os/failpoint.hpp"

namespace lair::os {

using failpoint::Point;

Fd make_memfd(const char* name, std::string_view content) noexcept {
  Fd fd(failpoint::refuses(Point::kMemfdCreate) ? -1 : ::memfd_create(name, MFD_CLOEXEC));
  while (fd && !content.empty()) {
    const std::size_t most = failpoint::most(Point::kMemfdWrite, content.size());
    const ssize_t n = failpoint::refuses(Point::kMemfdWrite) ? -1 : ::write(fd.get(), content.data(), most);
    if (n > 0) {
      content.remove_prefix(static_cast<std::size_t>(n));
    } else if (n == 0 || errno != EINTR) {
      return {};
    }
  }
  return fd;
}

}  // namespace lair::os
