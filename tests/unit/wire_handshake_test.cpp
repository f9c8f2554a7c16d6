// The handshake: what is offered, and how every possible answer is understood.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <regex>

#include "wire/handshake.hpp"

namespace lair::wire {
namespace {

using testing::HasSubstr;

Json good_reply() {
  return Json::parse(R"({"id": 0, "success": true, "timestamp": "t", "result": {
      "status": "ok", "worker_id": "text-0-1", "python": "3.11.2", "pid": 4711,
      "lair": {"version": 2, "codec": "json", "max_frame": 1048576, "concurrency": 1, "sdk": "0.1.0",
               "commands": [{"name": "count", "kind": "call", "doc": "Counts.",
                             "params": [{"name": "text", "kind": "positional_or_keyword", "required": true}]},
                            {"name": "other"}]}}})");
}

Announcement announced(const Json& reply) {
  auto decoded = decode_handshake(reply.dump());
  if (auto* malformed = std::get_if<Malformed>(&decoded)) ADD_FAILURE() << malformed->problem;
  if (auto* failed = std::get_if<StartError>(&decoded)) ADD_FAILURE() << failed->message;
  auto* announcement = std::get_if<Announcement>(&decoded);
  return announcement != nullptr ? *announcement : Announcement{};
}

std::string malformed(std::string_view payload) {
  const auto decoded = decode_handshake(payload);
  const auto* bad = std::get_if<Malformed>(&decoded);
  EXPECT_NE(bad, nullptr) << payload;
  return bad != nullptr ? bad->problem : "";
}

StartError failed(const Json& reply) {
  const auto decoded = decode_handshake(reply.dump());
  const auto* error = std::get_if<StartError>(&decoded);
  EXPECT_NE(error, nullptr) << reply;
  return error != nullptr ? *error : StartError{};
}

TEST(Offer, SaysWhatTheProtocolAsksFor) {
  const Json offer =
      Json::parse(encode_offer({.worker_id = "text-0-7", .generation = 7, .max_frame = 65536}));
  EXPECT_EQ(offer["id"], 0);
  EXPECT_EQ(offer["command"], "ping");
  EXPECT_TRUE(std::regex_match(offer["timestamp"].get<std::string>(),
                               std::regex(R"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z)")));
  EXPECT_EQ(offer["args"], Json::parse(R"({"initialization": true, "worker_id": "text-0-7", "lair": {
      "version": 2, "generation": 7, "codecs": ["msgpack", "json"], "features": ["cancel", "stream", "callback", "batch", "arrays"], "concurrency": 1,
      "max_frame": 65536}})"));
  EXPECT_EQ(Json::parse(encode_offer({.files = true}))["args"]["lair"]["features"],
            Json({"cancel", "stream", "callback", "batch", "arrays", "files"}));
  const Json spins = Json::parse(encode_offer({.spin = std::chrono::microseconds(100)}))["args"]["lair"];
  EXPECT_EQ(spins["features"], Json({"cancel", "stream", "callback", "batch", "arrays", "spin", "handover"}));
  EXPECT_EQ(spins["spin"], 100);
}

TEST(Handshake, AStartThatFailedMayNameTheFilesOfItsCode) {
  const auto decoded = decode_handshake(
      R"({"id": 0, "success": false, "error": "no", "stage": "environment", "files": ["/a.py", null]})");
  EXPECT_EQ(std::get<StartError>(decoded).files, std::vector<std::string>{"/a.py"});
}

TEST(Handshake, AProtocolTwoWorkerAnnouncesItself) {
  const Announcement worker = announced(good_reply());
  EXPECT_EQ(worker.protocol, Protocol::kTwo);
  EXPECT_EQ(worker.concurrency, 1u);
  EXPECT_EQ(worker.max_frame, 1048576u);
  EXPECT_EQ(worker.python, "3.11.2");
  ASSERT_EQ(worker.commands.size(), 2u);
  EXPECT_EQ(worker.commands[0].name, "count");
  EXPECT_EQ(worker.commands[0].doc, "Counts.");
  EXPECT_EQ(worker.commands[0].params[0]["name"], "text");
  EXPECT_EQ(worker.commands[1].params, Json::array());
}

TEST(Handshake, AWorkerMayLookForItsCalls) {
  EXPECT_FALSE(announced(good_reply()).spins);
  Json reply = good_reply();
  reply["result"]["lair"]["features"] = {"cancel", "spin"};
  EXPECT_TRUE(announced(reply).spins);
}

TEST(Handshake, AWorkerMayAnnounceMemory) {
  EXPECT_EQ(announced(good_reply()).journal_fd, -1);
  EXPECT_EQ(announced(good_reply()).handover_fd, -1);
  Json reply = good_reply();
  reply["result"]["lair"].update({{"journal", 5}, {"handover", 6}});
  EXPECT_EQ(announced(reply).journal_fd, 5);
  EXPECT_EQ(announced(reply).handover_fd, 6);
  for (const char* name : {"journal", "handover"}) {
    for (const Json& bad : {Json(2), Json(-1), Json("5"), Json(1e9), Json(nullptr)}) {
      Json wrong = good_reply();
      wrong["result"]["lair"][name] = bad;
      EXPECT_THAT(malformed(wrong.dump()),
                  HasSubstr(std::string(name) + " is not a descriptor: " + bad.dump()));
    }
  }
}

TEST(Handshake, AProtocolTwoWorkerKnowsWhatItAnnouncedAndTheStandardCommands) {
  const Announcement worker = announced(good_reply());
  EXPECT_TRUE(worker.knows("count"));
  EXPECT_FALSE(worker.knows("Count"));
  EXPECT_FALSE(worker.knows(""));
  for (const char* name : {"ping", "get_stats", "cleanup", "cleanup_session", "reset_state", "shutdown"}) {
    EXPECT_TRUE(worker.knows(name)) << name;
  }
}

TEST(Handshake, AnyOtherSuccessIsAProtocolOneWorkerThatMayKnowAnything) {
  for (const char* reply :
       {R"({"id": 0, "success": true, "result": {"status": "ok"}})",
        R"({"id": 0, "success": true, "result": {"pong": 1}})",
        R"({"id": 0, "success": true, "result": "pong"})", R"({"id": 0, "success": true, "result": null})",
        R"({"id": 0, "success": true})"}) {
    const Announcement worker = announced(Json::parse(reply));
    EXPECT_EQ(worker.protocol, Protocol::kOne) << reply;
    EXPECT_TRUE(worker.knows("whatever"));
  }
}

TEST(Handshake, AStatusOtherThanOkIsAFailedStart) {
  const StartError error =
      failed(Json::parse(R"({"id": 0, "success": true, "result": {"status": "loading"}})"));
  EXPECT_EQ(error.stage, "handshake");
  EXPECT_FALSE(error.permanent);
  EXPECT_THAT(error.message, HasSubstr("loading"));
}

TEST(Handshake, AFailedStartIsToldWithItsStageAndWhetherItIsForGood) {
  const StartError error =
      failed(Json::parse(R"({"id": 0, "success": false, "error": "No module named 'nope'",
      "error_type": "ModuleNotFoundError", "traceback": "Traceback…", "stage": "environment", "permanent": true})"));
  EXPECT_EQ(error.stage, "environment");
  EXPECT_TRUE(error.permanent);
  EXPECT_EQ(error.type, "ModuleNotFoundError");
  EXPECT_EQ(error.message, "No module named 'nope'");
  EXPECT_EQ(error.traceback, "Traceback…");
}

TEST(Handshake, AFailureThatSaysLittleIsStillAFailure) {
  const StartError error = failed(Json::parse(R"({"id": 0, "success": false})"));
  EXPECT_EQ(error.stage, "handshake");
  EXPECT_FALSE(error.permanent);
  EXPECT_EQ(failed(Json::parse(R"({"id": 0, "success": false, "error": {"code": 3}})")).message,
            R"({"code":3})");
  EXPECT_FALSE(failed(Json::parse(R"({"id": 0, "success": false, "permanent": "yes"})")).permanent);
}

TEST(Handshake, WhatIsNoReplyToItIsNamed) {
  EXPECT_THAT(malformed("hello\n"), HasSubstr("not JSON"));
  EXPECT_THAT(malformed("hello\n"), HasSubstr("hello\\n")) << "and shown";
  EXPECT_THAT(malformed(""), HasSubstr("not JSON"));
  EXPECT_THAT(malformed("[1]"), HasSubstr("not an object"));
  EXPECT_THAT(malformed(R"({"success": true})"), HasSubstr("id is not 0"));
  EXPECT_THAT(malformed(R"({"id": 1, "success": true})"), HasSubstr("id is not 0"));
  EXPECT_THAT(malformed(R"({"id": "0", "success": true})"), HasSubstr("id is not 0"));
  EXPECT_THAT(malformed(R"({"id": false, "success": true})"), HasSubstr("id is not 0"));
  EXPECT_THAT(malformed(R"({"id": 0})"), HasSubstr("success"));
  EXPECT_THAT(malformed(R"({"id": 0, "success": 1})"), HasSubstr("success"));
}

TEST(Handshake, AWorkerMayReadMessagePack) {
  Json reply = good_reply();
  EXPECT_FALSE(std::get<Announcement>(decode_handshake(reply.dump())).packs);
  reply["result"]["lair"]["codec"] = "msgpack";
  EXPECT_TRUE(std::get<Announcement>(decode_handshake(reply.dump())).packs);
}

TEST(Handshake, AChoiceThatWasNotOfferedIsNamed) {
  const auto with = [](const char* key, const Json& value) {
    Json reply = good_reply();
    reply["result"]["lair"][key] = value;
    return malformed(reply.dump());
  };
  EXPECT_THAT(with("version", 3), HasSubstr("version 3"));
  EXPECT_THAT(with("version", "2"), HasSubstr("version"));
  EXPECT_THAT(with("codec", "cbor"), HasSubstr("cbor"));
  EXPECT_THAT(with("codec", nullptr), HasSubstr("codec"));
  EXPECT_THAT(with("concurrency", 4), HasSubstr("concurrency of 4"));
  EXPECT_THAT(with("concurrency", 0), HasSubstr("concurrency"));
  for (const Json& signal : {Json(9), Json(65), Json("RTMAX"), Json(-1)}) {
    EXPECT_THAT(with("stack_signal", signal), HasSubstr("not a real-time signal"));
    EXPECT_THAT(with("stacks", {{"signal", signal}, {"fd", 5}}),
                HasSubstr("not a real-time signal and a descriptor"));
  }
  for (const Json& fd : {Json(2), Json(-1), Json("5"), Json(1u << 31), Json()})
    EXPECT_THAT(with("stacks", {{"signal", 61}, {"fd", fd}}), HasSubstr("and a descriptor"));
  EXPECT_THAT(with("stacks", 61), HasSubstr("and a descriptor"));
  EXPECT_THAT(with("commands", "count"), HasSubstr("commands is not an array"));
  EXPECT_THAT(with("commands", {1}), HasSubstr("no name"));
  EXPECT_THAT(with("commands", {{{"doc", "nameless"}}}), HasSubstr("no name"));
  EXPECT_THAT(with("commands", {{{"name", "f"}, {"params", 3}}}), HasSubstr("params of command f"));

  Json reply = good_reply();
  reply["result"]["lair"].erase("version");
  EXPECT_THAT(malformed(reply.dump()), HasSubstr("version"));
  reply["result"]["lair"] = 2;
  EXPECT_THAT(malformed(reply.dump()), HasSubstr("not an object"));
}

TEST(Handshake, SaysHowStacksAreToBeHadIfTheyAre) {
  const auto stacks_of = [](const Json& reply) {
    return std::get<Announcement>(decode_handshake(reply.dump())).stacks;
  };
  Json reply = good_reply();
  EXPECT_EQ(stacks_of(reply).signal, 0);
  reply["result"]["lair"]["stacks"] = {{"signal", 61}, {"fd", 4}};
  EXPECT_EQ(stacks_of(reply).signal, 61);
  EXPECT_EQ(stacks_of(reply).fd, 4);
}

TEST(Handshake, AFrameLimitThatAllowsNoCallIsNamed) {
  for (const Json& limit : {Json(0), Json(-1), Json("big")}) {
    Json reply = good_reply();
    reply["result"]["lair"]["max_frame"] = limit;
    EXPECT_THAT(malformed(reply.dump()), HasSubstr("max_frame")) << limit;
  }
}

TEST(Handshake, DeepNestingInAReplyIsMalformedAndNoCrash) {
  const std::string deep = std::string(200'000, '[') + std::string(200'000, ']');
  (void)decode_handshake(R"({"id": )" + deep + "}");
  (void)decode_handshake(R"({"id": 0, "success": false, "error": )" + deep + "}");
  (void)decode_handshake(R"({"id": 0, "success": true, "result": {"status": )" + deep + "}}");
  (void)decode_handshake(R"({"id": 0, "success": true, "result": {"lair": {"version": )" + deep + "}}}");
}

}  // namespace
}  // namespace lair::wire
