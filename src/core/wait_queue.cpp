#include "core/wait_queue.hpp"

#include "base/assert.hpp"

namespace lair::core {

WaitQueue::Index WaitQueue::insert(const Waiter& waiter, Lane& lane) {
  Index index;
  if (free_.empty()) {
    index = static_cast<Index>(nodes_.size());
    nodes_.emplace_back();
  } else {
    index = free_.back();
    free_.pop_back();
  }
  nodes_[index].waiter = waiter;
  Index before = lane.tail;
  while (before != kNone && nodes_[before].waiter.since > waiter.since) before = nodes_[before].previous;
  link(index, before, lane);
  const bool fresh = by_token_.emplace(waiter.token, index).second;
  LAIR_ASSERT(fresh);
  return index;
}

WaitQueue::Index WaitQueue::promote(Lane& lane, TimePoint now) {
  const Index index = lane.head;
  LAIR_ASSERT(index != kNone);
  unlink(index);
  nodes_[index].waiter.begin_anew(now);
  link(index, line_.tail, line_);
  return index;
}

void WaitQueue::demote(Token token, Lane& lane) {
  const Index index = by_token_.at(token);
  unlink(index);
  link(index, kNone, lane);
}

std::optional<Waiter> WaitQueue::take(Token token) {
  const auto found = by_token_.find(token);
  if (found == by_token_.end()) return std::nullopt;
  const Index index = found->second;
  unlink(index);
  by_token_.erase(found);
  free_.push_back(index);
  return nodes_[index].waiter;
}

Waiter* WaitQueue::find(Token token) {
  const auto found = by_token_.find(token);
  return found == by_token_.end() ? nullptr : &nodes_[found->second].waiter;
}

void WaitQueue::link(Index index, Index before, Lane& lane) {
  Node& node = nodes_[index];
  const Index after = before == kNone ? lane.head : nodes_[before].next;
  node.previous = before;
  node.next = after;
  node.lane = &lane == &line_ ? nullptr : &lane;
  (before == kNone ? lane.head : nodes_[before].next) = index;
  (after == kNone ? lane.tail : nodes_[after].previous) = index;
  ++lane.count;
}

void WaitQueue::unlink(Index index) {
  const Node& node = nodes_[index];
  Lane& lane = lane_of(node);
  (node.previous == kNone ? lane.head : nodes_[node.previous].next) = node.next;
  (node.next == kNone ? lane.tail : nodes_[node.next].previous) = node.previous;
  --lane.count;
}

}  // namespace lair::core
