#include "os/stack_file.hpp"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <charconv>
#include <cstdint>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <string_view>

#include "os/failpoint.hpp"

namespace lair::os {

using failpoint::Point;

namespace {

std::string process_folder(int pid) { return "/proc/" + std::to_string(pid); }

// The value of a line such as "SigBlk:\t0000000000000000"; empty where there is none.
std::string status_line(const std::string& file, std::string_view name) {
  std::ifstream status(file);
  for (std::string line; std::getline(status, line);) {
    if (line.starts_with(name)) return line.substr(std::min(line.size(), name.size() + 1));
  }
  return {};
}

bool has_signal(const std::string& file, std::string_view set, int signal_number) {
  const std::string mask = status_line(file, set);
  std::uint64_t signals = 0;
  std::from_chars(mask.data(), mask.data() + mask.size(), signals, 16);
  return (signals >> (signal_number - 1) & 1) != 0;
}

bool is_stack_file(int fd) {
  std::array<char, 64> target{};
  const std::string link = "/proc/self/fd/" + std::to_string(fd);
  const ssize_t length = ::readlink(link.c_str(), target.data(), target.size());
  const std::string wanted = std::string("/memfd:") + StackFile::kName;
  return length > 0 && std::string_view(target.data(), static_cast<std::size_t>(length)).starts_with(wanted);
}

}  // namespace

StackFile StackFile::open(int pid, int fd, std::string& why) {
  const std::string path = process_folder(pid) + "/fd/" + std::to_string(fd);
  // O_NONBLOCK: should the number mean a pipe by now, opening it must not wait for a writer.
  Fd file(failpoint::refuses(Point::kStackFileOpen)
              ? -1
              : ::open(path.c_str(), O_RDWR | O_CLOEXEC | O_NOCTTY | O_NONBLOCK));
  if (!file && errno != ENXIO) {
    why = path + " cannot be opened: " + std::strerror(errno);
    return {};
  }
  // Asked of our own descriptor: the other's may change at any time.
  if (!file || !is_stack_file(file.get())) {
    why = path + " is not the file for its stacks any more: something in the worker has closed it";
    return {};
  }
  return StackFile(std::move(file));
}

std::size_t StackFile::size() const {
  struct stat info {};
  return ::fstat(fd_.get(), &info) == 0 && info.st_size > 0 ? static_cast<std::size_t>(info.st_size) : 0;
}

std::string StackFile::text(std::size_t most) const {
  std::string text(std::min(std::max<std::size_t>(size(), 4096), most), '\0');  // it may still grow
  std::size_t done = 0;
  while (done < text.size()) {
    const std::size_t wanted = failpoint::most(Point::kStackFileRead, text.size() - done);
    const ssize_t n = failpoint::refuses(Point::kStackFileRead)
                          ? -1
                          : ::pread(fd_.get(), text.data() + done, wanted, static_cast<off_t>(done));
    if (n > 0) {
      done += static_cast<std::size_t>(n);
    } else if (n == 0 || errno != EINTR) {
      break;
    }
  }
  text.resize(done);
  return text;
}

// One that cannot be emptied grows by some KiB; the next stack then shows the one before it, too.
void StackFile::empty() { (void)!::ftruncate(fd_.get(), 0); }

std::vector<int> threads_blocking(int pid, int signal_number) {
  std::vector<int> blocking;
  std::error_code gone;
  std::filesystem::directory_iterator tasks(process_folder(pid) + "/task", gone);
  const std::filesystem::directory_iterator end;
  for (; !gone && tasks != end; tasks.increment(gone)) {
    if (!has_signal(tasks->path() / "status", "SigBlk:", signal_number)) continue;
    blocking.push_back(std::atoi(tasks->path().filename().c_str()));
  }
  std::ranges::sort(blocking);
  return blocking;
}

bool is_stopped(int pid) {
  const std::string state = status_line(process_folder(pid) + "/status", "State:");
  return state.starts_with('T') || state.starts_with('t');
}

bool is_pending(int pid, int signal_number) {
  return has_signal(process_folder(pid) + "/status", "ShdPnd:", signal_number);
}

}  // namespace lair::os
