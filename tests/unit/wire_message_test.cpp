// Calls and replies in both protocols; every malformed shape is named.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>

#include "wire/frame.hpp"
#include "wire/message.hpp"

namespace lair::wire {
namespace {

using namespace std::chrono_literals;
using testing::HasSubstr;

constexpr CallHeader kOne{.protocol = Protocol::kOne, .id = 5, .generation = 9, .command = "count"};
constexpr CallHeader kTwo{.protocol = Protocol::kTwo, .id = 5, .generation = 9, .command = "count"};

// The payload of a call, after checking its frame's header.
Json payload_of(const CallFrame& frame) {
  const std::string whole = frame.head + std::string(frame.arguments) + frame.tail;
  EXPECT_EQ(whole.size(), frame.size());
  EXPECT_EQ(whole.size() - kHeaderBytes, frame.payload_size());
  const auto header = frame_header(frame.payload_size());
  EXPECT_EQ(whole.substr(0, kHeaderBytes), std::string(header.data(), header.size()));
  return Json::parse(whole.substr(kHeaderBytes));
}

std::string malformed(const CallHeader& header, std::string_view payload) {
  const Reply reply = decode_reply(header, payload);
  const auto* bad = std::get_if<Malformed>(&reply);
  EXPECT_NE(bad, nullptr) << payload;
  return bad != nullptr ? bad->problem : "";
}
Raised raised(const CallHeader& header, std::string_view payload) {
  const Reply reply = decode_reply(header, payload);
  const auto* error = std::get_if<Raised>(&reply);
  EXPECT_NE(error, nullptr) << payload;
  return error != nullptr ? *error : Raised{};
}
Json value(const CallHeader& header, std::string_view payload) {
  const Reply reply = decode_reply(header, payload);
  const auto* good = std::get_if<Value>(&reply);
  EXPECT_NE(good, nullptr) << payload;
  return good != nullptr ? good->value : Json("(none)");
}

// --- Out --------------------------------------------------------------------------------------------

TEST(EncodeCall, ProtocolTwoIsAnArray) {
  EXPECT_EQ(payload_of(encode_call(kTwo, R"([1,"a"])")), Json::parse(R"([1, 5, 9, "count", [1, "a"], {}])"));
}

TEST(EncodeCall, ProtocolTwoCarriesTheRemainingMillisecondsRoundedDown) {
  CallHeader header = kTwo;
  header.remaining = 1999us;
  EXPECT_EQ(payload_of(encode_call(header, "{}"))[5], Json({{"ms", 1}}));
  header.remaining = 0ns;
  EXPECT_EQ(payload_of(encode_call(header, "{}"))[5], Json({{"ms", 0}}));
}

TEST(EncodeCall, ProtocolOneIsAnObjectWithATimestamp) {
  const Json call = payload_of(encode_call(kOne, R"({"text":"a"})"));
  EXPECT_EQ(call["id"], 5);
  EXPECT_EQ(call["command"], "count");
  EXPECT_EQ(call["args"], Json({{"text", "a"}}));
  EXPECT_TRUE(call["timestamp"].is_string());
}

TEST(EncodeCall, ACommandsNameIsEscapedSoThatItStaysOneString) {
  for (const std::string name : {"a\"b", "a\\b", "a\nb", "a\",{}]", "\x01", "\x7f", "žluť", ""}) {
    for (CallHeader header : {kOne, kTwo}) {
      header.command = name;
      const Json call = payload_of(encode_call(header, "{}"));
      EXPECT_EQ(header.protocol == Protocol::kOne ? call["command"] : call[3], name);
    }
  }
}

TEST(EncodeCall, ACommandsNameThatIsNotUtf8StillMakesValidJson) {
  for (CallHeader header : {kOne, kTwo}) {
    header.command = "a\xff";
    (void)payload_of(encode_call(header, "{}"));
  }
}

TEST(EncodeCall, LargeNumbersAreWrittenInFull) {
  CallHeader header = kTwo;
  header.id = ~std::uint64_t{0};
  header.generation = ~std::uint64_t{0} - 1;
  const Json call = payload_of(encode_call(header, "{}"));
  EXPECT_EQ(call[1].get<std::uint64_t>(), header.id);
  EXPECT_EQ(call[2].get<std::uint64_t>(), header.generation);
}

TEST(EncodeCall, ArgumentsAreNotCopied) {
  const std::string arguments = "[1]";
  EXPECT_EQ(encode_call(kTwo, arguments).arguments.data(), arguments.data());
}

TEST(EncodeCall, ProtocolTwoTellsTheChangesOfASession) {
  CallHeader header = kTwo;
  header.session = CallHeader::Session{.id = "s", .number = 4, .affinity = "prefer", .changes = 0};
  EXPECT_EQ(payload_of(encode_call(header, "{}"))[5].value("session_changes", Json()), Json(0));
  header.session->changes = (std::uint64_t{1} << 32) + 1;
  EXPECT_EQ(payload_of(encode_call(header, "{}"))[5].value("session_changes", Json()), Json(4294967297));
  header.session->changes.reset();
  EXPECT_FALSE(payload_of(encode_call(header, "{}"))[5].contains("session_changes"));
}

TEST(EncodeCall, ProtocolTwoNamesTheSessionItsNumberAndItsAffinity) {
  CallHeader header = kTwo;
  header.remaining = 70ms;
  header.session = CallHeader::Session{.id = "user \"4\"", .number = ~std::uint64_t{0}, .affinity = "strict"};
  header.stream = CallHeader::Credit{.items = 4, .bytes = 100};
  EXPECT_EQ(payload_of(encode_call(header, R"({"a":1})")), Json({1,
                                                                 5,
                                                                 9,
                                                                 "count",
                                                                 {{"a", 1}},
                                                                 {{"ms", 70},
                                                                  {"session", "user \"4\""},
                                                                  {"session_number", ~std::uint64_t{0}},
                                                                  {"affinity", "strict"},
                                                                  {"stream", {4, 100}}}}));
  EXPECT_EQ(payload_of(encode_call(kTwo, "{}"))[5], Json::object()) << "an anonymous call has none of them";
}

TEST(EncodeCall, ProtocolOneCarriesTheSessionAmongItsArguments) {
  CallHeader header = kOne;
  header.session = CallHeader::Session{.id = "u\n1", .number = 3, .affinity = "prefer"};
  const auto args = [&](std::string_view arguments) {
    const Json call = payload_of(encode_call(header, arguments));
    EXPECT_EQ(call.size(), 4u) << call;
    return call.at("args");
  };
  EXPECT_EQ(args("{}"), (Json{{"session_id", "u\n1"}}));
  EXPECT_EQ(args("{ }"), (Json{{"session_id", "u\n1"}}));
  EXPECT_EQ(args(R"({"text":"a","n":{}})"),
            (Json{{"session_id", "u\n1"}, {"text", "a"}, {"n", Json::object()}}));
  EXPECT_EQ(payload_of(encode_call(kOne, "{}")).at("args"), Json::object());
}

TEST(EncodeCall, ProtocolOneLeavesArgumentsAloneThatHaveASessionOrAreNoObject) {
  CallHeader header = kOne;
  header.session = CallHeader::Session{.id = "mine"};
  for (const std::string_view same :
       {R"({"session_id":"theirs"})", R"({"a":[{"b":"}"}],"session_id" : null})",
        R"({"a":"\"session_id\":","session_id":0})", R"([{"session_id":1}])", "[]", "null"}) {
    EXPECT_EQ(payload_of(encode_call(header, same)).at("args"), Json::parse(same)) << same;
  }
  for (const std::string_view other :
       {R"({"a":{"session_id":"theirs"}})", R"({"a":"session_id"})", R"({"a":["session_id"]})",
        R"({"a":"\\","b":"{\"session_id\":1}"})", R"({"a":"\\\"","session_ids":[[{"session_id":2}]]})"}) {
    Json expected = Json::parse(other);
    expected["session_id"] = "mine";
    EXPECT_EQ(payload_of(encode_call(header, other)).at("args"), expected) << other;
  }
}

TEST(EncodeCall, ArgumentsAreNotCopiedForASessionEither) {
  const std::string arguments = R"({"a":1})";
  CallHeader header = kOne;
  header.session = CallHeader::Session{.id = "u"};
  EXPECT_EQ(encode_call(header, arguments).arguments.data(), arguments.data() + 1);
}

TEST(EncodeShutdown, IsAWholeFrameInEitherProtocol) {
  const std::string two = encode_shutdown(Protocol::kTwo, 3, 9);
  EXPECT_EQ(Json::parse(two.substr(kHeaderBytes)), Json::parse("[5, 0, 9]"));
  const std::string one = encode_shutdown(Protocol::kOne, 3, 9);
  EXPECT_EQ(Json::parse(one.substr(kHeaderBytes))["command"], "shutdown");
  EXPECT_EQ(Json::parse(one.substr(kHeaderBytes))["id"], 3);
  for (const std::string& frame : {one, two}) {
    const auto header = frame_header(frame.size() - kHeaderBytes);
    EXPECT_EQ(frame.substr(0, kHeaderBytes), std::string(header.data(), header.size()));
  }
}

// --- In, protocol 2 ---------------------------------------------------------------------------------

TEST(ReplyTwo, AResultIsItsValue) {
  EXPECT_EQ(value(kTwo, R"([2, 5, 9, {"a": [1]}])"), Json::parse(R"({"a": [1]})"));
  EXPECT_EQ(value(kTwo, "[2, 5, 9, null]"), Json());
  EXPECT_EQ(value(kTwo, R"([2, 5, 9, 1, "extra", {}])"), 1) << "trailing elements are ignored";
}

TEST(ReplyTwo, AnErrorCarriesTheException) {
  const Raised error = raised(
      kTwo, R"([3, 5, 9, {"type": "ValueError", "message": "bad", "traceback": "T", "kind": "remote"}])");
  EXPECT_EQ(error.kind, Raised::Kind::kRemote);
  EXPECT_EQ(error.type, "ValueError");
  EXPECT_EQ(error.message, "bad");
  EXPECT_EQ(error.traceback, "T");
}

TEST(ReplyTwo, TheKindsOfErrorAreToldApart) {
  const auto kind = [](const std::string& name) {
    return raised(kTwo, R"([3, 5, 9, {"kind": ")" + name + R"("}])").kind;
  };
  EXPECT_EQ(kind("unknown_command"), Raised::Kind::kUnknownCommand);
  EXPECT_EQ(kind("invalid_argument"), Raised::Kind::kInvalidArgument);
  EXPECT_EQ(kind("unencodable"), Raised::Kind::kUnencodable);
  EXPECT_EQ(kind("something new"), Raised::Kind::kRemote) << "it may have run";
}

CallHeader stream_header() {
  return {.id = 5, .generation = 9, .command = "f", .stream = CallHeader::Credit{.items = 4, .bytes = 100}};
}

TEST(ReplyTwo, PartsOfAStreamAreTakenWhereOneWasAskedFor) {
  const std::string chunk = "[6, 5, 9, [1, \"two\"]]";
  const auto items = std::get<Items>(decode_reply(stream_header(), chunk));
  EXPECT_EQ(items.items, (std::vector<Json>{1, "two"}));
  EXPECT_EQ(items.bytes, chunk.size());
  EXPECT_TRUE(std::holds_alternative<Complete>(decode_reply(stream_header(), "[7, 5, 9]")));
  EXPECT_FALSE(is_final(decode_reply(stream_header(), chunk)));
  EXPECT_TRUE(is_final(decode_reply(stream_header(), "[7, 5, 9]")));
  EXPECT_THAT(malformed(kTwo, chunk), HasSubstr("not asked for"));
  EXPECT_THAT(malformed(kTwo, "[7, 5, 9]"), HasSubstr("not asked for"));
  EXPECT_TRUE(std::holds_alternative<Malformed>(decode_reply(stream_header(), "[6, 5, 9, []]")));
  EXPECT_TRUE(std::holds_alternative<Malformed>(decode_reply(stream_header(), "[6, 5, 9]")));
}

TEST(ReplyTwo, ACallbackNamesItsFunction) {
  const auto asked = std::get<Callback>(decode_reply(kTwo, R"([11, 5, 9, 3, "tool", {"x": 1}, {}])"));
  EXPECT_EQ(asked.number, 3u);
  EXPECT_EQ(asked.name, "tool");
  EXPECT_EQ(asked.arguments, (Json{{"x", 1}}));
  EXPECT_THAT(malformed(kTwo, R"([11, 5, 9, -3, "tool", []])"), HasSubstr("CALLBACK"));
  EXPECT_THAT(malformed(kTwo, R"([11, 5, 9, 3, 4, []])"), HasSubstr("CALLBACK"));
  EXPECT_THAT(malformed(kTwo, R"([11, 5, 9, 3, "tool"])"), HasSubstr("CALLBACK"));
  const auto plain = decode_plain_reply(kTwo, R"([11, 5, 9, 3, "tool", []])");
  EXPECT_THAT(std::get<Malformed>(plain).problem, HasSubstr("tool"));
}

TEST(ReplyTwo, OneOfSeveralCallsIsFoundByItsId) {
  const auto find = [](std::uint64_t id) -> const CallHeader* { return id == 5 ? &kTwo : nullptr; };
  const Addressed own = decode_addressed(9, find, "[2, 5, 9, 1]");
  EXPECT_EQ(own.id, 5u);
  EXPECT_EQ(std::get<Value>(own.reply).value, 1);
  const Addressed unknown = decode_addressed(9, find, "[2, 6, 9, 1]");
  EXPECT_THAT(std::get<Malformed>(unknown.reply).problem, HasSubstr("id 6, which no call has"));
  for (const char* wrong : {"[2, 5, 8, 1]", "[2, -5, 9, 1]", "[2]", "{}", "x"}) {
    EXPECT_TRUE(std::holds_alternative<Malformed>(decode_addressed(9, find, wrong).reply)) << wrong;
  }
}

TEST(Frames, OfTheHostInTheMiddleOfACall) {
  const auto payload = [](const std::string& frame) { return Json::parse(frame.substr(kHeaderBytes)); };
  EXPECT_EQ(payload(encode_cancel(5, 9)), Json({9, 5, 9}));
  EXPECT_EQ(payload(encode_credit(5, 9, {.items = 3, .bytes = 70})), Json({8, 5, 9, 3, 70}));
  EXPECT_EQ(payload(encode_callback_result(5, 9, 3, Json("x"))), Json({12, 5, 9, 3, true, "x"}));
  const Error failed{.kind = ErrorKind::kUnavailable, .message = "no"};
  EXPECT_EQ(payload(encode_callback_result(5, 9, 3, failed)),
            Json({12,
                  5,
                  9,
                  3,
                  false,
                  {{"type", "CallError"}, {"message", "no"}, {"traceback", ""}, {"kind", "unavailable"}}}));
  const Json unsendable = payload(encode_callback_result(5, 9, 3, Json(std::nan(""))));
  EXPECT_EQ(unsendable.at(4), false);
  CallHeader header = stream_header();
  header.traceparent = "00-a\"b";
  header.chain = "[\"text 0.1\"]";
  header.remaining = std::chrono::milliseconds(70);
  const CallFrame frame = encode_call(header, "[]");
  const Json meta =
      Json::parse((frame.head + std::string(frame.arguments) + frame.tail).substr(kHeaderBytes)).at(5);
  EXPECT_EQ(meta,
            (Json{{"ms", 70}, {"traceparent", "00-a\"b"}, {"chain", {"text 0.1"}}, {"stream", {4, 100}}}));
}

TEST(ReplyTwo, AnythingElseIsNamed) {
  EXPECT_THAT(malformed(kTwo, "garbage"), HasSubstr("not JSON"));
  EXPECT_THAT(malformed(kTwo, "garbage"), HasSubstr("garbage"));
  EXPECT_THAT(malformed(kTwo, ""), HasSubstr("not JSON"));
  EXPECT_THAT(malformed(kTwo, R"({"id": 5})"), HasSubstr("not a message"));
  EXPECT_THAT(malformed(kTwo, "[]"), HasSubstr("not a message"));
  EXPECT_THAT(malformed(kTwo, "[2, 5]"), HasSubstr("not a message"));
  EXPECT_THAT(malformed(kTwo, R"(["2", 5, 9, 1])"), HasSubstr("not a message"));
  EXPECT_THAT(malformed(kTwo, "[2.5, 5, 9, 1]"), HasSubstr("not a message"));
  EXPECT_THAT(malformed(kTwo, "[2, 5, 9]"), HasSubstr("RESULT without a value"));
  EXPECT_THAT(malformed(kTwo, "[3, 5, 9]"), HasSubstr("ERROR without its object"));
  EXPECT_THAT(malformed(kTwo, R"([3, 5, 9, "oops"])"), HasSubstr("ERROR without its object"));
  for (const char* kind : {"1", "4", "5", "8", "9", "12", "99", "-1", "0"}) {
    EXPECT_THAT(malformed(kTwo, "[" + std::string(kind) + ", 5, 9, {}]"),
                HasSubstr("kind " + std::string(kind)));
  }
}

TEST(ReplyTwo, AnotherCallsReplyIsNeverTakenForThisOnes) {
  EXPECT_THAT(malformed(kTwo, "[2, 4, 9, 1]"), HasSubstr("id 4 came while id 5"));
  EXPECT_THAT(malformed(kTwo, "[2, 6, 9, 1]"), HasSubstr("id 6"));
  EXPECT_THAT(malformed(kTwo, R"([2, "5", 9, 1])"), HasSubstr("id"));
  EXPECT_THAT(malformed(kTwo, "[2, null, 9, 1]"), HasSubstr("id"));
  EXPECT_THAT(malformed(kTwo, "[2, -5, 9, 1]"), HasSubstr("id -5"));
  EXPECT_THAT(malformed(kTwo, "[2, 5, 8, 1]"), HasSubstr("generation 8 came while generation 9"));
  EXPECT_THAT(malformed(kTwo, "[2, 18446744073709551621, 9, 1]"), HasSubstr("id")) << "5 + 2^64";
}

TEST(ReplyTwo, DeepNestingInPlaceOfAnIdIsMalformedAndNoCrash) {
  const std::string deep = std::string(200'000, '[') + std::string(200'000, ']');
  EXPECT_NE(malformed(kTwo, "[2, " + deep + ", 9, 1]"), "");
  EXPECT_NE(malformed(kOne, R"({"id": )" + deep + R"(, "success": true})"), "");
}

TEST(ReplyTwo, BabbleIsShownShortened) {
  EXPECT_LT(malformed(kTwo, "\"" + std::string(1u << 20, 'A')).size(), 1000u);
}

// --- In, protocol 1 ---------------------------------------------------------------------------------

TEST(ReplyOne, ASuccessIsItsResult) {
  EXPECT_EQ(value(kOne, R"({"id": 5, "success": true, "result": [1], "timestamp": 3, "more": 1})"),
            Json::array({1}));
  EXPECT_EQ(value(kOne, R"({"id": 5, "success": true})"), Json()) << "no result is null";
}

TEST(ReplyOne, AnErrorCarriesWhatALairWorkerAdds) {
  const Raised error = raised(
      kOne, R"({"id": 5, "success": false, "error": "bad", "error_type": "ValueError", "traceback": "T"})");
  EXPECT_EQ(error.kind, Raised::Kind::kRemote);
  EXPECT_EQ(error.message, "bad");
  EXPECT_EQ(error.type, "ValueError");
  EXPECT_EQ(error.traceback, "T");
}

TEST(ReplyOne, AnErrorOfAnyShapeIsStillAnError) {
  EXPECT_NE(raised(kOne, R"({"id": 5, "success": false})").message, "");
  EXPECT_EQ(raised(kOne, R"({"id": 5, "success": false, "error": {"code": 1}})").message, R"({"code":1})");
  EXPECT_EQ(raised(kOne, R"({"id": 5, "success": false, "error": "x", "error_type": 3})").type, "");
}

TEST(ReplyOne, ARefusalSaysThatTheCommandDidNotRun) {
  EXPECT_EQ(
      raised(kOne, R"({"id": 5, "success": false, "refused": true, "error": "Unknown command: count"})").kind,
      Raised::Kind::kUnknownCommand);
  EXPECT_EQ(raised(kOne, R"({"id": 5, "success": false, "refused": true, "error": "missing argument"})").kind,
            Raised::Kind::kInvalidArgument);
  EXPECT_EQ(raised(kOne, R"({"id": 5, "success": false, "error": "Unknown command: count"})").kind,
            Raised::Kind::kRemote)
      << "any program may say so after having run it";
  EXPECT_EQ(raised(kOne, R"({"id": 5, "success": false, "refused": "true", "error": "x"})").kind,
            Raised::Kind::kRemote);
}

TEST(ReplyOne, AnythingElseIsNamed) {
  EXPECT_THAT(malformed(kOne, "print!\n"), HasSubstr("print!\\n"));
  EXPECT_THAT(malformed(kOne, "[2, 5, 9, 1]"), HasSubstr("not an object"));
  EXPECT_THAT(malformed(kOne, "5"), HasSubstr("not an object"));
  EXPECT_THAT(malformed(kOne, R"({"success": true})"), HasSubstr("id null"));
  EXPECT_THAT(malformed(kOne, R"({"id": 4, "success": true})"), HasSubstr("id 4 came while id 5"));
  EXPECT_THAT(malformed(kOne, R"({"id": null, "success": false, "error": "not JSON"})"),
              HasSubstr("id null"));
  EXPECT_THAT(malformed(kOne, R"({"id": "5", "success": true})"), HasSubstr("id"));
  EXPECT_THAT(malformed(kOne, R"({"id": 5})"), HasSubstr("success"));
  EXPECT_THAT(malformed(kOne, R"({"id": 5, "success": "yes"})"), HasSubstr("success"));
}

// --- In, after the handshake ------------------------------------------------------------------------

TEST(StartedUp, ReadyIsOfThisGeneration) {
  EXPECT_TRUE(std::holds_alternative<StartedUp>(decode_started_up(9, "[4, 0, 9]")));
  EXPECT_TRUE(std::holds_alternative<StartedUp>(decode_started_up(9, R"([4, 0, 9, "extra"])")));
  for (const char* bad : {"[4, 0, 8]", "[4, 1, 9]", "[4, 0]", "[2, 0, 9, 1]", "[3, 0, 9]",
                          R"([3, 0, 9, "x"])", "ready", "{}"}) {
    EXPECT_TRUE(std::holds_alternative<Malformed>(decode_started_up(9, bad))) << bad;
  }
}

TEST(StartedUp, MayNameTheFilesOfItsCode) {
  const auto files = [](const char* payload) {
    const auto decoded = decode_started_up(9, payload);
    if (const auto* up = std::get_if<StartedUp>(&decoded)) return up->files;
    return std::get<StartError>(decoded).files;
  };
  EXPECT_EQ(files(R"([4, 0, 9, {"files": ["/a.py", 7, "/b.py"]}])"),
            (std::vector<std::string>{"/a.py", "/b.py"}));
  EXPECT_EQ(files(R"([3, 0, 9, {"type": "OSError", "files": ["/a.py"]}])"),
            std::vector<std::string>{"/a.py"});
  for (const char* none :
       {"[4, 0, 9]", R"([4, 0, 9, {"files": 7}])", R"([4, 0, 9, ["files"]])", "[3, 0, 9, {}]"}) {
    EXPECT_TRUE(files(none).empty()) << none;
  }
}

TEST(StartedUp, AnErrorSaysItsStageAndWhetherItIsForGood) {
  const auto decoded =
      decode_started_up(9, R"([3, 0, 9, {"type": "OSError", "message": "no model", "traceback": "T",
                                                         "kind": "start", "stage": "warm_up", "permanent": true}])");
  const auto* error = std::get_if<StartError>(&decoded);
  ASSERT_NE(error, nullptr);
  EXPECT_EQ(error->stage, "warm_up");
  EXPECT_TRUE(error->permanent);
  EXPECT_EQ(error->type, "OSError");
  EXPECT_EQ(error->message, "no model");
  const auto terse = decode_started_up(9, "[3, 0, 9, {}]");
  ASSERT_TRUE(std::holds_alternative<StartError>(terse));
  EXPECT_EQ(std::get<StartError>(terse).stage, "warm_up");
  EXPECT_FALSE(std::get<StartError>(terse).permanent);
}

}  // namespace
}  // namespace lair::wire
