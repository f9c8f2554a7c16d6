// What lair/dspy.hpp asks of a worker, and what it makes of the answers. The worker is a fake.
#include <lair/dspy.hpp>
#include <lair/testing.hpp>

#include <gtest/gtest.h>

#include <chrono>
#include <map>
#include <string>
#include <vector>

#include "support/coroutine.hpp"

using namespace std::chrono_literals;

namespace lair::dspy {
namespace {

struct Answer {
  std::string answer;
  double score = 0;
};
void from_json(const Json& json, Answer& answer) {
  json.at("answer").get_to(answer.answer);
  json.at("score").get_to(answer.score);
}
struct Question {
  std::string question;
};
void to_json(Json& json, const Question& question) { json = {{"question", question.question}}; }

Json result(Json outputs) {
  return {{"program_id", "qa"},
          {"outputs", std::move(outputs)},
          {"execution_time", 0.5},
          {"lm_calls", 2},
          {"usage", {{"m", {{"total_tokens", 7}}}}}};
}

class DspyOnAFake : public ::testing::Test {
 protected:
  DspyOnAFake() {
    python.on("configure_lm", fake::returns({{"status", "configured"}}));
    python.on(
        "create_program", fake::computes([](const Json& asked) {
          return Json{{"program_id", asked["id"]}, {"program_data", {{"program_id", asked["id"]}, {"n", 1}}}};
        }));
    python.on("execute_program", fake::returns(result({{"answer", "42"}, {"score", 0.5}})));
  }
  Json last(const char* command) const { return python.calls(command).back().arguments; }

  FakeEndpoint python;
  Client dspy{python};
};

TEST_F(DspyOnAFake, AProgramIsDeclaredAndRun) {
  auto qa =
      dspy.chain_of_thought("question -> answer, score: float", {.id = "qa", .instructions = "Be brief."});
  EXPECT_EQ(last("create_program")["program_type"], "chain_of_thought");
  EXPECT_EQ(last("create_program")["instructions"], "Be brief.");
  const Prediction p = qa({{"question", "what?"}});
  EXPECT_EQ(p["answer"], "42");
  EXPECT_EQ(p.get<double>("score"), 0.5);
  EXPECT_EQ(p.lm_calls(), 2u);
  EXPECT_EQ(p.usage()["m"]["total_tokens"], 7);
  EXPECT_EQ(last("execute_program"), (Json{{"program_id", "qa"},
                                           {"inputs", {{"question", "what?"}}},
                                           {"program_data", {{"program_id", "qa"}, {"n", 1}}}}));
}

TEST_F(DspyOnAFake, StructsGoInAndComeOut) {
  auto qa = dspy.predict("question -> answer, score: float");
  const auto answer = qa.call<Answer>(Question{"what?"});
  EXPECT_EQ(answer.answer, "42");
  EXPECT_EQ(answer.score, 0.5);
  EXPECT_EQ(last("execute_program")["inputs"], (Json{{"question", "what?"}}));
}

TEST_F(DspyOnAFake, WhatDoesNotFitIsNamed) {
  auto qa = dspy.predict("question -> answer, score: float", {.id = "qa"});
  python.on("execute_program", fake::returns(result({{"answer", "42"}, {"score", "high"}})));
  const auto as = qa.try_call<Answer>({{"question", "what?"}});
  ASSERT_FALSE(as);
  EXPECT_EQ(as.error().kind, ErrorKind::kInvalidArgument);
  EXPECT_EQ(as.error().delivery, Delivery::kExecuted);
  EXPECT_EQ(
      as.error().message,
      "the output 'score' of the program 'qa' is not of the type asked for: type must be number, but is "
      "string; it is \"high\"");
  const Prediction p = qa({{"question", "what?"}});
  EXPECT_EQ(p.try_get<double>("score").error().message, as.error().message);
  EXPECT_THROW(static_cast<void>(p.get<double>("score")), CallError);
  EXPECT_EQ(p.try_get<double>("scoer").error().message,
            "the program 'qa' has no output 'scoer' (did you mean 'score'?); it has given answer, score");
  const auto map = p.try_as<std::map<std::string, int>>();
  ASSERT_FALSE(map);
  EXPECT_NE(map.error().message.find("they are {\"answer\""), std::string::npos) << map.error().message;
}

TEST_F(DspyOnAFake, WithoutASessionTheLmGoesAlong) {
  dspy.configure(
      {.model = "m", .api_key = "sk-secret", .temperature = 0.1, .timeout = 2s, .extra = {{"top_p", 1}}});
  const Json settings = {
      {"model", "m"}, {"api_key", "sk-secret"}, {"temperature", 0.1}, {"timeout", 2.0}, {"top_p", 1}};
  EXPECT_EQ(last("configure_lm"), settings);
  auto qa = dspy.predict("q -> a");
  qa({});
  EXPECT_EQ(last("execute_program")["lm"], settings);
  qa.with(LM{.model = "other"})({});
  EXPECT_EQ(last("execute_program")["lm"], (Json{{"model", "other"}}));
  dspy.predict("q -> a", {.lm = LM{.model = "own"}})({});
  EXPECT_EQ(last("execute_program")["lm"], (Json{{"model", "own"}}));
}

TEST_F(DspyOnAFake, RunsMayHaveSettingsAndTellWhatTheyAsked) {
  const auto qa = dspy.predict("question -> answer, score: float");
  Json told = result({{"answer", "42"}, {"score", 0.5}});
  told["history"] = Json::array({{{"model", "m"}}});
  python.on("execute_program", fake::returns(told));
  const Prediction p = qa.with_history().with_config({{"temperature", 0}})({{"question", "what?"}});
  EXPECT_EQ(p.history(), told["history"]);
  EXPECT_EQ(last("execute_program")["history"], true);
  EXPECT_EQ(last("execute_program")["config"], (Json{{"temperature", 0}}));
  qa({{"question", "what?"}});
  EXPECT_FALSE(last("execute_program").contains("history"));
  EXPECT_FALSE(last("execute_program").contains("config"));
}

TEST_F(DspyOnAFake, SettingsAreSaidOnce) {
  const auto twice =
      dspy.try_configure({.model = "m", .api_key = "sk-secret", .extra = {{"api_key", "sk-other"}}});
  ASSERT_FALSE(twice);
  EXPECT_EQ(twice.error().kind, ErrorKind::kInvalidArgument);
  EXPECT_NE(twice.error().message.find("'api_key'"), std::string::npos);
  EXPECT_EQ(twice.error().report().find("sk-"), std::string::npos);
  EXPECT_FALSE(dspy.try_configure({.extra = 5}));
  EXPECT_TRUE(python.calls("configure_lm").empty());
}

TEST_F(DspyOnAFake, UnnamedProgramsAreNamedByWhatTheyAre) {
  const auto one = dspy.predict("q -> a");
  EXPECT_EQ(dspy.predict("q -> a").id(), one.id());
  EXPECT_NE(dspy.predict("q -> b").id(), one.id());
  EXPECT_NE(dspy.chain_of_thought("q -> a").id(), one.id());
  EXPECT_TRUE(one.id().starts_with("predict-"));
}

TEST_F(DspyOnAFake, OptionsOfTheTypes) {
  dspy.best_of_n("q -> a", "host:score", {.n = 5, .threshold = 0.9, .inner = "predict"});
  EXPECT_EQ(last("create_program")["options"],
            (Json{{"reward", "host:score"}, {"n", 5}, {"threshold", 0.9}, {"inner", "predict"}}));
  dspy.custom("mine:Module", {{"size", 3}});
  EXPECT_EQ(last("create_program")["options"], (Json{{"module", "mine:Module"}, {"args", {{"size", 3}}}}));
  EXPECT_FALSE(last("create_program").contains("signature"));
}

TEST_F(DspyOnAFake, RequestsComeInAllForms) {
  auto asked = dspy.predict("q -> answer").request<Answer>({.timeout = 3s}, {{"q", 1}});
  EXPECT_EQ(asked.get().answer, "42");
  EXPECT_EQ(asked.try_get()->score, 0.5);
  auto future = asked.future();
  python.settle();
  EXPECT_EQ(future.get().answer, "42");
  std::string seen;
  asked.start([&](Result<Answer> answer) { seen = answer->answer; });
  python.settle();
  EXPECT_EQ(seen, "42");
  EXPECT_EQ(python.calls("execute_program").back().options.timeout, 3s);
  python.on("execute_program", fake::raises("lair_dspy.NoLM", "No LM is loaded."));
  auto failed = asked.future();
  python.settle();
  EXPECT_THROW(failed.get(), CallError);
  EXPECT_EQ(asked.try_get().error().python->type, "lair_dspy.NoLM");
}

TEST_F(DspyOnAFake, RequestsAreAwaited) {
  const auto qa = dspy.predict("q -> answer");
  std::string answer;
  ErrorKind kind{};
  std::string created;
  const auto run = [&]() -> Task {
    auto asked = qa.request<Answer>({{"q", 1}});
    answer = (co_await asked.co_get()).answer;
    auto unfit = qa.request<std::map<std::string, int>>({{"q", 1}});
    kind = (co_await unfit.co_try_get()).error().kind;
    auto creating =
        dspy.request().create({.type = "predict", .signature = "q -> a", .options = {.id = "later"}});
    created = (co_await creating.co_get()).id();
  };
  const Task task = run();
  python.settle();
  EXPECT_EQ(answer, "42");
  EXPECT_EQ(kind, ErrorKind::kInvalidArgument);
  EXPECT_EQ(created, "later");
}

TEST_F(DspyOnAFake, StreamsHaveTypes) {
  python.on("stream_program",
            fake::yields(
                {{{"type", "token"}, {"field", "a"}, {"text", " hi"}, {"predictor", "self"}, {"last", true}},
                 {{"type", "status"}, {"message", "calling f"}},
                 {{"type", "result"}, {"program_id", "qa"}, {"outputs", {{"a", "hi"}}}}}));
  auto stream = dspy.predict("q -> a").stream({{"q", 1}}, {"a"});
  const auto token = std::get<Token>(*stream.next());
  EXPECT_EQ(token.text, " hi");
  EXPECT_TRUE(token.last);
  EXPECT_EQ(std::get<Status>(*stream.next()).message, "calling f");
  EXPECT_EQ(std::get<Prediction>(*stream.next())["a"], "hi");
  EXPECT_FALSE(stream.next());
  EXPECT_EQ(last("stream_program")["fields"], Json({"a"}));
}

TEST_F(DspyOnAFake, CompilingGivesStepsAndThenAProgram) {
  python.on("compile_program", fake::yields({{{"type", "progress"}, {"metric_calls", 1}, {"score", 0.5}},
                                             {{"type", "log"}, {"level", "info"}, {"message", "done"}},
                                             {{"type", "result"},
                                              {"program_id", "better"},
                                              {"compiled", {{"optimizer", "GEPA"}, {"score", 90}}},
                                              {"program_data", {{"state", 1}}}}}));
  auto compiling =
      dspy.predict("q -> a").compile({{{"q", 1}, {"a", 2}}}, {.optimizer = "gepa", .metric = "f1"});
  EXPECT_EQ(std::get<Progress>(*compiling.next()).score, 0.5);
  EXPECT_EQ(std::get<Log>(*compiling.next()).message, "done");
  EXPECT_FALSE(compiling.next());
  EXPECT_EQ(compiling.told()->score, 90);
  auto better = compiling.program();
  EXPECT_EQ(better.id(), "better");
  better({{"q", 1}});
  EXPECT_EQ(last("execute_program")["program_data"], (Json{{"state", 1}}));
  EXPECT_EQ(last("compile_program")["metric"], "f1");
  EXPECT_TRUE(last("compile_program")["save_as"].get<std::string>().ends_with("-compiled"));
}

TEST_F(DspyOnAFake, CompilingThatFailsSaysSo) {
  python.on("compile_program",
            fake::yields({{{"type", "progress"}}}).raises("lair_dspy.InvalidArgument", "no"));
  EXPECT_EQ(dspy.predict("q -> a").compile({}).try_program().error().python->type,
            "lair_dspy.InvalidArgument");
  python.on("compile_program", fake::yields({{{"type", "progress"}}}));
  EXPECT_EQ(dspy.predict("q -> a").compile({}).try_program().error().kind, ErrorKind::kProtocol);
}

fake::Reply scored(const Json& asked) {
  Json results = Json::array();
  for (std::size_t i = 0; i < asked["examples"].size(); ++i) {
    results.push_back({{"index", asked["offset"].get<std::size_t>() + i}, {"score", i % 2}});
  }
  return fake::returns({{"results", results}, {"lm_calls", 1}});
}

TEST_F(DspyOnAFake, EvaluationIsSpread) {
  python.on("evaluate_program", fake::computes([](const Json& asked) { return scored(asked).after(10ms); }));
  auto qa = dspy.predict("q -> a");
  std::vector<std::size_t> seen;
  const auto found = qa.evaluate(
      python, std::vector<Json>(11, Json{{"q", 1}, {"a", 2}}),
      {.metric = "host:judge", .slice = 2, .at_once = 3, .on_progress = [&](std::size_t done, std::size_t) {
         seen.push_back(done);
       }});
  ASSERT_EQ(found.results.size(), 11u);
  for (std::size_t i = 0; i < 11; ++i) EXPECT_EQ(found.results[i].index, i);
  EXPECT_DOUBLE_EQ(found.score, 100.0 * 5 / 11);
  EXPECT_EQ(found.lm_calls, 6u);
  EXPECT_EQ(python.calls("evaluate_program").size(), 6u);
  EXPECT_EQ(seen.back(), 11u);
  EXPECT_EQ(last("evaluate_program")["offset"], 10);
}

TEST_F(DspyOnAFake, EvaluationEndsWithTheFirstSliceThatFails) {
  python.on("evaluate_program", fake::fails(ErrorKind::kWorkerLost), fake::hangs());
  const auto found =
      dspy.predict("q -> a").try_evaluate(python, std::vector<Json>(9, Json{{"q", 1}}), {.slice = 1});
  ASSERT_FALSE(found);
  EXPECT_EQ(found.error().kind, ErrorKind::kWorkerLost);
  EXPECT_EQ(python.pending(), 0u);
  EXPECT_FALSE(dspy.predict("q -> a").try_evaluate(python, {}));
}

TEST_F(DspyOnAFake, AllRunsOfAParallelProgramHaveTheirOutcome) {
  python.on("execute_program",
            fake::returns({{"outputs", {{{"a", 1}}, nullptr}}, {"errors", {{"1", "no luck"}}}}));
  const auto found = dspy.parallel("q -> a").call_all({{{"q", 1}}, {{"q", 2}}});
  ASSERT_EQ(found.size(), 2u);
  EXPECT_EQ((*found[0])["a"], 1);
  EXPECT_EQ(found[1].error().message, "no luck");
}

// What tool() and judge() need of a pool.
struct Host {
  std::map<std::string, HostFunction> functions;
  void expose_json(const std::string& name, HostFunction function) { functions[name] = std::move(function); }
};

TEST(DspyTools, FunctionsAreToldToTheModel) {
  Host host;
  const Tool lookup = tool(host, "lookup", "Looks up.", {"word", {"limit", "how many at most", 3}},
                           [](const std::string& word, int limit) { return word + std::to_string(limit); });
  EXPECT_EQ(
      Json(lookup),
      (Json{{"name", "lookup"},
            {"description", "Looks up."},
            {"keywords", true},
            {"args",
             {{"word", {{"type", "string"}}},
              {"limit", {{"type", "integer"}, {"description", "how many at most"}, {"default", 3}}}}}}));
  const auto& call = host.functions.at("lookup");
  EXPECT_EQ(*call({{"word", "a"}, {"limit", 5}}), "a5");
  EXPECT_EQ(*call({{"word", "a"}}), "a3");
  EXPECT_EQ(*call(Json::array({"a", 7})), "a7");
  EXPECT_NE(call(Json::object()).error().message.find("'word' is missing"), std::string::npos);
  EXPECT_NE(call({{"word", "a"}, {"limti", 1}}).error().message.find("did you mean 'limit'"),
            std::string::npos);
  EXPECT_EQ(call({{"word", 5}}).error().kind, ErrorKind::kInvalidArgument);
}

TEST(DspyTools, WhatAToolMustBe) {
  Host host;
  const auto f = [](int) {};
  EXPECT_THROW(tool(host, "f", "", {}, f), CallError);
  EXPECT_THROW(tool(host, "finish", "", {"n"}, f), CallError);
  EXPECT_THROW(tool(host, "", "", {"n"}, f), CallError);
  EXPECT_THROW(tool(host, "f", "", {"n", "n"}, [](int, int) {}), CallError);
  tool(host, "f", "", {"n"}, f);
  EXPECT_EQ(*host.functions.at("f")({{"n", 1}}), "done");
  tool(host, "all", "", {"value"}, [](const Json& value) { return value; });
  EXPECT_EQ(*host.functions.at("all")({{"value", {{"x", 1}}}}), (Json{{"x", 1}}));
}

TEST(DspyTools, JudgesTakeStructs) {
  Host host;
  EXPECT_EQ(judge(host, "right",
                  [](const Answer& wanted, const Answer& got) {
                    return Score{wanted.answer == got.answer ? 1.0 : 0.0, "look closer"};
                  }),
            "host:right");
  EXPECT_EQ(*host.functions.at("right")(
                Json::array({{{"answer", "a"}, {"score", 1}}, {{"answer", "b"}, {"score", 1}}})),
            (Json{{"score", 0.0}, {"feedback", "look closer"}}));
}

}  // namespace
}  // namespace lair::dspy
