// Every state of a worker × every event that names one: what it leads to, what follows, what is refused. The
// table is stated here once more, in words, and not derived from core/transitions.hpp.
#include <gtest/gtest.h>

#include <array>
#include <functional>
#include <string>

#include "support/core_driver.hpp"

namespace lair::test {
namespace {

enum class What { kIllegal, kStale, kStays, kIdle, kChecking, kStopped, kKilled, kDead, kDeadHeld };

struct Column {
  const char* name;
  std::function<Event(WorkerRef, Epoch)> event;
  // From starting, idle, busy, checking, stopping, dead.
  std::array<What, kWorkerStates> becomes;
};

std::vector<Column> table() {
  using enum What;
  return {
      {"Spawned",
       [](WorkerRef w, Epoch) { return Spawned{w}; },
       {kStays, kIllegal, kIllegal, kIllegal, kStale, kStale}},
      {"Handshaken",
       [](WorkerRef w, Epoch) { return Handshaken{w}; },
       {kStays, kIllegal, kIllegal, kIllegal, kStale, kStale}},
      {"Ready",
       [](WorkerRef w, Epoch) { return Ready{.worker = w}; },
       {kIdle, kIllegal, kIllegal, kIllegal, kStale, kStale}},
      {"StartFailed with a process",
       [](WorkerRef w, Epoch) { return StartFailed{.worker = w}; },
       {kKilled, kIllegal, kIllegal, kIllegal, kStale, kStale}},
      {"StartFailed without one",
       [](WorkerRef w, Epoch) { return StartFailed{.worker = w, .has_process = false}; },
       {kDead, kIllegal, kIllegal, kIllegal, kDead, kStale}},
      {"BeginCheck",
       [](WorkerRef w, Epoch) { return BeginCheck{w}; },
       {kStale, kChecking, kStale, kStale, kStale, kStale}},
      {"CheckPassed",
       [](WorkerRef w, Epoch) { return CheckPassed{w}; },
       {kIllegal, kIllegal, kIllegal, kIdle, kStale, kStale}},
      {"CheckFailed",
       [](WorkerRef w, Epoch) { return CheckFailed{w}; },
       {kIllegal, kIllegal, kIllegal, kIdle, kStale, kStale}},
      {"Condemn",
       [](WorkerRef w, Epoch) {
         return Condemn{w, Reason::kTimeout};
       },
       {kKilled, kKilled, kKilled, kKilled, kStale, kStale}},
      {"Retire",
       [](WorkerRef w, Epoch) {
         return Retire{w, Reason::kIdle};
       },
       {kKilled, kStopped, kStays, kStopped, kStale, kStale}},
      {"Exited",
       [](WorkerRef w, Epoch) { return Exited{w}; },
       {kDead, kDead, kDeadHeld, kDead, kDead, kIllegal}},
      {"Checkin",
       [](WorkerRef w, Epoch e) { return Checkin{.worker = w, .epoch = e}; },
       {kIllegal, kIllegal, kIdle, kIllegal, kIllegal, kStale}},
      {"dirty Checkin",
       [](WorkerRef w, Epoch e) {
         return Checkin{.worker = w, .epoch = e, .clean = false, .reason = Reason::kTimeout};
       },
       {kIllegal, kIllegal, kKilled, kIllegal, kIllegal, kStale}},
  };
}

constexpr std::array<const char*, kWorkerStates> kNames = {"starting", "idle",     "busy",
                                                           "checking", "stopping", "dead"};

// A pool of one whose worker has been brought to `state` by real events.
struct Brought {
  explicit Brought(WorkerState state) : driver({.size = 1}), worker(driver.worker(0)) {
    if (state != WorkerState::kStarting) driver.make_ready(worker);
    switch (state) {
      case WorkerState::kStarting:
      case WorkerState::kIdle:
        break;
      case WorkerState::kBusy:
        epoch = driver.checkout(1)->epoch;
        break;
      case WorkerState::kChecking:
        driver.step(BeginCheck{worker});
        break;
      case WorkerState::kStopping:
        driver.step(Condemn{worker, Reason::kTimeout});
        break;
      case WorkerState::kDead:
        driver.step(Condemn{worker, Reason::kTimeout});
        driver.step(Exited{worker});
        break;
    }
    driver.clear();
  }
  CoreDriver driver;
  WorkerRef worker;
  Epoch epoch = 77;  // nobody's
};

SlotState as_slot(WorkerState state) {
  constexpr std::array<SlotState, 5> kSlot = {SlotState::kStarting, SlotState::kIdle, SlotState::kBusy,
                                              SlotState::kChecking, SlotState::kStopping};
  return kSlot.at(static_cast<std::size_t>(state));
}

void check_cell(const Column& column, WorkerState from) {
  const auto index = static_cast<std::size_t>(from);
  SCOPED_TRACE(std::string(column.name) + " while " + kNames[index]);
  Brought brought(from);
  CoreDriver& driver = brought.driver;
  const bool dead = from == WorkerState::kDead;
  const auto before = driver.core.slot(0);
  const Outcome outcome = driver.step(column.event(brought.worker, brought.epoch));
  const auto after = driver.core.slot(0);

  const What becomes = column.becomes[index];
  if (becomes == What::kIllegal || becomes == What::kStale) {
    EXPECT_EQ(outcome, becomes == What::kStale ? Outcome::kStale : Outcome::kIllegal);
    EXPECT_EQ(after.state, before.state);
    EXPECT_EQ(after.generation, before.generation);
    return;
  }
  EXPECT_EQ(outcome, Outcome::kDone);
  ASSERT_FALSE(dead);
  const auto stops = driver.take<Stop>();
  const auto kills = driver.take<Kill>();
  EXPECT_EQ(stops.size(), becomes == What::kStopped ? 1u : 0u);
  EXPECT_EQ(kills.size(), becomes == What::kKilled ? 1u : 0u);
  EXPECT_EQ(driver.count<Forget>(), becomes == What::kDead ? 1u : 0u);
  switch (becomes) {
    case What::kStays:
      EXPECT_EQ(after.state, as_slot(from));
      break;
    case What::kIdle:
      EXPECT_EQ(after.state, SlotState::kIdle);
      break;
    case What::kChecking:
      EXPECT_EQ(after.state, SlotState::kChecking);
      break;
    case What::kStopped:
    case What::kKilled:
      EXPECT_EQ(after.state, SlotState::kStopping);
      break;
    case What::kDead:
    case What::kDeadHeld:
      EXPECT_NE(after.state, as_slot(from) == SlotState::kStarting ? SlotState::kIdle : as_slot(from));
      EXPECT_EQ(driver.core.lingering(), becomes == What::kDeadHeld ? 1u : 0u);
      EXPECT_EQ(driver.step(Exited{brought.worker}), Outcome::kIllegal) << "dead once and for all";
      break;
    case What::kIllegal:
    case What::kStale:
      break;
  }
}

TEST(CoreTransitions, EachStateAndEventLeadsWhereTheTableSays) {
  for (const Column& column : table()) {
    for (std::size_t state = 0; state < kWorkerStates; ++state)
      check_cell(column, static_cast<WorkerState>(state));
  }
}

TEST(CoreTransitions, AnEarlierGenerationIsStaleAndChangesNothing) {
  for (const Column& column : table()) {
    SCOPED_TRACE(column.name);
    Brought brought(WorkerState::kDead);
    CoreDriver& driver = brought.driver;
    ASSERT_EQ(driver.state(0), SlotState::kStarting) << "its replacement is under way";
    driver.make_ready(driver.worker(0));
    const Grant grant = *driver.checkout(2);
    driver.clear();
    const Outcome outcome = driver.step(column.event(brought.worker, grant.epoch));
    EXPECT_NE(outcome, Outcome::kDone);
    EXPECT_EQ(driver.state(0), SlotState::kBusy);
    EXPECT_EQ(driver.checkin(grant), Outcome::kDone) << "the hold is untouched";
  }
}

TEST(CoreTransitions, ASlotThatDoesNotExistIsRefused) {
  for (const Column& column : table()) {
    SCOPED_TRACE(column.name);
    CoreDriver driver({.size = 1});
    EXPECT_NE(driver.step(column.event({.slot = 9, .generation = 1}, 1)), Outcome::kDone);
  }
}

TEST(CoreTransitions, ASecondCheckinOfOneHoldIsIllegal) {
  Brought brought(WorkerState::kBusy);
  CoreDriver& driver = brought.driver;
  EXPECT_EQ(driver.checkin(1), Outcome::kDone);
  EXPECT_EQ(driver.checkin(1), Outcome::kIllegal);
  const Grant next = *driver.checkout(2);
  EXPECT_EQ(driver.checkin(1), Outcome::kIllegal) << "nor does it free the next holder's permit";
  EXPECT_EQ(driver.state(0), SlotState::kBusy);
  EXPECT_EQ(driver.checkin(next), Outcome::kDone);
}

TEST(CoreTransitions, ACheckinOnADeadWorkerOnlyLetsItBeForgotten) {
  Brought brought(WorkerState::kBusy);
  CoreDriver& driver = brought.driver;
  driver.step(Exited{brought.worker});
  driver.advance(1s);
  ASSERT_EQ(driver.state(0), SlotState::kStarting);
  EXPECT_EQ(driver.count<Forget>(), 0u);
  EXPECT_EQ(driver.checkin(1), Outcome::kDone);
  EXPECT_EQ(driver.take<Forget>().size(), 1u);
  EXPECT_EQ(driver.state(0), SlotState::kStarting) << "the replacement is untouched";
  EXPECT_EQ(driver.checkin(1), Outcome::kStale);
}

TEST(CoreTransitions, ACondemnedWorkerNeverBecomesIdleAgain) {
  for (const WorkerState from :
       {WorkerState::kStarting, WorkerState::kIdle, WorkerState::kBusy, WorkerState::kChecking}) {
    SCOPED_TRACE(to_string(from));
    Brought brought(from);
    CoreDriver& driver = brought.driver;
    driver.step(Condemn{brought.worker, Reason::kProtocol});
    driver.step(Ready{.worker = brought.worker});
    driver.step(CheckPassed{brought.worker});
    if (from == WorkerState::kBusy) driver.checkin(1);
    EXPECT_EQ(driver.state(0), SlotState::kStopping);
    EXPECT_FALSE(driver.checkout(5)) << "it waits for the replacement";
  }
}

TEST(CoreTransitions, ACondemnedWorkerStaysInItsSlotUntilItIsReaped) {
  Brought brought(WorkerState::kIdle);
  CoreDriver& driver = brought.driver;
  driver.step(Condemn{brought.worker, Reason::kTimeout});
  driver.advance(1min);
  EXPECT_EQ(driver.count<Spawn>(), 0u);
  driver.step(Exited{brought.worker});
  EXPECT_EQ(driver.count<Spawn>(), 1u);
}

TEST(CoreTransitions, ABusyWorkerRetiresWhenItComesBack) {
  Brought brought(WorkerState::kBusy);
  CoreDriver& driver = brought.driver;
  driver.step(Retire{brought.worker, Reason::kIdle});
  EXPECT_EQ(driver.state(0), SlotState::kBusy);
  driver.checkin(1);
  EXPECT_EQ(driver.state(0), SlotState::kStopping);
  EXPECT_EQ(driver.count<Stop>(), 1u);
}

TEST(CoreTransitions, AStoppedWorkerIsKilledWhenItTakesTooLong) {
  CoreDriver driver({.size = 1, .terminate_grace = 5s});
  driver.make_all_ready();
  driver.step(Retire{driver.worker(0), Reason::kIdle});
  driver.advance(5s - 1ns);
  EXPECT_EQ(driver.count<Kill>(), 0u);
  driver.advance(1ns);
  EXPECT_EQ(driver.count<Kill>(), 1u);
  driver.advance(1h);
  EXPECT_EQ(driver.count<Kill>(), 1u) << "once";
}

TEST(CoreTransitions, WithSeveralPermitsOneBadCallEndsTheWorkerOfAll) {
  CoreDriver driver({.size = 1});
  driver.make_ready(driver.worker(0), 3);
  for (Token token = 1; token <= 3; ++token) ASSERT_TRUE(driver.checkout(token));
  driver.checkin_dirty(2, Reason::kTimeout);
  EXPECT_EQ(driver.state(0), SlotState::kStopping);
  driver.checkin(1);
  driver.step(Exited{driver.worker(0)});
  EXPECT_EQ(driver.count<Forget>(), 0u) << "3 still has its channel";
  driver.checkin(3);
  EXPECT_EQ(driver.count<Forget>(), 1u);
}

TEST(CoreTransitions, ARetiringWorkerTakesNoNewCallsWhileOthersEnd) {
  CoreDriver driver({.size = 1});
  driver.make_ready(driver.worker(0), 2);
  ASSERT_TRUE(driver.checkout(1));
  driver.step(Retire{driver.worker(0), Reason::kIdle});
  EXPECT_FALSE(driver.checkout(2)) << "else a busy worker of several permits never retires";
  driver.checkin(1);
  EXPECT_EQ(driver.state(0), SlotState::kStopping);
}

TEST(CoreTransitions, ASecondBeginIsIllegal) {
  CoreDriver driver({.size = 2});
  EXPECT_EQ(driver.step(Begin{}), Outcome::kIllegal);
}

// --- What is told of a transition ---------------------------------------------------------------------

TEST(Moved, SaysHowLongTheWorkerWasInItsStateCallsIncluded) {
  Core core(CoreConfig{.size = 1});
  TimePoint now = TimePoint{} + 1000s;
  Effects effects;
  const auto step = [&](const Event& event) {
    effects.clear();
    EXPECT_EQ(core.step(event, now, effects), Outcome::kDone);
  };
  const auto took = [&]() -> Duration {
    for (std::size_t i = 0; i < effects.size(); ++i) {
      if (const auto* moved = std::get_if<Moved>(&effects[i])) return moved->took;
    }
    ADD_FAILURE() << "nothing has moved";
    return {};
  };
  const WorkerRef worker{.slot = 0, .generation = 1};
  step(Begin{});
  now += 3s;
  step(Ready{.worker = worker});
  EXPECT_EQ(took(), Duration(3s));
  now += 5s;
  step(Checkout{.token = 1});  // idle ⇄ busy isn't told, but ends a state
  now += 2s;
  step(Condemn{.worker = worker, .reason = Reason::kCrash});
  EXPECT_EQ(took(), Duration(2s));
  now += 1s;
  step(Exited{worker});
  EXPECT_EQ(took(), Duration(1s));
}

}  // namespace
}  // namespace lair::test
