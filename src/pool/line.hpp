// Line: a worker's channel while it has calls of the reactor's: which ones, and what is still to be written to it.
//
// Thread-safety: the reactor's.
#pragma once

#include <cstdint>
#include <deque>
#include <map>
#include <string>
#include <string_view>

#include "os/poller.hpp"
#include "pool/record.hpp"

namespace lair::pool {

class Line {
 public:
  Line(RecordPtr record, os::Poller& poller, std::uint64_t tag)
      : record_(std::move(record)), poller_(poller), tag_(tag) {}
  ~Line() { unwatch(); }
  Line(const Line&) = delete;
  Line& operator=(const Line&) = delete;

  // False, with errno set: the system has no room to watch it.
  [[nodiscard]] bool watch();

  Record& record() const { return *record_; }
  worker::Channel& channel() const { return *record_->channel; }
  std::uint64_t tag() const { return tag_; }

  // Call ids, and whose they are.
  std::map<std::uint64_t, std::uint64_t> calls;
  // It has none: its channel is not the reactor's to touch, only to watch.
  bool rests() const { return calls.empty(); }

  // Returns what `written` will have reached when it has left.
  std::uint64_t write(std::string_view head, std::string_view arguments = {}, std::string_view tail = {}) {
    const std::uint64_t end = append(head, arguments, tail);
    flush();
    return end;
  }
  // The same, but it leaves with the next `flush`, together with what is appended until then.
  std::uint64_t append(std::string_view head, std::string_view arguments, std::string_view tail);
  void flush();
  std::uint64_t written() const { return written_; }
  bool watched() const { return watched_; }
  // Has more to read than one turn takes: it goes on in the next.
  bool goes_on = false;

  std::size_t unsent() const { return out_.size() - begins_; }
  // Part of a frame has left, and part has not: whoever has the channel next would be misread.
  bool mid_frame() const { return written_ != whole_; }
  // Its process has ended; what it has said before may still be unread.
  bool exited() const;

 private:
  void unwatch();

  const RecordPtr record_;
  os::Poller& poller_;
  const std::uint64_t tag_;
  bool watched_ = false;
  bool waits_for_room_ = false;
  bool broken_ = false;  // nothing can be written: reading will tell why
  std::string out_;
  std::size_t begins_ = 0;  // of `out_`: the rest has left
  std::uint64_t written_ = 0;
  std::uint64_t whole_ = 0;         // up to the last frame that has wholly left
  std::deque<std::uint64_t> ends_;  // of the others
};

}  // namespace lair::pool
