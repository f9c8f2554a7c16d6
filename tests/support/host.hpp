// Host: a program of its own (tests/process/orphan_host_main.cpp) with a pool and a family of processes, to be killed.
// Also what tells the members of a family from strangers that come to have their pids.
//
// Thread-safety: one thread at a time.
#pragma once

#include <map>
#include <set>
#include <string>
#include <vector>

namespace lair::test {

class Host {
 public:
  // Starts it and waits until it says "go".
  explicit Host(std::vector<std::string> arguments);

  int pid() const { return pid_; }
  void kill() const;
  void reap() const;

 private:
  int pid_ = 0;
};

// Each process with its start time: a pid alone might be another's by the time we look.
using Family = std::map<int, std::string>;
Family identify(const std::set<int>& pids);
// Those that are still there when they have had time to go; empty: none.
std::string survivors(const Family& family);

}  // namespace lair::test
