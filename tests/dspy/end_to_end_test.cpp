// lair/dspy.hpp with DSPy itself, and a language model that speaks HTTP. test_cpp.py starts that, and this: LAIR_TEST_LM is its
// URL, LAIR_TEST_PYTHON an interpreter that has DSPy.
#include <lair/dspy.hpp>
#include <lair/pool.hpp>
#include <lair/router.hpp>

#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <csignal>
#include <cstdlib>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "support/leak_check.hpp"
#include "support/paths.hpp"

using namespace std::chrono_literals;

namespace lair::dspy {
namespace {

using lair::test::eventually;

constexpr const char* kKey = "sk-key-of-the-tests-0001";

struct Answer {
  std::string answer;
  double score = 0;
};
NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE(Answer, answer, score)
struct Town {
  std::string answer;
};
NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE(Town, answer)

std::string environment(const char* name) {
  const char* const value = std::getenv(name);
  return value == nullptr ? "" : value;
}

// One pool for all tests: to import DSPy takes a while.
class Dspy : public ::testing::Test {
 protected:
  static void SetUpTestSuite() {
    WorkerSpec worker = python("lair_dspy");
    worker.interpreter = environment("LAIR_TEST_PYTHON");
    worker.python_path = {lair::test::in_source("tests/dspy")};  // modules_of_tests
    pool = std::make_unique<Pool>(PoolOptions{.name = "dspy",
                                              .worker = worker,
                                              .size = 2,
                                              .concurrency = 8,
                                              .start_timeout = 5min,
                                              .timeout = 2min,
                                              .log_level = "warn"});
    pool->wait_ready();
  }
  static void TearDownTestSuite() { pool.reset(); }

  static LM lm() {
    return {.model = "test", .api_base = environment("LAIR_TEST_LM"), .api_key = kKey, .num_retries = 0};
  }
  static LM another_lm() {
    LM found = lm();
    found.model = "another";
    found.api_key = "sk-key-of-another-0002";
    return found;
  }
  Client in_session() {
    Client client(pool->session(::testing::UnitTest::GetInstance()->current_test_info()->name()));
    client.configure(lm());
    return client;
  }
  Client anonymous() {
    Client client(*pool);
    client.configure(lm());
    return client;
  }
  static std::vector<Json> capitals(std::size_t count) {
    std::vector<Json> found;
    for (std::size_t i = 0; i < count; ++i) {
      const std::string name(1, static_cast<char>('A' + i));
      found.push_back({{"question", "capital of " + name + "?"}, {"answer", name + "ville"}});
    }
    return found;
  }

  static std::unique_ptr<Pool> pool;
};
std::unique_ptr<Pool> Dspy::pool;

TEST_F(Dspy, ProgramsOfASessionGiveStructs) {
  auto dspy = in_session();
  auto qa = dspy.chain_of_thought("question -> answer: str, score: float", {.id = "qa"});
  const auto p = qa({{"question", "capital of France?"}});
  EXPECT_EQ(p.as<Answer>().answer, "Franceville");
  EXPECT_EQ(p.get<double>("score"), 0.5);
  EXPECT_TRUE(p.contains("reasoning"));
  EXPECT_EQ(p.lm_calls(), 1u);
  EXPECT_EQ(dspy.find("qa").call<Answer>({{"question", "capital of Spain?"}}).answer, "Spainville");
  EXPECT_EQ(qa.info().runs, 2u);
  EXPECT_EQ(dspy.list().size(), 1u);
  EXPECT_EQ(
      dspy.try_create({.signature = "question -> answer", .options = {.id = "qa"}}).error().python->type,
      "lair_dspy.ProgramExists");
  qa.remove();
  EXPECT_EQ(dspy.try_find("qa").error().python->type, "lair_dspy.ProgramNotFound");
}

TEST_F(Dspy, RunsMayTellWhatTheyAskedTheLm) {
  const auto qa = in_session().predict("question -> answer");
  const auto plain = qa({{"question", "capital of France?"}});
  EXPECT_TRUE(plain.history().is_null());
  const auto p = qa.with_history().with_config({{"temperature", 0.25}})({{"question", "capital of France?"}});
  ASSERT_EQ(p.history().size(), 1u);
  const Json& asked = p.history()[0];
  EXPECT_NE(asked.at("messages").dump().find("capital of France?"), std::string::npos);
  EXPECT_NE(asked.at("outputs").dump().find("Franceville"), std::string::npos);
  EXPECT_EQ(asked.dump().find(kKey), std::string::npos);
}

TEST_F(Dspy, AKilledWorkerLosesNoProgram) {
  auto qa = in_session().predict("question -> answer");
  EXPECT_EQ(qa.call<Town>({{"question", "capital of Peru?"}}).answer, "Peruville");
  for (const WorkerStats& worker : pool->stats().workers) kill(worker.pid, SIGKILL);
  EXPECT_EQ(qa.call<Town>({.retries = 5}, {{"question", "capital of Chad?"}}).answer, "Chadville");
}

TEST_F(Dspy, AnonymousCallsGoToAllWorkersAtOnce) {
  auto qa = anonymous().predict("question -> answer");
  std::atomic<int> right = 0;
  {
    std::vector<std::jthread> callers;
    for (int caller = 0; caller < 8; ++caller) {
      callers.emplace_back([&, caller] {
        for (int i = 0; i < 4; ++i) {
          const std::string name = "Land" + std::to_string(caller * 10 + i);
          right += qa.call<Town>({{"question", "capital of " + name + "?"}}).answer == name + "ville" ? 1 : 0;
        }
      });
    }
  }
  EXPECT_EQ(right, 32);
}

TEST_F(Dspy, ErrorsHaveNoKeys) {
  auto dspy = in_session();
  auto qa = dspy.predict("question -> answer");
  const auto refused = qa.try_call({{"question", "refuse"}});
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().kind, ErrorKind::kRemote);
  EXPECT_EQ(refused.error().python->type, "lair_dspy.LMFailed");
  EXPECT_EQ(refused.error().report().find(kKey), std::string::npos);
  EXPECT_EQ(qa.try_call({{"questoin", "?"}}).error().python->type, "lair_dspy.InvalidInputs");
  LM wrong = lm();
  wrong.extra = {{"temprature", 1}};
  const auto mistyped = dspy.try_configure(wrong);
  EXPECT_EQ(mistyped.error().python->type, "lair_dspy.InvalidLM");
  EXPECT_EQ(mistyped.error().report().find(kKey), std::string::npos);
  EXPECT_EQ(dspy.configure(lm(), Check::kEndpoint).dump().find(kKey), std::string::npos);
}

TEST_F(Dspy, CallsHaveDeadlines) {
  auto qa = anonymous().predict("question -> answer");
  EXPECT_EQ(qa.try_call({.timeout = 300ms}, {{"question", "hang"}}).error().kind,
            ErrorKind::kDeadlineExceeded);
  std::stop_source stop;
  auto hanging = qa.request({.stop = stop.get_token()}, {{"question", "hang"}}).future();
  stop.request_stop();
  EXPECT_THROW(hanging.get(), CallError);
}

TEST_F(Dspy, StreamsGiveTokens) {
  auto stream = in_session().predict("question -> answer").stream({{"question", "a long answer"}});
  std::string text;
  Prediction last;
  for (const StreamItem& item : stream) {
    if (const auto* token = std::get_if<Token>(&item)) text += token->text;
    if (const auto* prediction = std::get_if<Prediction>(&item)) last = *prediction;
  }
  EXPECT_EQ(last["answer"], "one two three four five");
  EXPECT_NE(text.find("two three"), std::string::npos);
}

TEST_F(Dspy, AgentsCallTools) {
  std::string seen;
  const Tool look = tool(*pool, "look", "Looks up.", {"name", {"limit", "at most", 3}},
                         [&](const std::string& name, int limit) {
                           seen = name + " " + std::to_string(limit);
                           return "facts about " + name;
                         });
  auto agent = in_session().react("question -> answer", {look}, {.max_iters = 3});
  EXPECT_EQ(agent.call<Town>({{"question", "agent"}}).answer, "found facts about Ann");
  EXPECT_EQ(seen, "Ann 3");
}

TEST_F(Dspy, RewardsChoose) {
  std::atomic<int> asked = 0;
  const auto reward =
      judge(*pool, "reward", [&](const Json&, const Town& got) { return ++asked, got.answer.size(); });
  auto best =
      anonymous().best_of_n("question -> answer", reward, {.n = 2, .threshold = 3, .inner = "predict"});
  EXPECT_EQ(best.call<Town>({{"question", "capital of Oz?"}}).answer, "Ozville");
  EXPECT_GE(asked, 1);
}

TEST_F(Dspy, RefinementGivesAdviceBetweenAttempts) {
  std::vector<std::string> judged;
  const auto brief = judge(*pool, "brief", [&](const Json&, const Town& got) {
    judged.push_back(got.answer);
    return got.answer.size() < 10 ? 1.0 : 0.1;
  });
  auto refined =
      in_session().refine("question -> answer", brief, {.n = 2, .threshold = 0.5, .inner = "predict"});
  EXPECT_EQ(refined.call<Town>({{"question", "refine me"}}).answer, "short");
  EXPECT_EQ(judged, (std::vector<std::string>{"much too long an answer", "short"}));
}

TEST_F(Dspy, ProgramsOfThoughtRunTheCodeThatTheyWrite) {
  auto dspy = in_session();
  auto thought = dspy.program_of_thought("question -> answer", {.interpreter = "local"});
  EXPECT_EQ(thought.call<Town>({{"question", "6 * 7?"}}).answer, "42");
  EXPECT_EQ(dspy.try_create({.type = "program_of_thought",
                             .signature = "question -> answer",
                             .options = {.interpreter = "sh"}})
                .error()
                .kind,
            ErrorKind::kRemote);
}

TEST_F(Dspy, CustomModulesComeByTheirImportPath) {
  auto dspy = in_session();
  auto two = dspy.custom("modules_of_tests:TwoSteps", {{"style", "fancy"}});
  const auto found = two({{"question", "two steps?"}});
  EXPECT_EQ(found["answer"], "yes");
  EXPECT_EQ(found["verdict"], true);
  EXPECT_EQ(found["style"], "fancy");
  EXPECT_EQ(found.lm_calls(), 2u);
  const Definition none{.type = "custom", .options = {.options = {{"module", "modules_of_tests:Missing"}}}};
  EXPECT_EQ(dspy.try_create(none).error().python->type, "lair_dspy.InvalidArgument");
}

TEST_F(Dspy, CompiledProgramsAreKept) {
  auto dspy = in_session();
  const auto right =
      judge(*pool, "right", [](const Town& wanted, const Town& got) { return wanted.answer == got.answer; });
  auto qa = dspy.predict("question -> answer");
  auto compiling = qa.compile(capitals(3), {.metric = right, .options = {{"max_bootstrapped_demos", 2}}});
  std::size_t steps = 0;
  while (const auto step = compiling.next()) steps += std::holds_alternative<Progress>(*step) ? 1u : 0u;
  auto compiled = compiling.program();
  EXPECT_GE(steps, 2u);
  EXPECT_EQ(compiled.id(), qa.id() + "-compiled");
  EXPECT_TRUE(compiled.info().compiled);
  EXPECT_FALSE(qa.info().compiled);
  const Json saved = compiled.save();
  EXPECT_EQ(saved.dump().find(kKey), std::string::npos);
  EXPECT_NE(saved.dump().find("Aville"), std::string::npos);  // a demo

  Client elsewhere(pool->session("elsewhere"));
  elsewhere.configure(lm());
  EXPECT_EQ(elsewhere.load(saved).call<Town>({{"question", "capital of Mali?"}}).answer, "Maliville");

  auto loose = anonymous().predict("question -> answer").compile(capitals(2)).program();
  EXPECT_EQ(loose.call<Town>({{"question", "capital of Togo?"}}).answer, "Togoville");
}

TEST_F(Dspy, EvaluationIsSpreadOverThePool) {
  std::vector<std::thread::id> threads;
  const auto right = judge(*pool, "right", [&](const Town& wanted, const Town& got) {
    threads.push_back(std::this_thread::get_id());
    return wanted.answer == got.answer;
  });
  auto examples = capitals(20);
  examples[7]["answer"] = "elsewhere";
  examples.push_back({{"question", "refuse"}, {"answer", "x"}});
  auto qa = in_session().predict("question -> answer");
  const auto found = qa.evaluate(*pool, examples, {.metric = right});
  ASSERT_EQ(found.results.size(), 21u);
  EXPECT_EQ(found.results[7].score, 0);
  EXPECT_EQ(found.results[8].score, 1);
  EXPECT_EQ(found.errors, 1u);
  EXPECT_NE(found.results[20].error.find("LMFailed"), std::string::npos);
  EXPECT_NEAR(found.score, 100.0 * 19 / 21, 0.01);
  EXPECT_EQ(threads, std::vector(20, std::this_thread::get_id()));
}

// Which LM answers: "test" says Aville, Bville, …, "another" what is in no example.
TEST_F(Dspy, EvaluationUsesTheLmOfTheSessionWhoeverHasSetIt) {
  Client here(pool->session("shared by two"));
  Client there(pool->session("shared by two"));
  auto qa = here.predict("question -> answer", {.id = "qa"});
  there.configure(lm());
  EXPECT_EQ(qa.evaluate(*pool, capitals(3)).score, 100);
  here.configure(lm());  // is known to `here`, and no longer true:
  there.configure(another_lm());
  EXPECT_EQ(qa.evaluate(*pool, capitals(3)).score, 0);
  EXPECT_EQ(there.find("qa").evaluate(*pool, capitals(3), {.lm = lm()}).score, 100);
}

TEST_F(Dspy, EvaluationUsesTheProgramsOwnLmWhoeverHasMadeIt) {
  Client(pool->session("own")).predict("question -> answer", {.id = "qa", .lm = lm()});
  Client finder(pool->session("own"));
  finder.configure(another_lm());
  const auto found = finder.find("qa").evaluate(*pool, capitals(3));
  EXPECT_EQ(found.score, 100);
  EXPECT_EQ(found.errors, 0u);
}

TEST_F(Dspy, AnEvaluationGoesOnWithTheLmItBeganWith) {
  Client here(pool->session("changed"));
  Client there(pool->session("changed"));
  there.configure(lm());
  auto qa = here.predict("question -> answer");
  const EvaluateOptions one_by_one{
      .slice = 1, .at_once = 1, .on_progress = [&](std::size_t done, std::size_t) {
        if (done == 1) there.configure(another_lm());
      }};
  EXPECT_EQ(qa.evaluate(*pool, capitals(4), one_by_one).score, 100);
  EXPECT_EQ(qa.call<Town>({{"question", "capital of A?"}}).answer, "said by another");
  EXPECT_EQ(qa.evaluate(*pool, capitals(4)).score, 0);
}

// Not even where calls without a session have configured one on every worker.
TEST_F(Dspy, EvaluationWithoutAnLmSaysSo) {
  for (std::size_t worker = 0; worker < pool->options().size; ++worker) {
    Client(pool->checkout()).configure(lm());
  }
  auto qa = Client(pool->session("without")).predict("question -> answer");
  const auto refused = qa.try_evaluate(*pool, capitals(6), {.slice = 1});
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().python->type, "lair_dspy.NoLM");
  EXPECT_NE(refused.error().message.find("configure_lm"), std::string::npos);
}

TEST_F(Dspy, EvaluationOfAnExpiredSessionSaysSo) {
  Session session = pool->session("short");
  Client dspy(session);
  dspy.configure(lm());
  auto qa = dspy.predict("question -> answer");
  (void)pool->session("short", {.ttl = 50ms});
  ASSERT_TRUE(eventually([&] { return session.info().cause == "expired"; }));
  const auto refused = qa.try_evaluate(*pool, capitals(2));
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().kind, ErrorKind::kSessionLost) << refused.error().report();
}

TEST_F(Dspy, ProgramsAreRoutedWithTheirSessions) {
  Router router(*pool, *pool);
  router.share(100);
  Client dspy(router.session("routed"));
  Client(pool->session("routed")).configure(lm());
  auto qa = dspy.predict("question -> answer", {.id = "qa"});
  EXPECT_EQ(qa.call<Town>({{"question", "capital of Mali?"}}).answer, "Maliville");
  EXPECT_EQ(qa.evaluate(router, capitals(5)).score, 100);
  EXPECT_EQ(router.stats().second.errors.size(), 0u);
  EXPECT_GE(router.stats().second.calls, 4u);
  Client loose(router);
  loose.configure(another_lm());
  EXPECT_EQ(loose.predict("question -> answer").call<Town>({{"question", "?"}}).answer, "said by another");
}

TEST_F(Dspy, ParallelProgramsTellOfEachRun) {
  auto all = anonymous().parallel("question -> answer");
  const auto found = all.call_all({{{"question", "capital of Fiji?"}}, {{"question", "refuse"}}});
  ASSERT_EQ(found.size(), 2u);
  EXPECT_EQ(found[0]->as<Town>().answer, "Fijiville");
  EXPECT_FALSE(found[1]);
}

TEST_F(Dspy, OptimizersAreThoseOfDspy) {
  const auto names = Client(*pool).optimizers();
  EXPECT_NE(std::ranges::find(names, "BootstrapFewShot"), names.end());
}

}  // namespace
}  // namespace lair::dspy
