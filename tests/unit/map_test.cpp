// Maps over workers that are threads, and over an endpoint that has only calls.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <lair/testing.hpp>
#include <string>
#include <vector>

#include "support/shell_fixture.hpp"

namespace lair::test {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

Json item(int n) { return Json::array({n}); }

// Gives the numbers from 0 on, and keeps what comes of them.
class Numbers final : public detail::MapJob {
 public:
  explicit Numbers(int count) : count_(count) {}
  std::optional<Json> next() override {
    if (given_ == count_) return std::nullopt;
    return item(given_++);
  }
  bool done(std::size_t index, Result<Json> reply) override {
    const std::lock_guard lock(mutex_);
    if (!reply) {
      errors[index] = reply.error();
    } else if (*reply == Json(index)) {
      ++good;
    }
    return true;
  }
  int good = 0;
  std::map<std::size_t, Error> errors;

 private:
  std::mutex mutex_;
  const int count_;
  int given_ = 0;
};

// `answer` has the frame of a BATCH and answers it.
Behaviour batches(std::function<void(FakeWorker&, const Json& message)> answer) {
  return [answer = std::move(answer)](FakeWorker& worker) {
    const Json more = {{"features", {"batch", "cancel"}}};
    if (!shake_hands(worker, {"echo"}, more) || !worker.write({4, 0, worker.generation()})) return;
    while (const auto message = worker.read()) {
      if (message->at(0) == 5) return;
      if (message->at(0) == 13) answer(worker, *message);
      if (message->at(0) == 1) worker.write({2, message->at(1), worker.generation(), message->at(4).at(0)});
    }
  };
}

Json values_of(const Json& message, std::size_t from, std::size_t to) {
  Json values = Json::array();
  for (std::size_t i = from; i < to; ++i) values.push_back(message.at(4).at(i).at(0));
  return values;
}

void answer_all(FakeWorker& worker, const Json& message) {
  worker.write({2, message.at(1), worker.generation(), values_of(message, 0, message.at(4).size())});
}

class ShellMapTest : public ShellTest {
 protected:
  void map(Numbers& job, const MapOptions& options = {}) { shell->map(options, "echo", job); }
};

TEST_F(ShellMapTest, EveryItemIsACallInTheBooks) {
  start({.size = 2}, batches(answer_all));
  Numbers job(1000);
  map(job);
  EXPECT_EQ(job.good, 1000);
  EXPECT_EQ(stats().ok, 1000u);
  expect_books_add_up();
}

TEST_F(ShellMapTest, AWorkerWithoutTheFeatureGetsCalls) {
  start({.size = 2}, protocol_two([](FakeWorker&, const std::string&, const Json& arguments) {
          return std::optional<Json>(arguments.at(0));
        }));
  Numbers job(100);
  map(job);
  EXPECT_EQ(job.good, 100);
  EXPECT_EQ(stats().ok, 100u);
  expect_books_add_up();
}

TEST_F(ShellMapTest, WithoutAJournalADeathTakesAllThatWasNotTold) {
  std::atomic<int> deaths = 0;
  start({.size = 1}, batches([&](FakeWorker& worker, const Json& message) {
          if (message.at(4).size() < 4 || deaths++ > 0) return answer_all(worker, message);
          worker.write({6, message.at(1), worker.generation(), values_of(message, 0, 1)});
          worker.close_channel();
        }));
  Numbers job(100);
  map(job);
  EXPECT_EQ(job.good + static_cast<int>(job.errors.size()), 100);
  ASSERT_GE(job.errors.size(), 3u);
  for (const auto& [index, error] : job.errors) {
    EXPECT_EQ(error.kind, ErrorKind::kWorkerLost);
    EXPECT_EQ(error.delivery, Delivery::kMaybeExecuted);
  }
  expect_books_add_up();
}

TEST_F(ShellMapTest, ItemsAreTriedAgainAsFarAsTheBudgetGoes) {
  std::atomic<int> deaths = 0;
  start({.size = 1, .retry_percent = 1}, batches([&](FakeWorker& worker, const Json& message) {
          if (message.at(4).size() < 20 || deaths++ > 0) return answer_all(worker, message);
          worker.close_channel();
        }));
  Numbers job(20'000);
  map(job, {.call = {.idempotent = true}});
  EXPECT_EQ(job.good + static_cast<int>(job.errors.size()), 20'000);
  EXPECT_GE(job.errors.size(), 5u);
  for (const auto& [index, error] : job.errors) EXPECT_EQ(error.kind, ErrorKind::kWorkerLost);
  EXPECT_GE(stats().retries, 10u) << "the budget's reserve";
  EXPECT_EQ(stats().retries_denied, job.errors.size());
  expect_books_add_up();
}

TEST_F(ShellMapTest, AnswersToMoreItemsThanThereAreEndTheWorker) {
  std::atomic<int> times = 0;
  start({.size = 1}, batches([&](FakeWorker& worker, const Json& message) {
          if (times++ > 0) return answer_all(worker, message);
          worker.write({2, message.at(1), worker.generation(), {0, 1, 2}});
        }));
  Numbers job(10);
  map(job);
  ASSERT_EQ(job.errors.size(), 1u);
  EXPECT_EQ(job.errors[0].kind, ErrorKind::kProtocol);
  EXPECT_EQ(job.good, 9);
}

TEST_F(ShellMapTest, ALateItemIsCancelledAndTheOthersGoOn) {
  start({.size = 1, .cancel_grace = 60s}, batches([&](FakeWorker& worker, const Json& message) {
          const Json& items = message.at(4);
          for (std::size_t i = 0; i < items.size(); ++i) {
            if (items[i] != item(12)) continue;
            const auto cancel = worker.read();
            if (!cancel) return;
            EXPECT_EQ(cancel->at(0), 9);
            EXPECT_EQ(cancel->at(1), message.at(1));
            if (i > 0) worker.write({6, message.at(1), worker.generation(), values_of(message, 0, i)});
            worker.write({10, message.at(1), worker.generation(), i + 1});
            return;
          }
          answer_all(worker, message);
        }));
  Numbers job(50);
  map(job, {.call = {.timeout = 3s}});
  ASSERT_EQ(job.errors.size(), 1u);
  EXPECT_EQ(job.errors.begin()->first, 12u);
  EXPECT_EQ(job.errors.begin()->second.kind, ErrorKind::kDeadlineExceeded);
  EXPECT_EQ(job.good, 49);
  EXPECT_EQ(stats().timeout, 1u);
  EXPECT_EQ(stats().workers_started, 1u);
  expect_books_add_up();
}

TEST_F(ShellMapTest, AWorkerThatDoesNotGiveUpIsReplaced) {
  std::atomic<int> times = 0;
  start({.size = 1, .cancel_grace = 50ms}, batches([&](FakeWorker& worker, const Json& message) {
          if (times++ > 0) return answer_all(worker, message);
          worker.hang();
        }));
  Numbers job(10);
  map(job, {.call = {.timeout = 3s}});
  ASSERT_EQ(job.errors.size(), 1u);
  EXPECT_EQ(job.errors[0].kind, ErrorKind::kDeadlineExceeded);
  EXPECT_EQ(job.good, 9);
  EXPECT_EQ(stats().workers_started, 2u);
}

// --- Endpoints that have only calls -----------------------------------------------------------------

TEST(MapOnCalls, ItemsAreCallsOneAfterAnother) {
  FakeEndpoint python;
  python.on("double", fake::computes([](int n) { return 2 * n; }));
  std::vector<std::size_t> told;
  EXPECT_THAT(python.map<int>({.progress = [&](std::size_t done) { told.push_back(done); }}, "double",
                              std::vector{1, 2, 3}),
              ElementsAre(2, 4, 6));
  EXPECT_THAT(told, ElementsAre(1u, 2u, 3u));
}

TEST(MapOnCalls, TheFirstErrorIsNamedAndEndsIt) {
  FakeEndpoint python;
  python.on("f", fake::returns(1), fake::raises("ValueError", "no"), fake::returns(3));
  const auto ended = python.try_map<int>("f", std::vector{1, 2, 3});
  ASSERT_FALSE(ended);
  EXPECT_THAT(ended.error().message, HasSubstr("item 1: "));
  EXPECT_EQ(python.calls("f").size(), 2u);
}

TEST(MapOnCalls, AResultOfAnotherTypeIsItsItemsError) {
  FakeEndpoint python;
  python.on("f", fake::returns(1), fake::returns("two"));
  const auto all = python.map_all<int>("f", std::vector{1, 2});
  ASSERT_EQ(all.size(), 2u);
  EXPECT_EQ(all[0].value(), 1);
  EXPECT_EQ(all[1].error().kind, ErrorKind::kInvalidArgument);
}

TEST(MapOnCalls, AStopThatCameBeforeIsAnError) {
  FakeEndpoint python;
  python.on("f", fake::returns(1));
  std::stop_source stop;
  stop.request_stop();
  const auto ended = python.try_map<int>({.call = {.stop = stop.get_token()}}, "f", std::vector{1});
  ASSERT_FALSE(ended);
  EXPECT_EQ(ended.error().kind, ErrorKind::kCancelled);
}

}  // namespace
}  // namespace lair::test
