// Scenario: the whole life of a pool of two real workers, with a fault on its way: start, calls, a lease, shutdown.
//
// However it goes, it must end: with right results or clear errors, the pool well again, the books in order, no process
// and no descriptor left. A run that hangs ends the program, and says which fault it was.
//
// Thread-safety: one thread at a time.
#pragma once

#include <lair/pool.hpp>
#include <optional>
#include <string>

#include "os/failpoint.hpp"

namespace lair::test {

struct Armed {
  os::failpoint::Process process;
  os::failpoint::Point point;
  os::failpoint::Fault fault;
};
std::string describe(const Armed& armed);

enum class Kind { kSocket, kPipe, kPython, kForked };

enum class Demand {
  kUnnoticed,  // everything succeeds, and no worker is replaced
  kGotOver,    // errors are clear, and the pool is well again
  kEnded,      // errors are clear, and everything ends in time
};

class Scenario {
 public:
  explicit Scenario(Kind kind) : kind_(kind) {}

  // What is wrong; empty if nothing is.
  std::string run(const std::optional<Armed>& armed, Demand demand);

 private:
  void live();
  void use(Pool& pool);
  void calls(Endpoint& endpoint, std::size_t most_bytes);
  void arrays(Pool& pool);
  void complain(const std::string& what);
  void judge(const Error& error, const char* where);

  const Kind kind_;
  Demand demand_ = Demand::kUnnoticed;
  std::string wrong_;
};

}  // namespace lair::test
