// What Lair is measured against: bare Python loops on a socketpair, and other pools, which are programs that measure
// themselves when asked.
//
// Thread-safety: each object is one thread's at a time.
#pragma once

#include <fcntl.h>
#include <spawn.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <ctime>
#include <sstream>
#include <stdexcept>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace bench {

// Processor time that a process has used, all its threads, to the nanosecond.
inline double cpu_seconds(pid_t pid) {
  clockid_t clock{};
  timespec used{};
  if (::clock_getcpuclockid(pid, &clock) != 0 || ::clock_gettime(clock, &used) != 0)
    throw std::runtime_error("no process " + std::to_string(pid));
  return static_cast<double>(used.tv_sec) + static_cast<double>(used.tv_nsec) / 1e9;
}

// A program whose stdin and stdout are the other end of `fd()`. It ends at end-of-file; the destructor waits for that.
class Program {
 public:
  explicit Program(std::vector<std::string> command) {
    int ends[2];
    if (::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) != 0) fail("socketpair", errno);
    posix_spawn_file_actions_t actions;
    ::posix_spawn_file_actions_init(&actions);
    ::posix_spawn_file_actions_adddup2(&actions, ends[1], 0);
    ::posix_spawn_file_actions_adddup2(&actions, ends[1], 1);
    std::vector<char*> argv;
    for (std::string& each : command) argv.push_back(each.data());
    argv.push_back(nullptr);
    const int error = ::posix_spawnp(&pid_, argv[0], &actions, nullptr, argv.data(), environ);
    ::posix_spawn_file_actions_destroy(&actions);
    ::close(ends[1]);
    fd_ = ends[0];
    if (error != 0) fail(command[0], error);
  }
  Program(Program&& other) noexcept : fd_(std::exchange(other.fd_, -1)), pid_(std::exchange(other.pid_, 0)) {}
  Program& operator=(Program&&) = delete;
  ~Program() {
    if (fd_ >= 0) ::close(fd_);
    if (pid_ > 0) ::waitpid(pid_, nullptr, 0);
  }

  pid_t pid() const { return pid_; }
  void write(std::string_view bytes) {
    if (::send(fd_, bytes.data(), bytes.size(), MSG_NOSIGNAL) != static_cast<ssize_t>(bytes.size()))
      fail("send", errno);
  }
  // What one read brings, appended.
  void read(std::string& to) {
    char buffer[4096];
    const ssize_t count = ::recv(fd_, buffer, sizeof buffer, 0);
    if (count == 0) throw std::runtime_error("the program has ended");
    if (count < 0) fail("recv", errno);
    to.append(buffer, static_cast<std::size_t>(count));
  }
  // A line, of a program that writes one at a time.
  std::string line() {
    std::string text;
    while (text.find('\n') == text.npos) read(text);
    return text.substr(0, text.find('\n'));
  }

 private:
  [[noreturn]] static void fail(const std::string& what, int error) {
    throw std::runtime_error(what + ": " + std::strerror(error));
  }
  int fd_ = -1;
  pid_t pid_ = 0;
};

inline std::string framed(const std::string& payload) {
  std::string frame;
  for (const int shift : {24, 16, 8, 0}) frame += static_cast<char>(payload.size() >> shift & 0xff);
  return frame + payload;
}

// The floor: as little as there can be between two processes.
class BareLoop {
 public:
  BareLoop(const std::string& python, const std::string& script) : program_({python, script}) {}

  // A frame there and a frame back. No more is read of it than its length: the host's side costs nothing.
  void exchange(std::string_view frame) {
    program_.write(frame);
    reply_.clear();
    do {
      program_.read(reply_);
    } while (reply_.size() < 4 || reply_.size() < 4 + length());
  }

 private:
  std::size_t length() const {
    std::size_t length = 0;
    for (int i = 0; i < 4; ++i) length = length << 8 | static_cast<unsigned char>(reply_[std::size_t(i)]);
    return length;
  }
  Program program_;
  std::string reply_;
};

// Another pool, in a program of its own that answers "SIZE CALLERS CALLS WORK" with "calls/s p50-in-µs" (bench/peers/).
class Peer {
 public:
  struct Answer {
    double per_second = 0;
    double p50_us = 0;
  };
  Peer(std::string name, std::vector<std::string> command)
      : name_(std::move(name)), program_(std::move(command)) {
    if (program_.line() != "ready") throw std::runtime_error("it does not start");
  }

  const std::string& name() const { return name_; }
  Answer measure(std::size_t size, std::size_t callers, std::size_t calls, const std::string& work) {
    program_.write(std::to_string(size) + ' ' + std::to_string(callers) + ' ' + std::to_string(calls) + ' ' +
                   work + '\n');
    Answer answer;
    std::istringstream text(program_.line());
    if (!(text >> answer.per_second >> answer.p50_us)) throw std::runtime_error("it answers " + text.str());
    return answer;
  }

 private:
  std::string name_;
  Program program_;
};

}  // namespace bench
