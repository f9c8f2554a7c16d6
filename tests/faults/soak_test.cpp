// The row that takes its time: under load a worker is killed every second, and nothing comes of it but its own call's end.
#include "faults/row.hpp"
#include "support/storm.hpp"

namespace lair::test {
namespace {

using namespace std::chrono_literals;

class Soak : public FaultRow {};

TEST_F(Soak, R40_AWorkerIsKilledEverySecondUnderLoad) {
  Footprint::of_one_heap();
  const unsigned kills = static_cast<unsigned>(rounds(kSanitized ? 3 : 5, kSanitized ? 60 : 600));
  // Four workers make at most 2000 calls of 2 ms in a second.
  History history(2'500u * (kills + 30));
  PoolOptions options = options_for("chaos", 4);
  options.worker.env["LAIR_TEST_JOURNAL"] = history.journal_path();
  Pool pool(std::move(options));
  pool.wait_ready();
  const Footprint fresh = Footprint::now(history);
  Storm storm(pool, history, {.kill_every = 1s, .stop_one_in = 0, .trouble_one_in = 0, .all_take_ms = 2});
  const unsigned first = static_cast<unsigned>(rounds(2, 15));
  storm.blow([&] { return storm.kills() >= first; });
  ASSERT_TRUE(storm.calm());
  const Footprint warm = Footprint::now(history);

  storm.blow([&] { return storm.kills() >= first + kills; });
  EXPECT_TRUE(storm.calm());
  EXPECT_FALSE(storm.pool_failed());
  EXPECT_FALSE(history.full());
  expect_whole(pool);
  const Footprint after = expect_flat(history, fresh, warm);
  expect_flawless(history, pool.stats());
  fact("calls, kills", std::to_string(pool.stats().admitted) + ", " + std::to_string(storm.kills()));
  fact("KiB resident when warm, and in the end",
       std::to_string(warm.resident >> 10) + ", " + std::to_string(after.resident >> 10));
  std::printf("%s\nwarm:  %s\nafter: %s\n", summary(history).c_str(), warm.text().c_str(),
              after.text().c_str());
}

}  // namespace
}  // namespace lair::test
