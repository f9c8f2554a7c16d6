#include "testing/deliveries.hpp"

#include <condition_variable>
#include <deque>
#include <mutex>
#include <thread>

namespace lair::fake {

struct Deliveries::Inner {
  std::mutex mutex;
  std::condition_variable changed;
  std::deque<OnceFunction<void()>> jobs;
  bool running = false;
  bool closed = false;
  std::thread thread;  // since the first job

  void run() {
    std::unique_lock lock(mutex);
    for (;;) {
      changed.wait(lock, [this] { return closed || !jobs.empty(); });
      if (jobs.empty()) return;
      auto job = std::move(jobs.front());
      jobs.pop_front();
      running = true;
      lock.unlock();
      job();
      lock.lock();
      running = false;
      changed.notify_all();
    }
  }
};

Deliveries::Deliveries() : inner_(std::make_shared<Inner>()) {}

Deliveries::~Deliveries() {
  std::thread thread;
  {
    const std::lock_guard lock(inner_->mutex);
    inner_->closed = true;
    thread = std::move(inner_->thread);
  }
  inner_->changed.notify_all();
  if (!thread.joinable()) return;
  if (thread.get_id() == std::this_thread::get_id()) {
    thread.detach();
  } else {
    thread.join();
  }
}

void Deliveries::post(OnceFunction<void()> job) {
  {
    const std::lock_guard lock(inner_->mutex);
    inner_->jobs.push_back(std::move(job));
    if (!inner_->thread.joinable()) inner_->thread = std::thread([inner = inner_] { inner->run(); });
  }
  inner_->changed.notify_all();
}

void Deliveries::settle() {
  std::unique_lock lock(inner_->mutex);
  if (inner_->thread.get_id() == std::this_thread::get_id()) return;
  inner_->changed.wait(lock, [this] { return inner_->jobs.empty() && !inner_->running; });
}

}  // namespace lair::fake
