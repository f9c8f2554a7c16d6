// Typed calls take no memory, but for their results, once a thread has made a few.
#include <gtest/gtest.h>

#include <cstdio>
#include <string>

#include "support/paths.hpp"

namespace lair::test {
namespace {

class Allocations : public testing::TestWithParam<const char*> {};
INSTANTIATE_TEST_SUITE_P(Codecs, Allocations, testing::Values("native", "plain"),
                         [](const auto& of) { return std::string(of.param); });

TEST_P(Allocations, AreNoneInTheSteadyState) {
  const std::string command = in_bin("allocations_main ") + GetParam() + " 2>&1";
  FILE* const program = ::popen(command.c_str(), "r");
  ASSERT_NE(program, nullptr);
  std::string said;
  for (int c = std::fgetc(program); c != EOF; c = std::fgetc(program)) said += static_cast<char>(c);
  EXPECT_EQ(::pclose(program), 0) << said;
  EXPECT_NE(said.find("add: 0 on the calling thread"), std::string::npos) << said;
}

}  // namespace
}  // namespace lair::test
