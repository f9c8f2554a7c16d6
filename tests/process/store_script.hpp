// What each thread of store_host_main does to its store, step by step: a function of the thread and the step alone, so that
// the test which kills the host can work out what has to be there.
//
// Thread-safety: pure.
#pragma once

#include <lair/json.hpp>
#include <map>
#include <optional>
#include <string>
#include <utility>

namespace lair::test {

inline constexpr int kStoreThreads = 4;

struct StoreStep {
  std::string session;
  std::string key;
  std::optional<Json> value;  // none: erased
};

// Over three sessions, which all threads share, but keys of its own. Values from a few bytes to several pages, so that the
// write-ahead log is emptied now and then.
inline StoreStep store_step(int thread, int step) {
  const std::string session = "session " + std::to_string((thread + step) % 3);
  const std::string key = "thread " + std::to_string(thread) + "/" + std::to_string(step % 16);
  if (step % 7 == 6) return {session, key, std::nullopt};
  const auto padding = static_cast<std::size_t>(step * 37 % 9000);
  return {session, key, Json{{"step", step}, {"padding", std::string(padding, 'p')}}};
}

using StoreContents = std::map<std::pair<std::string, std::string>, Json>;

inline void take_step(StoreContents& contents, const StoreStep& step) {
  if (step.value) {
    contents[{step.session, step.key}] = *step.value;
  } else {
    contents.erase({step.session, step.key});
  }
}

}  // namespace lair::test
