#include "os/memfd.hpp"

#include <sys/mman.h>
#include <unistd.h>

#include <cerrno>

namespace lair::os {

Fd make_memfd(const char* name, std::string_view content) noexcept {
  Fd fd(::memfd_create(name, MFD_CLOEXEC));
  while (fd && !content.empty()) {
    const ssize_t n = ::write(fd.get(), content.data(), content.size());
    if (n > 0) {
      content.remove_prefix(static_cast<std::size_t>(n));
    } else if (n == 0 || errno != EINTR) {
      return {};
    }
  }
  return fd;
}

}  // namespace lair::os
