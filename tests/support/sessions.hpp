// What tests of sessions share: pools whose workers are tests/workers/gated_sessions.py, gates at which calls wait, and the
// notes that workers make when a session ends.
//
// Thread-safety: as each says.
#pragma once

#include <gtest/gtest.h>
#include <signal.h>

#include <condition_variable>
#include <fstream>
#include <functional>
#include <lair/pool.hpp>
#include <map>
#include <memory>
#include <mutex>
#include <set>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "support/call_forms.hpp"
#include "support/leak_check.hpp"
#include "support/pools.hpp"

namespace lair::test {

inline constexpr SessionOptions kPreferred{.affinity = Affinity::kPrefer};
inline constexpr SessionOptions kStrictly{.affinity = Affinity::kStrict};
inline constexpr SessionOptions kExclusively{.affinity = Affinity::kExclusive};

// The host function `gate`: calls wait there until they are let through. Made after the pool, so that it opens before the pool
// ends. Any thread.
class Gate {
 public:
  explicit Gate(Pool& pool) {
    pool.expose("gate", [state = state_](const std::string& name) {
      std::unique_lock lock(state->mutex);
      ++state->arrived[name];
      state->changed.notify_all();
      const auto may_pass = [&] { return state->all || state->open.count(name) > 0; };
      if (!state->changed.wait_for(lock, std::chrono::minutes(1), may_pass)) throw std::runtime_error("shut");
      return name;
    });
  }
  ~Gate() {
    const std::lock_guard lock(state_->mutex);
    state_->all = true;
    state_->changed.notify_all();
  }
  Gate(const Gate&) = delete;
  Gate& operator=(const Gate&) = delete;

  void open(const std::string& name) {
    const std::lock_guard lock(state_->mutex);
    state_->open.insert(name);
    state_->changed.notify_all();
  }
  // So many calls have come to it.
  bool reached(const std::string& name, int calls = 1) {
    std::unique_lock lock(state_->mutex);
    return state_->changed.wait_for(lock, std::chrono::minutes(1),
                                    [&] { return state_->arrived[name] >= calls; });
  }
  int arrived(const std::string& name) {
    const std::lock_guard lock(state_->mutex);
    return state_->arrived[name];
  }

 private:
  struct State {
    std::mutex mutex;
    std::condition_variable changed;
    std::map<std::string, int> arrived;
    std::set<std::string> open;
    bool all = false;
  };
  const std::shared_ptr<State> state_ = std::make_shared<State>();
};

class SessionTest : public LeakChecked {
 protected:
  PoolOptions options_of(std::size_t size) const {
    PoolOptions options = options_for("gated_sessions", size);
    options.worker.env["SESSION_ENDS"] = ends_path();
    return options;
  }

  static int pid_of(Endpoint& endpoint) { return endpoint.call("whoami").at(3).get<int>(); }

  // The worker that the session has, to be held. The others are free again.
  static Lease take_home(Pool& pool, const Session& session) {
    const auto home = session.info().worker;
    EXPECT_TRUE(home.has_value());
    std::vector<Lease> leases;
    while (leases.size() < pool.options().size) {
      Lease lease = pool.checkout();
      if (home && lease.worker().slot == home->slot) return lease;
      leases.push_back(std::move(lease));
    }
    throw std::runtime_error("no lease of the session's worker");
  }

  // Kills the worker that a session has, and waits until that is known.
  static void kill_home(Pool& pool, const Session& session) {
    const auto home = session.info().worker;
    ASSERT_TRUE(home.has_value());
    const WorkerStats worker = pool.stats().workers.at(home->slot);
    ASSERT_EQ(worker.generation, home->generation);
    ASSERT_EQ(::kill(worker.pid, SIGKILL), 0);
    EXPECT_TRUE(eventually([&] { return !is_home_of(session, *home); }));
  }
  static bool is_home_of(const Session& session, const SessionInfo::Worker& worker) {
    const auto home = session.info().worker;
    return home && home->slot == worker.slot && home->generation == worker.generation;
  }

  // What workers have noted about the ends of sessions, in order: {id, number, affinity, pid, local}.
  std::vector<Json> ends() const {
    std::ifstream file(ends_path());
    std::vector<Json> all;
    for (std::string line; std::getline(file, line);) {
      const Json end = Json::parse(line, nullptr, false);
      if (!end.is_discarded()) all.push_back(end);
    }
    return all;
  }
  std::vector<Json> ends_of(const std::string& id) const {
    std::vector<Json> own;
    for (const Json& end : ends()) {
      if (end.at("id") == id) own.push_back(end);
    }
    return own;
  }
  std::string ends_path() const { return ends_.path(); }

 private:
  const Note ends_;
};

// As it is, or the error as text: for EXPECT_EQ with a kind.
template <class T>
std::string outcome_of(const Result<T>& result) {
  return result ? "ok" : std::string(to_string(result.error().kind));
}

}  // namespace lair::test
