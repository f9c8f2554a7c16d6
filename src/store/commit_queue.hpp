// CommitQueue: how callers hand their requests to the store's thread, which takes all that have come while it was busy, to
// commit them together. Bounded: a caller who finds it full waits for room.
//
// A request that was accepted is answered, also when the queue is closed in between.
//
// Thread-safety: `take`, the store's thread; everything else, any thread.
#pragma once

#include <condition_variable>
#include <cstddef>
#include <functional>
#include <lair/result.hpp>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

namespace lair::store {

struct Reply {
  bool yes = false;
  std::optional<std::string> text = {};
  std::vector<std::string> names = {};
};

struct Request {
  bool changes = false;  // is it part of a transaction, or does it just read?
  // Done on the store's thread; again if the transaction that it was in has failed.
  std::function<Result<Reply>()> work;
  std::function<void(Result<Reply>)> answer;
};

class CommitQueue {
 public:
  explicit CommitQueue(std::size_t capacity) : capacity_(capacity) {}

  // False, without any effect, if the queue is closed, or closes while this waits for room.
  bool push(Request request);
  // Has `take` return, though nothing may have been pushed.
  void poke();
  // Waits for what there is to do; false: closed, and everything has been taken.
  bool take(std::vector<Request>& batch);
  // Returns when nobody waits for room any more.
  void close();

  std::size_t waiting() const;           // accepted, not yet taken
  std::size_t waiting_for_room() const;  // not accepted yet

 private:
  const std::size_t capacity_;
  mutable std::mutex mutex_;
  std::condition_variable work_;  // for the store's thread
  std::condition_variable room_;  // for callers, and for `close`
  std::vector<Request> requests_;
  std::size_t pushing_ = 0;  // callers who wait for room
  bool poked_ = false;
  bool closed_ = false;
};

}  // namespace lair::store
