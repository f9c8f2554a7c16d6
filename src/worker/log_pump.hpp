// A worker's stdout or stderr, line by line. Pumped by the supervisor, so the pipe never fills and blocks the worker.
//
// Thread-safety: LogPump: the supervisor's thread. StderrTail: any thread.
#pragma once

#include <cstddef>
#include <deque>
#include <functional>
#include <mutex>
#include <string>
#include <string_view>

#include "os/stream.hpp"

namespace lair::worker {

// The last lines a worker wrote on stderr, for error messages.
class StderrTail {
 public:
  explicit StderrTail(std::size_t lines) : most_(lines) {}
  void add(std::string_view line);
  std::string text() const;  // newline separated, oldest first

 private:
  const std::size_t most_;
  mutable std::mutex mutex_;
  std::deque<std::string> lines_;
};

class LogPump {
 public:
  // A longer line comes out in pieces.
  static constexpr std::size_t kMostLine = 8u << 10;

  LogPump() = default;
  explicit LogPump(os::Fd pipe) : stream_(os::Stream::pipe(std::move(pipe))) {}

  explicit operator bool() const { return static_cast<bool>(stream_); }
  int fd() const { return stream_.in_fd(); }

  // Reads what is there, at most about `budget` bytes, and hands over each whole line without its newline. False
  // at the end of the stream; an unfinished last line is handed over then.
  bool pump(std::size_t budget, const std::function<void(std::string_view)>& on_line);
  // Closes the pipe. Whoever polls it must have let go of it.
  void close();

 private:
  os::Stream stream_;
  std::string pending_;
};

}  // namespace lair::worker
