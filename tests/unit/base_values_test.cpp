// Floor 0, the values: durations, deadlines, results, errors, backoff, names, stats.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <lair/endpoint.hpp>
#include <lair/stats.hpp>

#include "base/assert.hpp"
#include "base/backoff.hpp"
#include "base/duration.hpp"
#include "base/json_text.hpp"
#include "base/nearest.hpp"

namespace lair {
namespace {

using namespace std::chrono_literals;
using namespace std::string_literals;
using testing::HasSubstr;

// --- Deadline ---------------------------------------------------------------------------------------
TEST(Deadline, SaturatesInsteadOfOverflowing) {
  const TimePoint now{5s};
  EXPECT_TRUE(Deadline::after(kForever, now).is_never());
  EXPECT_TRUE(Deadline::after(kForever - 1s, now).is_never());
  EXPECT_FALSE(Deadline::after(kForever - 6s, now).is_never());
  EXPECT_TRUE(Deadline::after(Duration::min(), now).passed(now));
}

TEST(Deadline, RemainingIsNeverNegative) {
  const TimePoint now{5s};
  EXPECT_EQ(Deadline::after(2s, now).remaining(now), 2s);
  EXPECT_EQ(Deadline::after(-2s, now).remaining(now), 0s);
  EXPECT_EQ(Deadline::never().remaining(now), kForever);
}

TEST(Deadline, PassesAtItsMoment) {
  const TimePoint now{5s};
  EXPECT_TRUE(Deadline::at(now).passed(now));
  EXPECT_FALSE(Deadline::at(now).passed(now - 1ns));
  EXPECT_FALSE(Deadline::never().passed(TimePoint::max()));
}

TEST(Deadline, NeverIsTheLast) { EXPECT_LT(Deadline::after(1h), Deadline::never()); }

// --- Duration texts ---------------------------------------------------------------------------------
TEST(DurationText, IsReadInEveryUnit) {
  const std::pair<const char*, Duration> cases[] = {
      {"250ms", 250ms}, {"1.5s", 1500ms},  {"2min", 2min}, {"1h", 1h},
      {"7us", 7us},     {"3ns", 3ns},      {"5", 5s},      {"0.25", 250ms},
      {"0", 0s},        {"1.5 s", 1500ms}, {"1e3ms", 1s},  {"forever", kForever}};
  for (const auto& [text, expected] : cases) {
    const auto parsed = base::parse_duration(text);
    ASSERT_TRUE(parsed) << parsed.error().message;
    EXPECT_EQ(*parsed, expected) << text;
  }
}

TEST(DurationText, RefusesWhatIsNotADuration) {
  for (const std::string text :
       {"",     " ",   "s",   "ms",     "fast",  "5 parsecs",  "5m",  "5S",    "-1s",   "-1",     "1s ",
        "1  s", "nan", "inf", "1e400s", "1e30s", "300000000h", "+5s", "0x10s", "1s2ms", "Forever"}) {
    const auto parsed = base::parse_duration(text);
    ASSERT_FALSE(parsed) << text;
    EXPECT_EQ(parsed.error().kind, ErrorKind::kInvalidArgument);
    EXPECT_THAT(parsed.error().message, HasSubstr("'" + text + "'"));
  }
}

TEST(DurationText, ReadsItsOwnFormatBack) {
  for (const Duration duration : {Duration(0), Duration(1ns), Duration(999ns), Duration(250ms),
                                  Duration(1500ms), Duration(60s), Duration(90s), Duration(2h), kForever}) {
    const std::string text = base::format_duration(duration);
    EXPECT_EQ(*base::parse_duration(text), duration) << text;
  }
}

TEST(DurationText, PicksTheUnitThatReadsBest) {
  EXPECT_EQ(base::format_duration(1500ms), "1.5 s");
  EXPECT_EQ(base::format_duration(250ms), "250 ms");
  EXPECT_EQ(base::format_duration(120s), "2 min");
  EXPECT_EQ(base::format_duration(0s), "0 s");
  EXPECT_EQ(base::format_duration(-5ms), "-5 ms");
  EXPECT_EQ(base::format_duration(kForever), "forever");
}

// --- Backoff ----------------------------------------------------------------------------------------
TEST(Backoff, DoublesFromATenthOfASecondToThirtySeconds) {
  const base::Backoff backoff{.jitter = 0};
  std::mt19937_64 random(1);
  EXPECT_EQ(backoff.delay(1, random), 100ms);
  EXPECT_EQ(backoff.delay(2, random), 200ms);
  EXPECT_EQ(backoff.delay(5, random), 1600ms);
  EXPECT_EQ(backoff.delay(9, random), 25600ms);
  EXPECT_EQ(backoff.delay(10, random), 30s);
  EXPECT_EQ(backoff.delay(4'000'000'000, random), 30s);
}

TEST(Backoff, StraysByAtMostAFifthToBothSides) {
  std::mt19937_64 random(7);
  Duration least = kForever;
  Duration most{};
  for (int i = 0; i < 10'000; ++i) {
    const Duration delay = base::Backoff{}.delay(1, random);
    least = std::min(least, delay);
    most = std::max(most, delay);
  }
  EXPECT_GE(least, 80ms);
  EXPECT_LE(most, 120ms);
  EXPECT_LT(least, 81ms);
  EXPECT_GT(most, 119ms);
}

TEST(Backoff, RepeatsItselfWithTheSameSeed) {
  std::mt19937_64 one(3), other(3);
  for (unsigned i = 1; i < 20; ++i) EXPECT_EQ(base::Backoff{}.delay(i, one), base::Backoff{}.delay(i, other));
}

// --- Nearest name -----------------------------------------------------------------------------------
TEST(Nearest, FindsTheNameThatWasMeant) {
  constexpr std::string_view kKnown[] = {"size", "overflow", "timeout", "start_timeout", "max_waiters"};
  EXPECT_EQ(base::nearest("siez", kKnown), "size");
  EXPECT_EQ(base::nearest("overfow", kKnown), "overflow");
  EXPECT_EQ(base::nearest("timeuot", kKnown), "timeout");
  EXPECT_EQ(base::nearest("max_waiter", kKnown), "max_waiters");
  EXPECT_EQ(base::nearest("size", kKnown), "size");
}

TEST(Nearest, PrefersSilenceToNonsense) {
  constexpr std::string_view kKnown[] = {"size", "overflow"};
  EXPECT_EQ(base::nearest("colour", kKnown), std::nullopt);
  EXPECT_EQ(base::nearest("", kKnown), std::nullopt);
  EXPECT_EQ(base::nearest(std::string(100'000, 's'), kKnown), std::nullopt);
  EXPECT_EQ(base::nearest("size", {}), std::nullopt);
  EXPECT_EQ(base::did_you_mean("colour", kKnown), "");
  EXPECT_EQ(base::did_you_mean("sise", kKnown), " (did you mean 'size'?)");
}

// --- Result -----------------------------------------------------------------------------------------
const Error kSomeError{.kind = ErrorKind::kOverloaded, .message = "full"};

TEST(Result, HoldsAValueOrAnError) {
  const Result<int> value = 7;
  const Result<int> error = kSomeError;
  EXPECT_TRUE(value);
  EXPECT_EQ(*value, 7);
  EXPECT_FALSE(error);
  EXPECT_EQ(error.error().message, "full");
  EXPECT_EQ(error.value_or(3), 3);
  EXPECT_EQ(value.value_or(3), 7);
}

TEST(Result, ThrowsItsErrorWhenAskedForTheValue) {
  const Result<int> number = kSomeError;
  const Result<void> nothing = kSomeError;
  EXPECT_THROW((void)number.value(), CallError);
  try {
    nothing.value();
    FAIL();
  } catch (const CallError& thrown) {
    EXPECT_EQ(thrown.error().kind, ErrorKind::kOverloaded);
    EXPECT_EQ(thrown.what(), kSomeError.report());
  }
}

TEST(ResultDeathTest, AbortsWhenTheWrongSideIsAskedFor) {
  const Result<int> value = 7;
  const Result<int> error = kSomeError;
  const Result<void> nothing;
  EXPECT_DEATH((void)*error, "lair: asked for the value of a Result that holds an error");
  EXPECT_DEATH((void)value.error(), "lair: asked for the error of a Result that holds a value");
  EXPECT_DEATH((void)nothing.error(), "lair: asked for the error of a Result that holds a value");
}

TEST(AssertDeathTest, SaysWhatAndWhereAndWhy) {
  const int workers = 3;
  LAIR_ASSERT(workers == 3);
  EXPECT_DEATH(LAIR_ASSERT(workers == 4),
               "lair: assertion failed: workers == 4 \\(.*base_values_test.cpp:[0-9]+\\)");
  EXPECT_DEATH(LAIR_ASSERT(workers == 4, "one per slot"), "workers == 4: one per slot \\(");
}

// --- Error ------------------------------------------------------------------------------------------
TEST(ErrorNames, AreStable) {
  EXPECT_EQ(to_string(ErrorKind::kInvalidArgument), "invalid_argument");
  EXPECT_EQ(to_string(ErrorKind::kOverloaded), "overloaded");
  EXPECT_EQ(to_string(ErrorKind::kUnavailable), "unavailable");
  EXPECT_EQ(to_string(ErrorKind::kDeadlineExceeded), "deadline_exceeded");
  EXPECT_EQ(to_string(ErrorKind::kCancelled), "cancelled");
  EXPECT_EQ(to_string(ErrorKind::kWorkerLost), "worker_lost");
  EXPECT_EQ(to_string(ErrorKind::kSessionLost), "session_lost");
  EXPECT_EQ(to_string(ErrorKind::kSessionBusy), "session_busy");
  EXPECT_EQ(to_string(ErrorKind::kRemote), "remote");
  EXPECT_EQ(to_string(ErrorKind::kUnknownCommand), "unknown_command");
  EXPECT_EQ(to_string(ErrorKind::kProtocol), "protocol");
  EXPECT_EQ(to_string(ErrorKind::kInternal), "internal");
  EXPECT_EQ(to_string(Delivery::kNotSent), "not_sent");
  EXPECT_EQ(to_string(Delivery::kMaybeExecuted), "maybe_executed");
  EXPECT_EQ(to_string(Delivery::kExecuted), "executed");
}

TEST(ExitStatus, DescribesEveryEnd) {
  using How = ExitStatus::How;
  EXPECT_EQ((ExitStatus{How::kExited, 3}).describe(), "exited with status 3");
  EXPECT_EQ((ExitStatus{How::kSignalled, 11}).describe(), "killed by SIGSEGV (11)");
  EXPECT_EQ((ExitStatus{How::kSignalled, 9}).describe(), "killed by SIGKILL (9)");
  EXPECT_EQ((ExitStatus{How::kSignalled, 40}).describe(), "killed by signal 40");
  EXPECT_EQ(ExitStatus{}.describe(), "ended, status unknown");
}

TEST(ErrorReport, TellsTheWholeStory) {
  const Error error{
      .kind = ErrorKind::kUnavailable,
      .delivery = Delivery::kNotSent,
      .message = "worker 1 of pool 'text' failed to start",
      .worker = WorkerIdentity{.slot = 1,
                               .generation = 4,
                               .pid = 4711,
                               .exit = ExitStatus{ExitStatus::How::kExited, 1},
                               .stderr_tail = "one\ntwo\n"},
      .python = PythonError{.type = "ModuleNotFoundError",
                            .message = "No module named 'nope'",
                            .traceback = "Traceback (most recent call last):\n  File \"x.py\", line 1\n"},
      .retry_after_ms = 1500,
      .stage = "environment",
  };
  EXPECT_EQ(
      error.report(),
      "worker 1 of pool 'text' failed to start\n"
      "  unavailable: the command did not run; the start failed at stage environment; try again after 1.5 s\n"
      "  worker: slot 1, generation 4, pid 4711: exited with status 1\n"
      "  python:\n"
      "    Traceback (most recent call last):\n"
      "      File \"x.py\", line 1\n"
      "  stderr: its last lines\n"
      "    | one\n"
      "    | two");
}

TEST(ErrorReport, IsShortWhenThereIsLittleToSay) {
  EXPECT_EQ(kSomeError.report(), "full\n  overloaded: the command did not run");
}

TEST(WrongResultType, NamesCommandReasonAndValue) {
  const Error error = detail::wrong_result_type(
      "count", "[json.exception.type_error.302] type must be number, but is string", Json("many"));
  EXPECT_EQ(error.kind, ErrorKind::kInvalidArgument);
  EXPECT_EQ(error.delivery, Delivery::kExecuted);
  EXPECT_EQ(error.message,
            "the result of 'count' is not of the type asked for: type must be number, but is string; it is "
            "\"many\"");
}

TEST(JsonText, IsCutBetweenCharacters) {
  EXPECT_EQ(base::shown(Json({1, 2})), "[1,2]");
  EXPECT_EQ(base::shown(Json("ääää"), 4), "\"ä…");
  EXPECT_EQ(base::shown(Json("ab\xff")), "\"ab\xef\xbf\xbd\"");
}

// --- Endpoint's arguments -----------------------------------------------------------------------------
TEST(Arguments, ArePositionalUnlessKwargs) {
  EXPECT_EQ(detail::arguments(), Json::array());
  EXPECT_EQ(detail::arguments(1, "a"), Json::array({1, "a"}));
  EXPECT_EQ(detail::arguments(Json{{"a", 1}}), Json::array({Json{{"a", 1}}}));
  EXPECT_EQ(detail::arguments(kwargs{{"a", 1}}), (Json{{"a", 1}}));
  EXPECT_EQ(detail::arguments(kwargs{}), Json::object());
}

// --- Stats --------------------------------------------------------------------------------------------
TEST(Stats, BecomeJsonByTheNamesOfTheirMembers) {
  PoolStats stats;
  stats.name = "text";
  stats.oldest_wait = 1500ms;
  stats.slots[static_cast<std::size_t>(SlotState::kIdle)] = 1;
  stats.slots[static_cast<std::size_t>(SlotState::kBackingOff)] = 1;
  stats.workers = {{.slot = 0, .generation = 3, .state = SlotState::kIdle, .pid = 12, .calls = 4}};
  const Json json = to_json_value(stats);
  EXPECT_EQ(json["name"], "text");
  EXPECT_EQ(json["ready"], 1);
  EXPECT_EQ(json["slots"]["backing_off"], 1);
  EXPECT_EQ(json["slots"].size(), kSlotStates);
  EXPECT_EQ(json["oldest_wait_seconds"], 1.5);
  EXPECT_EQ(json["workers"][0]["state"], "idle");
  EXPECT_EQ(json["workers"][0]["generation"], 3);
}

}  // namespace
}  // namespace lair
