// The session store in memory.
#include "store/memory_store.hpp"

#include "unit/store_suite.hpp"

namespace lair::test {
namespace {

struct InMemory {
  std::unique_ptr<store::SessionStore> make(const store::Limits& limits, const StoreClock& clock) {
    return std::make_unique<store::MemoryStore>(limits, [&clock] { return clock.now(); });
  }
};
INSTANTIATE_TYPED_TEST_SUITE_P(InMemory, Stores, InMemory);

TEST(MemoryStore, IsWhatAnEmptyPathOpens) {
  auto store = store::open_store("", {.value = 3}).value();
  EXPECT_TRUE(store->sessions().empty());
  EXPECT_NE(dynamic_cast<store::MemoryStore*>(store.get()), nullptr);
  store->touch("s", 1h).value();
  store->put("s", "k", 123).value();
  EXPECT_FALSE(store->put("s", "k", 1234));
  EXPECT_TRUE(store->sweep().value().empty());
}

TEST(MemoryStore, WallTimeDoesNotEndSessions) {
  StoreClock clock;
  store::MemoryStore store({}, [&] { return clock.now(); });
  store.touch("s", 10s).value();
  clock.set_wall(24h);
  EXPECT_TRUE(store.sweep().value().empty());
}

}  // namespace
}  // namespace lair::test
