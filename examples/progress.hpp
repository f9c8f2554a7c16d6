// A progress bar on stderr, if that is a terminal; otherwise nothing.
//
// Thread-safety: one thread.
#pragma once

#include <unistd.h>

#include <algorithm>
#include <cstddef>
#include <cstdio>
#include <string>
#include <utility>

class Progress {
 public:
  Progress(std::string title, std::size_t total)
      : title_(std::move(title)), total_(std::max<std::size_t>(total, 1)) {}
  Progress(const Progress&) = delete;
  Progress& operator=(const Progress&) = delete;
  ~Progress() {
    if (terminal_) std::fputs("\r\033[K", stderr);  // what follows takes the bar's line
  }

  void show(std::size_t done) const {
    if (!terminal_) return;
    const std::size_t filled = std::min(done, total_) * kWidth / total_;
    const std::string bar = std::string(filled, '#') + std::string(kWidth - filled, '.');
    std::fprintf(stderr, "\r%s [%s] %zu/%zu\033[K", title_.c_str(), bar.c_str(), done, total_);
  }

 private:
  static constexpr std::size_t kWidth = 40;
  const std::string title_;
  const std::size_t total_;
  const bool terminal_ = isatty(STDERR_FILENO) == 1;
};
