#include "sweep.hpp"

#include <dirent.h>
#include <fcntl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>

#include "os/failpoint.hpp"

namespace lair::keeper {

using os::failpoint::Point;
using os::failpoint::refuses;

namespace {

pid_t parent_of(const char* pid) {
  char path[64];
  std::snprintf(path, sizeof path, "/proc/%.20s/stat", pid);
  const int fd = refuses(Point::kSweepOpen) ? -1 : ::open(path, O_RDONLY | O_CLOEXEC);
  if (fd < 0) return 0;
  char text[512];
  const ssize_t n = refuses(Point::kSweepRead)
                        ? -1
                        : ::read(fd, text, os::failpoint::most(Point::kSweepRead, sizeof text - 1));
  ::close(fd);
  if (n <= 0) return 0;
  text[n] = '\0';
  // "pid (name) state ppid …": the name may itself contain blanks and parentheses.
  const char* after_name = std::strrchr(text, ')');
  return after_name != nullptr && std::strlen(after_name) > 4 ? std::atoi(after_name + 4) : 0;
}

// All processes, one by one. Raw getdents64, since opendir allocates.
bool walk_proc(pid_t* pids, std::size_t most, std::size_t& count) {
  struct Entry {
    std::uint64_t inode;
    std::int64_t offset;
    unsigned short length;
    unsigned char type;
    char name[1];  // really as long as `length` says
  };
  const int fd = refuses(Point::kSweepOpen) ? -1 : ::open("/proc", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (fd < 0) return false;
  alignas(8) char buffer[8192];
  long n = 0;
  while ((n = ::syscall(SYS_getdents64, fd, buffer, sizeof buffer)) > 0) {
    for (long at = 0; at < n;) {
      const auto* entry = reinterpret_cast<const Entry*>(buffer + at);
      const bool is_process = entry->name[0] >= '1' && entry->name[0] <= '9';
      if (is_process && count < most && parent_of(entry->name) == ::getpid())
        pids[count++] = std::atoi(entry->name);
      at += entry->length;
    }
  }
  ::close(fd);
  return n == 0;
}

int open_list() {
  char path[64];
  std::snprintf(path, sizeof path, "/proc/self/task/%d/children", ::getpid());
  return refuses(Point::kSweepOpen) ? -1 : ::open(path, O_RDONLY | O_CLOEXEC);
}

}  // namespace

ChildList::ChildList() : file_(open_list()) {}

bool ChildList::look(pid_t* pids, std::size_t most, std::size_t& count) {
  count = 0;
  if (!file_) file_.reset(open_list());
  if (!file_) return walk_proc(pids, most, count);
  // Made anew by a read from its beginning.
  if (::lseek(file_.get(), 0, SEEK_SET) != 0) return false;
  char text[4096];
  pid_t pid = 0;
  const std::size_t size = os::failpoint::most(Point::kSweepRead, sizeof text);
  ssize_t n = 0;
  while ((n = refuses(Point::kSweepRead) ? -1 : ::read(file_.get(), text, size)) > 0) {
    for (ssize_t i = 0; i < n; ++i) {
      if (text[i] >= '0' && text[i] <= '9') {
        pid = pid * 10 + (text[i] - '0');
      } else if (pid != 0) {
        if (count < most) pids[count++] = pid;
        pid = 0;
      }
    }
  }
  return n == 0;
}

}  // namespace lair::keeper
