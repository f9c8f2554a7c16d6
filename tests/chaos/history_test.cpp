// The checker of histories finds what it is for: each kind of flaw, planted.
#include "support/history.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>

namespace lair::test {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;

const Told kOk{.outcomes = 1, .ok = true, .own = true};
const Told kRaised{.outcomes = 1, .own = true, .delivery = Delivery::kExecuted};
const Told kLost{.outcomes = 1, .delivery = Delivery::kMaybeExecuted};
const Told kRefused{.outcomes = 1, .delivery = Delivery::kNotSent};

Told idempotent(Told told) {
  told.tries = 3;
  return told;
}

// Executions of call 0, which is all that there is.
std::vector<std::string> flaws_after(const Told& told, std::size_t executions) {
  return flaws({told}, std::vector<Executed>(executions, Executed{.number = 0, .pid = 7}));
}

TEST(HistoryCheck, FindsNothingInAGoodHistory) {
  const std::vector<Told> calls = {kOk, kRaised, kLost, kLost, kRefused, idempotent(kOk), idempotent(kLost)};
  EXPECT_THAT(flaws(calls, {{5, 1}, {1, 1}, {0, 2}, {5, 2}, {2, 1}, {6, 1}, {5, 1}}), IsEmpty());
  EXPECT_THAT(flaws({}, {}), IsEmpty());
}

TEST(HistoryCheck, FindsACallWithoutOutcome) {
  EXPECT_THAT(flaws_after({}, 1), ElementsAre("call 0 has 0 outcomes"));
}

TEST(HistoryCheck, FindsACallWithTwoOutcomes) {
  Told told = kOk;
  told.outcomes = 2;
  EXPECT_THAT(flaws_after(told, 1), ElementsAre("call 0 has 2 outcomes"));
}

TEST(HistoryCheck, FindsAReplyThatIsAnothers) {
  for (Told told : {kOk, kRaised, idempotent(kOk)}) {
    told.own = false;
    EXPECT_THAT(flaws_after(told, 1), ElementsAre("call 0 was given another's reply"));
  }
}

TEST(HistoryCheck, FindsWhatWasExecutedTwice) {
  for (const Told& told : {kOk, kRaised, kLost}) {
    EXPECT_THAT(flaws_after(told, 2), ElementsAre("call 0 executed 2 times"));
  }
}

TEST(HistoryCheck, FindsWhatWasExecutedMoreOftenThanItMayBeTried) {
  for (const Told& told : {kOk, kLost}) {
    EXPECT_THAT(flaws_after(idempotent(told), 3), IsEmpty());
    EXPECT_THAT(flaws_after(idempotent(told), 4), ElementsAre("call 0 executed 4 times"));
  }
}

TEST(HistoryCheck, FindsAnAnswerThatNobodyGave) {
  for (const Told& told : {kOk, kRaised, idempotent(kOk)}) {
    EXPECT_THAT(flaws_after(told, 0), ElementsAre("call 0 was answered, and never executed"));
  }
}

TEST(HistoryCheck, FindsWhatWasExecutedAlthoughNotSent) {
  for (const Told& told : {kRefused, idempotent(kRefused)}) {
    EXPECT_THAT(flaws_after(told, 1), ElementsAre("call 0 was not sent, and executed 1 times"));
  }
}

TEST(HistoryCheck, FindsAnExecutionThatNobodyAskedFor) {
  EXPECT_THAT(flaws({kOk}, {{0, 7}, {1, 7}}),
              ElementsAre("call 1, which nobody has made, was executed by pid 7"));
}

TEST(History, KeepsWhatCallersAndWorkersWriteDown) {
  History history(3);
  EXPECT_EQ(history.begin(), 0u);
  EXPECT_EQ(history.begin(), 1u);
  history.note(0, {.ok = true, .own = true});
  history.note(1, kLost);
  history.note(1, kLost);
  std::ofstream journal(history.journal_path(), std::ios::binary | std::ios::app);
  journal.write("\1\0\0\0\2\0\0\0\3\0", 10).flush();
  ASSERT_EQ(history.calls().size(), 2u) << "those that have begun";
  EXPECT_EQ(history.calls()[0].outcomes, 1);
  EXPECT_EQ(history.calls()[1].outcomes, 2);
  ASSERT_EQ(history.executed().size(), 2u);
  EXPECT_EQ(history.executed()[0].number, 1u);
  EXPECT_EQ(history.executed()[0].pid, 2u);
  EXPECT_EQ(history.executed()[1].number, UINT32_MAX) << "a torn entry is none that anybody has called";
  EXPECT_EQ(history.begin(), 2u);
  EXPECT_EQ(history.begin(), std::nullopt);
  EXPECT_TRUE(history.full());
}

TEST(History, KnowsWhoseReplyItIs) {
  EXPECT_TRUE(told_by(Json::array({7, "x"}), 7, "x").own);
  EXPECT_FALSE(told_by(Json::array({7, "x"}), 8, "x").own);
  EXPECT_FALSE(told_by(Json::array({7, "x"}), 7, "y").own);
  EXPECT_FALSE(told_by(Json(7), 7, "").own);
  const Error raised{.kind = ErrorKind::kRemote,
                     .delivery = Delivery::kExecuted,
                     .python = PythonError{.type = "ValueError", .message = "call 7.", .traceback = ""}};
  EXPECT_TRUE(told_by(raised, 7, "").own);
  EXPECT_FALSE(told_by(raised, 70, "").own);
}

}  // namespace
}  // namespace lair::test
