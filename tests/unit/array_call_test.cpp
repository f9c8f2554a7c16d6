// Calls with arrays on a worker that says whatever it likes of them: what is read straight from its messages, what by way of Json,
// and that neither is believed unseen.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <lair/array.hpp>
#include <lair/map.hpp>
#include <lair/typed_call.hpp>

#include <functional>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "base/options_table.hpp"
#include "pool/shell.hpp"
#include "support/fake_launcher.hpp"

namespace lair::test {
namespace {

using testing::HasSubstr;

// Its messages, where the CALL says this of arrays: each a kind, and what follows the generation.
using Saying = std::function<Json(const Json& arrays)>;

Behaviour answering(Saying answer) {
  return [answer = std::move(answer)](FakeWorker& worker) {
    const Json announced = {{"features", Json::array({"arrays"})}};
    if (!shake_hands(worker, {"f"}, announced) || !worker.write({4, 0, worker.generation()})) return;
    while (const auto message = worker.read()) {
      if (message->at(0) == 5) return;
      for (Json said : answer(message->at(5).at("arrays"))) {
        said.insert(said.begin() + 1, {message->at(1), worker.generation()});
        worker.write(said);
      }
    }
  };
}

// Of the first argument's block, another view: first, type, shape, strides.
Json array_at(const Json& arrays, const std::string& rest) {
  const Json& block = arrays.at("in").at(0);
  Json array = {Json::array(), block.at(1), block.at(2)};
  for (const Json& each : Json::parse("[" + rest + "]")) array.push_back(each);
  return array;
}
Json release(const Json& arrays) {
  const Json& block = arrays.at("in").at(0);
  return Json::array({14, Json::array({Json::array({block.at(1), block.at(2)})})});
}
// A vector, for compilers disagree on what a Json in braces is.
Json result_with(Json value, const std::vector<Json>& arrays) {
  return Json::array({2, std::move(value), Json(arrays)});
}

class ArrayCall : public testing::Test {
 protected:
  void start(Saying answer) {
    shell.reset();
    world.emplace(answering(std::move(answer)));
    PoolOptions options{.size = 1, .log_level = "off"};
    options.array_memory = 16u << 20;
    options.worker = command({"/bin/sh"});  // looked up, never run
    shell.emplace(base::resolve(options, 1), world->launcher());
  }
  ~ArrayCall() override { shell.reset(); }

  Array<double> eight() {
    detail::ArrayData data{
        .memory = shell->arena().allocate(64).value(), .dtype = DType::kFloat64, .shape = {8}};
    data.strides = detail::contiguous_strides(data.dtype, data.shape);
    Array<double> array(std::move(data));
    for (int i = 0; i < 8; ++i) array(i) = i;
    return array;
  }
  template <class R, class... Args>
  Result<R> call(const Args&... args) {
    detail::ResultOf<R> sink;
    if (auto failed = shell->call(detail::options_for<R>(CallOptions{}), "f", detail::view_of(args...), sink))
      return *std::move(failed);
    return sink.take("f");
  }

  std::optional<FakeWorld> world;
  std::optional<pool::Shell> shell;
};

TEST_F(ArrayCall, GivesAnArrayWhereTheWorkerHasPutIt) {
  start([](const Json& arrays) {
    return Json::array({result_with(nullptr, {array_at(arrays, R"(56, "<f8", [2, 2], [-32, -8])")})});
  });
  const auto array = call<Array<double>>(eight());
  ASSERT_TRUE(array) << array.error().message;
  EXPECT_EQ(array->shape(), Shape({2, 2}));
  EXPECT_EQ(array->strides(), Strides({-4, -1}));
  EXPECT_EQ((*array)(0, 0), 7);
  EXPECT_EQ((*array)(1, 1), 2);
}

TEST_F(ArrayCall, KeepsAResultInABlockThatComesBackWithIt) {
  start([](const Json& arrays) {
    return Json::array({release(arrays), result_with(nullptr, {array_at(arrays, R"(8, "<f8", [3], null)")})});
  });
  {
    const auto array = call<Array<double>>(eight());
    ASSERT_TRUE(array) << array.error().message;
    EXPECT_GT(shell->arena().size().used, 0u);
    EXPECT_EQ(eight()(1), (*array)(0)) << "the next array has another block";
    EXPECT_EQ((*array)(2), 3);
  }
  EXPECT_EQ(shell->arena().size().used, 0u);
}

TEST_F(ArrayCall, HasItsArgumentsBackOnceTheyAreReleased) {
  bool releases = false;
  start([&](const Json& arrays) {
    return releases ? Json::array({release(arrays), {2, nullptr}}) : Json::array({{2, nullptr}});
  });
  ASSERT_TRUE(call<void>(eight()));
  const auto kept = shell->arena().size().used;
  EXPECT_GT(kept, 0u) << "the worker may have a view";
  releases = true;
  ASSERT_TRUE(call<void>(eight()));
  EXPECT_EQ(shell->arena().size().used, kept);
}

TEST_F(ArrayCall, TakesWhatIsOddButGood) {
  start([](const Json& arrays) {
    Json released = release(arrays);
    released[1][0].push_back(64);  // more is ignored
    released.push_back("more");
    Json array = array_at(arrays, R"(0, "<f8", [8], [8])");
    array.push_back("more");
    Json last = result_with(nullptr, {array});
    last.push_back("more");
    return Json::array({released, last});
  });
  {
    const auto array = call<Array<double>>(eight());
    ASSERT_TRUE(array) << array.error().message;
    EXPECT_EQ((*array)(7), 7);
  }
  EXPECT_EQ(shell->arena().size().used, 0u);
}

TEST_F(ArrayCall, GivesWhatHoldsOneToo) {
  start([](const Json& arrays) {
    Json array = array_at(arrays, R"(0, "<f8", [8], null)");
    array[0] = {1};
    return Json::array({result_with({nullptr, nullptr}, {array})});
  });
  const auto both = call<std::vector<std::optional<Array<double>>>>(eight());
  ASSERT_TRUE(both) << both.error().message;
  EXPECT_FALSE(both->at(0));
  EXPECT_EQ((*both->at(1))(3), 3);
}

TEST_F(ArrayCall, RefusesAnotherType) {
  start([](const Json& arrays) {
    return Json::array({result_with(nullptr, {array_at(arrays, R"(0, "<f4", [2], null)")})});
  });
  const auto array = call<Array<double>>(eight());
  ASSERT_FALSE(array);
  EXPECT_EQ(array.error().kind, ErrorKind::kInvalidArgument);
  EXPECT_EQ(array.error().delivery, Delivery::kExecuted);
  EXPECT_THAT(array.error().message, HasSubstr("elements of float32 and shape (2)"));
  EXPECT_EQ(shell->stats().workers_started, 1u);
}

TEST_F(ArrayCall, RefusesWhatIsNotAnArray) {
  start([](const Json&) { return Json::array({{2, 7}}); });
  const auto array = call<Array<double>>(eight());
  ASSERT_FALSE(array);
  EXPECT_EQ(array.error().kind, ErrorKind::kInvalidArgument);
  EXPECT_THAT(array.error().message, HasSubstr("and it is none"));
}

TEST_F(ArrayCall, LosesAWorkerThatPutsOneWhereItMayNotBe) {
  const std::vector<std::pair<const char*, std::function<Json(const Json&)>>> lies = {
      {"beyond its block",
       [](const Json& arrays) { return result_with(nullptr, {array_at(arrays, R"(8, "<f8", [8], null)")}); }},
      {"before it",
       [](const Json& arrays) { return result_with(nullptr, {array_at(arrays, R"(0, "<f8", [2], [-8])")}); }},
      {"not where a double may be",
       [](const Json& arrays) { return result_with(nullptr, {array_at(arrays, R"(4, "<f8", [1], null)")}); }},
      {"in a block that it has not been lent",
       [](const Json& arrays) {
         Json array = array_at(arrays, R"(0, "<f8", [1], null)");
         array[2] = 1 << 20;
         return result_with(nullptr, {array});
       }},
      {"in the place of a value",
       [](const Json& arrays) { return result_with(7, {array_at(arrays, R"(0, "<f8", [1], null)")}); }},
      {"twice in one place",
       [](const Json& arrays) {
         const Json array = array_at(arrays, R"(0, "<f8", [1], null)");
         return result_with(nullptr, {array, array});
       }},
      {"of so many dimensions",
       [](const Json& arrays) {
         Json array = array_at(arrays, R"(0, "<f8", [1], null)");
         array[5] = std::vector<int>(65, 1);
         return result_with(nullptr, {array});
       }},
      {"with a stride too many",
       [](const Json& arrays) {
         return result_with(nullptr, {array_at(arrays, R"(0, "<f8", [1], [8, 8])")});
       }},
  };
  for (const auto& [what, lie] : lies) {
    start([&lie = lie](const Json& arrays) { return Json::array({lie(arrays)}); });
    const auto array = call<Array<double>>(eight());
    ASSERT_FALSE(array) << what;
    EXPECT_EQ(array.error().kind, ErrorKind::kProtocol) << what << ": " << array.error().message;
  }
  start([](const Json&) { return Json::array({{14, {{"no", "block"}}}}); });
  const auto released = call<void>(eight());
  ASSERT_FALSE(released);
  EXPECT_EQ(released.error().kind, ErrorKind::kProtocol);
  EXPECT_THAT(released.error().message, HasSubstr("a RELEASE that is not of blocks"));
}

TEST(ArrayArguments, AreThoseThatAreArraysThemselves) {
  const auto one = Array<int>::copy_of(std::vector<int>{1});
  const auto two = inout(Array<float>::copy_of(std::vector<float>{2}));
  const int three = 3;
  const auto view = detail::view_of(one, "text", two, three, one);
  for (const bool packed : {false, true}) {
    std::string bytes;
    detail::ValueWriter out(bytes, packed);
    view.write_to(out);
    EXPECT_TRUE(out.ok());
    EXPECT_EQ(bytes, packed ? "\x95\xc0\xa4text\xc0\x03\xc0" : R"([null,"text",null,3,null])");
  }
  ASSERT_EQ(view.arrays().size(), 3u);
  EXPECT_EQ(view.arrays()[1].index, 2u);
  EXPECT_EQ(view.arrays()[1].array, &two.array.impl());
  EXPECT_TRUE(view.arrays()[1].inout);
  EXPECT_EQ(view.arrays()[2].index, 4u);
  EXPECT_FALSE(view.arrays()[2].inout);
  EXPECT_TRUE(detail::is_array(view.json()[4]));
  EXPECT_TRUE(detail::view_of(1, "text").arrays().empty());
  const auto held = detail::view_of(1, std::vector{one});
  ASSERT_NE(held.dom(), nullptr) << "it is to be looked for";
}

TEST(ArrayArguments, AreNotWrittenAsItemsOfABatch) {
  const auto array = Array<int>::copy_of(std::vector<int>{1});
  std::string bytes;
  detail::ValueWriter out(bytes, true);
  EXPECT_FALSE(detail::write_item(out, array));
  EXPECT_FALSE(detail::write_item(out, std::tuple(1, array)));
  EXPECT_EQ(bytes, "");
  EXPECT_TRUE(detail::write_item(out, std::tuple(1, 2)));
}

}  // namespace
}  // namespace lair::test
