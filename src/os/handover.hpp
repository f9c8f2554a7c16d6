// Handover: one page of memory, shared with a worker, in which small frames change hands without a system call. A frame is left
// there only for one who is looking for it at that moment (spin.hpp); to anybody else it is sent.
//
// The worker makes the page, as a sealed memfd that cannot become shorter, and announces its descriptor. One box in it for each
// direction: who looks puts kLooks into `state`, who gives takes that for kWriting and, when the frame is there, makes it
// kFull. Who stops looking puts in kAsleep, whatever was there; so the giver sees that nobody has it, and sends it.
//
// What the worker has in its box may be anything at any time: it is copied once, and believed no more than what it sends.
//
// Thread-safety: one thread at a time.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>

#include "os/fd.hpp"
#include "os/pieces.hpp"

namespace lair::os {

class Handover {
 public:
  static constexpr const char* kName = "lair-handover";
  struct Box {
    enum State : std::uint32_t { kAsleep, kLooks, kWriting, kFull };
    static constexpr std::size_t kMost = 2040;
    std::atomic<std::uint32_t> state;
    std::atomic<std::uint32_t> size;
    char data[kMost];
  };
  struct Page {
    Box to_worker;
    Box to_host;
  };
  static_assert(sizeof(Page) == 4096 && std::atomic<std::uint32_t>::is_always_lock_free);
  static constexpr std::size_t kMost = Box::kMost;

  enum class End : std::uint8_t { kHost, kWorker };

  Handover() = default;
  // What process `pid` has as descriptor `fd`; none where that is no such page, or cannot be mapped.
  static Handover open(int pid, int fd);
  // The page of a descriptor; none where it is not one that stays as long as it is.
  static Handover map(const Fd& fd, End end);

  explicit operator bool() const { return page_ != nullptr; }

  // Leaves these pieces for the other end: false, and nothing has been given, where it does not look just now, or they are too many.
  bool give(const Piece* pieces, std::size_t count);
  // What was given last has not been taken.
  bool untaken() const;

  // From now on the other end may give something.
  void look();
  // What it has given, into `data`, which has room for kMost: that ends the look. 0: nothing yet.
  std::size_t take(char* data);
  // Ends the look, and takes what has been given after all.
  std::size_t look_away(char* data);

 private:
  struct Unmap {
    void operator()(Page* page) const noexcept;
  };
  static std::size_t copy(const Box& box, char* data);

  std::unique_ptr<Page, Unmap> page_;
  Box* in_ = nullptr;
  Box* out_ = nullptr;
};

}  // namespace lair::os
