// A fake endpoint's thread: runs what it is given, one after another, and can be waited for.
//
// Thread-safety: any thread. What is posted must not throw.
#pragma once

#include <lair/once_function.hpp>
#include <memory>

namespace lair::fake {

class Deliveries {
 public:
  Deliveries();
  Deliveries(const Deliveries&) = delete;
  Deliveries& operator=(const Deliveries&) = delete;
  // Runs what is left, and waits for it, unless this is the thread itself: then it ends by itself.
  ~Deliveries();

  void post(OnceFunction<void()> job);
  // Returns when everything has run, also what was posted meanwhile. At once on the thread itself.
  void settle();

 private:
  struct Inner;
  std::shared_ptr<Inner> inner_;
};

}  // namespace lair::fake
