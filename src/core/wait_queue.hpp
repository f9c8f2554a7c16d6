// The waiters, in order of arrival. Nodes are recycled; taking one out from anywhere costs O(1).
//
// Thread-safety: none; it lives in the core, under the shell's lock.
#pragma once

#include <cstdint>
#include <optional>
#include <unordered_map>
#include <vector>

#include "core/types.hpp"

namespace lair::core {

struct Waiter {
  Token token = 0;
  Eligibility who = {};
  bool exclusive = false;
  TimePoint deadline = TimePoint::max();
  TimePoint since{};
  bool patient = false;  // it asked for no deadline
  // It has been told that a worker may be free and has not answered yet.
  bool woken = false;
};

class WaitQueue {
 public:
  using Index = std::uint32_t;
  static constexpr Index kNone = ~Index{0};

  std::size_t size() const { return by_token_.size(); }
  bool empty() const { return by_token_.empty(); }

  // Behind all that came before it (`since`): nearly always last.
  void push(const Waiter& waiter);
  // Removes it; nothing if it isn't there.
  std::optional<Waiter> take(Token token);
  Waiter* find(Token token);

  // Iteration, oldest first: for (i = first(); i != kNone; i = next(i)) at(i). Removing the current element
  // is allowed if `next` was asked before.
  Index first() const { return head_; }
  Index next(Index i) const { return nodes_[i].next; }
  Waiter& at(Index i) { return nodes_[i].waiter; }
  const Waiter& at(Index i) const { return nodes_[i].waiter; }

 private:
  struct Node {
    Waiter waiter;
    Index previous = kNone;
    Index next = kNone;
  };
  std::vector<Node> nodes_;
  std::vector<Index> free_;
  std::unordered_map<Token, Index> by_token_;
  Index head_ = kNone;
  Index tail_ = kNone;
};

}  // namespace lair::core
