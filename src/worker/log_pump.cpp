#include "worker/log_pump.hpp"

#include <algorithm>
#include <array>

namespace lair::worker {

void StderrTail::add(std::string_view line) {
  if (most_ == 0) return;
  const std::lock_guard lock(mutex_);
  if (lines_.size() == most_) lines_.pop_front();
  lines_.emplace_back(line);
}

std::string StderrTail::text() const {
  const std::lock_guard lock(mutex_);
  std::string text;
  for (const std::string& line : lines_) {
    if (!text.empty()) text += '\n';
    text += line;
  }
  return text;
}

bool LogPump::pump(std::size_t budget, const std::function<void(std::string_view)>& on_line) {
  std::array<char, 32u << 10> buffer;
  for (std::size_t done = 0; done < budget;) {
    const os::IoResult read = stream_.read(buffer.data(), buffer.size());
    if (read.status == os::IoStatus::kWouldBlock) return true;
    if (read.status != os::IoStatus::kOk) {
      if (!pending_.empty()) on_line(pending_);
      pending_.clear();
      return false;
    }
    done += read.bytes;
    std::string_view rest(buffer.data(), read.bytes);
    while (!rest.empty()) {
      const std::size_t newline = rest.find('\n');
      const std::size_t take = std::min({newline, rest.size(), kMostLine - pending_.size()});
      pending_.append(rest.substr(0, take));
      rest.remove_prefix(take);
      if (rest.empty()) break;  // a line at its limit is whole only when more than its newline follows
      on_line(pending_);
      pending_.clear();
      if (rest.front() == '\n') rest.remove_prefix(1);
    }
  }
  return true;
}

void LogPump::close() { stream_ = os::Stream(); }

}  // namespace lair::worker
