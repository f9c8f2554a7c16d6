#include "os/descendants.hpp"

#include <csignal>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <map>
#include <string>
#include <system_error>
#include <vector>

#include "os/pidfd.hpp"

namespace lair::os {

namespace {

namespace fs = std::filesystem;

// A tree that grows faster than it is looked at is not chased for ever.
constexpr int kMostLooks = 100;

// 0: it has ended.
int parent_of(int pid) {
  std::ifstream file("/proc/" + std::to_string(pid) + "/stat");
  std::string line;
  std::getline(file, line);
  // "pid (name) state ppid …": the name may itself contain blanks and parentheses.
  const std::size_t name_end = line.rfind(')');
  if (name_end == std::string::npos || line.size() < name_end + 5 || line[name_end + 2] == 'Z') return 0;
  return std::atoi(line.c_str() + name_end + 4);
}

std::map<int, std::vector<int>> children_by_parent() {
  std::map<int, std::vector<int>> children;
  std::error_code gone;
  for (fs::directory_iterator entry("/proc", gone), end; !gone && entry != end; entry.increment(gone)) {
    const int pid = std::atoi(entry->path().filename().c_str());
    if (const int parent = pid > 0 ? parent_of(pid) : 0; parent > 0) children[parent].push_back(pid);
  }
  return children;
}

// The number may have come to mean another process since the look, but not once the descriptor is open.
void kill_child(int pid, int parent) {
  const Fd process = open_pidfd(pid);
  if (process && parent_of(pid) == parent) (void)signal_pidfd(process.get(), SIGKILL);
}

}  // namespace

void kill_descendants(int pid) {
  for (int look = 0; look < kMostLooks; ++look) {
    auto children = children_by_parent();
    std::vector<int> parents = {pid};
    bool found = false;
    for (std::size_t i = 0; i < parents.size(); ++i) {
      const int parent = parents[i];
      for (const int child : children[parent]) {
        found = true;
        kill_child(child, parent);
        parents.push_back(child);
      }
    }
    if (!found) return;
  }
}

}  // namespace lair::os
