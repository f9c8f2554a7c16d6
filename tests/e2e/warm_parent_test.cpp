// Workers that are forked from a warm parent: they are what executed ones are, and whoever dies, the rest stays whole.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sched.h>
#include <signal.h>

#include <algorithm>
#include <fstream>
#include <set>
#include <sstream>

#include "support/host.hpp"
#include "support/leak_check.hpp"
#include "support/pools.hpp"

namespace lair {
namespace {

using namespace std::chrono_literals;
using test::descendants;
using test::eventually;
using test::Host;
using test::Lines;
using test::Note;
using test::options_for;
using ::testing::HasSubstr;

int parent_of(int pid) {
  std::ifstream status("/proc/" + std::to_string(pid) + "/status");
  for (std::string word; status >> word;) {
    if (word == "PPid:") {
      int parent = 0;
      status >> parent;
      return parent;
    }
  }
  return 0;
}

class WarmParent : public test::LeakChecked {
 protected:
  static PoolOptions forked(const std::string& module, std::vector<std::string> preload, std::size_t size) {
    PoolOptions options = options_for(module, size);
    options.worker.start = "fork";
    options.worker.preload = std::move(preload);
    return options;
  }
  // Workers of `warm`, with a module that notes each of its imports.
  PoolOptions noted(std::size_t size, std::vector<std::string> preload = {"warm_heavy"}) const {
    PoolOptions options = forked("warm", std::move(preload), size);
    options.worker.env["WARM_NOTE"] = note_.path();
    return options;
  }
  // The processes that have imported warm_heavy.
  std::vector<int> importers() const {
    std::ifstream file(note_.path());
    std::vector<int> pids;
    for (int pid = 0; file >> pid;) pids.push_back(pid);
    return pids;
  }
  // One answer of each worker.
  static std::vector<Json> describe_all(Pool& pool, std::size_t size) {
    std::vector<Lease> leases;
    std::vector<Json> answers;
    for (std::size_t i = 0; i < size; ++i) leases.push_back(pool.checkout());
    for (Lease& lease : leases) answers.push_back(lease.call("describe"));
    return answers;
  }
  static std::string start_failure(PoolOptions options) {
    Pool pool(std::move(options));
    const auto ready = pool.try_wait_ready({}, 20s);
    EXPECT_FALSE(ready);
    if (ready) return "";
    EXPECT_EQ(ready.error().kind, ErrorKind::kUnavailable) << ready.error().report();
    EXPECT_EQ(ready.error().stage, "environment") << ready.error().report();
    return ready.error().report();
  }

  Note note_;
};

TEST_F(WarmParent, ImportsOnceForAllWorkers) {
  Pool pool(noted(4));
  pool.wait_ready();
  const auto workers = describe_all(pool, 4);
  ASSERT_EQ(importers().size(), 1u);
  const int parent = importers()[0];
  const int keeper = parent_of(parent);
  EXPECT_EQ(parent_of(keeper), ::getpid());
  std::set<Json> pids;
  std::set<Json> randoms;
  std::set<Json> inherited;
  for (const Json& worker : workers) {
    EXPECT_EQ(worker["parent"], keeper);
    EXPECT_EQ(worker["group"], worker["pid"]);
    EXPECT_EQ(worker["started_in"], worker["pid"]);
    EXPECT_EQ(worker["death_signal"], SIGKILL);
    EXPECT_EQ(worker["subreaper"], 1);
    EXPECT_EQ(worker["threads"], 1);
    EXPECT_EQ(worker["gc"], true);
    EXPECT_EQ(worker["frozen"], true);
    EXPECT_EQ(worker["argv"], Json({"warm"}));
    pids.insert(worker["pid"]);
    randoms.insert(worker["random"]);
    inherited.insert(worker["inherited"]);
  }
  EXPECT_EQ(pids.size(), 4u);
  EXPECT_EQ(randoms.size(), 4u);
  EXPECT_EQ(inherited.size(), 1u);
}

TEST_F(WarmParent, AWorkerHasItsOwnPlaceAndNothingOfAnotherS) {
  PoolOptions options = noted(2);
  options.worker.env["WARM_DEVICE"] = "{slot}";
  options.worker.cwd = "/usr";
  cpu_set_t set;
  ASSERT_EQ(::sched_getaffinity(0, sizeof set, &set), 0);
  int cpu = 0;
  while (!CPU_ISSET(cpu, &set)) ++cpu;
  options.worker.cpu_affinity = {{cpu}};
  PoolOptions spawned = options;
  spawned.worker.start = "spawn";
  spawned.worker.preload.clear();
  Pool pool(std::move(options));
  pool.wait_ready();
  Pool plain(std::move(spawned));
  plain.wait_ready();
  const Json model = plain.call("describe");
  std::set<Json> slots;
  for (const Json& worker : describe_all(pool, 2)) {
    const Json& environment = worker["environment"];
    EXPECT_EQ(environment["WARM_DEVICE"], environment["LAIR_SLOT"]);
    EXPECT_EQ(environment["LAIR_WORKER_ID"], "test-" + environment["LAIR_SLOT"].get<std::string>() + "-" +
                                                 environment["LAIR_GENERATION"].get<std::string>());
    slots.insert(environment["LAIR_SLOT"]);
    for (const char* same : {"descriptors", "cwd", "first_path", "cpus", "argv", "inherited_by_programs"})
      EXPECT_EQ(worker[same], model[same]) << same;
  }
  EXPECT_EQ(slots.size(), 2u);
}

TEST_F(WarmParent, WhatAModuleDoesToTheProcessStaysWithTheParent) {
  PoolOptions options = noted(1, {"warm_rude", "warm_heavy"});
  Lines log(options);
  Pool pool(std::move(options));
  pool.wait_ready();
  const Json worker = pool.call("describe");
  EXPECT_EQ(worker["usr1"], true);
  EXPECT_FALSE(worker["environment"].contains("WARM_RUDE"));
  EXPECT_THAT(worker["inherited_by_programs"], ::testing::Not(::testing::Contains(Json("WARM_RUDE"))));
  const std::string parent = "[test warm parent pid " + std::to_string(importers().at(0)) + " ";
  EXPECT_TRUE(eventually([&] { return log.contain(parent + "stderr] rude on stderr"); })) << log.text();
  EXPECT_TRUE(eventually([&] { return log.contain(parent + "stdout] rude on stdout"); })) << log.text();
  const TimePoint began = SteadyClock::now();
  pool.shutdown(0ms);
  EXPECT_LT(SteadyClock::now() - began, 5s) << "SIGTERM was lost";  // terminate_grace
}

TEST_F(WarmParent, AServedModuleMayBePreloadedToo) {
  Pool pool(noted(2, {"warm"}));
  pool.wait_ready();
  for (const Json& worker : describe_all(pool, 2)) EXPECT_EQ(worker["started_in"], worker["pid"]);
  EXPECT_EQ(importers().size(), 1u);
  EXPECT_EQ(pool.commands().size(), 3u);
}

TEST_F(WarmParent, NothingNeedsToBePreloaded) {
  Pool pool(forked("plain", {}, 2));
  pool.wait_ready();
  EXPECT_EQ(pool.call<int>("add", 2, 3), 5);
}

TEST_F(WarmParent, AKilledWorkerIsReplacedByAnotherFork) {
  Pool pool(noted(2));
  pool.wait_ready();
  for (int i = 0; i < 5; ++i) {
    const int pid = pool.call<int>("pid");
    ASSERT_EQ(::kill(pid, SIGKILL), 0);
    EXPECT_TRUE(eventually([&] {
      const PoolStats stats = pool.stats();
      return stats.workers_exited == static_cast<std::uint64_t>(i) + 1 && stats.count(SlotState::kIdle) == 2;
    }));
  }
  EXPECT_EQ(importers().size(), 1u);
}

TEST_F(WarmParent, ACallThatIsLateIsKilledWithItsStackAndReplaced) {
  PoolOptions options = noted(1);
  options.cancel_grace = 0ms;
  Lines log(options);
  Pool pool(std::move(options));
  pool.wait_ready();
  EXPECT_EQ(pool.try_call({.timeout = 300ms}, "nap", 60).error().kind, ErrorKind::kDeadlineExceeded);
  EXPECT_GT(pool.call<int>("pid"), 0);
  EXPECT_TRUE(eventually([&] { return log.contain("in nap"); })) << log.text();
  EXPECT_EQ(importers().size(), 1u);
}

TEST_F(WarmParent, AKilledParentIsReplacedAndItsWorkersLiveOn) {
  PoolOptions options = noted(2);
  Lines log(options);
  Pool pool(std::move(options));
  pool.wait_ready();
  const auto before = describe_all(pool, 2);
  ASSERT_EQ(::kill(importers().at(0), SIGKILL), 0);
  EXPECT_TRUE(eventually([&] { return log.contain("killed by SIGKILL"); }));
  EXPECT_EQ(pool.stats().workers_exited, 0u);
  const int pid = pool.call<int>("pid");
  EXPECT_TRUE(pid == before[0]["pid"] || pid == before[1]["pid"]);
  ASSERT_EQ(::kill(pid, SIGKILL), 0);
  EXPECT_TRUE(eventually(
      [&] { return pool.stats().workers_exited == 1 && pool.stats().count(SlotState::kIdle) == 2; }));
  EXPECT_EQ(importers().size(), 2u);
  EXPECT_EQ(pool.stats().workers_started, 3u);
}

// It cannot fork, but it is not dead: the first start that it keeps waiting for too long ends it.
TEST_F(WarmParent, AStoppedParentIsReplaced) {
  PoolOptions options = noted(1);
  options.start_timeout = 2s;
  Pool pool(std::move(options));
  pool.wait_ready({}, 60s);
  ASSERT_EQ(::kill(importers().at(0), SIGSTOP), 0);
  ASSERT_EQ(::kill(pool.call<int>("pid"), SIGKILL), 0);
  EXPECT_TRUE(
      eventually([&] { return importers().size() >= 2 && pool.stats().count(SlotState::kIdle) == 1; }, 60s));
}

TEST_F(WarmParent, DeathsInTheMiddleOfForksLeaveNothingBehind) {
  Pool pool(noted(4));
  pool.wait_ready();
  for (int i = 0; i < 10; ++i) {
    std::vector<Lease> leases;
    std::vector<int> pids;
    for (int n = 0; n < 4; ++n) leases.push_back(pool.checkout());
    for (Lease& lease : leases) pids.push_back(lease.call<int>("pid"));
    leases.clear();
    const std::uint64_t exited = pool.stats().workers_exited;
    for (const int pid : pids) ::kill(pid, SIGKILL);
    if (i % 2 == 1) ::kill(importers().back(), SIGKILL);
    const auto whole = [&] {
      const PoolStats stats = pool.stats();
      return stats.workers_exited >= exited + 4 && stats.count(SlotState::kIdle) == 4;
    };
    ASSERT_TRUE(eventually(whole, 60s)) << "round " << i;
  }
  const int keeper = parent_of(importers().back());
  // The keeper, the warm parent, four workers.
  EXPECT_TRUE(eventually([&] { return descendants(::getpid()).size() == 6; }));
  EXPECT_EQ(parent_of(keeper), ::getpid());
}

TEST_F(WarmParent, TheKeeperTakesAllWithItAndAllComeBack) {
  Pool pool(noted(2));
  pool.wait_ready();
  const int keeper = parent_of(importers().at(0));
  const test::Family family = test::identify(descendants(::getpid()));
  ASSERT_EQ(family.size(), 4u);
  ASSERT_EQ(::kill(keeper, SIGKILL), 0);
  EXPECT_EQ(test::survivors(family), "");
  // The pool may still take those for idle that have just died.
  EXPECT_TRUE(
      eventually([&] { return importers().size() == 2 && pool.stats().count(SlotState::kIdle) == 2; }, 60s));
}

TEST_F(WarmParent, AKilledHostLeavesNothing) {
  for (const char* when : {"ready", "starting"}) {
    for (int i = 0; i < 3; ++i) {
      const Host host({when, "warm"});
      const test::Family family = test::identify(descendants(host.pid()));
      // A keeper, a warm parent, 2 workers, 3 detached grandchildren of each.
      const std::size_t least = std::string(when) == "ready" ? 1 + 1 + 2 + 6 : 1;
      EXPECT_GE(family.size(), least);
      host.kill();
      EXPECT_EQ(test::survivors(family), "");
      host.reap();
    }
  }
}

TEST_F(WarmParent, AMissingModuleFailsTheStartInPythonsWords) {
  const std::string failure = start_failure(forked("plain", {"json", "no_such_module"}, 2));
  EXPECT_THAT(failure, HasSubstr("stage environment"));
  EXPECT_THAT(failure, HasSubstr("preload"));
  EXPECT_THAT(failure, HasSubstr("ModuleNotFoundError: No module named 'no_such_module'"));
}

TEST_F(WarmParent, AModuleThatRaisesFailsTheStartWithItsTraceback) {
  const std::string failure = start_failure(forked("plain", {"broken_import"}, 2));
  EXPECT_THAT(failure, HasSubstr("broken_import.py"));
}

TEST_F(WarmParent, AModuleThatStartsAThreadIsRefusedWithWhatToDo) {
  const std::string failure = start_failure(forked("plain", {"warm_thread"}, 2));
  EXPECT_THAT(failure, HasSubstr("2 threads (Python's: poller)"));
  EXPECT_THAT(failure, HasSubstr("take what starts them out of `preload` (warm_thread)"));
  EXPECT_THAT(failure, HasSubstr("start = 'spawn'"));
}

TEST_F(WarmParent, CudaInUseIsRefusedWithWhatToDo) {
  const Note folder;
  const std::string place = folder.path();
  std::filesystem::create_directory(place);
  std::ofstream(place + "/torch.py") << "class cuda:\n    is_initialized = staticmethod(lambda: True)\n";
  PoolOptions options = forked("plain", {"torch"}, 2);
  options.worker.python_path.push_back(place);
  const std::string failure = start_failure(std::move(options));
  EXPECT_THAT(failure, HasSubstr("CUDA is initialised in the warm parent"));
  EXPECT_THAT(failure, HasSubstr("on_start"));
}

TEST_F(WarmParent, AModuleThatKillsTheParentFailsTheStartWithItsLastWords) {
  PoolOptions options = forked("plain", {"warm_crash"}, 1);
  Lines log(options);
  Pool pool(std::move(options));
  EXPECT_TRUE(eventually([&] { return log.contain("failed to start at stage environment"); }, 60s));
  EXPECT_THAT(log.text(), HasSubstr("killed by SIGKILL"));
  EXPECT_THAT(log.text(), HasSubstr("its last words:\ncannot go on"));
}

}  // namespace
}  // namespace lair
