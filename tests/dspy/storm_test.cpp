// DSPy programs in a storm: a worker is killed every 200 ms under load. What may run twice is completed all the same, programs and
// language models are still there, and no session is ever served with another's: the language model has seen each key only
// with its own session's questions.
#include <gtest/gtest.h>
#include <signal.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <lair/pool.hpp>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "support/leak_check.hpp"
#include "support/paths.hpp"
#include "support/pools.hpp"
#include "support/tormentor.hpp"

namespace lair::test::dspy_storm {
namespace {

using namespace std::chrono_literals;

constexpr std::size_t kWorkers = 4;
constexpr std::size_t kConcurrency = 2;
constexpr std::size_t kSessions = 8;
constexpr Duration kKillEvery = 200ms;

std::uint64_t calls_wanted() { return std::getenv("LAIR_LONG") != nullptr ? 10'000 : 1'000; }

// An interpreter that has DSPy: test_cpp.py's.
std::string python_with_dspy() {
  const char* named = std::getenv("LAIR_TEST_PYTHON");
  return named != nullptr ? named : in_source(".venv/bin/python");
}

PoolOptions dspy_options() {
  PoolOptions options = options_for(python("lair_dspy"), kWorkers);
  options.worker.interpreter = python_with_dspy();
  options.worker.env = {{"LAIR_DSPY_CACHE", "off"}};
  options.worker.start = "fork";  // DSPy's import takes seconds; a fork does not
  options.worker.preload = {"lair_dspy"};
  options.concurrency = kConcurrency;
  // A kill takes `kConcurrency` calls with it, and there may be few between two kills.
  options.retry_percent = 100;
  options.start_timeout = 5min;
  options.timeout = 5min;
  options.checkout_timeout = 5min;
  options.queue_target = kForever;
  return options;
}

std::string name_of(std::size_t session) { return "session-" + std::to_string(session); }
std::string key_of(std::size_t session) { return "sk-the-key-of-" + name_of(session); }
std::string model_of(std::size_t session) { return "model-" + std::to_string(session); }

// The answer tells the key that it was asked with.
Json rules() {
  Json list = Json::array();
  for (std::size_t i = 0; i < kSessions; ++i)
    list.push_back(
        {{"key", key_of(i)}, {"answer", {{"answer", "{question}, with the key of " + name_of(i)}}}});
  return {{"latency", 0.005}, {"rules", list}, {"answer", {{"answer", "an unknown key"}}}};
}

class DspyStorm : public LeakChecked {
 protected:
  void set_up(Pool& pool, const std::string& url) {
    for (std::size_t i = 0; i < kSessions; ++i) {
      Session session = pool.session(name_of(i));
      session.call("configure_lm", kwargs{{"model", "openai/" + model_of(i)},
                                          {"api_base", url},
                                          {"api_key", key_of(i)},
                                          {"num_retries", 0}});
      for (const char* type : {"predict", "chain_of_thought"})
        session.call("create_program",
                     kwargs{{"id", type}, {"signature", "question -> answer"}, {"program_type", type}});
    }
  }

  // One execution after the other in one session. Each eighth may not be run twice, and may be lost.
  void execute(Pool& pool, std::size_t i) {
    Session session = pool.session(name_of(i));
    for (std::uint64_t number = begun_++; number < calls_wanted(); number = begun_++) {
      const bool idempotent = number % 8 != 0;
      const std::string question = name_of(i) + " asks " + std::to_string(number);
      const auto done =
          session.try_call({.idempotent = idempotent, .retries = idempotent ? 10 : 0}, "execute_program",
                           kwargs{{"program_id", number % 2 == 0 ? "predict" : "chain_of_thought"},
                                  {"inputs", {{"question", question}}}});
      if (done) {
        ++completed_[i];
        EXPECT_EQ(done->at("outputs").at("answer"), question + ", with the key of " + name_of(i));
      } else {
        EXPECT_EQ(done.error().kind, ErrorKind::kWorkerLost) << done.error().report();
        EXPECT_FALSE(idempotent) << done.error().report();
        ++lost_;
      }
    }
  }

  void kill_until(const Pool& pool, const std::atomic<bool>& done) {
    Tormentor tormentor(pool);
    auto next = SteadyClock::now();
    while (eventually([&] { return done || SteadyClock::now() >= next; }, 1h) && !done) {
      const bool hit = tormentor.hit(SIGKILL);
      kills_ += hit ? 1 : 0;
      next = SteadyClock::now() + (hit ? kKillEvery : 5ms);
    }
  }

  // Programs and the LM of each session are as they were made, and their books tell what callers have seen.
  void expect_intact(Pool& pool, const Json& seen) {
    for (std::size_t i = 0; i < kSessions; ++i) {
      Session session = pool.session(name_of(i));
      const Json list = session.call("list_programs");
      ASSERT_EQ(list.at("total_count"), 2) << name_of(i);
      std::uint64_t executions = 0;
      for (const Json& program : list.at("programs")) {
        EXPECT_EQ(program.at("signature"), "question -> answer");
        EXPECT_EQ(program.at("program_type"), program.at("program_id"));
        executions += program.at("execution_count").get<std::uint64_t>();
        EXPECT_EQ(program.at("error_count"), 0);
      }
      const Json& asked = seen.at(key_of(i));
      EXPECT_GE(executions, completed_[i])
          << name_of(i) << ": an execution that was acknowledged is not in its books";
      EXPECT_LE(executions, asked.at("calls").get<std::uint64_t>());
      EXPECT_EQ(asked.at("models"), Json({model_of(i)}));
      EXPECT_EQ(asked.at("texts"), Json({name_of(i) + " asks"}))
          << "another session's question, with this key";

      const Json once_more = session.call(
          "execute_program", kwargs{{"program_id", "predict"}, {"inputs", {{"question", "And now?"}}}});
      EXPECT_EQ(once_more.at("outputs").at("answer"), "And now?, with the key of " + name_of(i));
    }
    EXPECT_EQ(seen.size(), kSessions) << "an unknown key";
  }

  std::atomic<std::uint64_t> begun_ = 0;
  std::atomic<std::uint64_t> lost_ = 0;
  std::atomic<unsigned> kills_ = 0;
  std::array<std::atomic<std::uint64_t>, kSessions> completed_ = {};
};

TEST_F(DspyStorm, LosesNoProgramAndMixesNoSessions) {
  ASSERT_TRUE(std::filesystem::exists(python_with_dspy())) << python_with_dspy();
  Pool lm(options_for("lm", 1));
  lm.call("set_rules", rules());
  Pool pool(dspy_options());
  pool.wait_ready();
  set_up(pool, lm.call<std::string>("url"));

  const auto began = SteadyClock::now();
  std::atomic<bool> done = false;
  std::thread tormentor([&] { kill_until(pool, done); });
  std::vector<std::thread> callers;
  for (std::size_t i = 0; i < kSessions; ++i) callers.emplace_back([&, i] { execute(pool, i); });
  for (std::thread& caller : callers) caller.join();
  const double seconds = std::chrono::duration<double>(SteadyClock::now() - began).count();
  done = true;
  tormentor.join();

  const PoolStats stats = pool.stats();
  std::uint64_t completed = 0;
  for (const auto& each : completed_) completed += each;
  EXPECT_EQ(completed + lost_, calls_wanted());
  EXPECT_GE(kills_, 5u);
  EXPECT_GT(stats.retried_ok, 0u) << "no call met a kill";
  EXPECT_EQ(stats.sessions.open, kSessions);
  expect_intact(pool, lm.call("seen", R"(session-\d+ asks)"));
  std::printf(
      "%llu executions in %.1f s, %u workers killed; %llu retries; %llu completed, %llu that may not run "
      "twice lost\n",
      static_cast<unsigned long long>(calls_wanted()), seconds, kills_.load(),
      static_cast<unsigned long long>(stats.retries), static_cast<unsigned long long>(completed),
      static_cast<unsigned long long>(lost_));
}

}  // namespace
}  // namespace lair::test::dspy_storm
