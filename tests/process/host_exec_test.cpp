// A host that becomes another program leaves nothing: no worker, no keeper, no process that a worker has detached.
#include <gtest/gtest.h>
#include <signal.h>
#include <unistd.h>

#include <string>

#include "support/host.hpp"
#include "support/leak_check.hpp"

namespace lair::test {
namespace {

class HostExec : public LeakChecked {};

TEST_F(HostExec, AHostThatBecomesAnotherProgramLeavesNone) {
  const Host host({"ready", "exec"});
  const auto family = identify(descendants(host.pid()));
  EXPECT_EQ(survivors(family), "");  // its execve closed the keeper's socket
  host.kill();
  host.reap();
}

}  // namespace
}  // namespace lair::test
