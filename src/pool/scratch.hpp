// Scratch: memory for a call's bytes, which a thread's calls use one after another, so that the next one takes none.
//
// A call within a call (from a host function) finds it lent, and takes memory of its own.
//
// Thread-safety: it is the thread's own.
#pragma once

#include <string>

#include "pool/attempt.hpp"

namespace lair::pool {

class Scratch {
 public:
  explicit Scratch(Prepared& call) : memory_(mine()), lends_(!memory_.is_lent) {
    if (!lends_) return;
    memory_.is_lent = true;
    memory_.bytes.arguments.clear();
    call.lent = &memory_.bytes;
  }
  ~Scratch() {
    if (!lends_) return;
    memory_.is_lent = false;
    // What a large call has taken is given back.
    if (memory_.bytes.arguments.capacity() > kKeep) std::string().swap(memory_.bytes.arguments);
  }
  Scratch(const Scratch&) = delete;
  Scratch& operator=(const Scratch&) = delete;

 private:
  static constexpr std::size_t kKeep = 256u << 10;
  struct Memory {
    CallBytes bytes;
    bool is_lent = false;
  };
  static Memory& mine() {
    thread_local Memory memory;
    return memory;
  }

  Memory& memory_;
  const bool lends_;
};

}  // namespace lair::pool
