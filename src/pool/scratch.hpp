// Scratch: memory for a call's bytes, which a thread's calls use one after another, so that the next one takes none.
//
// A call within a call (from a host function) finds it lent, and takes memory of its own.
//
// Thread-safety: it is the thread's own.
#pragma once

#include <string>
#include <utility>

#include "pool/attempt.hpp"

namespace lair::pool {

class Scratch {
 public:
  explicit Scratch(Prepared& call) : call_(call) {
    call_.arguments = std::move(mine().arguments);
    call_.frame.head = std::move(mine().head);
    call_.frame.tail = std::move(mine().tail);
    call_.arguments.clear();
  }
  ~Scratch() {
    // What a large call has taken is given back.
    if (call_.arguments.capacity() <= kKeep) mine().arguments = std::move(call_.arguments);
    mine().head = std::move(call_.frame.head);
    mine().tail = std::move(call_.frame.tail);
  }
  Scratch(const Scratch&) = delete;
  Scratch& operator=(const Scratch&) = delete;

 private:
  static constexpr std::size_t kKeep = 256u << 10;
  struct Memory {
    std::string arguments;
    std::string head;
    std::string tail;
  };
  static Memory& mine() {
    thread_local Memory memory;
    return memory;
  }

  Prepared& call_;
};

}  // namespace lair::pool
