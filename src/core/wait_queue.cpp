#include "core/wait_queue.hpp"

#include "base/assert.hpp"

namespace lair::core {

void WaitQueue::push(const Waiter& waiter) {
  Index index;
  if (free_.empty()) {
    index = static_cast<Index>(nodes_.size());
    nodes_.emplace_back();
  } else {
    index = free_.back();
    free_.pop_back();
  }
  Index before = tail_;
  while (before != kNone && nodes_[before].waiter.since > waiter.since) before = nodes_[before].previous;
  const Index after = before == kNone ? head_ : nodes_[before].next;
  nodes_[index] = Node{.waiter = waiter, .previous = before, .next = after};
  (before == kNone ? head_ : nodes_[before].next) = index;
  (after == kNone ? tail_ : nodes_[after].previous) = index;
  const bool fresh = by_token_.emplace(waiter.token, index).second;
  LAIR_ASSERT(fresh);
}

std::optional<Waiter> WaitQueue::take(Token token) {
  const auto found = by_token_.find(token);
  if (found == by_token_.end()) return std::nullopt;
  const Index index = found->second;
  const Node& node = nodes_[index];
  (node.previous == kNone ? head_ : nodes_[node.previous].next) = node.next;
  (node.next == kNone ? tail_ : nodes_[node.next].previous) = node.previous;
  by_token_.erase(found);
  free_.push_back(index);
  return node.waiter;
}

Waiter* WaitQueue::find(Token token) {
  const auto found = by_token_.find(token);
  return found == by_token_.end() ? nullptr : &nodes_[found->second].waiter;
}

}  // namespace lair::core
