// Rows about one call: what its worker does to it, and that nobody else notices.
#include <signal.h>
#include <unistd.h>

#include <cstdio>
#include <fstream>

#include "faults/row.hpp"
#include "os/pidfd.hpp"
#include "os/wait.hpp"

namespace lair::test {
namespace {

using namespace std::chrono_literals;

// The end of a process, however it comes about.
class Watched {
 public:
  explicit Watched(int pid) : pidfd_(os::open_pidfd(pid)) {}
  // When it was dead.
  TimePoint dead() const {
    EXPECT_FALSE(os::wait_for_io({.exit_fd = pidfd_.get()}, Deadline::after(20s)).timed_out);
    return now();
  }

 private:
  os::Fd pidfd_;
};

// 0 until the kernel has told.
std::size_t resident_bytes() {
  std::ifstream statm("/proc/self/statm");
  std::size_t pages = 0;
  statm >> pages >> pages;
  return pages * static_cast<std::size_t>(::sysconf(_SC_PAGESIZE));
}

// A pool of four, all well but for the worker that gets the command `babble`.
class Babble : public FaultRow {
 protected:
  void TearDown() override {
    pool.reset();
    FaultRow::TearDown();
  }
  void ready(const std::string& worker) {
    pool.emplace(options_for(script_worker(worker + ".py"), 4));
    pool->wait_ready();
  }
  // On a worker that has proved its worth: the deaths of others speak against starting more.
  Result<Json> babble(Duration timeout = 30s) {
    for (;;) {
      auto lease = pool->checkout();
      const auto pid = lease.try_call<int>("pid");
      if (!pid) {  // what it babbled before comes only now
        EXPECT_EQ(pid.error().kind, ErrorKind::kProtocol) << pid.error().report();
        continue;
      }
      EXPECT_EQ(*pid, lease.worker().pid);
      began = now();
      auto outcome = lease.try_call({.timeout = timeout}, "babble", kwargs{{"n", 1}});
      ended = now();
      return outcome;
    }
  }
  // Every later answer is the caller's own.
  void expect_no_misdelivery() {
    for (int i = 0; i < 20; ++i) EXPECT_EQ(pool->call("echo", kwargs{{"i", i}}), (Json{{"i", i}}));
    expect_whole(*pool);
  }

  std::optional<Pool> pool;
  TimePoint began;
  TimePoint ended;
};

class Calls : public FaultRow {};

TEST_F(Calls, R02_ABusyWorkerIsKilled) {
  Pool pool(options_for("plain", 4));
  pool.wait_ready();
  for (int i = 0; i < rounds(10, 200); ++i) {
    const Note note;
    auto lease = pool.checkout();
    const int pid = lease.call<int>("pid");
    Result<Json> outcome = Json();
    TimePoint ended;
    std::thread caller([&] {
      outcome = lease.try_call("nap", 60, note.path());
      ended = now();
    });
    EXPECT_TRUE(note.comes());
    const TimePoint killed = now();
    ::kill(pid, SIGKILL);
    caller.join();
    took("the caller is told", ended - killed, 50ms, true);
    ASSERT_FALSE(outcome);
    EXPECT_EQ(outcome.error().kind, ErrorKind::kWorkerLost);
    EXPECT_EQ(outcome.error().delivery, Delivery::kMaybeExecuted);
    ASSERT_TRUE(outcome.error().worker && outcome.error().worker->exit) << outcome.error().report();
    EXPECT_EQ(outcome.error().worker->exit->code, SIGKILL);
    EXPECT_EQ(outcome.error().worker->pid, pid);
  }
  expect_whole(pool);
}

TEST_F(Babble, R02_AReplyThatWasWrittenBeforeTheKillStillCounts) {
  ready("dies_after_its_reply");
  for (int i = 0; i < rounds(20, 200); ++i) {
    EXPECT_GT(pool->call<int>("pid"), 0);
    EXPECT_EQ(pool->call("babble", kwargs{{"n", i}}), "late");
  }
  EXPECT_EQ(pool->stats().crashed, 0u);
  expect_no_misdelivery();
}

TEST_F(Calls, R03_ABusyWorkerIsStopped) {
  Pool pool(options_for(script_worker("stops_itself.py"), 4));
  pool.wait_ready();
  for (int i = 0; i < 5; ++i) {
    constexpr Duration kTimeout = 200ms;
    auto lease = pool.checkout();
    const Watched worker(lease.worker().pid);
    const TimePoint deadline = now() + kTimeout;
    const auto outcome = lease.try_call({.timeout = kTimeout}, "babble", kwargs{{"n", 1}});
    took("the caller is told, after the deadline", now() - deadline, 10ms);
    took("the worker is dead, after the deadline", worker.dead() - deadline, 100ms, true);
    ASSERT_FALSE(outcome);
    EXPECT_EQ(outcome.error().kind, ErrorKind::kDeadlineExceeded);
    EXPECT_EQ(outcome.error().delivery, Delivery::kMaybeExecuted);
  }
  expect_whole(pool);
}

TEST_F(Calls, R05_CCodeHoldsTheGil) {
  PoolOptions options = options_for("holds_the_gil", 4);
  const Lines log(options);
  Pool pool(std::move(options));
  pool.wait_ready();
  constexpr Duration kTimeout = 200ms;
  auto lease = pool.checkout();
  const Watched worker(lease.worker().pid);
  const TimePoint deadline = now() + kTimeout;
  EXPECT_EQ(lease.try_call({.timeout = kTimeout}, "hold").error().kind, ErrorKind::kDeadlineExceeded);
  took("the caller is told, after the deadline", now() - deadline, 10ms);
  took("the worker is dead, after the deadline", worker.dead() - deadline,
       pool.options().cancel_grace + 100ms, true);
  EXPECT_TRUE(eventually([&] { return log.contain("holds_the_gil.py\", line 16 in hold"); })) << log.text();
  lease.release();
  expect_whole(pool);
}

TEST_F(Babble, R07_AWorkerWritesGarbage) {
  ready("garbage");
  for (int i = 0; i < 5; ++i) {
    const auto outcome = babble();
    took("the caller is told", ended - began, 50ms);
    ASSERT_FALSE(outcome);
    EXPECT_EQ(outcome.error().kind, ErrorKind::kProtocol);
    EXPECT_NE(outcome.error().message.find("Traceback"), std::string::npos) << "what it wrote is shown";
  }
  expect_no_misdelivery();
}

TEST_F(Babble, R08_AWorkerWritesHalfAFrame) {
  ready("half_frame");
  for (int i = 0; i < 5; ++i) {
    EXPECT_EQ(babble(200ms).error().kind, ErrorKind::kDeadlineExceeded);
    took("the caller is told, after the deadline", ended - began - 200ms, 10ms);
  }
  expect_no_misdelivery();
}

TEST_F(Babble, R09_AWorkerWritesByteByByte) {
  ready("one_byte_writes");
  for (int i = 0; i < 50; ++i) EXPECT_EQ(*babble(), "late");
  expect_no_misdelivery();
}

TEST_F(Babble, R10_AWorkerAnnouncesFourGibibytes) {
  ready("huge_length");
  for (int i = 0; i < 10; ++i) {
    const std::size_t before = resident_bytes();
    EXPECT_EQ(babble().error().kind, ErrorKind::kProtocol);
    if (!kSanitized) {
      EXPECT_LT(resident_bytes(), before + (1u << 20));
    }
  }
  expect_no_misdelivery();
}

TEST_F(Calls, R11_AWorkerPrintsAHundredMegabytes) {
  Pool pool(options_for("chatty", 4));
  pool.wait_ready();
  const int megabytes = kSanitized ? 5 : 50;  // on each of stdout and stderr
  std::thread other([&] {
    for (int i = 0; i < 200; ++i) EXPECT_EQ(pool.call<int>("chatter", 0), 0);
  });
  EXPECT_EQ(pool.call<int>("chatter", megabytes), megabytes);
  other.join();
  expect_whole(pool);
}

TEST_F(Babble, R12_AReplyComesTwice) {
  ready("duplicate_reply");
  for (int i = 0; i < 20; ++i) EXPECT_EQ(*babble(), "late");
  expect_no_misdelivery();
}

TEST_F(Babble, R12_AReplyComesLate) {
  ready("late_reply");
  for (int i = 0; i < 20; ++i) {
    const auto outcome = babble();
    if (outcome) {
      EXPECT_EQ(*outcome, "late");
    } else {  // one of those before came in the middle
      EXPECT_EQ(outcome.error().kind, ErrorKind::kProtocol) << outcome.error().report();
    }
  }
  // While they are idle, each writes one more; with calls going on all the time.
  int refused = 0;
  const TimePoint end = now() + 300ms;
  for (int i = 0; now() < end; ++i) {
    const auto outcome = pool->try_call("echo", kwargs{{"i", i}});
    if (outcome) {
      EXPECT_EQ(*outcome, (Json{{"i", i}}));
      continue;
    }
    EXPECT_EQ(outcome.error().kind, ErrorKind::kProtocol) << outcome.error().report();
    ++refused;  // it came in the middle of this call, and was not taken for its answer
  }
  EXPECT_LE(refused, 20);
  expect_no_misdelivery();
}

TEST_F(Babble, R12_AReplyHasAnotherId) {
  ready("wrong_id");
  for (int i = 0; i < 5; ++i) EXPECT_EQ(babble().error().kind, ErrorKind::kProtocol);
  expect_no_misdelivery();
}

TEST_F(Babble, R12_AnIdleWorkerWritesStrayBytes) {
  ready("stray_bytes");
  for (int i = 0; i < 20; ++i) {
    const auto outcome = babble();
    // The bytes come with the reply, or a moment later: either way this worker is finished, and no call gets them.
    if (outcome) {
      EXPECT_EQ(*outcome, "late");
    } else {
      EXPECT_EQ(outcome.error().kind, ErrorKind::kProtocol);
    }
  }
  expect_no_misdelivery();
}

TEST_F(Babble, R14_AWorkerStopsReadingALargeRequest) {
  ready("stops_reading");
  auto lease = pool->checkout();
  EXPECT_EQ(lease.call("babble", kwargs{{"n", 1}}), "late");
  // Encoding it is part of the call's time: without the optimizer or with a sanitizer 60 MiB would take all of it. The call must reach the
  // worker, which nobody would end otherwise. More than a socket holds is enough.
  const auto request = kwargs{{"text", std::string(kOptimized && !kSanitized ? 60u << 20 : 512u << 10, 'x')}};
  const Duration timeout = 5s;
  Result<Json> outcome = Json();
  const TimePoint deadline = now() + timeout;
  Duration late{};
  std::thread caller([&] {
    const TimePoint due = now() + timeout;
    outcome = lease.try_call({.timeout = timeout}, "echo", request);
    late = now() - due;
  });
  int others = 0;
  for (; now() < deadline; ++others) EXPECT_EQ(pool->call("echo", kwargs{{"i", 1}}), (Json{{"i", 1}}));
  caller.join();
  EXPECT_GT(others, 0);
  fact("calls of others meanwhile", std::to_string(others));
  // 60 MiB are copied before the call begins and freed after it ends.
  took("the caller is told, after the deadline", late, 100ms);
  ASSERT_FALSE(outcome);
  EXPECT_EQ(outcome.error().kind, ErrorKind::kDeadlineExceeded);
  EXPECT_EQ(outcome.error().delivery, Delivery::kNotSent);
  lease.release();
  expect_no_misdelivery();
}

TEST_F(Calls, R15_AGrandchildHoldsTheChannelOfADeadWorker) {
  Pool pool(options_for("plain", 4));
  pool.wait_ready();
  for (int i = 0; i < 5; ++i) {
    const Note note;
    auto lease = pool.checkout();
    EXPECT_GT(lease.call<int>("grandchild"), 0);
    const int pid = lease.worker().pid;
    Result<Json> outcome = Json();
    TimePoint told;
    std::thread caller([&] {
      outcome = lease.try_call("nap", 60, note.path());
      told = now();
    });
    EXPECT_TRUE(note.comes());
    const TimePoint killed = now();
    ::kill(pid, SIGKILL);
    caller.join();
    took("the caller is told", told - killed, 10ms, true);
    EXPECT_EQ(outcome.error().kind, ErrorKind::kWorkerLost);
  }
  expect_whole(pool);
}

TEST_F(Calls, R37_ALeaseIsForgotten) {
  PoolOptions options = options_for("plain", 4);
  options.lease_warning = 200ms;
  const Lines log(options);
  Pool pool(std::move(options));
  pool.wait_ready();
  auto forgotten = pool.checkout();
  const int line = __LINE__ - 1;
  const TimePoint since = now();
  const std::string place = "calls_test.cpp:" + std::to_string(line);
  EXPECT_TRUE(eventually([&] { return log.contain(place); })) << log.text();
  took("the warning comes, after the threshold", now() - since - 200ms, 100ms);
  EXPECT_EQ(pool.stats().leases_leaked, 1u);
  forgotten.release();
  expect_whole(pool);
}

}  // namespace
}  // namespace lair::test
