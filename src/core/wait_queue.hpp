// The waiters, in order of arrival. Nodes are recycled; taking one out from anywhere costs O(1).
//
// The line is the queue proper. A session has one place in it at most: its other waiters are parked behind its first, each session's
// in a lane of its own, and come into the line one by one (src/core/sessions.cpp).
//
// Thread-safety: none; it lives in the core, under the shell's lock.
#pragma once

#include <cstdint>
#include <optional>
#include <unordered_map>
#include <vector>

#include "core/types.hpp"

namespace lair::core {

struct SessionRow;

struct Waiter {
  Token token = 0;
  Eligibility who = {};
  bool exclusive = false;
  TimePoint deadline = TimePoint::max();
  TimePoint since{};     // when it came into the line; while it is parked: when it came
  TimePoint came{};      // when it was first there
  bool patient = false;  // it asked for no deadline
  // It has been told that a worker may be free and has not answered yet.
  bool woken = false;
  SessionRow* session = nullptr;
  TimePoint spill_after = TimePoint::max();

  // So far its own session had kept it waiting.
  void begin_anew(TimePoint now) {
    if (spill_after != TimePoint::max()) spill_after += now - since;
    since = now;
  }
};

class WaitQueue {
 public:
  using Index = std::uint32_t;
  static constexpr Index kNone = ~Index{0};
  // A list of waiters. Its owner keeps it where it is for as long as anybody is in it.
  struct Lane {
    Index head = kNone;
    Index tail = kNone;
    std::uint32_t count = 0;
  };

  // In the line and parked.
  std::size_t size() const { return by_token_.size(); }
  bool empty() const { return by_token_.empty(); }
  std::size_t parked() const { return size() - line_.count; }

  // Behind all that came before it (`since`): nearly always last.
  Index push(const Waiter& waiter) { return insert(waiter, line_); }
  void park(const Waiter& waiter, Lane& lane) { insert(waiter, lane); }
  // The first of a lane comes to the end of the line, at `now`.
  Index promote(Lane& lane, TimePoint now);
  // From the line to the head of a lane: an elder of its session has come back.
  void demote(Token token, Lane& lane);
  // Removes it; nothing if it isn't there.
  std::optional<Waiter> take(Token token);
  Waiter* find(Token token);

  // Iteration over the line, oldest first: for (i = first(); i != kNone; i = next(i)) at(i). Removing the current element
  // is allowed if `next` was asked before.
  Index first() const { return line_.head; }
  Index next(Index i) const { return nodes_[i].next; }
  Waiter& at(Index i) { return nodes_[i].waiter; }
  const Waiter& at(Index i) const { return nodes_[i].waiter; }

 private:
  struct Node {
    Waiter waiter;
    Index previous = kNone;
    Index next = kNone;
    Lane* lane = nullptr;  // null: the line
  };
  Lane& lane_of(const Node& node) { return node.lane == nullptr ? line_ : *node.lane; }
  Index insert(const Waiter& waiter, Lane& lane);
  void link(Index index, Index before, Lane& lane);
  void unlink(Index index);

  std::vector<Node> nodes_;
  std::vector<Index> free_;
  std::unordered_map<Token, Index> by_token_;
  Lane line_;
};

}  // namespace lair::core
