#include "support/leak_check.hpp"

#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <thread>

namespace lair::test {

namespace fs = std::filesystem;

namespace {

struct Stat {
  int parent = 0;
  char state = 0;
  std::string started;
};

Stat read_stat(int pid) {
  std::ifstream file("/proc/" + std::to_string(pid) + "/stat");
  std::string line;
  std::getline(file, line);
  const std::size_t name_end = line.rfind(')');
  if (name_end == std::string::npos) return {};
  Stat stat;
  std::size_t begin = name_end + 2;
  for (int field = 3; field <= 22; ++field) {
    const std::size_t end = line.find(' ', begin);
    const std::string text = line.substr(begin, end - begin);
    if (field == 3) stat.state = text.empty() ? '\0' : text[0];
    if (field == 4) stat.parent = std::atoi(text.c_str());
    if (field == 22) stat.started = text;
    begin = end + 1;
  }
  return stat;
}

}  // namespace

bool eventually(const std::function<bool()>& condition, std::chrono::milliseconds patience) {
  const auto end = std::chrono::steady_clock::now() + patience;
  for (;;) {
    if (condition()) return true;
    if (std::chrono::steady_clock::now() >= end) return false;
    std::this_thread::sleep_for(
        std::chrono::milliseconds(1));  // a poll of a condition, not a wait for a time
  }
}

std::map<int, std::string> open_descriptors() {
  std::map<int, std::string> open;
  std::error_code gone;
  for (const auto& entry : fs::directory_iterator("/proc/self/fd", gone)) {
    const std::string target = fs::read_symlink(entry.path(), gone).string();
    // The iterator's own.
    if (target.find("/proc/") == 0 && target.find("/fd") != std::string::npos) continue;
    open[std::atoi(entry.path().filename().c_str())] = target;
  }
  return open;
}

std::set<int> descendants(int pid) {
  std::map<int, std::set<int>> children;
  std::error_code gone;
  for (const auto& entry : fs::directory_iterator("/proc", gone)) {
    const int candidate = std::atoi(entry.path().filename().c_str());
    if (candidate > 0) children[read_stat(candidate).parent].insert(candidate);
  }
  std::set<int> found;
  std::set<int> todo = {pid};
  while (!todo.empty()) {
    const int parent = *todo.begin();
    todo.erase(todo.begin());
    for (const int child : children[parent]) {
      if (found.insert(child).second) todo.insert(child);
    }
  }
  return found;
}

std::string start_time_of(int pid) {
  const Stat stat = read_stat(pid);
  return stat.state == 'Z' || stat.state == 'X' ? std::string() : stat.started;
}

LeakCheck::LeakCheck() : descriptors_(open_descriptors()), children_(descendants(::getpid())) {}

std::string LeakCheck::leaked() const {
  std::string report;
  eventually([&] {
    report.clear();
    for (const auto& [fd, what] : open_descriptors()) {
      if (descriptors_.count(fd) == 0) report += "descriptor " + std::to_string(fd) + ": " + what + "\n";
    }
    for (const int child : descendants(::getpid())) {
      if (children_.count(child) == 0) report += "process " + std::to_string(child) + "\n";
    }
    return report.empty();
  });
  return report;
}

}  // namespace lair::test

// An exception that one thread has thrown into a future, and another has caught, is destroyed by whichever is the last to let
// go of it. That they count in the right order happens in libstdc++, where ThreadSanitizer sees nothing. Here, because every test
// program has this file.
extern "C" const char* __tsan_default_suppressions() {  // NOLINT(*-reserved-identifier): its name
  return "race:std::__exception_ptr::exception_ptr::_M_release\n";
}
