// Line: a worker's channel while it has calls of the reactor's: which ones, and what is still to be written to it.
//
// Thread-safety: for whoever has the reactor's turn.
#pragma once

#include <cstdint>
#include <deque>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "os/poller.hpp"
#include "pool/record.hpp"

namespace lair::pool {

class Line {
 public:
  // `refused`: where its tag is put when the system refuses to let it write.
  Line(RecordPtr record, os::Poller& poller, std::uint64_t tag, std::vector<std::uint64_t>& refused)
      : record_(std::move(record)), poller_(poller), tag_(tag), refused_(refused) {}
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
  // A frame with a descriptor, which `owner` keeps open.
  void write_with(std::string_view frame, int fd, std::shared_ptr<const void> owner);
  void flush();
  // Its process gets the signal when so much has left: whoever hears a bell finds the frame that it is for.
  void signal_when_written(std::uint64_t end, int signal_number);
  int refusal() const { return refusal_; }  // an errno, or 0
  std::uint64_t written() const { return written_; }
  bool watched() const { return watched_; }
  // Has more to read than one turn takes: it goes on in the next.
  bool goes_on = false;

  // While a frame is decoded elsewhere no other is read: they count in their order. It is not watched, but can be written to.
  void pause();
  // False, with errno set: the system has no room to watch it again.
  [[nodiscard]] bool resume();
  bool paused() const { return paused_; }

  // Somebody else waits until it is readable. The poller does not tell of that meanwhile; it can be written to as ever, and read
  // by whoever has the turn. One that has no calls any more can stay so.
  bool can_be_lent() const { return watched_ && channel().is_socket() && calls.size() == 1 && unsent() == 0; }
  void lend();
  void take_back();
  bool lent() const { return lent_; }

  std::size_t unsent() const { return out_.size() - begins_; }
  // Part of a frame has left, and part has not: whoever has the channel next would be misread.
  bool mid_frame() const { return written_ != whole_; }
  // Its process has ended; what it has said before may still be unread.
  bool exited() const;

 private:
  void unwatch();
  void signal();
  void refuse(int error);
  worker::Channel::Moved move(std::string_view bytes);

  const RecordPtr record_;
  os::Poller& poller_;
  const std::uint64_t tag_;
  std::vector<std::uint64_t>& refused_;
  bool watched_ = false;
  bool paused_ = false;
  bool lent_ = false;
  bool waits_for_room_ = false;
  bool broken_ = false;  // nothing can be written: reading will tell why, or `refusal_`
  int refusal_ = 0;
  std::uint64_t signal_at_ = 0;
  int signal_ = 0;
  struct Descriptor {
    std::uint64_t at;  // the byte that it goes with
    int fd;
    std::shared_ptr<const void> owner;
  };
  std::deque<Descriptor> descriptors_;
  std::string out_;
  std::size_t begins_ = 0;  // of `out_`: the rest has left
  std::uint64_t written_ = 0;
  std::uint64_t whole_ = 0;         // up to the last frame that has wholly left
  std::deque<std::uint64_t> ends_;  // of the others
};

}  // namespace lair::pool
