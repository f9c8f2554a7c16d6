// Proof that a test leaves nothing behind: no descriptor, no child, no process that any of its workers started.
//
// Use it as a fixture: `using Calls = LeakChecked;  TEST_F(Calls, …)`.
#pragma once

#include <gtest/gtest.h>

#include <chrono>
#include <functional>
#include <map>
#include <set>
#include <string>

namespace lair::test {

// Polls `condition` until it holds; false if it does not within `patience`. For conditions that come about in
// another thread or process: soon, but on a busy machine nobody knows how soon.
bool eventually(const std::function<bool()>& condition,
                std::chrono::milliseconds patience = std::chrono::seconds(60));

std::map<int, std::string> open_descriptors();  // number → what it is
std::set<int> descendants(int pid);             // living or unreaped, of any depth
// Is there (still) a living process with this pid that started when `read_start` said?
std::string start_time_of(int pid);  // empty if it is gone or a zombie

class LeakCheck {
 public:
  LeakCheck();
  // What is there now and was not then, in words; empty if nothing, waiting for ends that are under way.
  std::string leaked() const;

 private:
  std::map<int, std::string> descriptors_;
  std::set<int> children_;
};

class LeakChecked : public ::testing::Test {
 protected:
  void TearDown() override { EXPECT_EQ(leak_check_.leaked(), ""); }

 private:
  LeakCheck leak_check_;
};

}  // namespace lair::test
