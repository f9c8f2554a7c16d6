// A call that is over for its caller can't write any more, whatever its worker still does.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <fstream>
#include <functional>
#include <stop_token>
#include <string>
#include <vector>

#include "support/sessions.hpp"

namespace lair::test {
namespace {

using namespace std::chrono_literals;

class SessionFence : public SessionTest {
 protected:
  // A call of `put_when_over` that ends for its caller as `end` does it, then writes; what becomes of it.
  struct Late {
    Result<Json> outcome;
    Json notes;  // of the worker, about its three attempts to write
  };
  Late write_late(Pool& pool, const Lines& lines, Session& session, const CallOptions& options,
                  const std::function<void()>& end) {
    const Note let_go;
    const std::size_t begun = count_of_begun(lines);
    auto late = Callback::begin(session, options, "put_when_over", "key", "late", let_go.path());
    EXPECT_TRUE(eventually([&] { return count_of_begun(lines) > begun; }));
    end();
    Result<Json> outcome = late.get();
    session.put("key", "new");
    std::ofstream(let_go.path()) << "go";
    Json notes;
    // The worker answers when it has given the call up.
    EXPECT_TRUE(eventually([&] {
      const auto taken = pool.try_call("take_notes");
      if (taken && !taken->empty()) notes = *taken;
      return !notes.is_null();
    }));
    return {std::move(outcome), notes};
  }
  static std::size_t count_of_begun(const Lines& lines) {
    const std::string text = lines.text();
    std::size_t count = 0;
    for (std::size_t at = text.find("begun"); at != std::string::npos; at = text.find("begun", at + 1))
      ++count;
    return count;
  }
  static void expect_no_write(const Late& late, const Session& session) {
    ASSERT_EQ(late.notes.size(), 3u) << late.notes;
    for (const Json& note : late.notes) EXPECT_NE(note, "done");
    EXPECT_EQ(session.get("key"), "new");
  }
};

TEST_F(SessionFence, ACancelledCallWritesNoMore) {
  for (const SessionOptions& affinity : {kPreferred, kStrictly}) {
    SCOPED_TRACE(to_string(*affinity.affinity));
    PoolOptions options = options_of(1);
    options.cancel_grace = 60s;
    const Lines lines(options);
    Pool pool(options);
    Session session = pool.session("s", affinity);
    std::stop_source stop;
    const Late late =
        write_late(pool, lines, session, {.stop = stop.get_token()}, [&] { stop.request_stop(); });
    EXPECT_EQ(outcome_of(late.outcome), "cancelled");
    expect_no_write(late, session);
    EXPECT_EQ(session.call("get", "key"), "new");
    EXPECT_TRUE(session.try_call("put", "key", "newer")) << "the next call may";
    EXPECT_EQ(session.get("key"), "newer");
    EXPECT_EQ(pool.stats().workers_started, 1u);
  }
}

TEST_F(SessionFence, NorDoesOneThatHasMissedItsDeadline) {
  PoolOptions options = options_of(1);
  options.cancel_grace = 60s;
  const Lines lines(options);
  Pool pool(options);
  Session session = pool.session("s", kStrictly);
  session.call("whoami");
  const Late late = write_late(pool, lines, session, {.timeout = 2s}, [] {});
  EXPECT_EQ(outcome_of(late.outcome), "deadline_exceeded");
  expect_no_write(late, session);
}

TEST_F(SessionFence, NorOneOfAWorkerThatHasSeveralCalls) {
  PoolOptions options = options_of(1);
  options.cancel_grace = 60s;
  options.concurrency = 4;
  const Lines lines(options);
  Pool pool(options);
  Session session = pool.session("s", kStrictly);
  std::stop_source stop;
  const Late late =
      write_late(pool, lines, session, {.stop = stop.get_token()}, [&] { stop.request_stop(); });
  EXPECT_EQ(outcome_of(late.outcome), "cancelled");
  expect_no_write(late, session);
}

TEST_F(SessionFence, WhatWasWrittenBeforeTheCallWasCancelledStays) {
  PoolOptions options = options_of(1);
  options.cancel_grace = 60s;
  const Lines lines(options);
  Pool pool(options);
  Session session = pool.session("s");
  std::stop_source stop;
  auto call = Callback::begin(session, {.stop = stop.get_token()}, "put_and_wait", "key", "in time");
  EXPECT_TRUE(eventually([&] { return lines.contain("begun"); }));
  stop.request_stop();
  EXPECT_EQ(outcome_of(call.get()), "cancelled");
  const Json notes = pool.call("take_notes");
  ASSERT_EQ(notes.size(), 1u);
  EXPECT_NE(notes.at(0), "done");
  EXPECT_EQ(session.get("key"), "in time");
}

TEST_F(SessionFence, WhatADeadWorkerWasToldIsWrittenIsThere) {
  Pool pool(options_of(2));
  pool.wait_ready();
  Gate gate(pool);
  Session session = pool.session("s");
  for (int i = 0; i < 5; ++i) {
    EXPECT_EQ(session.call("put_many", std::to_string(i) + "-", 20), 20);
    EXPECT_EQ(outcome_of(session.try_call("crash")), "worker_lost");
    EXPECT_EQ(session.keys(std::to_string(i) + "-").size(), 20u);
    EXPECT_EQ(session.call("keys").size(), 20u * (static_cast<std::size_t>(i) + 1));
  }
}

// The call that is given up has been lost for its session: another opening of it is none of its business.
TEST_F(SessionFence, ACallOfAnEndedSessionDoesNotWriteIntoTheNextOne) {
  PoolOptions options = options_of(2);
  options.cancel_grace = 60s;
  const Lines lines(options);
  Pool pool(options);
  pool.wait_ready();
  Session old = pool.session("s");
  const Note let_go;
  std::stop_source stop;
  auto late = Callback::begin(old, {.stop = stop.get_token()}, "put_when_over", "key", "late", let_go.path());
  EXPECT_TRUE(eventually([&] { return lines.contain("begun"); }));
  stop.request_stop();
  EXPECT_EQ(outcome_of(late.get()), "cancelled");
  (void)old.try_end(0ms);  // its worker has not given the call up
  Session fresh = pool.session("s");
  EXPECT_GT(fresh.info().number, 1u);
  fresh.put("key", "new");
  std::ofstream(let_go.path()) << "go";
  EXPECT_TRUE(eventually([&] { return pool.stats().count(SlotState::kIdle) == 2; }));
  EXPECT_EQ(fresh.get("key"), "new");
  EXPECT_EQ(outcome_of(old.try_get("key")), "invalid_argument");
}

// --- A program that has forked ---------------------------------------------------------------------------

TEST_F(SessionFence, AForkedChildsSessionsAreInert) {
  const Note folder;
  PoolOptions options = options_of(1);
  options.session_store = folder.path();
  Pool pool(options);
  Session session = pool.session("s", kStrictly);
  session.put("key", "parent's");
  const int pid = pid_of(session);
  const pid_t child = ::fork();
  ASSERT_GE(child, 0);
  if (child == 0) {
    const auto refused = [](const auto& outcome) {
      return !outcome && outcome.error().kind == ErrorKind::kUnavailable;
    };
    int failed = 0;
    failed += refused(session.try_call("whoami")) ? 0 : 1;
    failed += refused(session.try_get("key")) ? 0 : 2;
    failed += refused(session.try_put("key", "child's")) ? 0 : 4;
    failed += refused(session.try_end()) && refused(session.try_reopen()) ? 0 : 8;
    failed += refused(pool.try_session("other")) && refused(pool.try_session("s")) ? 0 : 16;
    failed += pool.sessions().empty() && !session.info().open ? 0 : 32;
    {
      const Pool moved = std::move(pool);
      const Session gone = std::move(session);
    }
    ::_exit(failed);
  }
  int status = 0;
  ASSERT_EQ(::waitpid(child, &status, 0), child);
  EXPECT_TRUE(WIFEXITED(status)) << status;
  EXPECT_EQ(WEXITSTATUS(status), 0) << "which of them were not refused";
  EXPECT_EQ(session.get("key"), "parent's");
  EXPECT_EQ(pid_of(session), pid);
}

}  // namespace
}  // namespace lair::test
