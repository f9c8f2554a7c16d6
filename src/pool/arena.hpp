// Arena: the memory that a pool's arrays are in. Blocks are given out of segments (os::Segment), which are made as they are
// needed, and given back to the system when nothing has been in them for a while.
//
// What is free is known here and nowhere else (core::ArraySpace): no lock and no count is in memory that a worker can write to.
//
// Thread-safety: any thread. Blocks keep the arena, and it keeps nothing of the pool's: arrays may outlive that.
#pragma once

#include <functional>
#include <lair/array.hpp>
#include <lair/result.hpp>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>
#include <vector>

#include "core/array_space.hpp"
#include "os/segment.hpp"
#include "wire/arrays.hpp"

namespace lair::pool {

class Arena;

// Some of it, until the last who holds it lets go.
class Block final : public detail::ArrayMemory {
 public:
  Block(std::shared_ptr<Arena> arena, std::shared_ptr<const os::Segment> segment,
        core::ArraySpace::Place place);
  ~Block() override;
  wire::BlockAt at() const { return {place_.segment, place_.offset, place_.size}; }
  const Arena* arena() const { return arena_.get(); }

 private:
  const std::shared_ptr<Arena> arena_;
  const std::shared_ptr<const os::Segment> segment_;
  const core::ArraySpace::Place place_;
};
using BlockPtr = std::shared_ptr<Block>;

class Arena : public std::enable_shared_from_this<Arena> {
 public:
  // `most`: bytes of all its segments.
  explicit Arena(std::size_t most) : most_(most) {}

  // kUnavailable: the limit, or the system's. May take as long as zeroing a new segment does.
  Result<BlockPtr> allocate(std::size_t bytes);
  // The same out of what there is, which is quick; null: there is no such gap.
  BlockPtr find(std::size_t bytes);
  // Null: it is no longer one of them.
  std::shared_ptr<const os::Segment> segment(std::uint32_t number) const;
  // Of these, those that are no longer.
  std::vector<std::uint32_t> gone(const std::vector<std::uint32_t>& numbers) const;

  // How much a command's last result took, so that there is room for the next before it is asked for. 0: nothing is known.
  std::size_t expected(std::string_view command) const;
  void expect(std::string_view command, std::size_t bytes);

  // Gives back what has been empty for kIdle. When to look again; max: not before `wake` is called.
  static constexpr Duration kIdle = std::chrono::seconds(10);
  TimePoint shrink(TimePoint now, Duration idle = kIdle);
  // To be called when a segment is empty and nobody is going to look. Null: never. Any thread.
  void on_idle(std::function<void()> wake);

  struct Size {
    std::uint64_t capacity = 0;
    std::uint64_t used = 0;
  };
  Size size() const;

 private:
  friend class Block;
  void release(const core::ArraySpace::Place& place) noexcept;
  Error refused(std::size_t bytes, int error) const;
  BlockPtr block_at(const core::ArraySpace::Place& place, std::shared_ptr<const os::Segment> segment);
  using Segments = std::vector<std::shared_ptr<os::Segment>>;
  Segments take_idle(TimePoint before);  // under the mutex

  const std::size_t most_;
  mutable std::mutex mutex_;
  core::ArraySpace space_;
  std::map<std::uint32_t, std::shared_ptr<os::Segment>> segments_;
  std::uint32_t last_segment_ = 0;
  std::uint64_t being_made_ = 0;  // bytes
  std::map<std::string, std::size_t, std::less<>> expected_;

  std::mutex wake_mutex_;  // held while it is called
  std::function<void()> wake_;
  bool looks_ = false;  // with mutex_: somebody will
};

}  // namespace lair::pool
