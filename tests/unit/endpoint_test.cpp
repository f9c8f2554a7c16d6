// How a call's parts are told apart: options, command, arguments.
#include <lair/endpoint.hpp>

#include <gtest/gtest.h>

#include <string>

namespace lair {
namespace {

using namespace std::chrono_literals;

struct Recorder : Endpoint {
  CallOptions options;
  std::string command;
  Json arguments;

  Result<Json> invoke(const CallOptions& given, std::string_view name, Json what) override {
    options = given;
    command = name;
    arguments = std::move(what);
    return Json(7);
  }
  void start(const CallOptions& given, std::string_view name, Json what, Completion done) override {
    done(invoke(given, name, std::move(what)));
  }
  std::unique_ptr<StreamSource> open(const CallOptions& given, std::string_view name, Json what) override {
    (void)invoke(given, name, std::move(what));
    return nullptr;
  }
};

TEST(Endpoint, TakesEmptyBracesForOptions) {
  Recorder recorder;
  EXPECT_EQ(recorder.try_call<int>({}, "f").value(), 7);
  EXPECT_EQ(recorder.command, "f");
  EXPECT_EQ(recorder.arguments, Json::array());
  EXPECT_EQ(recorder.call<int>({}, "g", "x", 1), 7);
  EXPECT_EQ(recorder.command, "g");
  EXPECT_EQ(recorder.arguments, Json({"x", 1}));
  EXPECT_EQ(recorder.call({.timeout = 5ms}, "h", kwargs{{"n", 1}}), Json(7));
  EXPECT_EQ(recorder.options.timeout, Duration(5ms));
  EXPECT_EQ(recorder.arguments, Json({{"n", 1}}));
}

TEST(Endpoint, TakesAnyKindOfTextForTheCommand) {
  Recorder recorder;
  std::string text = "a text";
  const std::string_view view = "a view";
  const char* pointer = "a pointer";
  EXPECT_EQ(recorder.call<int>(text, "x"), 7);
  EXPECT_EQ(recorder.command, text);
  EXPECT_EQ(recorder.call<int>(std::string("a temporary")), 7);
  EXPECT_EQ(recorder.command, "a temporary");
  EXPECT_EQ(recorder.call<int>(view, "x"), 7);
  EXPECT_EQ(recorder.command, view);
  EXPECT_EQ(recorder.try_call<int>(pointer, "x").value(), 7);
  EXPECT_EQ(recorder.command, pointer);
  EXPECT_EQ(recorder.arguments, Json({"x"}));
  EXPECT_FALSE(recorder.options.timeout);
}

}  // namespace
}  // namespace lair
