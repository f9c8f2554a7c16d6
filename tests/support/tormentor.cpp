#include "support/tormentor.hpp"

#include <vector>

#include "os/pidfd.hpp"

namespace lair::test {

bool Tormentor::hit(int signal) {
  std::vector<WorkerStats> victims;
  for (const WorkerStats& worker : pool_.stats().workers) {
    const bool up = worker.state == SlotState::kIdle || worker.state == SlotState::kBusy ||
                    worker.state == SlotState::kChecking;
    if (up && worker.pid > 0 && worker.calls > 0 && hit_.count({worker.slot, worker.generation}) == 0)
      victims.push_back(worker);
  }
  if (victims.empty()) return false;
  const WorkerStats victim = victims[random_() % victims.size()];
  const os::Fd process = os::open_pidfd(victim.pid);
  // Only if the number meant that worker when its descriptor was opened, never another process.
  const WorkerStats now = pool_.stats().workers[victim.slot];
  if (!process || now.generation != victim.generation || now.pid != victim.pid) return false;
  if (!os::signal_pidfd(process.get(), signal)) return false;
  hit_.insert({victim.slot, victim.generation});
  return true;
}

}  // namespace lair::test
