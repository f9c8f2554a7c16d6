#include "store/commit_queue.hpp"

#include <utility>

namespace lair::store {

bool CommitQueue::push(Request request) {
  {
    std::unique_lock lock(mutex_);
    ++pushing_;
    room_.wait(lock, [this] { return closed_ || requests_.size() < capacity_; });
    --pushing_;
    if (closed_) {
      // Under the lock: as soon as `close` has seen that nobody is left, there may be no queue.
      if (pushing_ == 0) room_.notify_all();
      return false;
    }
    requests_.push_back(std::move(request));
    // Likewise: once this request is answered, its caller may be the last to know of the store.
    work_.notify_one();
  }
  return true;
}

void CommitQueue::poke() {
  const std::lock_guard lock(mutex_);
  poked_ = true;
  work_.notify_one();
}

bool CommitQueue::take(std::vector<Request>& batch) {
  batch.clear();
  std::unique_lock lock(mutex_);
  work_.wait(lock, [this] { return closed_ || poked_ || !requests_.empty(); });
  if (requests_.empty() && !poked_) return false;
  poked_ = false;
  batch.swap(requests_);
  room_.notify_all();
  return true;
}

void CommitQueue::close() {
  std::unique_lock lock(mutex_);
  closed_ = true;
  work_.notify_one();
  room_.notify_all();
  room_.wait(lock, [this] { return pushing_ == 0; });
}

std::size_t CommitQueue::waiting() const {
  const std::lock_guard lock(mutex_);
  return requests_.size();
}

std::size_t CommitQueue::waiting_for_room() const {
  const std::lock_guard lock(mutex_);
  return pushing_;
}

}  // namespace lair::store
