#include "os/journal.hpp"

#include <fcntl.h>
#include <unistd.h>

#include <array>
#include <string_view>

namespace lair::os {

namespace {

constexpr std::uint64_t kMostBytes = 1u << 20;  // of frames; the SDK has 128 KiB

bool is_journal(int fd) {
  std::array<char, 64> target{};
  const std::string link = "/proc/self/fd/" + std::to_string(fd);
  const ssize_t length = ::readlink(link.c_str(), target.data(), target.size());
  const std::string wanted = std::string("/memfd:") + Journal::kName;
  return length > 0 && std::string_view(target.data(), static_cast<std::size_t>(length)).starts_with(wanted);
}

}  // namespace

Journal Journal::open(int pid, int fd) {
  const std::string path = "/proc/" + std::to_string(pid) + "/fd/" + std::to_string(fd);
  Journal journal;
  // O_NONBLOCK: should the number mean a pipe by now, opening it must not wait for a writer.
  journal.fd_ = Fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK));
  // Asked of our own descriptor: the other's may change at any time.
  if (journal.fd_ && !is_journal(journal.fd_.get())) journal.fd_.reset();
  return journal;
}

std::optional<Journal::State> Journal::read() const {
  std::array<std::uint64_t, 4> head{};
  if (!fd_ || ::pread(fd_.get(), head.data(), sizeof head, 0) != ssize_t{sizeof head}) return std::nullopt;
  State state{.batch = head[0], .told = head[1], .begun = head[2]};
  if (head[3] > kMostBytes) return std::nullopt;
  state.frames.resize(head[3]);
  const ssize_t count = ::pread(fd_.get(), state.frames.data(), state.frames.size(), sizeof head);
  if (count != static_cast<ssize_t>(state.frames.size())) return std::nullopt;
  // Its worker may be alive after all, and writing.
  std::array<std::uint64_t, 4> after{};
  if (::pread(fd_.get(), after.data(), sizeof after, 0) != ssize_t{sizeof after} || after != head)
    return std::nullopt;
  return state;
}

}  // namespace lair::os
