// Arrays by position in calls that block, on real workers: where they may be, what they come with, and what becomes of them when
// a call is tried again.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <lair/array.hpp>
#include <lair/pool.hpp>

#include <cmath>
#include <string>
#include <utility>
#include <vector>

#include "support/pools.hpp"

namespace lair::test {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

// By MessagePack, and by JSON.
class ArrayCalls : public testing::TestWithParam<const char*> {
 protected:
  static PoolOptions options() {
    PoolOptions options = options_for("array_calls", 1);
    options.worker.env["LAIR_NATIVE"] = GetParam();
    options.array_memory = 64u << 20;
    return options;
  }
  void TearDown() override { EXPECT_EQ(leak_check_.leaked(), ""); }

 private:
  LeakCheck leak_check_;
};
INSTANTIATE_TEST_SUITE_P(Codecs, ArrayCalls, testing::Values("on", "off"),
                         [](const auto& of) { return std::string(of.param); });

Array<double> three(Pool& pool) { return pool.array_of<double>(std::vector<double>{1, 2, 3}); }
Array<double> own_three() { return Array<double>::copy_of(std::vector<double>{1, 2, 3}); }
std::vector<double> elements(const Array<double>& array) {
  std::vector<double> all;
  for (std::size_t i = 0; i < array.size(); ++i) all.push_back(array(i));
  return all;
}

TEST_P(ArrayCalls, HaveThemAtAnyPosition) {
  Pool pool(options());
  EXPECT_EQ(pool.call<std::string>("codec"), GetParam() == std::string("on") ? "msgpack" : "json");
  const Array<double> to = three(pool);
  pool.call("mixed", inout(to), 10, three(pool));
  EXPECT_THAT(elements(to), ElementsAre(11, 22, 33));
  EXPECT_EQ(pool.call<double>("dot", to, own_three()), 154) << "of which one is copied";
  EXPECT_EQ(pool.call<double>("dot", own_three(), own_three()), 14);
  EXPECT_EQ(pool.call("dot", own_three(), to), Json(154.0));
}

TEST_P(ArrayCalls, HaveTheSameOneTwice) {
  Pool pool(options());
  const Array<double> array = three(pool);
  EXPECT_EQ(pool.call<double>("dot", array, array), 14);
  pool.call<void>("mixed", inout(array), 1, array);
  EXPECT_THAT(elements(array), ElementsAre(2, 4, 6));
}

TEST_P(ArrayCalls, HaveViewsOfThemToo) {
  Pool pool(options());
  const Array<double> array = pool.array_of<double>(std::vector<double>{1, 2, 3, 4, 5, 6}, {2, 3});
  EXPECT_EQ(pool.call("layout", array), Json::parse("[[2, 3], [24, 8]]"));
  EXPECT_EQ(pool.call("layout", array.transposed()), Json::parse("[[3, 2], [8, 24]]"));
  EXPECT_EQ(pool.call("layout", array.view({3}, {-2}, 5)), Json::parse("[[3], [-16]]"));
  EXPECT_EQ(pool.call("values", array.view({3}, {1}, 2)), Json({3.0, 4.0, 5.0}));
  const Array<double> own = Array<double>::copy_of(elements(array.view({6}, {1})), {2, 3});
  EXPECT_EQ(pool.call("layout", own.transposed()), Json::parse("[[3, 2], [16, 8]]")) << "it is copied";
  EXPECT_EQ(pool.call("values", own.transposed()), Json::parse("[[1.0,4.0],[2.0,5.0],[3.0,6.0]]"));
}

TEST_P(ArrayCalls, GiveThoseThatHadToBeCopied) {
  Pool pool(options());
  for (int i = 0; i < 2; ++i) {  // the second is given room
    const auto array = pool.call<Array<double>>("every_second", 6);
    EXPECT_THAT(elements(array), ElementsAre(0, 2, 4));
    EXPECT_EQ(array.strides(), Strides{1});
  }
  const auto floats = pool.try_call<Array<float>>("every_second", 6);
  ASSERT_FALSE(floats);
  EXPECT_EQ(floats.error().delivery, Delivery::kExecuted);
  EXPECT_THAT(floats.error().message, HasSubstr("elements of float64 and shape (3)"));
}

TEST_P(ArrayCalls, AreRefusedByThePositionOfWhatIsWrong) {
  Pool pool(options());
  Array<double> gone = three(pool);
  const Array<double> stays = std::exchange(gone, Array<double>(detail::ArrayData{}));
  const auto refused = pool.try_call<double>("dot", stays, gone);
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().kind, ErrorKind::kInvalidArgument);
  EXPECT_THAT(refused.error().message, HasSubstr("\"dot\": argument[1] is an array that is gone"));
  const auto foreign = pool.try_call("mixed", stays, 1, inout(own_three()));
  ASSERT_FALSE(foreign);
  EXPECT_EQ(foreign.error().delivery, Delivery::kNotSent);
  EXPECT_THAT(
      foreign.error().message,
      HasSubstr("argument[2] is inout, and not of this pool's memory: make it by the pool's array()"));
  const auto unsendable = pool.try_call("mixed", stays, std::nan(""), stays);
  ASSERT_FALSE(unsendable);
  EXPECT_THAT(unsendable.error().message, HasSubstr("NaN"));
  EXPECT_EQ(pool.call<double>("dot", stays, stays), 14);
}

TEST_P(ArrayCalls, AreTriedAgainWithTheSame) {
  PoolOptions with = options();
  with.retries = 3;
  Pool pool(with);
  const Array<double> array = three(pool);
  const CallOptions again{.idempotent = true};
  for (const bool copied : {false, true}) {
    const Note note;
    EXPECT_EQ(pool.call<double>(again, "total_or_die", copied ? own_three() : array, note.path()), 6);
  }
  EXPECT_EQ(pool.stats().retries, 2u);
  EXPECT_EQ(pool.stats().workers_started, 3u);
}

TEST_P(ArrayCalls, OfLeasesAndSessionsHaveThem) {
  Pool pool(options());
  const Array<double> array = three(pool);
  {
    Lease lease = pool.checkout();
    lease.call("mixed", inout(array), 1, array);
    EXPECT_EQ(lease.call<double>("dot", array, own_three()), 28);
    EXPECT_EQ(lease.call<Array<double>>("every_second", 4).size(), 2u);
    EXPECT_FALSE(lease.try_call("mixed", array, 1, array)) << "it is not inout";
  }
  Session session = pool.session("s");
  session.call<void>("mixed", inout(array), 1, array);
  EXPECT_EQ(session.call<double>("dot", array, own_three()), 56);
  EXPECT_EQ(session.call<Array<double>>("every_second", 4).size(), 2u);
}

TEST(ArrayCallsOfOthers, AreRefusedByWorkersThatTakeNone) {
  Pool pool(options_for(script_worker("original.py"), 1));
  const auto refused = pool.try_call("echo", own_three());
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().kind, ErrorKind::kInvalidArgument);
  EXPECT_EQ(refused.error().delivery, Delivery::kNotSent);
}

}  // namespace
}  // namespace lair::test
