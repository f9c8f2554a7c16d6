// Where callers sleep: what they are told, and that nothing of it stays behind.
#include "pool/parker.hpp"

#include <gtest/gtest.h>

namespace lair::pool {
namespace {

using namespace std::chrono_literals;

RecordPtr a_record() { return std::make_shared<Record>(core::WorkerRef{.slot = 0, .generation = 1}, 20); }

TEST(Parker, KeepsNoWorkerThatItsWaiterWasGiven) {
  const RecordPtr record = a_record();
  Parker parker;
  parker.lend(1);
  parker.post(1, {.grant = Hold{.record = record, .epoch = 7}});
  EXPECT_EQ(parker.wait(TimePoint::max()).grant->epoch, 7u);
  EXPECT_EQ(record.use_count(), 1) << "its descriptors would stay open when it has ended";

  parker.lend(2);
  parker.post(2, {.grant = Hold{.record = record, .epoch = 8}});
  EXPECT_EQ(parker.wait_final().grant->epoch, 8u);
  EXPECT_EQ(record.use_count(), 1);
}

TEST(Parker, TellsAHintAndThenTheGrant) {
  Parker parker;
  parker.lend(1);
  parker.post(1, {.woken = true});
  const Parker::Notice hint = parker.wait(TimePoint::max());
  EXPECT_TRUE(hint.woken);
  EXPECT_FALSE(hint.final());
  EXPECT_FALSE(parker.wait(SteadyClock::now()).woken) << "a hint is taken once";
  parker.post(1, {.grant = Hold{.record = a_record(), .epoch = 7}});
  EXPECT_TRUE(parker.wait(TimePoint::max()).final());
}

TEST(Parker, DropsWhatIsMeantForTheWaiterBefore) {
  Parker parker;
  parker.lend(1);
  parker.lend(2);
  parker.post(1, {.grant = Hold{.record = a_record(), .epoch = 7}});
  EXPECT_FALSE(parker.wait(SteadyClock::now()).final());
}

}  // namespace
}  // namespace lair::pool
