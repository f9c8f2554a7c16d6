#include "os/journal.hpp"

#include <fcntl.h>
#include <unistd.h>

#include <array>

#include "os/memfd.hpp"

namespace lair::os {

namespace {

constexpr std::uint64_t kMostBytes = 1u << 20;  // of frames; the SDK has 128 KiB

}  // namespace

Journal Journal::open(int pid, int fd) {
  Journal journal;
  journal.fd_ = open_memfd_of(pid, fd, kName, O_RDONLY);
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
