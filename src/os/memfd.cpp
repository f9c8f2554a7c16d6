#include "os/memfd.hpp"

#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <string>

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

Fd open_memfd_of(int pid, int fd, std::string_view name, int flags) {
  const std::string path = "/proc/" + std::to_string(pid) + "/fd/" + std::to_string(fd);
  // O_NONBLOCK: should the number mean a pipe by now, opening it must not wait for a writer.
  Fd opened(::open(path.c_str(), flags | O_CLOEXEC | O_NOCTTY | O_NONBLOCK));
  if (!opened) return opened;
  // Asked of our own descriptor: the other's may change at any time.
  std::array<char, 64> target{};
  const std::string link = "/proc/self/fd/" + std::to_string(opened.get());
  const ssize_t length = ::readlink(link.c_str(), target.data(), target.size());
  const std::string wanted = "/memfd:" + std::string(name);
  const bool is_it =
      length > 0 && std::string_view(target.data(), static_cast<std::size_t>(length)).starts_with(wanted);
  if (!is_it) opened.reset();
  return opened;
}

}  // namespace lair::os
