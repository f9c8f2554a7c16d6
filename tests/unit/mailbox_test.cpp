// A mailbox: who may have the turn that goes with it.
#include "pool/mailbox.hpp"

#include <gtest/gtest.h>

#include <thread>
#include <vector>

namespace lair::pool {
namespace {

TEST(Mailbox, TheTurnIsTakenByOneAtATime) {
  Mailbox mailbox;
  auto turn = mailbox.take_turn();
  ASSERT_TRUE(turn);
  bool another = true;
  std::thread([&] { another = mailbox.take_turn().has_value(); }).join();
  EXPECT_FALSE(another) << "and nobody waits for it";
  turn.reset();
  std::thread([&] { another = mailbox.take_turn().has_value(); }).join();
  EXPECT_TRUE(another);
}

TEST(Mailbox, TheTurnIsTheReactorsWhileThereAreMessages) {
  Mailbox mailbox;
  EXPECT_TRUE(mailbox.post([](Reactor&) {}));
  EXPECT_FALSE(mailbox.take_turn()) << "they came first";
  std::vector<Mailbox::Message> messages;
  EXPECT_TRUE(mailbox.take(messages));
  EXPECT_TRUE(mailbox.take_turn());
}

TEST(Mailbox, TheThreadThatReadsItHasTheTurnAlready) {
  Mailbox mailbox;
  bool taken = true;
  std::thread([&] {
    mailbox.begin_reading();
    const auto own = mailbox.own_turn();
    taken = mailbox.take_turn().has_value();
  }).join();
  EXPECT_FALSE(taken);
}

TEST(Mailbox, NobodyTakesTheTurnOfOneThatIsClosed) {
  Mailbox mailbox;
  mailbox.close();
  EXPECT_FALSE(mailbox.take_turn());
  EXPECT_FALSE(mailbox.post([](Reactor&) {}));
}

}  // namespace
}  // namespace lair::pool
