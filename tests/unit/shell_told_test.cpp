// What a call tells its session's store at its end, where the store takes its time: the call's last frame waits for it, and
// nothing ends a call whose answer has come. And for how long the store is told to keep a session.
#include <gtest/gtest.h>

#include <condition_variable>
#include <functional>
#include <future>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <stop_token>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "store/memory_store.hpp"
#include "support/shell_fixture.hpp"
#include "wire/frame.hpp"

namespace lair::test {
namespace {

// In memory; each put waits until it is let through.
class SlowStore final : public store::SessionStore {
 public:
  Result<void> put(const std::string& session, const std::string& key, const Json& value) override {
    {
      std::unique_lock lock(mutex_);
      ++waiting_;
      changed_.notify_all();
      changed_.wait(lock, [&] { return open_; });
    }
    return own_.put(session, key, value);
  }
  Result<std::optional<Json>> get(const std::string& session, const std::string& key) override {
    return own_.get(session, key);
  }
  Result<bool> erase(const std::string& session, const std::string& key) override {
    return own_.erase(session, key);
  }
  Result<bool> compare_and_set(const std::string& session, const std::string& key,
                               const std::optional<Json>& expected,
                               const std::optional<Json>& value) override {
    return own_.compare_and_set(session, key, expected, value);
  }
  Result<std::vector<std::string>> keys(const std::string& session, std::string_view prefix) override {
    return own_.keys(session, prefix);
  }
  Result<void> touch(const std::string& session, Duration ttl) override {
    if (const auto meanwhile = std::exchange(while_touched, {})) meanwhile();
    const std::lock_guard lock(mutex_);
    kept_for[session] = ttl;
    return own_.touch(session, ttl);
  }
  Result<void> drop(const std::string& session) override { return own_.drop(session); }
  Result<std::vector<std::string>> sweep() override { return own_.sweep(); }
  std::uint64_t bytes(const std::string& session) const override { return own_.bytes(session); }
  std::uint64_t total_bytes() const override { return own_.total_bytes(); }
  std::vector<std::string> sessions() const override { return own_.sessions(); }

  std::function<void()> while_touched;       // once; before it is
  std::map<std::string, Duration> kept_for;  // as it was told last

  void await_put() {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [&] { return waiting_ > 0; });
  }
  void open() {
    const std::lock_guard lock(mutex_);
    open_ = true;
    changed_.notify_all();
  }

 private:
  store::MemoryStore own_;
  std::mutex mutex_;
  std::condition_variable changed_;
  int waiting_ = 0;
  bool open_ = false;
};

std::string framed(const Json& message) {
  const std::string payload = message.dump();
  const auto header = wire::frame_header(payload.size());
  return std::string(header.data(), header.size()) + payload;
}

// Tells the store and answers, in one piece.
Behaviour tells() {
  return [](FakeWorker& worker) {
    if (!shake_hands(worker, {"tell"}) || !worker.write({4, 0, worker.generation()})) return;
    while (const auto asked = worker.read()) {
      if (asked->at(0) != 1) return;
      const Json& id = asked->at(1);
      const Json& generation = asked->at(2);
      const Json put = {{"key", "a"}, {"value", 1}};
      worker.write_raw(framed({11, id, generation, 0, "lair.session.put", put, Json::object()}) +
                       framed({2, id, generation, "answer"}));
    }
  };
}

class Told : public ShellTest {
 protected:
  void SetUp() override {
    world->behave(tells());
    PoolOptions options;
    options.worker = command({"/bin/sh"});  // looked up, never run
    options.size = 1;
    options.shutdown_grace = 0ms;
    options.log_level = "off";
    shell = std::make_unique<pool::Shell>(base::resolve(options, 4), world->launcher(), store);
    session = shell->open_session("s", {}).value();
  }
  void TearDown() override {
    store->open();
    session.reset();
    ShellTest::TearDown();
  }
  std::future<Result<Json>> begin(const CallOptions& options = {}) {
    auto promise = std::make_shared<std::promise<Result<Json>>>();
    shell->start(options, "tell", Json::array(),
                 [promise](Result<Json> result) { promise->set_value(std::move(result)); },
                 {.session = session});
    return promise->get_future();
  }
  bool is_put() { return store->get("s", "a").value() == std::optional<Json>(1); }

  const std::shared_ptr<SlowStore> store = std::make_shared<SlowStore>();
  pool::SessionPtr session;
};

TEST_F(Told, ACallerThatBlocksHasItsAnswerWhenTheValueIsThere) {
  auto outcome = std::async(std::launch::async, [&] {
    Result<Json> result = shell->call({}, "tell", Json::array(), {.session = session});
    return std::pair(is_put(), std::move(result));
  });
  store->await_put();
  EXPECT_FALSE(is_put());
  store->open();
  const auto [put, result] = outcome.get();
  EXPECT_TRUE(put);
  EXPECT_EQ(result.value(), "answer");
}

TEST_F(Told, AnAnswerThatWaitsForTheStoreIsNotCancelled) {
  std::stop_source stop;
  auto outcome = begin({.stop = stop.get_token()});
  store->await_put();
  stop.request_stop();
  store->open();
  EXPECT_EQ(outcome.get().value(), "answer");
  EXPECT_TRUE(is_put());
  EXPECT_EQ(begin().get().value(), "answer") << "the worker is well";
}

TEST_F(Told, AnAnswerThatWaitsForTheStoreOutlivesItsWorker) {
  auto outcome = begin();
  store->await_put();
  world->kill_all();
  EXPECT_TRUE(eventually([&] { return world->alive() == 0 || generation() > 1; }));
  store->open();
  EXPECT_EQ(outcome.get().value(), "answer");
  EXPECT_TRUE(is_put());
}

TEST_F(Told, APoolThatEndsMeanwhileEndsTheCall) {
  auto outcome = begin();
  store->await_put();
  auto ended = std::async(std::launch::async, [&] {
    const bool answered = outcome.get().has_value();
    store->open();  // only now: the pool waits for its thread
    return answered;
  });
  session.reset();
  shell.reset();
  EXPECT_FALSE(ended.get());
}

// Nobody would tell the store again: what is kept for ever is not looked at.
TEST_F(Told, ATimeThatIsMadeLongerWhileTheSweepTellsOfTheOneBeforeStays) {
  (void)shell->open_session("s", {.ttl = 10min}).value();
  std::future<void> longer;
  store->while_touched = [&] {
    longer =
        std::async(std::launch::async, [&] { (void)shell->open_session("s", {.ttl = kForever}).value(); });
    (void)longer.wait_for(200ms);  // it may be done now, or have to wait for this
  };
  shell->sweep_sessions();
  longer.get();
  EXPECT_EQ(store->kept_for.at("s"), kForever);
}

}  // namespace
}  // namespace lair::test
